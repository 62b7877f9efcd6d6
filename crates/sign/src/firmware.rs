//! A variable store for OVMF with Secure Boot on and our certificates in it
//! (EDK II, `MdeModulePkg/Include/Guid/VariableFormat.h`; PI 1.8, volume 3, 3.2.1).

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::enrol::{
    AUTHENTICATED, CERT_SHA256, GLOBAL, SECURITY_DATABASE, guid, list, signature_list, valid_from,
};

/// `EFI_SYSTEM_NV_DATA_FV_GUID`: the volume that holds variables.
const VOLUME: [u8; 16] =
    guid(0xfff1_2b8d, 0x7696, 0x4c8b, [0xa9, 0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50]);
/// `EFI_AUTHENTICATED_VARIABLE_GUID`: the store inside it.
const STORE: [u8; 16] =
    guid(0xaaf3_2c78, 0x947b, 0x439a, [0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92]);
/// `EFI_SECURE_BOOT_ENABLE_DISABLE_GUID`.
const SECURE_BOOT_ENABLE: [u8; 16] =
    guid(0xf0a3_0bc7, 0xaf08, 0x4556, [0x99, 0xc4, 0x00, 0x10, 0x09, 0xc9, 0x3a, 0x44]);
/// `EFI_CUSTOM_MODE_ENABLE_GUID`.
const CUSTOM_MODE: [u8; 16] =
    guid(0xc076_ec0c, 0x7028, 0x4399, [0xa0, 0x72, 0x71, 0xee, 0x5c, 0x44, 0x8b, 0x9f]);
/// The owner that OVMF's own enrolment program gives to entries that stand for nothing.
const NOBODY: [u8; 16] =
    guid(0xa0ba_a8a3, 0x041d, 0x48a8, [0xbc, 0x87, 0xc3, 0x6d, 0x12, 0x1b, 0x5e, 0x3d]);

