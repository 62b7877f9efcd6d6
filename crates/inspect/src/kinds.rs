//! Partition types by name (UAPI Group Specifications, "Discoverable Partitions Specification";
//! UEFI 2.10, table 5.7).

/// What a partition type is called, and for which architecture it is.
const KINDS: &[(&str, &str)] = &[
    (ESP, "esp"),
    ("8484680c-9521-48c6-9c11-b0720656f69e", "usr x86-64"),
    ("77ff5f63-e7b6-4633-acf4-1565b864c0e6", "usr-verity x86-64"),
    ("e7bb33fb-06cf-4e81-8273-e543b413e2e2", "usr-verity-sig x86-64"),
    ("b0e01050-ee5f-4390-949a-9101b17104e9", "usr arm64"),
    ("6e11a4e7-fbca-4ded-b9e9-e1a512bb664e", "usr-verity arm64"),
    ("c23ce4ff-44bd-4b00-b2d4-b41b3419e02a", "usr-verity-sig arm64"),
    ("4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "root x86-64"),
    ("2c7357ed-ebd2-46d9-aec1-23d437ec2bf5", "root-verity x86-64"),
    ("41092b05-9fc8-4523-994f-2def0408b176", "root-verity-sig x86-64"),
    ("b921b045-1df0-41c3-af44-4c6f280d3fae", "root arm64"),
    ("df3300ce-d69f-4c92-978c-9bfb0f38d820", "root-verity arm64"),
    ("6db69de6-29f4-4758-a7a5-962190f00ce3", "root-verity-sig arm64"),
    ("bc13c2ff-59e6-4262-a352-b275fd6f7172", "xbootldr"),
    ("4d21b016-b534-45c2-a9fb-5c16e091fd2d", "var"),
    ("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f", "swap"),
    ("0fc63daf-8483-4772-8e79-3d69d8477de4", "linux"),
    ("21686148-6449-6e6f-744e-656564454649", "bios-boot"),
    // Flatcar's own: usr with ChromeOS' attribute bits, and what it grows root on.
    ("5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6", "flatcar usr"),
    ("3884dd41-8582-4404-b9a8-e9b84f2df50e", "flatcar root"),
    ("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7", "basic data"),
];

/// The type of the EFI system partition.
pub const ESP: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";

/// The name of a type, where it has one.
pub fn name(uuid: &str) -> Option<&'static str> {
    KINDS.iter().find(|(known, _)| *known == uuid).map(|(_, name)| *name)
}

/// What attribute bits say (Discoverable Partitions Specification, "Partition Flags"; UEFI 2.10,
/// table 5.8).
pub fn attributes(bits: u64) -> Vec<String> {
    let known = [(0, "required"), (59, "grow"), (60, "read-only"), (62, "hidden"), (63, "no-auto")];
    let mut names: Vec<String> = known
        .iter()
        .filter(|(bit, _)| bits & 1 << bit != 0)
        .map(|(_, name)| (*name).to_owned())
        .collect();
    let rest = known.iter().fold(bits, |rest, (bit, _)| rest & !(1 << bit));
    if rest != 0 {
        names.push(format!("{rest:#x}"));
    }
    names
}
