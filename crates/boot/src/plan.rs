//! Unified kernel images and addons
//! (UAPI Group Specifications, "Unified Kernel Image"; systemd-stub(7)).

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use store::{Blob, Stage};

use crate::graft::check_size;
use crate::link::{Part, link};
use crate::pe::Pe;
use crate::{kernel, sbat};

/// What a unified kernel image is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkPlan {
    /// systemd's EFI stub.
    pub stub: Blob,
    /// The kernel, exactly as its package ships it.
    pub linux: Blob,
    /// The initrd, compressed or not.
    pub initrd: Blob,
    /// The text of os-release(5) that the boot menu shows.
    pub osrel: String,
    /// The kernel's command line, printable ASCII.
    pub cmdline: String,
    /// The kernel's release, `uname -r`.
    pub uname: String,
    /// SBAT lines of our own, added to the stub's, the kernel's and the one that says that this is
    /// a UKI.
    pub sbat: String,
}

/// An unsigned unified kernel image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uki {
    /// The PE image; its size is a multiple of 8.
    pub image: Blob,
}

/// What an addon is made of: more of a command line for a UKI that is signed already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddonPlan {
    /// systemd's stub for addons.
    pub stub: Blob,
    /// What is appended to the command line, printable ASCII.
    pub cmdline: String,
    /// The kernel release that it is for; empty for any.
    pub uname: String,
    /// SBAT lines of our own; empty for the one that says that this is an addon.
    pub sbat: String,
}

/// An unsigned addon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Addon {
    /// The PE image; its size is a multiple of 8.
    pub image: Blob,
}

/// Links a unified kernel image: `.osrel`, `.cmdline`, `.uname`, `.linux` and `.initrd` after the
/// stub's own sections, the order of `ukify`; `.sbat` in the stub's own place.
///
/// # Errors
/// A command line longer than [`COMMAND_LINE_MAX`], an os-release without what the boot menu
/// needs, a kernel of another release, a stub without room.
pub const LINK: Stage<LinkPlan, Uki> = Stage {
    name: "link",
    revision: 2,
    about: |plan| format!("kernel {}", plan.uname),
    run: |plan, scratch| {
        check_command_line(&plan.cmdline)?;
        check_os_release(&plan.osrel)?;
        for blob in [&plan.stub, &plan.linux, &plan.initrd] {
            check_size(blob)?;
        }
        let stub = scratch.read(&plan.stub)?;
        let linux = scratch.read(&plan.linux)?;
        let initrd = scratch.read(&plan.initrd)?;
        check_release(&linux, &plan.uname)?;
        let sbat = sbat::merge(&[
            sbat_of(&stub).context("read the stub")?,
            // A kernel for a loader of its own need not be a PE image.
            if Pe::parse(&linux).is_ok() {
                sbat_of(&linux).context("read the kernel")?
            } else {
                ""
            },
            sbat::UKI,
            &plan.sbat,
        ])?;
        let image = link(
            &stub,
            &[
                Part { name: ".osrel", content: plan.osrel.as_bytes() },
                Part { name: ".cmdline", content: plan.cmdline.as_bytes() },
                Part { name: ".uname", content: plan.uname.as_bytes() },
                Part { name: ".linux", content: &linux },
                Part { name: ".initrd", content: &initrd },
                Part { name: ".sbat", content: &sbat },
            ],
        )?;
        Ok(Uki { image: scratch.put(&image)? })
    },
};

/// Links an addon: `.cmdline`, `.uname` and `.sbat` after the stub's own sections.
pub const ADDON: Stage<AddonPlan, Addon> = Stage {
    name: "addon",
    revision: 1,
    about: |plan| format!("command line `{}`", plan.cmdline),
    run: |plan, scratch| {
        check_command_line(&plan.cmdline)?;
        check_size(&plan.stub)?;
        let stub = scratch.read(&plan.stub)?;
        let own = if plan.sbat.is_empty() { sbat::ADDON } else { &plan.sbat };
        let sbat = sbat::merge(&[own])?;
        let mut parts = vec![
            Part { name: ".cmdline", content: plan.cmdline.as_bytes() },
            Part { name: ".uname", content: plan.uname.as_bytes() },
            Part { name: ".sbat", content: &sbat },
        ];
        parts.retain(|part| !part.content.is_empty());
        Ok(Addon { image: scratch.put(&link(&stub, &parts)?)? })
    },
};

/// How many bytes of command line Linux takes on x86: `COMMAND_LINE_SIZE` without its NUL. What
/// is longer it cuts off without a word.
pub const COMMAND_LINE_MAX: usize = 2047;

/// Without these the boot menu hides or misnames the image, and updates cannot tell versions apart.
const OS_RELEASE_KEYS: [&str; 5] = ["ID", "VERSION_ID", "PRETTY_NAME", "IMAGE_ID", "IMAGE_VERSION"];

fn check_command_line(text: &str) -> Result<()> {
    if text.len() > COMMAND_LINE_MAX {
        bail!(
            "the kernel command line has {} bytes, and Linux takes {COMMAND_LINE_MAX}",
            text.len()
        );
    }
    if let Some(bad) = text.chars().find(|c| !(' '..='~').contains(c)) {
        bail!(
            "the kernel command line holds `{}`: only printable ASCII is kept",
            bad.escape_debug()
        );
    }
    Ok(())
}

fn check_os_release(text: &str) -> Result<()> {
    for key in OS_RELEASE_KEYS {
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        if value.is_none_or(|value| value.trim_matches(['"', '\'']).is_empty()) {
            bail!("os-release has no `{key}`, which the boot menu needs");
        }
    }
    Ok(())
}

fn check_release(linux: &[u8], wanted: &str) -> Result<()> {
    if kernel::is_bzimage(linux) {
        let release = kernel::uname(linux)?;
        if release != wanted {
            bail!("the kernel is release `{release}`, not `{wanted}`");
        }
    }
    Ok(())
}

/// The SBAT that an image carries; empty when it has none.
fn sbat_of(image: &[u8]) -> Result<&str> {
    let pe = Pe::parse(image)?;
    pe.section(".sbat").map_or(Ok(""), |section| sbat::read(section.content(image)?))
}
