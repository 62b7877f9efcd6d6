//! Every stage, by name and revision: what a worker runs.

use store::{Erased, erased};

/// To add a stage, name it here.
pub const STAGES: &[Erased] = &[
    erased!(rootfs::IMPORT),
    erased!(rootfs::MERGE),
    erased!(rootfs::SELECT),
    erased!(rootfs::GENERATE),
    erased!(rootfs::LINT),
    erased!(filesystem::FREEZE),
    erased!(verity::PROTECT),
    erased!(boot::INITRD),
    erased!(boot::LINK),
    erased!(boot::ADDON),
    erased!(boot::DIGEST),
    erased!(boot::GRAFT),
    erased!(disk::LAY_OUT),
];
