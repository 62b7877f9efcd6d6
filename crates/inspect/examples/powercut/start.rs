//! What a machine would start from a disk, as firmware, loader, kernel and `veritysetup` go about
//! it, and whether it comes up.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use inspect::gpt::{FoundPartition, FoundTable};
use inspect::{Window, fat, gpt, kinds, pe, uki, verity};

use super::disk::Disk;
use super::order::{compare, tries_left};

/// What a machine does with a disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Start {
    /// The kernel that comes up, by its path.
    pub(crate) boots: Option<String>,
    /// Kernels on trial that are tried before it and fail.
    pub(crate) fallen: Vec<String>,
    /// Kernels' names that the loader passes over: a rename that is cut leaves one without content,
    /// a removal one that breaks off.
    pub(crate) passed: Vec<String>,
    /// Why a person would have to come.
    pub(crate) violation: Option<String>,
}

/// Where the firmware looks without being told (UEFI 2.10, 3.5.1.1).
const REMOVABLE: &str = "EFI/BOOT/BOOTX64.EFI";
const ENTRIES: &str = "EFI/Linux/";
/// How far from either end of the disk its tables lie.
const TABLES: u64 = 1 << 20;
/// The most tries that count as bounded.
const TRIES_LIMIT: u32 = 9;
/// How often a firmware without boot options passes over a disk: a kernel that it refuses must
/// have fewer tries than that.
const PASSES: u32 = 2;

/// A program of the ESP, as far as starting it needs.
#[derive(Clone, Debug, Default)]
struct Program {
    /// Where a kernel's sort key and version are known: they are what the loader reads.
    version: Option<(String, String)>,
    /// The clusters break off before the loader could read that.
    cut_off: bool,
    root_hash: Option<[u8; 32]>,
    /// Why the firmware refuses it.
    refused: Option<String>,
}

/// A file of the ESP that the loader offers.
#[derive(Clone, Debug)]
struct Entry {
    path: String,
    program: Program,
}

/// What the ESP holds.
#[derive(Clone, Debug, Default)]
struct Esp {
    loader: Option<String>,
    entries: Vec<Entry>,
    /// Names of kernels that have no `.osrel` to offer them by.
    passed: Vec<String>,
}

/// First byte, length and generation.
type Place = (u64, u64, u64);
/// First byte and length of each.
type Extents = Vec<(u64, u64)>;

/// Reads disks, and remembers what it read for as long as nothing was written there.
pub(crate) struct Machine {
    /// SHA-256 of the certificates that the firmware trusts; none means any.
    trusted: BTreeSet<String>,
    table: Option<(u64, Result<FoundTable, String>)>,
    esp: Option<(Place, Result<Esp, String>)>,
    /// By extents on the disk, size and generation.
    programs: BTreeMap<(Extents, u32, u64), Program>,
    /// By root hash, places and generations of data and tree.
    slots: BTreeMap<([u8; 32], [u64; 4]), Result<(), String>>,
}

impl Machine {
    pub(crate) fn new(trusted: BTreeSet<String>) -> Machine {
        let (programs, slots) = (BTreeMap::new(), BTreeMap::new());
        Machine { trusted, table: None, esp: None, programs, slots }
    }

    /// What happens when a machine is switched on with this disk.
    pub(crate) fn start(&mut self, disk: &mut Disk) -> Start {
        let mut start = Start::default();
        if let Err(error) = self.walk(disk, &mut start) {
            start.violation = Some(format!("{error:#}"));
        }
        start
    }

    fn walk(&mut self, disk: &mut Disk, start: &mut Start) -> Result<()> {
        let table = self.table(disk)?;
        let esp = self.esp(disk, &table)?;
        start.passed.clone_from(&esp.passed);
        if let Some(why) = &esp.loader {
            bail!("the loader does not start: {why}");
        }
        for Entry { path, program } in &esp.entries {
            let left = tries_left(path);
            let why = match (&program.refused, &program.root_hash) {
                (Some(why), _) => Err((PASSES - 1, why.clone())),
                (None, None) => Err((TRIES_LIMIT, "it names no root hash".to_owned())),
                (None, Some(hash)) => {
                    self.slot(disk, &table, hash).map_err(|why| (TRIES_LIMIT, why))
                }
            };
            match (why, left) {
                (Ok(()), _) => {
                    start.boots = Some(path.clone());
                    return Ok(());
                }
                (Err((_, why)), Some(0)) => bail!("no kernel is good; `{path}`: {why}"),
                (Err((limit, _)), Some(left)) if left <= limit => start.fallen.push(path.clone()),
                (Err((limit, why)), left) => {
                    let left = left.map_or("for ever".to_owned(), |left| format!("{left} times"));
                    bail!("`{path}` is tried {left}, not at most {limit} times, and fails: {why}");
                }
            }
        }
        bail!("no kernel is good, {} are on trial", start.fallen.len());
    }

