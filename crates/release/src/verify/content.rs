//! The files of one version: whole, what their names say, and made for each other.

use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom, Write};

use anyhow::{Context, Result, bail, ensure};
use flate2::bufread::GzDecoder;
use inspect::holding::{self, Holding};
use inspect::{pe, uki, verity};
use store::{Blob, Digest, Hasher};

use super::{COPY, FeedFault, Origin, PUBLISH, label, noted};
use crate::{Channel, PARTS, Part, PartFile, Place, Slots, Version};

/// The most bytes of a part that is held in memory: a hash tree, a kernel image.
const MEMORY_LIMIT: u64 = 1 << 30;
/// By how much a compressed file may exceed its content (RFC 1951, 3.2.4: stored blocks).
const OVERHEAD: u64 = 1 << 16;
/// Read at a time.
const PIECE: usize = 1 << 20;

/// Machines of portable executables (Microsoft PE format, "Machine Types") by the names of the
/// Discoverable Partitions Specification.
const MACHINES: &[(&str, u16)] =
    &[("x86-64", 0x8664), ("arm64", 0xaa64), ("riscv64", 0x5064), ("loongarch64", 0x6264)];

/// One version and where its files are.
struct Files<'a> {
    origin: &'a Origin,
    channel: &'a Channel,
    version: &'a Version,
    root: [u8; 32],
}

/// What is wrong with a version.
pub(super) fn check(
    origin: &Origin,
    channel: &Channel,
    version: &Version,
    certificate: &[u8],
) -> Vec<FeedFault> {
    let mut faults = Vec::new();
    let object = label(channel, version);
    let root = version.root_hash.parse::<Digest>().context("its root hash is none");
    let Some(Digest(root)) = noted(&mut faults, &object, PUBLISH, root) else { return faults };
    let files = Files { origin, channel, version, root };
    let mut tree = None;
    for part in PARTS {
        let Some(file) = version.parts.get(part.name) else { continue };
        // From here on the file is what was signed, and what is wrong was wrong before.
        let Some(mut content) = noted(&mut faults, &file.file, COPY, files.open(part, file)) else {
            continue;
        };
        let checked = match part.name {
            "usr-verity-sig" => files.signature(&mut content),
            "usr-verity" => files.memory(&mut content).map(|bytes| tree = Some(bytes)),
            "usr" => files.data(&mut content, tree.take()),
            "uki" => files.kernel(&mut content, certificate),
            other => Err(anyhow::anyhow!("nothing is known of part `{other}`")),
        };
        let whole = checked.and_then(|()| content.end());
        noted(&mut faults, &file.file, PUBLISH, whole);
    }
    faults
}

/// One line for people.
pub(super) fn line(version: &Version, faults: &[FeedFault]) -> String {
    let bytes: u64 = version.parts.values().fold(0, |sum, part| sum.saturating_add(part.size));
    match faults.len() {
        0 => format!("{}: whole, {bytes} bytes, root hash {}", version.version, version.root_hash),
        1 => format!("{}: 1 fault", version.version),
        count => format!("{}: {count} faults", version.version),
    }
}

