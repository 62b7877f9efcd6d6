//! The third layer: what an installed system computes from its files.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use store::{Scratch, Stage, Tree, TreeId};

use crate::{Patterns, generators};

/// One row of [`GENERATORS`].
///
/// It sees only the entries that match `reads`, and changes only paths that match `writes`.
pub struct Generator {
    /// Name, as reports and origins (`generator:<name>`) say it.
    pub name: &'static str,
    /// Bump when the same files must give different ones.
    pub revision: u32,
    /// Which trees it works on.
    pub purposes: &'static [Purpose],
    /// When in the making of a tree it works.
    pub point: Point,
    /// Patterns of the paths that it sees.
    pub reads: &'static [&'static str],
    /// Patterns of the paths that it may add, replace or remove.
    pub writes: &'static [&'static str],
    /// The work. The tree holds the matching entries only.
    pub run: fn(&Tree, &Scratch<'_>) -> Result<Change>,
}

/// What a tree is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// The root file system of the host.
    Host,
    /// The initial RAM disk.
    Initrd,
}

/// How far a tree has been made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// As the distribution's own installer leaves it: packages, and what scripts compute.
    Installed,
    /// As an image holds it.
    Image,
}

/// What a generator does to a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Entries added or replaced.
    pub add: Tree,
    /// Paths removed, with all below them; applied before `add`.
    pub remove: Vec<String>,
}

/// Every generator, in the order of their work. To add one, write its module and name it here.
pub const GENERATORS: &[Generator] = generators::ALL;

/// Input of [`GENERATE`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Generate {
    /// The row's name.
    pub generator: String,
    /// The row's revision.
    pub revision: u32,
    /// What it sees.
    pub sees: TreeId,
}

/// The canonical form of a [`Change`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Generated {
    add: TreeId,
    remove: Vec<String>,
}

/// Runs one generator on what it sees.
pub const GENERATE: Stage<Generate, Generated> = Stage {
    name: "generate",
    revision: 1,
    about: |input| input.generator.clone(),
    run: |input, scratch| {
        let row = GENERATORS
            .iter()
            .find(|row| row.name == input.generator && row.revision == input.revision)
            .with_context(|| format!("no generator `{}`", input.generator))?;
        let change = (row.run)(&scratch.tree(&input.sees)?, scratch)?;
        let writes = Patterns::of(row.writes);
        let paths = change.add.0.keys().chain(&change.remove);
        if let Some(path) = paths.into_iter().find(|path| !writes.matches(path)) {
            bail!("generator `{}` writes `{path}`, which it does not declare", row.name);
        }
        Ok(Generated { add: scratch.put_tree(&change.add)?, remove: change.remove })
    },
};

/// Runs every generator for `purpose` that works up to `point` over `tree`, each as a stage of its
/// own.
pub fn generate(
    mut tree: Tree,
    purpose: Purpose,
    point: Point,
    store: &store::Store,
) -> Result<Tree> {
    let rows = GENERATORS.iter().filter(|row| row.point <= point);
    for row in rows.filter(|row| row.purposes.contains(&purpose)) {
        tree = generate_one(tree, row, store)?;
    }
    Ok(tree)
}

/// Runs one generator over `tree`.
pub fn generate_one(mut tree: Tree, row: &Generator, store: &store::Store) -> Result<Tree> {
    let reads = Patterns::of(row.reads);
    let seen = tree.0.iter().filter(|(path, _)| reads.matches(path));
    let seen = Tree(seen.map(|(path, entry)| (path.clone(), entry.clone())).collect());
    let input = Generate {
        generator: row.name.to_owned(),
        revision: row.revision,
        sees: store.put_tree(&seen)?,
    };
    let Generated { add, remove } = store.realize(&GENERATE, &input)?;
    // One pass for all, since a generator may remove thousands of paths.
    let remove: BTreeSet<String> = remove.into_iter().collect();
    let removed = |path: &str| {
        let ancestors = path.match_indices('/').map(|(slash, _)| &path[..slash]);
        ancestors.chain([path]).any(|path| remove.contains(path))
    };
    tree.0.retain(|path, _| !removed(path));
    tree.0.extend(store.tree(&add)?.0);
    Ok(tree)
}