    fn table(&mut self, disk: &mut Disk) -> Result<FoundTable> {
        let last = disk.size().saturating_sub(TABLES);
        let generation = disk.generation(0, TABLES).max(disk.generation(last, TABLES));
        let known = self.table.as_ref().filter(|(known, _)| *known == generation);
        let table = match known {
            Some((_, table)) => table.clone(),
            None => {
                let table = gpt::survey(disk).map(|(table, _)| table);
                let table = table.map_err(|error| format!("{error:#}"));
                self.table = Some((generation, table.clone()));
                table
            }
        };
        table.map_err(|why| anyhow::anyhow!("no copy of the partition table is whole: {why}"))
    }

    fn esp(&mut self, disk: &mut Disk, table: &FoundTable) -> Result<Esp> {
        let esp = table.partitions.iter().find(|partition| partition.kind == kinds::ESP);
        let esp = esp.context("the table has no ESP")?;
        let key = (esp.offset, esp.length, disk.generation(esp.offset, esp.length));
        let known = self.esp.as_ref().filter(|(known, _)| *known == key);
        let found = match known {
            Some((_, found)) => found.clone(),
            None => {
                let found = self.volume(disk, esp).map_err(|error| format!("{error:#}"));
                self.esp = Some((key, found.clone()));
                found
            }
        };
        found.map_err(|why| anyhow::anyhow!("the ESP cannot be read: {why}"))
    }

    /// The loader and what it offers, in its order.
    fn volume(&mut self, disk: &mut Disk, esp: &FoundPartition) -> Result<Esp> {
        let (volume, _) = fat::survey(&mut Window::new(disk, esp.offset, esp.length))?;
        let mut found = Esp::default();
        let loader = volume.files.keys().find(|path| path.eq_ignore_ascii_case(REMOVABLE));
        found.loader = match loader {
            Some(path) => self.program(disk, esp, &volume, path).refused,
            None => Some(format!("there is no `{REMOVABLE}`")),
        };
        for (path, file) in volume.files.iter().filter(|(path, _)| offered(path)) {
            // The loader passes over what is no PE image with `.osrel`. Between two flushes on vfat a
            // rename is a new name without clusters, the old one gone, and a removal may be a name
            // whose clusters are free.
            let program = self.program(disk, esp, &volume, path);
            if file.size == 0 || program.cut_off {
                found.passed.push(path.clone());
                continue;
            }
            found.entries.push(Entry { path: path.clone(), program });
        }
        found.entries.sort_by(preferred);
        Ok(found)
    }

    fn program(
        &mut self,
        disk: &mut Disk,
        esp: &FoundPartition,
        volume: &fat::FoundVolume,
        path: &str,
    ) -> Program {
        let size = volume.files.get(path).map_or(0, |file| file.size);
        let extents = volume.extents(path).unwrap_or_default();
        let extents: Extents =
            extents.into_iter().map(|(at, length)| (esp.offset + at, length)).collect();
        let newest = extents.iter().map(|(at, length)| disk.generation(*at, *length)).max();
        let key = (extents, size, newest.unwrap_or(0));
        if let Some(known) = self.programs.get(&key) {
            return known.clone();
        }
        let mut window = Window::new(disk, esp.offset, esp.length);
        let program = match volume.content(&mut window, path) {
            Ok(content) => self.read(&content).unwrap_or_else(|error| Program {
                refused: Some(format!("{error:#}")),
                ..Program::default()
            }),
            Err(error) => {
                let beginning = volume.beginning(&mut window, path).unwrap_or_default();
                let os_release = uki::os_release(&beginning);
                Program {
                    cut_off: os_release.is_err(),
                    version: os_release.ok().as_ref().and_then(named),
                    root_hash: None,
                    refused: Some(format!("{error:#}")),
                }
            }
        };
        if !key.0.is_empty() {
            self.programs.insert(key, program.clone());
        }
        program
    }

