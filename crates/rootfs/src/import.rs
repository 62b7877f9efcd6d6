//! The first layer: one package becomes a tree and facts.

use std::io::{Read, Write as _};

use anyhow::{Context, Result, ensure};
use package::{Capability, Fact, Family, Id, Kind, Moment, Remainder};
use serde::{Deserialize, Serialize};
use store::{Blob, Entry, Node, Scratch, Stage, Tree, TreeId};

/// Files up to this size (bytes) are read whole; larger ones go piece by piece.
const SMALL: u64 = 1 << 20;

/// Such a piece, in bytes.
const PIECE: usize = 256 << 10;

/// What a person can do about an archive that cannot be read.
const WAY_OUT: &str = "pin another version of it, drop it, or have its maker repack it";

/// Input of [`IMPORT`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// How the archive is read.
    pub family: Family,
    /// Which package the archive must be.
    pub id: Id,
    /// The archive.
    pub blob: Blob,
}

/// Result of [`IMPORT`]: all that an image can learn from one package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// How the package's relations are read.
    pub family: Family,
    /// Which package.
    pub id: Id,
    /// Its files under the paths that it ships, origin the package's name.
    pub tree: TreeId,
    /// What its scripts say that needs no script.
    pub facts: Vec<Fact>,
    /// What is left of each script that is not empty after that.
    pub remainders: Vec<(Moment, Remainder)>,
    /// Whose files it may overwrite.
    pub replaces: Vec<Capability>,
    /// Paths that it marks as configuration.
    pub config: Vec<String>,
}

/// Reads one package. Nothing is written under a name that the archive chose.
///
/// # Errors
/// An archive that is malformed or not the package that the input names.
pub const IMPORT: Stage<Import, Imported> = Stage {
    name: "import",
    revision: 2,
    about: |input| format!("{} {}", input.id.name, input.id.version.0),
    run: import,
};

fn import(input: &Import, scratch: &Scratch<'_>) -> Result<Imported> {
    let Import { family, id, blob } = input;
    let control = package::control(*family, scratch.open(blob)?)
        .with_context(|| format!("read control data of `{}` ({WAY_OUT})", id.name))?;
    ensure!(
        control.id == *id,
        "the archive is `{} {} {}`, not `{} {} {}`",
        control.id.name,
        control.id.version.0,
        control.id.architecture,
        id.name,
        id.version.0,
        id.architecture
    );
    let tree = read_tree(input, scratch)?;
    let mut facts = Vec::new();
    let mut remainders = Vec::new();
    for script in &control.scripts {
        let (found, left) = package::read_script(script, id);
        facts.extend(found);
        if left.digest.is_some() {
            remainders.push((script.moment, left));
        }
    }
    Ok(Imported {
        family: *family,
        id: id.clone(),
        tree: scratch.put_tree(&tree)?,
        facts,
        remainders,
        replaces: control.relations.replaces,
        config: control.config,
    })
}

fn read_tree(input: &Import, scratch: &Scratch<'_>) -> Result<Tree> {
    let mut tree = Tree::default();
    let origin = &input.id.name;
    package::open(input.family, scratch.open(&input.blob)?, &mut |found, content| {
        let entry = match &found.kind {
            Kind::Hardlink(target) => linked(&mut tree, target, origin)?,
            kind => Entry {
                node: match kind {
                    Kind::File(size) => Node::File(keep(content, *size, scratch)?),
                    Kind::Symlink(target) => Node::Symlink(target.clone()),
                    Kind::Directory | Kind::Hardlink(_) => Node::Directory,
                },
                mode: found.mode,
                owner: found.owner.clone(),
                group: found.group.clone(),
                xattrs: found.xattrs.clone(),
                link: None,
                origin: origin.clone(),
            },
        };
        tree.insert(&found.path, entry)
    })
    .with_context(|| format!("read payload of `{origin}` ({WAY_OUT})"))?;
    Ok(tree)
}

/// The entry of `target`, which becomes one inode with its new name.
fn linked(tree: &mut Tree, target: &str, origin: &str) -> Result<Entry> {
    let entry = tree.0.get_mut(target);
    let entry = entry.with_context(|| format!("find `{target}`, which a hard link names"))?;
    entry.link.get_or_insert_with(|| format!("{origin}:{target}"));
    Ok(entry.clone())
}

fn keep(content: &mut dyn Read, size: u64, scratch: &Scratch<'_>) -> Result<Blob> {
    let blob = if size <= SMALL {
        let mut bytes = Vec::with_capacity(usize::try_from(size)?);
        content.read_to_end(&mut bytes).context("read content")?;
        scratch.put(&bytes)?
    } else {
        let mut sink = scratch.create()?;
        let mut piece = vec![0; PIECE];
        loop {
            let n = content.read(&mut piece).context("read content")?;
            if n == 0 {
                break sink.finish()?;
            }
            sink.write_all(&piece[..n]).context("keep content")?;
        }
    };
    ensure!(blob.size == size, "content has {} bytes instead of {size}", blob.size);
    Ok(blob)
}