/// `NON_VOLATILE | BOOTSERVICE_ACCESS`.
const BOOT_ONLY: u32 = 0x03;
/// 2010-01-01, older than every real update.
const LONG_AGO: [u8; 16] = [0xda, 0x07, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// No firmware's variable store is larger.
const TEMPLATE_MAX: usize = 64 << 20;

const VOLUME_SIGNATURE_AT: usize = 40;
const VOLUME_HEADER_LENGTH_AT: usize = 48;
const STORE_HEADER: usize = 28;
/// `VARIABLE_STORE_FORMATTED` and `VARIABLE_STORE_HEALTHY`.
const STORE_STATE: [u8; 2] = [0x5a, 0xfe];
const VARIABLE_HEADER: usize = 60;
/// `VARIABLE_DATA`, then the state `VAR_ADDED`.
const LIVE: [u8; 3] = [0xaa, 0x55, 0x3f];

struct Variable {
    vendor: [u8; 16],
    attributes: u32,
    time: [u8; 16],
    data: Vec<u8>,
}

/// A copy of an OVMF variable store (`OVMF_VARS_4M.fd`) that enrols certificates (DER) as PK, KEK
/// and db and has Secure Boot switched on; what else the store held stays.
///
/// # Errors
/// A template that is no authenticated variable store, or has no room.
pub fn ovmf_variables(
    template: &[u8],
    platform: &[u8],
    exchange: &[u8],
    boot: &[&[u8]],
    owner: [u8; 16],
) -> Result<Vec<u8>> {
    let (start, end) = find_store(template).context("read the firmware's variable template")?;
    let mut variables = read(&template[start..end]).context("read the firmware's variables")?;
    let mut set = |name: &str, variable: Variable| variables.insert(name.to_owned(), variable);
    set("PK", certificates(GLOBAL, &[platform], owner)?);
    set("KEK", certificates(GLOBAL, &[exchange], owner)?);
    set("db", certificates(SECURITY_DATABASE, boot, owner)?);
    set("SecureBootEnable", switch(SECURE_BOOT_ENABLE, 1));
    set("CustomMode", switch(CUSTOM_MODE, 0));
    // Some programs take an absent dbx for broken Secure Boot: one digest that revokes nothing.
    variables.entry("dbx".to_owned()).or_insert(Variable {
        vendor: SECURITY_DATABASE,
        attributes: AUTHENTICATED,
        time: LONG_AGO,
        data: list(CERT_SHA256, NOBODY, &Sha256::digest(b""))?,
    });
    let mut image = template.to_vec();
    let space = image.get_mut(start..end).context("the variable store is cut off")?;
    space.fill(0xff);
    write(&variables, space)?;
    Ok(image)
}

fn certificates(vendor: [u8; 16], ders: &[&[u8]], owner: [u8; 16]) -> Result<Variable> {
    let mut data = Vec::new();
    let mut times = Vec::new();
    for der in ders {
        data.extend(signature_list(owner, der)?);
        times.push(valid_from(der)?);
    }
    times.sort_by_key(|time| (u16::from_le_bytes([time[0], time[1]]), *time));
    let time = times.pop().context("there is no certificate to enrol")?;
    Ok(Variable { vendor, attributes: AUTHENTICATED, time, data })
}

fn switch(vendor: [u8; 16], value: u8) -> Variable {
    Variable { vendor, attributes: BOOT_ONLY, time: [0; 16], data: vec![value] }
}

/// Where the variables of the first volume begin and end.
fn find_store(template: &[u8]) -> Result<(usize, usize)> {
    if template.len() > TEMPLATE_MAX {
        bail!("the template has {} bytes", template.len());
    }
    if field(template, 16)? != VOLUME || field(template, VOLUME_SIGNATURE_AT)? != *b"_FVH" {
        bail!("the template is no firmware volume of variables");
    }
    let store = usize::from(u16::from_le_bytes(field(template, VOLUME_HEADER_LENGTH_AT)?));
    if field(template, store)? != STORE || field(template, store + 20)? != STORE_STATE {
        bail!("the volume holds no authenticated variables");
    }
    let size = usize::try_from(u32::from_le_bytes(field(template, store + 16)?))?;
    let end = store.checked_add(size).filter(|end| *end <= template.len());
    let end = end.context("the variable store is larger than the template")?;
    if size < STORE_HEADER {
        bail!("the variable store is too small");
    }
    Ok((store + STORE_HEADER, end))
}

/// The live variables by name.
fn read(space: &[u8]) -> Result<BTreeMap<String, Variable>> {
    let mut variables = BTreeMap::new();
    let mut at = 0;
    while space.get(at..at + 2) == Some(&LIVE[..2]) {
        let size = |offset| -> Result<usize> {
            Ok(usize::try_from(u32::from_le_bytes(field(space, at + offset)?))?)
        };
        let name_end = (at + VARIABLE_HEADER).checked_add(size(36)?);
        let end = name_end.and_then(|name_end| name_end.checked_add(size(40).ok()?));
        let name = name_end.and_then(|name_end| space.get(at + VARIABLE_HEADER..name_end));
        let data = name_end.zip(end).and_then(|(name_end, end)| space.get(name_end..end));
        let (name, data) = name.zip(data).context("a variable reaches out of the store")?;
        if space.get(at..at + 3) == Some(&LIVE) {
            let variable = Variable {
                vendor: field(space, at + 44)?,
                attributes: u32::from_le_bytes(field(space, at + 4)?),
                time: field(space, at + 16)?,
                data: data.to_vec(),
            };
            variables.insert(decode_name(name)?, variable);
        }
        at = end.unwrap_or(space.len()).next_multiple_of(4);
    }
    Ok(variables)
}

fn write(variables: &BTreeMap<String, Variable>, space: &mut [u8]) -> Result<()> {
    let mut at = 0;
    for (name, variable) in variables {
        let name_bytes = encode_name(name);
        let mut bytes = LIVE.to_vec();
        bytes.push(0);
        bytes.extend_from_slice(&variable.attributes.to_le_bytes());
        // The monotonic count, which time took the place of.
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&variable.time);
        // The index of a public key, likewise.
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&u32::try_from(name_bytes.len())?.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(variable.data.len())?.to_le_bytes());
        bytes.extend_from_slice(&variable.vendor);
        bytes.extend_from_slice(&name_bytes);
        bytes.extend_from_slice(&variable.data);
        let place = space.get_mut(at..at + bytes.len());
        place.context("the firmware's variable store has no room")?.copy_from_slice(&bytes);
        at = (at + bytes.len()).next_multiple_of(4);
    }
    Ok(())
}

fn encode_name(name: &str) -> Vec<u8> {
    name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

fn decode_name(bytes: &[u8]) -> Result<String> {
    let units: Vec<u16> = bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
    let name = String::from_utf16(&units).context("read a variable's name")?;
    Ok(name.trim_end_matches('\0').to_owned())
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    let slice = at.checked_add(N).and_then(|end| bytes.get(at..end));
    Ok(slice.context("the variable store is cut off")?.try_into()?)
}
