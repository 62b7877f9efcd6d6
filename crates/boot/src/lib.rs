//! What the firmware starts: initrd, UKI, addons, loader.
//!
//! [`INITRD`] packs a tree for the kernel, [`LINK`] and [`ADDON`] build EFI programs around
//! systemd's stubs, [`DIGEST`] says what is to be signed of one, and [`GRAFT`] puts a signature
//! into it. This crate does not know who signs, what a certificate is, or where the files lie on
//! a disk.

#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod graft;
mod initrd;
mod kernel;
mod link;
mod pe;
mod plan;
mod sbat;

pub use graft::{DIGEST, GRAFT, Graft, authenticode_digest};
pub use initrd::{INITRD, Initrd, InitrdPlan};
pub use kernel::uname;
pub use plan::{ADDON, Addon, AddonPlan, COMMAND_LINE_MAX, LINK, LinkPlan, Uki};

/// Where systemd's packages put the EFI stub.
pub const STUB: &str = "usr/lib/systemd/boot/efi/linuxx64.efi.stub";
/// Where they put the boot loader.
pub const LOADER: &str = "usr/lib/systemd/boot/efi/systemd-bootx64.efi";
