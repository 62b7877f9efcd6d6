//! The footer of a fixed virtual hard disk (Virtual Hard Disk Format 1.0).

use std::io::{Read, Seek};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::bytes::{hex, read_at, size, slice, uuid};

/// Bytes of the footer.
pub const FOOTER: u64 = 512;

/// A fixed VHD whose footer is whole and true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FoundVhd {
    /// Bytes of the disk: the file without its footer.
    #[serde(rename = "size-bytes")]
    pub size: u64,
    /// Who says that it made the file.
    pub creator: String,
    /// Seconds since 2000-01-01T00:00:00Z.
    #[serde(rename = "seconds-since-2000")]
    pub time: u32,
    /// The disk's id.
    pub uuid: String,
}

/// Reads the footer, if the file ends in one; one that does not describe the file is an error.
pub fn read<D: Read + Seek>(device: &mut D) -> Result<Option<FoundVhd>> {
    let total = size(device)?;
    let Some(data) = total.checked_sub(FOOTER) else { return Ok(None) };
    let footer = read_at(device, data, FOOTER).context("read VHD footer")?;
    if slice(&footer, 0, 8)? != b"conectix" {
        return Ok(None);
    }
    let u32_at =
        |at| Ok::<_, anyhow::Error>(u32::from_be_bytes(slice(&footer, at, 4)?.try_into()?));
    let u64_at =
        |at| Ok::<_, anyhow::Error>(u64::from_be_bytes(slice(&footer, at, 8)?.try_into()?));
    let others = footer.iter().enumerate().filter(|(at, _)| !(64..68).contains(at));
    let sum = others.fold(0u32, |sum, (_, byte)| sum.wrapping_add(u32::from(*byte)));
    if u32_at(64)? != !sum {
        bail!("the VHD footer does not match its checksum");
    }
    if u32_at(12)? != 0x0001_0000 || u32_at(60)? != 2 || u64_at(16)? != u64::MAX {
        bail!("the VHD is not a fixed disk of version 1.0");
    }
    let (original, current) = (u64_at(40)?, u64_at(48)?);
    if original != data || current != data {
        bail!("the VHD footer says {current} bytes, the disk has {data}");
    }
    if data % (1 << 20) != 0 {
        bail!("the VHD's disk of {data} bytes is no multiple of 1 MiB");
    }
    let creator = slice(&footer, 28, 4)?;
    Ok(Some(FoundVhd {
        size: data,
        creator: String::from_utf8(creator.to_vec()).unwrap_or_else(|_| hex(creator)),
        time: u32_at(24)?,
        uuid: uuid(slice(&footer, 68, 16)?),
    }))
}
