//! A container image archive with one static program, made here so that nothing is downloaded.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::run::{read, run};

/// What the program prints.
pub(crate) const SAYS: &str = "ran inside a container";

/// Writes the archive (OCI image layout 1.0 in a tar) into the folder `work`, made anew, and says
/// where it is.
pub(crate) fn archive(work: &Path) -> Result<PathBuf> {
    let _ = std::fs::remove_dir_all(work);
    let (layer, layout) = (work.join("layer"), work.join("layout"));
    let blobs = layout.join("blobs/sha256");
    for folder in [&layer, &blobs] {
        std::fs::create_dir_all(folder).with_context(|| format!("make `{}`", folder.display()))?;
    }
    write(&layer.join("marker"), &program(SAYS.as_bytes())?)?;
    run(Command::new("chmod").arg("0755").arg(layer.join("marker")))?;
    let packed = work.join("layer.tar");
    pack(&layer, &packed)?;
    let layer = std::fs::read(&packed).context("read the layer")?;
    let layer = put(&blobs, &layer, "application/vnd.oci.image.layer.v1.tar")?;

    let configuration = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": { "Entrypoint": ["/marker"] },
        "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
    });
    let kind = "application/vnd.oci.image.config.v1+json";
    let configuration = put(&blobs, configuration.to_string().as_bytes(), kind)?;

    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": kind, "config": configuration, "layers": [layer],
    });
    let mut manifest = put(&blobs, manifest.to_string().as_bytes(), kind)?;
    manifest["annotations"] = json!({ "io.containerd.image.name": "localhost/marker:check" });
    manifest["platform"] = json!({ "architecture": "amd64", "os": "linux" });

    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    write(&layout.join("index.json"), index.to_string().as_bytes())?;
    write(&layout.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let archive = work.join("archive.tar");
    pack(&layout, &archive)?;
    Ok(archive)
}

/// Stores a blob under its digest; returns its descriptor.
fn put(blobs: &Path, bytes: &[u8], kind: &str) -> Result<Value> {
    let file = blobs.join("new");
    write(&file, bytes)?;
    let said = read(Command::new("sha256sum").arg(&file))?;
    let said = String::from_utf8(said).context("read a digest")?;
    let digest = said.split(' ').next().context("read a digest")?;
    std::fs::rename(&file, blobs.join(digest)).context("name a blob by its digest")?;
    Ok(json!({ "mediaType": kind, "digest": format!("sha256:{digest}"), "size": bytes.len() }))
}

fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(file, bytes).with_context(|| format!("write `{}`", file.display()))
}

/// A tar of a folder, the same each time.
pub(crate) fn pack(folder: &Path, archive: &Path) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"]);
    run(tar.arg("-C").arg(folder).arg("-cf").arg(archive).arg("."))
}

/// The smallest static program for x86-64 Linux that prints `says` and ends with success.
fn program(says: &[u8]) -> Result<Vec<u8>> {
    /// Where the only segment is loaded: file and memory have the same shape.
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let mut code = Vec::new();
    code.extend([0xb8, 1, 0, 0, 0]); // mov eax, 1: write
    code.extend([0xbf, 1, 0, 0, 0]); // mov edi, 1: standard output
    code.extend([0x48, 0x8d, 0x35, 16, 0, 0, 0]); // lea rsi, [rip + 16]: what follows the code
    code.push(0xba); // mov edx, length
    code.extend(u32::try_from(says.len()).context("measure the text")?.to_le_bytes());
    code.extend([0x0f, 0x05]); // syscall
    code.extend([0xb8, 60, 0, 0, 0]); // mov eax, 60: exit
    code.extend([0x31, 0xff]); // xor edi, edi
    code.extend([0x0f, 0x05]); // syscall
    let size = HEADERS + code.len() as u64 + says.len() as u64;

    let mut file = Vec::new();
    // The file header (ELF-64 object file format, version 1.5): executable, x86-64.
    file.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0");
    file.extend((BASE + HEADERS).to_le_bytes());
    file.extend(64u64.to_le_bytes()); // program headers follow
    file.extend(0u64.to_le_bytes()); // no section headers
    file.extend(b"\0\0\0\0\x40\0\x38\0\x01\0\x40\0\0\0\0\0");
    // One segment, loaded, readable and executable.
    file.extend(b"\x01\0\0\0\x05\0\0\0");
    for number in [0, BASE, BASE, size, size, 0x1000] {
        file.extend(number.to_le_bytes());
    }
    file.extend(code);
    file.extend(says);
    Ok(file)
}

#[cfg(test)]
mod tests {
    use crate::run::target;

    use super::*;

    #[test]
    fn the_archive_is_an_image_layout_and_the_same_each_time() {
        let work = target().join("scratch/xtask-container");
        let file = archive(&work).unwrap();
        let first = std::fs::read(&file).unwrap();
        let names = String::from_utf8(read(Command::new("tar").arg("-tf").arg(&file)).unwrap());
        let names = names.unwrap();
        assert!(names.contains("./index.json\n") && names.contains("./oci-layout\n"));
        // A configuration, a layer, a manifest.
        let blobs = names.lines().filter(|name| name.len() == "./blobs/sha256/".len() + 64);
        assert_eq!(blobs.count(), 3);
        assert_eq!(std::fs::read(archive(&work).unwrap()).unwrap(), first);
    }

    #[test]
    fn the_program_says_its_line_on_this_machine() {
        let folder = target().join("scratch/xtask-program");
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("marker");
        write(&file, &program(b"hello").unwrap()).unwrap();
        run(Command::new("chmod").arg("0755").arg(&file)).unwrap();
        assert_eq!(read(&mut Command::new(&file)).unwrap(), b"hello");
    }
}
