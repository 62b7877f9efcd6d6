//! Looking inside a guest: what is given to it, what it tells, what is made of that.
//!
//! A unit and a script arrive as system credentials; nothing of them is part of the image. The
//! script writes `key=value` lines to the second serial port, once a boot, then restarts the
//! machine, and the second time switches it off.

use std::collections::BTreeMap;

use crate::given::Counts;
use crate::more::More;

/// The script that collects facts, run by the guest's own shell.
const SCRIPT: &str = include_str!("facts.sh");

/// Serial number of the disk that the firmware starts.
pub(crate) const SYSTEM: &str = "hardtack-system";

const UNIT: &str = "\
[Unit]
Description=Facts for cargo xtask boot --check
DefaultDependencies=no
After=multi-user.target
Conflicts=shutdown.target
Before=shutdown.target
[Service]
# Not oneshot: the system counts as starting while a start job lasts, and the script asks.
Type=exec
ImportCredential=hardtack.*
ExecStart=/usr/bin/bash ${CREDENTIALS_DIRECTORY}/hardtack.facts
StandardOutput=journal+console
StandardError=journal+console
";

const WANTS: &str = "[Unit]\nWants=hardtack-check.service\n";

const AUTOLOGIN: &str = "\
[Service]
ExecStart=
ExecStart=-/usr/sbin/agetty --autologin root --noclear --keep-baud 115200,57600,38400,9600 - $TERM
";

/// The credentials that make the guest tell facts.
pub(crate) fn telling() -> Vec<(String, String)> {
    led(SCRIPT)
}

