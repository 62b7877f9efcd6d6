//! A release's commit, signed with our own keys, before stock `ostree` and `gpg`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hardtack::assemble::Host;
use hardtack::plan::Plan;
use hardtack::scripts::OnUnreviewed;
use hardtack::seal;
use judge::Ran;
use lock::Lock;
use pool::Pool;
use rootfs::{Inventory, Merged, Rules};
use sign::{Directory, Role, Signer};
use store::{Blob, Digest, Entry, Epoch, Seed, Store, Tree};

const REF: &str = "hardtack/mini/7";

/// A pool with one release, and a host that trusts one key.
struct Bench {
    directory: PathBuf,
    pool: Pool,
    commit: String,
}

impl Bench {
    fn new(name: &str) -> Self {
        let directory = judge::scratch(&format!("pull-{name}"));
        let store = Store::open(&directory.join("store"), None).unwrap();
        let pool = Pool::open(&store).unwrap();
        let keys = Directory::make(&directory.join("keys")).unwrap();
        let commit = seal::commit(&plan(), &host(&store), &keys, &pool).unwrap().to_string();
        let trusted = keys.certificate(Role::Release).unwrap();
        fs::write(directory.join("trusted.pgp"), trusted).unwrap();
        let home = directory.join("gnupg");
        fs::create_dir(&home).unwrap();
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
        Self { directory, pool, commit }
    }

    fn ostree(&self, repo: &Path, arguments: &[&str]) -> Ran {
        let mut command = judge::tool("ostree");
        command.arg(format!("--repo={}", repo.display())).args(arguments);
        judge::run(command.env("GNUPGHOME", self.directory.join("gnupg")))
    }

    /// A fresh repository `name` with the pool as its verified remote `origin`, and what pulling
    /// the release said.
    fn pull(&self, name: &str, keyring: &Path) -> (PathBuf, Ran) {
        let repo = self.directory.join(name);
        let keyring = format!("--gpg-import={}", keyring.display());
        let remote = format!("file://{}", self.pool.path().display());
        for arguments in [
            &["init", "--mode=bare-user"][..],
            &["remote", "add", "--set=gpg-verify=true", &keyring, "origin", &remote],
        ] {
            let ran = self.ostree(&repo, arguments);
            assert!(ran.ok, "{}", ran.text);
        }
        let ran = self.ostree(&repo, &["pull", "origin", REF]);
        (repo, ran)
    }

    fn trusted(&self) -> PathBuf {
        self.directory.join("trusted.pgp")
    }

    /// Where the pool keeps an object of the commit.
    fn object(&self, end: &str) -> PathBuf {
        let (shard, rest) = self.commit.split_at(2);
        self.pool.path().join("objects").join(shard).join(format!("{rest}.{end}"))
    }
}

/// As much of a build's plan as a commit asks for.
fn plan() -> Plan {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../profiles/mini.yaml");
    let read = |path: &Path| Ok(fs::read_to_string(path)?);
    let profile = profile::load(&file, &read).unwrap();
    let lock = Lock {
        architecture: "x86-64".to_owned(),
        request: Digest::of(b""),
        epoch: Epoch(1_763_000_000),
        seed: Seed::of("mini"),
        warnings: vec![],
        archives: vec![],
        packages: vec![],
    };
    let (initrd, rules) = (profile.clone(), Rules::default());
    Plan {
        host: profile,
        initrd,
        lock,
        rules,
        version: "7".to_owned(),
        on_unreviewed: OnUnreviewed::Refuse,
        previous: None,
    }
}

/// As much of a host as a commit asks for: its tree.
fn host(store: &Store) -> Host {
    let mut tree = Tree::default();
    let program = Entry::file(store.put(b"program").unwrap(), 0o755, "sample");
    tree.insert("usr/bin/program", program).unwrap();
    let tree = tree.with_parents("sample");
    let usr = store.put_tree(&tree).unwrap();
    Host {
        usr,
        tree,
        kernel: Blob::of(b""),
        uname: String::new(),
        os_release: String::new(),
        inventory: Inventory::default(),
        merged: Merged {
            tree: usr,
            warnings: vec![],
            config: Default::default(),
            masked: Default::default(),
            unmet: Default::default(),
            replaced: Default::default(),
        },
        warnings: vec![],
    }
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 1;
    // The object may have another name: it is replaced, not written into.
    fs::remove_file(file).unwrap();
    fs::write(file, bytes).unwrap();
}

#[test]
fn stock_ostree_pulls_a_release_and_finds_its_signature_good() {
    let bench = Bench::new("good");
    let (repo, ran) = bench.pull("client", &bench.trusted());
    assert!(ran.ok, "{}", ran.text);
    let shown = bench.ostree(&repo, &["show", &format!("origin:{REF}")]);
    assert!(shown.text.contains(&format!("commit {}", bench.commit)), "{}", shown.text);
    assert!(shown.text.contains("Found 1 signature"), "{}", shown.text);
    assert!(shown.text.contains("Good signature from \"Hardtack"), "{}", shown.text);
    let read = bench.ostree(&repo, &["cat", &bench.commit, "/usr/bin/program"]);
    assert_eq!(read.text, "program");
    let ran = bench.ostree(&repo, &["fsck"]);
    assert!(ran.ok, "{}", ran.text);
}

/// The release is not taken, and nothing of it is left that would pass for one.
fn refused(bench: &Bench, name: &str, keyring: &Path, word: &str) {
    let (repo, ran) = bench.pull(name, keyring);
    assert!(!ran.ok, "`{name}` was pulled: {}", ran.text);
    assert!(ran.text.contains(word), "`{word}` is not in: {}", ran.text);
    let refs = bench.ostree(&repo, &["refs"]);
    assert_eq!(refs.text, "", "`{name}` left a ref");
}

#[test]
fn a_changed_byte_of_the_signature_is_refused() {
    let bench = Bench::new("signature");
    let file = bench.object("commitmeta");
    // The signature proper ends the packet, and with few bytes of framing the file.
    let whole = fs::read(&file).unwrap();
    flip(&file, whole.len() - 24);
    refused(&bench, "client", &bench.trusted(), "BAD signature");
}

#[test]
fn a_changed_byte_of_the_commit_is_refused() {
    let bench = Bench::new("commit");
    let file = bench.object("commit");
    let whole = fs::read(&file).unwrap();
    let subject = b"mini 7";
    let at = whole.windows(subject.len()).position(|window| window == subject).unwrap();
    flip(&file, at);
    refused(&bench, "client", &bench.trusted(), "BAD signature");
}

#[test]
fn a_commit_without_signature_is_refused() {
    let bench = Bench::new("unsigned");
    fs::remove_file(bench.object("commitmeta")).unwrap();
    refused(&bench, "client", &bench.trusted(), "no signatures");
}

#[test]
fn a_signature_of_another_key_is_refused() {
    let bench = Bench::new("stranger");
    let stranger = Directory::make(&bench.directory.join("strange-keys")).unwrap();
    let keyring = bench.directory.join("stranger.pgp");
    fs::write(&keyring, stranger.certificate(Role::Release).unwrap()).unwrap();
    refused(&bench, "client", &keyring, "public key not found");
}
