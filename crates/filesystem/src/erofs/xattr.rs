//! Extended attributes: beside their inode, or once for all inodes that carry the same.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

use crate::inode::Inode;

/// Size of what precedes the attributes of an inode (`struct erofs_xattr_ibody_header`), in bytes.
const HEADER: usize = 12;

/// Unit in which attributes are aligned and counted, in bytes.
const UNIT: usize = 4;

/// The prefixes that the format numbers. The two of access lists are whole names.
const PREFIXES: [(&str, u8); 5] = [
    ("user.", 1),
    ("system.posix_acl_access", 2),
    ("system.posix_acl_default", 3),
    ("trusted.", 4),
    ("security.", 6),
];

/// The attributes of an image.
pub(super) struct Xattrs {
    /// What stands behind each inode: nothing, or a header, references and own attributes.
    pub(super) bodies: Vec<Vec<u8>>,
    /// Attributes that at least two inodes carry.
    pub(super) shared: Vec<u8>,
}

impl Xattrs {
    pub(super) fn of(inodes: &[Inode<'_>]) -> Result<Self> {
        let records = inodes.iter().map(records).collect::<Result<Vec<_>>>()?;
        let mut carriers: BTreeMap<&[u8], u32> = BTreeMap::new();
        for record in records.iter().flatten() {
            *carriers.entry(record).or_default() += 1;
        }
        let mut shared = Vec::new();
        let mut places = BTreeMap::new();
        for (record, _) in carriers.into_iter().filter(|(_, carriers)| *carriers > 1) {
            let place = u32::try_from(shared.len() / UNIT).context("place a shared attribute")?;
            places.insert(record, place);
            shared.extend(record);
        }
        let bodies = inodes.iter().zip(&records).map(|(inode, records)| {
            body(records, &places).with_context(|| format!("attributes of `{}`", inode.path))
        });
        Ok(Self { bodies: bodies.collect::<Result<_>>()?, shared })
    }
}

/// How an inode counts a body of `size` bytes.
pub(super) fn count(size: usize) -> Result<u16> {
    let count = size.checked_sub(HEADER).map_or(0, |rest| rest / UNIT + 1);
    u16::try_from(count).context("count the bytes of extended attributes")
}

/// The attributes of one inode (`struct erofs_xattr_entry`), sorted by name.
fn records(inode: &Inode<'_>) -> Result<Vec<Vec<u8>>> {
    let attributes = inode.entry.xattrs.iter();
    attributes
        .map(|(name, value)| {
            record(name, value)
                .with_context(|| format!("attribute `{name}` of `{}`", inode.path.escape_debug()))
        })
        .collect()
}

fn record(name: &str, value: &[u8]) -> Result<Vec<u8>> {
    let known = PREFIXES.iter().find_map(|(prefix, number)| {
        let rest = name.strip_prefix(prefix)?;
        (rest.is_empty() != prefix.ends_with('.')).then_some((rest, *number))
    });
    let Some((rest, number)) = known else { bail!("the format has no such attributes") };
    let mut record = vec![u8::try_from(rest.len()).context("its name is too long")?, number];
    record.extend(u16::try_from(value.len()).context("its value is too long")?.to_le_bytes());
    record.extend(rest.as_bytes());
    record.extend(value);
    record.resize(record.len().next_multiple_of(UNIT), 0);
    Ok(record)
}

fn body(records: &[Vec<u8>], places: &BTreeMap<&[u8], u32>) -> Result<Vec<u8>> {
    if records.is_empty() {
        return Ok(Vec::new());
    }
    let shared: Vec<u32> =
        records.iter().filter_map(|record| places.get(record.as_slice()).copied()).collect();
    let mut body = vec![0; HEADER];
    body[4] = u8::try_from(shared.len()).context("more than 255 are shared")?;
    body.extend(shared.iter().flat_map(|place| place.to_le_bytes()));
    body.extend(records.iter().filter(|r| !places.contains_key(r.as_slice())).flatten());
    ensure!(count(body.len()).is_ok(), "they take {} bytes", body.len());
    Ok(body)
}

#[cfg(test)]
mod tests {
    use store::Entry;

    use super::*;

    fn carrying(attributes: &[(&str, &[u8])]) -> Entry {
        let xattrs = attributes.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec()));
        Entry { xattrs: xattrs.collect(), ..Entry::directory("pack") }
    }

    fn inode(entry: &Entry) -> Inode<'_> {
        Inode { path: "d", entry, uid: 0, gid: 0, links: 2, names: Vec::new() }
    }

    #[test]
    fn an_attribute_of_two_inodes_is_written_once() {
        let both: (&str, &[u8]) = ("security.selinux", b"label");
        let entries = [carrying(&[both]), carrying(&[both, ("user.a", b"1")]), carrying(&[])];
        let xattrs = Xattrs::of(&entries.each_ref().map(inode)).unwrap();
        assert_eq!(xattrs.shared, b"\x07\x06\x05\0selinuxlabel");
        assert_eq!(xattrs.bodies[0], b"\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(xattrs.bodies[1], b"\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\x01\x01\x01\0a1\0\0");
        assert_eq!(xattrs.bodies[2], b"");
        let counts: Vec<_> = xattrs.bodies.iter().map(|b| count(b.len()).unwrap()).collect();
        assert_eq!(counts, [2, 4, 0]);
    }

    #[test]
    fn access_lists_are_whole_names() {
        assert_eq!(record("system.posix_acl_access", b"v").unwrap(), b"\0\x02\x01\0v\0\0\0");
        assert_eq!(record("system.posix_acl_default", b"v").unwrap(), b"\0\x03\x01\0v\0\0\0");
    }

    #[test]
    fn what_the_format_cannot_hold_is_refused_by_name() {
        let long = format!("user.{}", "n".repeat(256));
        for name in ["user.", "system.posix_acl_access.x", "system.other", "nonsense", &long] {
            let entry = carrying(&[(name, b"")]);
            let error = format!("{:#}", Xattrs::of(&[inode(&entry)]).err().unwrap());
            assert!(error.contains(&format!("attribute `{name}` of `d`")), "{error}");
        }
        let entry = carrying(&[("user.big", &[0; 65536])]);
        assert!(Xattrs::of(&[inode(&entry)]).is_err());
        let value = [0; 65535];
        let all = carrying(&[
            ("user.1", &value),
            ("user.2", &value),
            ("user.3", &value),
            ("user.4", &value),
        ]);
        let error = format!("{:#}", Xattrs::of(&[inode(&all)]).err().unwrap());
        assert!(error.contains("attributes of `d`: they take"), "{error}");
    }
}