/// The credentials that make the guest run `script` once it is up.
pub(crate) fn led(script: &str) -> Vec<(String, String)> {
    let pairs = [
        ("systemd.extra-unit.hardtack-check.service", UNIT),
        ("systemd.unit-dropin.multi-user.target", WANTS),
        ("hardtack.facts", script),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

/// The credential that logs the person at the console in.
pub(crate) fn autologin() -> Vec<(String, String)> {
    vec![("systemd.unit-dropin.serial-getty@ttyS0.service".to_owned(), AUTOLOGIN.to_owned())]
}

/// Whether the guest began to tell; the firmware writes to both serial ports too.
pub(crate) fn began(log: &str) -> bool {
    log.lines().any(|line| line.trim_start().starts_with("begin="))
}

/// What one boot told: each key with its values in order.
#[derive(Debug, Default)]
pub(crate) struct Facts(BTreeMap<String, Vec<String>>);

impl Facts {
    /// The boots that were told of to their end, in order.
    pub(crate) fn boots(log: &str) -> Vec<Facts> {
        let mut boots = Vec::new();
        let mut open: Option<Facts> = None;
        for line in log.lines().map(str::trim) {
            match line.split_once('=') {
                Some(("begin", _)) => open = Some(Facts::default()),
                Some(("end", _)) => boots.extend(open.take()),
                Some((key, value)) => {
                    if let Some(facts) = &mut open {
                        facts.0.entry(key.to_owned()).or_default().push(value.to_owned());
                    }
                }
                None => {}
            }
        }
        boots
    }

    /// What the step `number` told, which ends with `asked=<number>`, if it came to its end.
    pub(crate) fn of_step(log: &str, number: usize) -> Option<Facts> {
        let (begin, end) = (format!("asking={number}"), format!("asked={number}"));
        let mut lines = log.lines().map(str::trim).skip_while(|line| *line != begin).skip(1);
        let mut facts = Facts::default();
        loop {
            let line = lines.next()?;
            if line == end {
                return Some(facts);
            }
            if let Some((key, value)) = line.split_once('=') {
                facts.0.entry(key.to_owned()).or_default().push(value.to_owned());
            }
        }
    }

    /// The first value of `key`, empty when it was not told.
    pub(crate) fn get(&self, key: &str) -> &str {
        self.all(key).first().map_or("", String::as_str)
    }

    /// Every value of `key`.
    pub(crate) fn all(&self, key: &str) -> &[String] {
        self.0.get(key).map(Vec::as_slice).unwrap_or_default()
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.get(key).parse().ok()
    }
}

/// One question, answered from inside the guest.
pub(crate) struct Check {
    pub(crate) what: &'static str,
    pub(crate) ok: bool,
    /// The fact that decided.
    pub(crate) fact: String,
}

/// What the image says of itself, and what this machine was made to have.
pub(crate) struct Expected {
    pub(crate) root_hash: Option<String>,
    pub(crate) version: Option<String>,
    /// It must run containers; else it may.
    pub(crate) containers: bool,
    /// What the inventory says of `/usr`.
    pub(crate) listed: Option<Counts>,
    /// What holds of this profile alone.
    pub(crate) more: Option<&'static More>,
}

/// Judges two boots of one disk.
pub(crate) fn judge(first: &Facts, second: &Facts, expected: &Expected) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut check = |what, ok, fact: String| checks.push(Check { what, ok, fact });
    let seen = |key: &str| format!("{key}: {:?}", first.get(key));

    let enforced = (first.get("secure_boot"), first.get("setup_mode")) == ("1", "0");
    let modes = format!("{}, {}", seen("secure_boot"), seen("setup_mode"));
    check("Secure Boot is enforced, as the firmware's variables say", enforced, modes);

    let mount = first.get("usr_mount");
    let options: Vec<&str> = mount.split([' ', ',']).collect();
    let sealed = options.contains(&"erofs") && options.contains(&"ro") && mount.contains("/dev/");
    check("/usr is EROFS and read-only", sealed, seen("usr_mount"));

    let table: Vec<&str> = first.get("usr_table").split(' ').collect();
    let on_command_line = word(first.get("cmdline"), "usrhash").unwrap_or_default();
    let wanted = expected.root_hash.as_deref().unwrap_or(on_command_line);
    let under = table.contains(&"verity") && wanted.len() == 64 && table.contains(&wanted);
    let fact = format!("expected {wanted}, {}", seen("usr_table"));
    check("/usr is under dm-verity with the expected root hash", under, fact);
    let agrees = on_command_line == wanted;
    check("the signed command line names that root hash", agrees, on_command_line.to_owned());
    let good = first.get("usr_status").split(' ').next_back() == Some("V");
    check("dm-verity found nothing corrupted", good, seen("usr_status"));
    let refused = first.get("usr_write") == "refused";
    check("/usr cannot be written", refused, seen("usr_write"));

    for (facts, what) in [(first, "no failed unit, first boot"), (second, "no failed unit, second")]
    {
        let failed = facts.all("failed").join(", ");
        let ok = facts.get("state") == "running" && failed.is_empty();
        check(what, ok, format!("state: {:?}, failed: [{failed}]", facts.get("state")));
    }
    let reached = first.get("target") == "active";
    check("multi-user.target is reached", reached, seen("target"));

    let open: Vec<&str> =
        first.all("tcp").iter().filter_map(|line| beyond_loopback(line)).collect();
    let told = first.get("tcp_read") == "2";
    let fact = format!("{} sockets listen, beyond loopback: {open:?}", first.all("tcp").len());
    check("no TCP port is open beyond loopback", told && open.is_empty(), fact);

    let managers = first.all("package_manager");
    let none = managers.is_empty() && !first.get("package_managers_sought").is_empty();
    check("there is no package manager", none, format!("found: {managers:?}"));

    let kept = first.get("etc_write") == "written" && second.get("etc_kept") == "kept";
    let fact = format!("{}, then {:?}", seen("etc_write"), second.get("etc_kept"));
    check("/etc is writable and kept over a reboot", kept, fact);

    let id = first.get("machine_id");
    let made = id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()) && id != "0".repeat(32);
    let shown = format!("{} digits, {:?} after a reboot", id.len(), second.get("machine_id") == id);
    let same = made && second.get("machine_id") == id;
    check("machine-id was made at first boot and is kept", same, shown);

    checks.push(one_disk(first));
    let mut check = |what, ok, fact: String| checks.push(Check { what, ok, fact });
    let end = first.number("root_start").zip(first.number("root_sectors")).map(|(a, b)| a + b);
    let disk = first.number("disk_sectors");
    // The backup table takes 33 sectors; partitions may stop at the last MiB before it.
    let full = end.zip(disk).is_some_and(|(end, disk)| end <= disk && disk - end <= 2 * 2048);
    let fact =
        format!("root ends at sector {} of {}", end.unwrap_or_default(), disk.unwrap_or_default());
    check("the root partition reaches the disk's end", full, fact);

    if let Some(version) = &expected.version {
        let same = first.get("version") == version;
        check("os-release names the version that was baked", same, seen("version"));
    }
    if expected.containers || !first.get("ctr").is_empty() {
        let answered = first.get("ctr") == "answered";
        check("containerd answers", answered, seen("ctr"));
        let ran = first.get("container") == super::container::SAYS;
        check("a container runs from an image archive", ran, seen("container"));
    }
    if let Some(counts) = &expected.listed {
        checks.extend(contents(first, counts));
    }
    checks.extend(modules(first));
    for (what, key, value) in expected.more.into_iter().flat_map(|more| more.answers) {
        // What is told at each boot must be told the same.
        let told = first.all(key).iter().chain(second.all(key));
        let ok = first.get(key) == *value && told.clone().all(|said| said == value);
        let fact = format!("{key}: {:?}", told.collect::<Vec<_>>());
        checks.push(Check { what, ok, fact });
    }
    checks
}