    fn read(&self, content: &[u8]) -> Result<Program> {
        let image = pe::read(content)?;
        let (mut version, mut root_hash) = (None, None);
        if uki::is_uki(&image) {
            let uki = uki::read(content)?;
            version = named(&uki.os_release);
            root_hash = uki.root_hash();
        }
        let signatures = image.signatures(content)?;
        let good = signatures.iter().any(|signature| {
            let signer = signature.certificate_sha256.as_ref();
            let trusted = signer.is_some_and(|signer| self.trusted.contains(signer));
            signature.holds == Some(true) && (trusted || self.trusted.is_empty())
        });
        let refused = (!good).then(|| "no signature of a trusted key holds".to_owned());
        Ok(Program { version, cut_off: false, root_hash, refused })
    }

    /// Whether the partitions that a root hash names hold what it is the root of.
    fn slot(&mut self, disk: &mut Disk, table: &FoundTable, hash: &[u8; 32]) -> Result<(), String> {
        let find = |half: &[u8]| {
            let wanted: String = half.iter().map(|byte| format!("{byte:02x}")).collect();
            let mut partitions = table.partitions.iter();
            partitions
                .find(|partition| partition.uuid.replace('-', "") == wanted)
                .ok_or_else(|| format!("no partition has the UUID {wanted}"))
        };
        let (data, tree) = (find(&hash[..16])?, find(&hash[16..])?);
        let generation = |one: &FoundPartition| disk.generation(one.offset, one.length);
        let key = (*hash, [data.offset, generation(data), tree.offset, generation(tree)]);
        if let Some(known) = self.slots.get(&key) {
            return known.clone();
        }
        let measured = slot(disk, data, tree, hash).map_err(|error| format!("{error:#}"));
        self.slots.insert(key, measured.clone());
        measured
    }
}

/// The sort key and the version that the loader orders a kernel by.
fn named(os_release: &BTreeMap<String, String>) -> Option<(String, String)> {
    let said = |keys: &[&str]| keys.iter().find_map(|key| os_release.get(*key)).cloned();
    let key = said(&["IMAGE_ID", "ID"]).unwrap_or_default();
    said(&["IMAGE_VERSION", "VERSION", "VERSION_ID"]).map(|version| (key, version))
}

fn slot(
    disk: &mut Disk,
    data: &FoundPartition,
    tree: &FoundPartition,
    hash: &[u8; 32],
) -> Result<()> {
    use std::io::{Cursor, Read as _};
    // Two windows on one device would borrow it twice; the tree is small.
    let mut bytes = Vec::new();
    let mut window = Window::new(disk, tree.offset, tree.length.min(TREE_LIMIT));
    window.read_to_end(&mut bytes).context("read hash partition")?;
    let mut data = Window::new(disk, data.offset, data.length);
    verity::verify(&mut data, &mut Cursor::new(bytes), hash)?;
    Ok(())
}

/// The most of a hash partition that is read.
const TREE_LIMIT: u64 = 1 << 30;

/// Whether systemd-boot offers a file (systemd-boot(7); `config_load_type2_entries`).
fn offered(path: &str) -> bool {
    let Some(name) = path.get(ENTRIES.len()..) else { return false };
    path[..ENTRIES.len()].eq_ignore_ascii_case(ENTRIES)
        && !name.contains('/')
        && !name.starts_with('.')
        && !name.starts_with("auto-")
        && name.to_ascii_lowercase().ends_with(".efi")
}

/// The loader's order, what it prefers first: without tries last, by sort key, newest first, then
/// by name. A kernel that is not whole enough to say its version comes before all: at worst the
/// loader takes it.
fn preferred(a: &Entry, b: &Entry) -> Ordering {
    let spent = |entry: &Entry| tries_left(&entry.path) == Some(0);
    let known = |entry: &Entry| entry.program.version.is_some();
    let order = spent(a).cmp(&spent(b)).then_with(|| known(a).cmp(&known(b)));
    let order = order.then_with(|| match (&a.program.version, &b.program.version) {
        (Some((key_a, a)), Some((key_b, b))) => key_a.cmp(key_b).then_with(|| compare(b, a)),
        _ => Ordering::Equal,
    });
    order.then_with(|| compare(&b.path, &a.path)).then_with(|| b.path.cmp(&a.path))
}