impl Files<'_> {
    /// Checks what is said of a part's file, then opens its content.
    fn open(&self, part: &Part, file: &PartFile) -> Result<Content> {
        self.named(part, file)?;
        Content::open(self.origin, part, file, &self.version.layout)
    }

    /// The name is the part's, with the UUID that the root hash gives its partition.
    fn named(&self, part: &Part, file: &PartFile) -> Result<()> {
        let Channel { product, architecture, .. } = self.channel;
        let name = |uuid: &str| part.file(product, architecture, &self.version.version, uuid);
        let uuid = match part.place {
            Place::Partition("usr") => uuid(&self.root[..16]),
            Place::Partition("usr-verity") => uuid(&self.root[16..]),
            // Nothing gives the signature's; it is some UUID.
            Place::Partition(_) => {
                let around = name("\n");
                let (before, behind) = around.split_once('\n').unwrap_or_default();
                let inner = file.file.strip_prefix(before).and_then(|n| n.strip_suffix(behind));
                inner.filter(|inner| is_uuid(inner)).unwrap_or_default().to_owned()
            }
            Place::Esp => String::new(),
        };
        let wanted = name(&uuid);
        ensure!(
            file.file == wanted,
            "part `{}` of {product} {} for {architecture} with root hash {} is called `{wanted}`",
            part.name,
            self.version.version,
            self.version.root_hash
        );
        Ok(())
    }

    fn memory(&self, content: &mut Content) -> Result<Vec<u8>> {
        let size = content.wanted.size;
        ensure!(size <= MEMORY_LIMIT, "it has {size} bytes, {MEMORY_LIMIT} are read");
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).context("read it")?;
        Ok(bytes)
    }

    /// The root hash, computed anew from every byte.
    fn data(&self, content: &mut Content, tree: Option<Vec<u8>>) -> Result<()> {
        let Some(tree) = tree else { return Ok(()) };
        let length = tree.len() as u64;
        let found = verity::verify(content, &mut Cursor::new(tree), &self.root)?;
        let covered = found.data_blocks.saturating_mul(u64::from(found.block));
        let size = content.wanted.size;
        ensure!(covered == size, "it has {size} bytes, and the hash tree covers {covered}");
        ensure!(
            found.length == length,
            "its hash tree has {length} bytes, of which {} are used",
            found.length
        );
        Ok(())
    }

    fn signature(&self, content: &mut Content) -> Result<()> {
        let bytes = self.memory(content)?;
        let mut faults = Vec::new();
        let Holding::RootHashSignature(found) =
            holding::read(&mut Cursor::new(bytes), &mut faults)?
        else {
            bail!("it holds no signature of a root hash");
        };
        let (signed, root) = (&found.root_hash, &self.version.root_hash);
        ensure!(signed == root, "it signs the root hash {signed}, the version has {root}");
        Ok(())
    }

    fn kernel(&self, content: &mut Content, certificate: &[u8]) -> Result<()> {
        let bytes = self.memory(content)?;
        let program = pe::read(&bytes).context("read an EFI program")?;
        let found = uki::read(&bytes).context("read a kernel image")?;
        let Channel { product, architecture, .. } = self.channel;
        let machine = MACHINES.iter().find(|(name, _)| name == architecture);
        let (_, machine) = machine.with_context(|| format!("no machine is `{architecture}`"))?;
        ensure!(
            program.machine == *machine,
            "it is for machine {:#06x}, the channel for {architecture} ({machine:#06x})",
            program.machine
        );
        let said = |key| found.os_release.get(key).map_or("", String::as_str);
        let (id, version) = (said("IMAGE_ID"), said("IMAGE_VERSION"));
        ensure!(
            id == product && version == self.version.version,
            "it is `{id}` version `{version}`, and offered as `{product}` version `{}`",
            self.version.version
        );
        let named = found.root_hash().map(|root| Digest(root).to_string());
        let named = named.context("its command line names no root hash")?;
        let root = &self.version.root_hash;
        ensure!(named == *root, "its command line names the root hash {named}, `/usr` has {root}");
        ensure!(
            Digest::of(&bytes).to_string() == self.version.uki_sha256,
            "the manifest's `uki-sha256` is another one"
        );
        let trusted = Digest::of(certificate).to_string();
        let mut signatures = found.signatures.iter();
        let good = signatures.any(|one| {
            one.holds == Some(true) && one.certificate_sha256.as_deref() == Some(trusted.as_str())
        });
        let names: Vec<&str> = found.signatures.iter().map(|one| one.signer.as_str()).collect();
        ensure!(
            good,
            "no signature of it holds and is by the certificate (--certificate); it carries {}: \
             the firmware would refuse to start it",
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        );
        Ok(())
    }
}

impl Origin {
    /// Writes to `to` what the client writes for a part of `version`: never more than the version
    /// says, and whole when this returns; what came before an error is not to be used.
    ///
    /// # Errors
    /// The version has no such part, or says of it what cannot be; its file is missing, or file or
    /// content has another size or digest than the version says.
    pub fn unpack(&self, part: &Part, version: &Version, to: &mut dyn Write) -> Result<()> {
        let file = version.parts.get(part.name);
        let file = file.with_context(|| {
            format!("find part `{}` of version `{}`", part.name, version.version)
        })?;
        let mut unpack = || {
            let mut content = Content::open(self, part, file, &version.layout)?;
            io::copy(&mut content, to).context("unpack it")?;
            content.end()
        };
        unpack().with_context(|| format!("read `{}`", file.file))
    }
}

