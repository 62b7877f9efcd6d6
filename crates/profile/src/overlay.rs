//! What a profile itself brings into the tree: its directories, presets, masks and users.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::fs::OFlags;
use store::{Entry, Store, Tree, TreeId, list};

use crate::source::contents;
use crate::{Profile, UnitState};

/// The largest file that a profile may lay over the tree, in bytes.
const MOST: u64 = 1 << 30;

/// A tree that is laid over the packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// Where it comes from, as provenance says it.
    pub origin: String,
    /// What it holds; everything belongs to root.
    pub tree: TreeId,
}

/// Everything that `profile` lays over the packages, in the order in which a later one wins:
/// first what its keys `units` and `users` come to, then its directories.
///
/// Of a file only the content and whether its owner may execute it count (0755 or 0644), of a
/// directory only the name, of a symbolic link the target: the same files give the same tree
/// under every umask and user.
pub fn overlays(profile: &Profile, store: &Store) -> Result<Vec<Overlay>> {
    let mut all = Vec::new();
    let own = own(profile, store).context("write the profile's units and users")?;
    all.push(Overlay { origin: "profile".to_owned(), tree: store.put_tree(&own)? });
    for directory in &profile.files {
        let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or("files");
        let origin = format!("profile:{name}");
        let mut tree = Tree::default();
        let about = || format!("read `{}`, which key `files` names", directory.display());
        if !fs::symlink_metadata(directory).with_context(about)?.is_dir() {
            bail!("`{}`, which key `files` names, is no directory itself", directory.display());
        }
        read(directory, "", &origin, store, &mut tree)?;
        all.push(Overlay { origin, tree: store.put_tree(&tree)? });
    }
    Ok(all)
}

/// The presets, masks and users of the keys (`systemd.preset(5)`, `sysusers.d(5)`).
fn own(profile: &Profile, store: &Store) -> Result<Tree> {
    let mut tree = Tree::default();
    let mut preset = String::new();
    for (unit, state) in &profile.units {
        match state {
            UnitState::Enabled => preset.push_str(&format!("enable {unit}\n")),
            UnitState::Disabled => preset.push_str(&format!("disable {unit}\n")),
            UnitState::Masked(_) => {
                let link = Entry::symlink("/dev/null", "profile");
                tree.insert(&format!("etc/systemd/system/{unit}"), link)?;
            }
        }
    }
    let users: String = profile.users.iter().map(|line| format!("{line}\n")).collect();
    let texts = [
        ("usr/lib/systemd/system-preset/10-hardtack.preset", preset),
        ("usr/lib/sysusers.d/10-profile.conf", users),
    ];
    for (path, text) in texts {
        if !text.is_empty() {
            let blob = store.put(text.as_bytes())?;
            tree.insert(path, Entry::file(blob, 0o644, "profile"))?;
        }
    }
    Ok(tree)
}

fn read(directory: &Path, at: &str, origin: &str, store: &Store, tree: &mut Tree) -> Result<()> {
    for path in list(directory)? {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.with_context(|| format!("`{}` is not UTF-8", path.display()))?;
        let at = if at.is_empty() { name.to_owned() } else { format!("{at}/{name}") };
        let about = || format!("read `{}`", path.display());
        let metadata = fs::symlink_metadata(&path).with_context(about)?;
        let kind = metadata.file_type();
        if kind.is_symlink() {
            let target = fs::read_link(&path).with_context(about)?;
            let target = target.to_str().with_context(about)?;
            tree.insert(&at, Entry::symlink(target, origin))?;
        } else if kind.is_dir() {
            tree.insert(&at, Entry::directory(origin))?;
            read(&path, &at, origin, store, tree)?;
        } else if kind.is_file() {
            let (bytes, metadata) = contents(&path, MOST, OFlags::NOFOLLOW)?;
            let executable = metadata.permissions().mode() & 0o100 != 0;
            let blob = store.put(&bytes)?;
            let mode = if executable { 0o755 } else { 0o644 };
            tree.insert(&at, Entry::file(blob, mode, origin))?;
        } else {
            bail!("`{}` is no file, directory or symbolic link", path.display());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use store::{Node, Owner};

    use super::*;

    #[test]
    fn files_belong_to_root_and_keep_only_content_and_whether_they_run() {
        let here = judge::scratch("profile-overlay");
        let files = here.join("x.d");
        fs::create_dir_all(files.join("etc/d")).unwrap();
        for (path, mode) in [("etc/a", 0o600), ("etc/run", 0o700), ("etc/d/odd", 0o4777)] {
            fs::write(files.join(path), path).unwrap();
            fs::set_permissions(files.join(path), fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::set_permissions(files.join("etc/d"), fs::Permissions::from_mode(0o700)).unwrap();
        symlink("../run/x", files.join("etc/link")).unwrap();
        let text = "files: [x.d]\nusers: [u x 900]\n\
            units: {enable: [a.service], disable: [b.service], mask: {c.service: because}}\n";
        let profile = crate::load(&here.join("p.yaml"), &|_| Ok(text.to_owned())).unwrap();
        let store = Store::open(&here.join("store"), None).unwrap();
        let [own, laid] = &overlays(&profile, &store).unwrap()[..] else { panic!() };

        let own = store.tree(&own.tree).unwrap();
        let read = |path: &str| store.read(&own.get(path).unwrap().blob().unwrap()).unwrap();
        assert_eq!(
            read("usr/lib/systemd/system-preset/10-hardtack.preset"),
            b"enable a.service\ndisable b.service\n"
        );
        assert_eq!(read("usr/lib/sysusers.d/10-profile.conf"), b"u x 900\n");
        let mask = own.get("etc/systemd/system/c.service").unwrap();
        assert_eq!(mask.node, Node::Symlink("/dev/null".to_owned()));

        assert_eq!(laid.origin, "profile:x.d");
        let laid = store.tree(&laid.tree).unwrap();
        let modes: Vec<_> =
            laid.0.iter().map(|(path, entry)| (path.as_str(), entry.mode)).collect();
        let expect = [
            ("etc", 0o755),
            ("etc/a", 0o644),
            ("etc/d", 0o755),
            ("etc/d/odd", 0o755),
            ("etc/link", 0o777),
            ("etc/run", 0o755),
        ];
        assert_eq!(modes, expect);
        assert!(laid.0.values().all(|e| e.owner == Owner::ROOT && e.group == Owner::ROOT));
    }

    #[test]
    fn a_missing_directory_and_a_socket_are_errors() {
        let here = judge::scratch("profile-odd");
        let store = Store::open(&here.join("store"), None).unwrap();
        let profile = |name: &str| {
            crate::load(&here.join("p.yaml"), &|_| Ok(format!("files: [{name}]"))).unwrap()
        };
        assert!(overlays(&profile("gone.d"), &store).is_err());
        fs::create_dir(here.join("s.d")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(here.join("s.d/s")).unwrap();
        let error = overlays(&profile("s.d"), &store).unwrap_err();
        assert!(error.to_string().contains("is no file, directory or symbolic link"));
    }
}
