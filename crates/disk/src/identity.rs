//! The ids of disk and partitions, as text in RFC 9562 form (lower case, with hyphens).
//!
//! The Discoverable Partitions Specification derives those of `/usr` from its root hash; all
//! others come from the lock's seed, by purpose, so that every build ships the same ones.

use store::{Digest, Seed};
use uuid::Uuid;

use crate::{Role, Row, Slot};

/// The GUID of the disk.
pub fn disk_uuid(seed: Seed) -> String {
    derived(seed, "disk")
}

/// The partition UUID of the ESP as shipped: the firmware names it in `LoaderDevicePartUUID`.
pub fn esp_uuid(seed: Seed) -> String {
    derived(seed, "partition esp")
}

/// The partition UUID of root as shipped.
pub fn root_uuid(seed: Seed) -> String {
    derived(seed, "partition root")
}

/// The partition UUID of `/usr`: the first 128 bits of its root hash.
pub fn usr_uuid(root_hash: &[u8; 32]) -> String {
    half(root_hash, 0)
}

/// The partition UUID of the hash tree of `/usr`: the last 128 bits of its root hash.
pub fn hash_uuid(root_hash: &[u8; 32]) -> String {
    half(root_hash, 16)
}

/// The partition UUID of the signature of `/usr`: another one for each root hash, since two versions
/// lie on one disk (UEFI 2.10, section 5.3.3: unique for each partition).
pub fn signature_uuid(seed: Seed, root_hash: &[u8; 32]) -> String {
    derived(seed, &format!("partition usr-verity-sig of {}", Digest(*root_hash)))
}

/// The UUID that `row` gets in an image whose `/usr` has `root_hash`.
pub(crate) fn partition_uuid(row: &Row, seed: Seed, root_hash: &[u8; 32]) -> String {
    match (row.role, row.slot) {
        (Role::Esp, _) => esp_uuid(seed),
        (Role::Root, _) => root_uuid(seed),
        (Role::Usr, Some(Slot::A)) => usr_uuid(root_hash),
        (Role::Verity, Some(Slot::A)) => hash_uuid(root_hash),
        (Role::Signature, Some(Slot::A)) => signature_uuid(seed, root_hash),
        (role, _) => derived(seed, &format!("partition {} b", role.name())),
    }
}

fn derived(seed: Seed, purpose: &str) -> String {
    Uuid::from_bytes(seed.uuid(purpose)).hyphenated().to_string()
}

fn half(root_hash: &[u8; 32], from: usize) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&root_hash[from..from + 16]);
    Uuid::from_bytes(bytes).hyphenated().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_halves_of_the_root_hash_read_as_the_hash_does() {
        let hash: [u8; 32] = std::array::from_fn(|i| i as u8);
        assert_eq!(usr_uuid(&hash), "00010203-0405-0607-0809-0a0b0c0d0e0f");
        assert_eq!(hash_uuid(&hash), "10111213-1415-1617-1819-1a1b1c1d1e1f");
    }

    #[test]
    fn no_two_derived_ids_are_equal() {
        let seed = Seed::of("test");
        let of_version = |byte| signature_uuid(seed, &[byte; 32]);
        let ids: std::collections::BTreeSet<_> =
            [disk_uuid(seed), esp_uuid(seed), root_uuid(seed), of_version(1), of_version(2)].into();
        assert_eq!(ids.len(), 5);
    }
}