/// What the client will write fits where it writes it; asked before anything is read.
fn fits(part: &Part, file: &PartFile, slots: &Slots) -> Result<()> {
    let PartFile { size, content_size, .. } = file;
    let slot = slots.of(part)?;
    if part.place == Place::Partition("usr-verity-sig") {
        ensure!(
            *content_size == slot,
            "it has {content_size} bytes and its slot {slot}: what a longer signature left there \
             would follow it"
        );
    }
    ensure!(*content_size <= slot, "it unpacks to {content_size} bytes, its slot has {slot}");
    if part.compressed {
        let most = content_size.saturating_add(content_size / 100).saturating_add(OVERHEAD);
        ensure!(*size <= most, "{size} bytes, compressed, hold {content_size}");
    } else {
        let same = size == content_size && file.sha256 == file.content_sha256;
        ensure!(same, "it is not compressed, and its content is said to be something else");
    }
    Ok(())
}

/// A part as the client writes it, read once from its beginning to its end, and never further
/// than it is said to be long.
struct Content {
    from: Stream,
    hasher: Hasher,
    /// Bytes read so far, and where the next are wanted.
    at: u64,
    asked: u64,
    wanted: Blob,
}

enum Stream {
    Plain(Box<dyn Read>),
    Gzip(Box<GzDecoder<BufReader<Box<dyn Read>>>>),
}

impl Content {
    /// Checks what is said of a part's file and the file itself, then opens its content.
    fn open(origin: &Origin, part: &Part, file: &PartFile, slots: &Slots) -> Result<Self> {
        fits(part, file, slots)?;
        let blob =
            Blob { digest: file.sha256.parse().context("its digest is none")?, size: file.size };
        let wanted = Blob {
            digest: file.content_sha256.parse().context("the digest of its content is none")?,
            size: file.content_size,
        };
        let stream = origin.open(&file.file, &blob)?;
        let from = if part.compressed {
            Stream::Gzip(Box::new(GzDecoder::new(BufReader::with_capacity(PIECE, stream))))
        } else {
            Stream::Plain(stream)
        };
        Ok(Self { from, hasher: Hasher::new(), at: 0, asked: 0, wanted })
    }

    /// Reads what is left, and compares with what was said.
    fn end(mut self) -> Result<()> {
        self.asked = self.at;
        let mut piece = vec![0; PIECE];
        while self.read(&mut piece).context("read it to its end")? > 0 {}
        let size = self.wanted.size;
        let more = match &mut self.from {
            Stream::Plain(from) => from.read(&mut piece[..1])?,
            Stream::Gzip(from) => from.read(&mut piece[..1]).context("unpack its end")?,
        };
        ensure!(more == 0, "it unpacks to more than the {size} bytes that it is said to hold");
        if let Stream::Gzip(from) = self.from {
            let behind = from.into_inner().read(&mut piece[..1])?;
            ensure!(behind == 0, "something follows the first member of gzip");
        }
        ensure!(self.at == size, "it unpacks to {} bytes and is said to hold {size}", self.at);
        let found = self.hasher.finish().digest;
        let said = self.wanted.digest;
        ensure!(found == said, "its content has the digest {found}, the manifest says {said}");
        Ok(())
    }
}

impl Read for Content {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.asked != self.at {
            return Err(io::Error::other("its bytes are read in order, and once"));
        }
        let left = usize::try_from(self.wanted.size.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let most = bytes.len().min(left);
        let Some(bytes) = bytes.get_mut(..most).filter(|bytes| !bytes.is_empty()) else {
            return Ok(0);
        };
        let n = match &mut self.from {
            Stream::Plain(from) => from.read(bytes)?,
            Stream::Gzip(from) => from.read(bytes)?,
        };
        self.hasher.update(bytes.get(..n).unwrap_or_default());
        self.at += n as u64;
        self.asked = self.at;
        Ok(n)
    }
}

impl Seek for Content {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let asked = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.wanted.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.asked.checked_add_signed(by),
        };
        self.asked = asked.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.asked)
    }
}

/// A UUID as text, its bytes in the order of the text.
fn uuid(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let cut = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    [cut(0, 8), cut(8, 12), cut(12, 16), cut(16, 20), cut(20, 32)].join("-")
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    let plain = |byte: u8| byte == b'-' || byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    groups == [8, 4, 4, 4, 12] && text.bytes().all(plain)
}