/// Whether `/usr`, as the kernel gives it, is what the inventory says.
fn contents(facts: &Facts, counts: &Counts) -> Vec<Check> {
    let (files, entries) = (counts.files.to_string(), counts.entries.to_string());
    let good = facts.get("sums") == format!("good {files}") && facts.get("files") == files;
    let took = facts.get("sums_seconds");
    let sums = format!("{} of {files} in {took} s", facts.get("sums"));
    // As many as there are, and all of them as listed.
    let same = facts.get("entries") == entries && facts.get("same_entries") == entries;
    let differs = facts.all("differs");
    let listing = format!("{} of {entries}, differing: {differs:?}", facts.get("same_entries"));
    let told = facts.all("capability");
    let kept = told.len() == counts.capabilities && told.iter().all(|said| said == "same");
    // A host with the program for it is asked for others too.
    let none_else = facts.all("getcap").iter().all(|said| *said == counts.capabilities.to_string());
    let capabilities = format!("{told:?} of {}", counts.capabilities);
    vec![
        Check { what: "every file of /usr has the inventory's SHA-256", ok: good, fact: sums },
        Check {
            what: "one wrong sum in that list is noticed",
            ok: facts.get("sums_damaged") == "1",
            fact: format!("{} refused", facts.get("sums_damaged")),
        },
        Check {
            what: "types, modes, owners and link targets are the inventory's",
            ok: same,
            fact: listing,
        },
        Check {
            what: "file capabilities are the inventory's, and no others",
            ok: kept && none_else,
            fact: capabilities,
        },
    ]
}

/// Whether kernel modules are found by their indexes.
fn modules(facts: &Facts) -> Vec<Check> {
    let packed = facts.all("packed_index");
    vec![
        Check {
            what: "a module loads with the one that it needs",
            ok: facts.get("module") == "loaded",
            fact: facts.get("module").to_owned(),
        },
        Check {
            what: "no index names a compressed module",
            ok: packed.is_empty(),
            fact: format!("{packed:?}"),
        },
    ]
}

/// Whether every part of the system lies on the disk that the firmware started.
pub(crate) fn one_disk(facts: &Facts) -> Check {
    let lies_on = facts.all("lies_on");
    let parts = ["root", "usr", "hashes", "esp"].map(|part| format!("{part} {SYSTEM}"));
    Check {
        what: "root, /usr, its hash tree and the ESP are on the started disk",
        ok: lies_on == parts,
        fact: lies_on.join(", "),
    }
}

/// The value of `name=` among a command line's words.
fn word<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

