//! Where every byte lies.
//!
//! This crate takes finished images (a file system, its hash tree and signature, the files of the
//! ESP) and places them: one partition table, one list of regions, written as raw disk or VHD.
//! It changes no content and does not know what an image holds, who signed it or how it boots.
//!
//! The only door to `gpt` and `fatfs`. Specifications: UEFI 2.10, chapter 5 (GPT) and section
//! 13.3 (FAT); Discoverable Partitions Specification; Virtual Hard Disk Format 1.0.

mod esp;
mod format;
mod identity;
mod layout;
mod map;
mod place;
mod repair;
mod sparse;
mod table;
mod vhd;

pub use esp::esp_room;
pub use format::{FORMATS, Format, Open, Range};
pub use identity::{disk_uuid, esp_uuid, hash_uuid, root_uuid, signature_uuid, usr_uuid};
pub use layout::{LAYOUTS, Layout, Role, Row, Sizes, Slot, layout, repart_definition};
pub use place::{Disk, LAY_OUT, Part, Partition, Plan, Region};
