//! File capabilities as people and scripts write them.

use anyhow::{Context, Result, bail};

/// Capabilities by number (`linux/capability.h`, 0 to 40).
const NAMES: &[&str] = &[
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// What a program may do that its caller may not, each set bit by number (capabilities(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapabilitySets {
    /// The permitted set.
    pub permitted: u64,
    /// The inheritable set.
    pub inheritable: u64,
    /// Whether a process has the permitted ones in effect from its start.
    pub effective: bool,
}

impl CapabilitySets {
    /// Reads one clause of cap_text_formats(7): `cap_net_raw=ep`, `cap_net_admin,cap_net_raw+ep`.
    ///
    /// # Errors
    /// An unknown name or flag, none of either, or more than one clause.
    pub fn parse(text: &str) -> Result<Self> {
        let (names, flags) = text.split_once(['=', '+']).with_context(|| {
            format!("read capabilities `{text}`: write them as `cap_x,cap_y=ep`")
        })?;
        let mut set = 0_u64;
        for name in names.split(',') {
            let number = name
                .strip_prefix("cap_")
                .and_then(|name| NAMES.iter().position(|known| *known == name))
                .with_context(|| format!("read capabilities `{text}`: there is no `{name}`"))?;
            set |= 1 << number;
        }
        let (mut permitted, mut inheritable, mut effective) = (0, 0, false);
        for flag in flags.chars() {
            match flag {
                'p' => permitted = set,
                'i' => inheritable = set,
                'e' => effective = true,
                other => {
                    bail!("read capabilities `{text}`: `{other}` is none of the flags e, i, p")
                }
            }
        }
        if permitted | inheritable == 0 {
            bail!("read capabilities `{text}`: without the flag p or i nothing is given");
        }
        Ok(Self { permitted, inheritable, effective })
    }
}