/// The local address of a listening socket (a line of /proc/net/tcp or tcp6: proc_pid_net(5)), if
/// it is reachable from elsewhere. Addresses are 32-bit words in the machine's byte order.
fn beyond_loopback(address: &str) -> Option<&str> {
    let (host, _port) = address.split_once(':')?;
    let loopback = match host.len() {
        8 => host.ends_with("7F"),
        32 => {
            host == "00000000000000000000000001000000"
                || (host.starts_with("0000000000000000FFFF0000") && host.ends_with("7F"))
        }
        _ => false,
    };
    (!loopback).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = include_str!("facts.sample");

    /// One question of a profile's own.
    const MORE: More = More {
        profile: "a",
        script: "",
        agent: false,
        answers: &[("it said hello", "hello", "yes")],
    };

    fn expected() -> Expected {
        Expected {
            root_hash: Some("ab".repeat(32)),
            version: Some("1.0".into()),
            containers: true,
            listed: Some(Counts { files: 3, entries: 5, capabilities: 1 }),
            more: Some(&MORE),
        }
    }

    fn failed(log: &str) -> Vec<&'static str> {
        let boots = Facts::boots(log);
        let checks = judge(&boots[0], &boots[1], &expected());
        checks.into_iter().filter(|check| !check.ok).map(|check| check.what).collect()
    }

    #[test]
    fn a_good_host_passes_every_check() {
        assert_eq!(failed(GOOD), Vec::<&str>::new());
    }

    #[test]
    fn each_fact_gone_wrong_fails_its_check() {
        for (good, bad) in [
            ("secure_boot=1", "secure_boot=0"),
            ("setup_mode=0", "setup_mode=1"),
            ("erofs ro,", "erofs rw,"),
            ("verity 1", "linear 1"),
            (&format!("sha256 {}", "ab".repeat(32)), &format!("sha256 {}", "cd".repeat(32))),
            ("usr_status=0 8 verity V", "usr_status=0 8 verity C"),
            ("usr_write=refused", "usr_write=written"),
            ("state=running", "state=degraded"),
            ("state=running", "state=running\nfailed=chrony.service"),
            ("tcp=0100007F:0277", "tcp=00000000:0016"),
            ("tcp_read=2", ""),
            ("package_managers_sought=5", "package_managers_sought=5\npackage_manager=dpkg"),
            ("etc_kept=kept", "etc_kept=lost"),
            ("lies_on=hashes hardtack-system", "lies_on=hashes hardtack-twin"),
            ("lies_on=esp hardtack-system\n", ""),
            (
                "machine_id=0123456789abcdef0123456789abcdef\netc_w",
                "machine_id=uninitialized\netc_w",
            ),
            ("machine_id=0123456789abcdef0123456789abcdef\netc_k", "machine_id=f\netc_k"),
            ("disk_sectors=4096000", "disk_sectors=14096000"),
            ("version=1.0", "version=0.9"),
            ("container=ran inside a container", "container=runc: not found"),
            ("ctr=answered", ""),
            ("sums=good 3", "sums=good 2"),
            ("sums=good 3", "sums=bad: /usr/bin/a: FAILED"),
            ("files=3", "files=4"),
            ("sums_damaged=1", "sums_damaged=0"),
            ("entries=5", "entries=6"),
            ("same_entries=5", "same_entries=4\ndiffers=f 777 0 0 /usr/bin/a"),
            ("capability=same", "capability=differs: /usr/bin/ping"),
            ("capability=same\n", ""),
            ("getcap=1", "getcap=2"),
            ("module=loaded\n", ""),
            ("module=loaded", "module=loaded\npacked_index=/usr/lib/modules/6/modules.dep"),
            ("hello=yes", "hello=no"),
            ("etc_kept=kept\nhello=yes", "etc_kept=kept\nhello=no"),
        ] {
            assert!(GOOD.contains(good), "the sample lacks {good}");
            assert_ne!(failed(&GOOD.replacen(good, bad, 1)), Vec::<&str>::new(), "{bad}");
        }
    }

    #[test]
    fn a_boot_that_did_not_tell_all_does_not_count() {
        assert!(began("begin=1\r\n") && !began("BdsDxe: Access Denied\n\n"));
        assert_eq!(Facts::boots("begin=1\nstate=running\n").len(), 0);
        assert_eq!(Facts::boots("begin=1\nbegin=1\nend=1\n").len(), 1);
    }

    #[test]
    fn loopback_is_told_from_any_address() {
        assert_eq!(beyond_loopback("3600007F:0035"), None);
        assert_eq!(beyond_loopback("00000000000000000000000001000000:1F90"), None);
        assert_eq!(beyond_loopback("0000000000000000FFFF00000100007F:1F90"), None);
        assert!(beyond_loopback("00000000000000000000000000000000:0016").is_some());
        assert!(beyond_loopback("0F02000A:14EB").is_some());
    }
}
