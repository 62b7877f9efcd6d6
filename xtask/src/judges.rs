//! Debian 13's own programs, unpacked below `target/judges` for any machine; and the newest systemd
//! that there is, for `cargo xtask judge client`.
//!
//! An apt configuration of its own (lists, cache and status file below `target`) downloads them
//! with the machine's mirror and keyring; nothing of the system changes. Each program starts
//! through the loader and with the libraries that came with it.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::mirrors::{self, Mirrors};
use crate::run::{list, read, run, target, top};

/// Raised when what lies below `target/judges` must be made anew for another reason than the two
/// tables below.
const REVISION: u32 = 1;

/// The release that the judges, and the packages of the profiles, are of.
pub(crate) const RELEASE: &str = "trixie";

/// Packages of one release, unpacked together, and the programs of theirs that judge.
pub(crate) struct Set {
    /// The release's name.
    release: &'static str,
    /// What people call it.
    called: &'static str,
    packages: &'static [&'static str],
    /// Name in `bin`, place in `root`.
    tools: &'static [(&'static str, &'static str)],
    /// Folder below `target`.
    folder: &'static str,
}

/// What tests, boots and images go by.
const DEBIAN_13: Set = Set {
    release: RELEASE,
    called: "Debian 13 programs (about 70 MB)",
    packages: PACKAGES,
    tools: TOOLS,
    folder: "judges",
};

/// The newest systemd that Debian's next release has. It moves: no test depends on it.
pub(crate) const NEWEST: Set = Set {
    release: "forky",
    called: "the newest systemd (about 25 MB)",
    packages: &[
        "base-files",
        // The client opens these two only when it needs them, and no package asks for them.
        "libcryptsetup12",
        "libcurl4t64",
        "systemd",
        "systemd-container",
        "systemd-repart",
        "udev",
    ],
    tools: &[
        ("systemd-analyze", "usr/bin/systemd-analyze"),
        ("systemd-dissect", "usr/bin/systemd-dissect"),
        ("systemd-repart", "usr/bin/systemd-repart"),
        ("systemd-sysupdate", "usr/lib/systemd/systemd-sysupdate"),
    ],
    folder: "judges/newest",
};

const PACKAGES: &[&str] = &[
    "base-files",
    "cryptsetup-bin",
    "erofs-utils",
    "ipxe-qemu",
    "kmod",
    "ovmf",
    "python3-pefile",
    "qemu-system-x86",
    "qemu-utils",
    "systemd",
    "systemd-boot-tools",
    "systemd-container",
    "systemd-repart",
    "systemd-ukify",
    "udev",
];

/// Name in `bin`, place in `root`.
const TOOLS: &[(&str, &str)] = &[
    ("bootctl", "usr/bin/bootctl"),
    ("depmod", "usr/bin/kmod"),
    ("dump.erofs", "usr/bin/dump.erofs"),
    ("fsck.erofs", "usr/bin/fsck.erofs"),
    ("mkfs.erofs", "usr/bin/mkfs.erofs"),
    ("qemu-img", "usr/bin/qemu-img"),
    ("qemu-io", "usr/bin/qemu-io"),
    ("qemu-system-x86_64", "usr/bin/qemu-system-x86_64"),
    ("systemctl", "usr/bin/systemctl"),
    ("systemd-analyze", "usr/bin/systemd-analyze"),
    ("systemd-dissect", "usr/bin/systemd-dissect"),
    ("systemd-hwdb", "usr/bin/systemd-hwdb"),
    ("systemd-measure", "usr/lib/systemd/systemd-measure"),
    ("systemd-repart", "usr/bin/systemd-repart"),
    ("systemd-sbsign", "usr/lib/systemd/systemd-sbsign"),
    ("systemd-sysupdate", "usr/lib/systemd/systemd-sysupdate"),
    ("systemd-sysusers", "usr/bin/systemd-sysusers"),
    ("systemd-tmpfiles", "usr/bin/systemd-tmpfiles"),
    ("ukify", "usr/bin/ukify"),
    ("veritysetup", "usr/sbin/veritysetup"),
];

/// Whether everything is there already; takes no time to speak of.
pub(crate) fn present() -> bool {
    DEBIAN_13.present()
}

/// The tree that the Debian 13 packages were unpacked to.
pub(crate) fn root() -> PathBuf {
    DEBIAN_13.root()
}

/// Downloads and unpacks the judges, unless they are there.
pub(crate) fn make() -> Result<()> {
    if present() {
        return Ok(());
    }
    DEBIAN_13.make()?;
    // The one question that shows loader, libraries and wrapper to fit together.
    read(Command::new(DEBIAN_13.bin().join("mkfs.erofs")).arg("--version"))
        .context("start an unpacked judge")?;
    DEBIAN_13.keep()
}

impl Set {
    fn home(&self) -> PathBuf {
        target().join(self.folder)
    }

    fn root(&self) -> PathBuf {
        self.home().join("root")
    }

    /// Where its programs are.
    pub(crate) fn bin(&self) -> PathBuf {
        self.home().join("bin")
    }

    /// Whether it was [kept](Set::keep) as the tables above have it.
    pub(crate) fn present(&self) -> bool {
        std::fs::read_to_string(self.home().join("stamp")).is_ok_and(|text| text == self.stamp())
    }

    fn stamp(&self) -> String {
        let Set { release, packages, tools, .. } = self;
        let tools: Vec<String> =
            tools.iter().map(|(name, place)| format!("{name}={place}")).collect();
        format!("{REVISION} {release} {packages:?} {tools:?}\n")
    }

    /// Says that it is whole and works.
    pub(crate) fn keep(&self) -> Result<()> {
        std::fs::write(self.home().join("stamp"), self.stamp()).context("write the judges' stamp")
    }

    /// Downloads and unpacks it.
    pub(crate) fn make(&self) -> Result<()> {
        println!("judges: unpacking {} into `target/{}`", self.called, self.folder);
        let home = self.home();
        let apt = home.join("apt");
        let _ = std::fs::remove_file(home.join("stamp"));
        let _ = std::fs::remove_dir_all(&apt);
        let mirrors = mirrors::of_machine(Path::new("/etc"))?;
        let configuration = configure(&apt, &mirrors, &keyring()?)?;
        if self.release != RELEASE {
            // It has no suite of updates beside it.
            let sources = source(&mirrors.main, self.release, &keyring()?);
            std::fs::write(apt.join("sources.list"), sources).context("write apt's sources")?;
        }
        download(&configuration, self.packages)
            .with_context(|| format!("download {}", self.called))?;

        let fresh = home.join("root.new");
        let _ = std::fs::remove_dir_all(&fresh);
        unpack(&apt.join("cache/archives"), &fresh, self.packages.len())?;
        let _ = std::fs::remove_dir_all(self.root());
        std::fs::rename(&fresh, self.root()).context("put the judges' tree in place")?;
        let _ = std::fs::remove_dir_all(&apt);
        self.wrap()
    }

    /// One short script a tool; they find the tree beside them, so `target` may be moved.
    fn wrap(&self) -> Result<()> {
        let bin = self.bin();
        let _ = std::fs::remove_dir_all(&bin);
        std::fs::create_dir_all(&bin).context("make the judges' `bin`")?;
        for (name, place) in self.tools {
            if !self.root().join(place).exists() {
                bail!("no package brought `{place}`, the program of the judge `{name}`");
            }
            let file = bin.join(name);
            std::fs::write(&file, script(name, place)?)
                .and_then(|()| std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)))
                .with_context(|| format!("write `{}`", file.display()))?;
        }
        Ok(())
    }
}

/// The machine's Debian keyring, else the one that the profiles pin.
pub(crate) fn keyring() -> Result<PathBuf> {
    let places = [
        "/usr/share/keyrings/debian-archive-keyring.gpg".into(),
        "/usr/share/keyrings/debian-archive-keyring.pgp".into(),
        top().join("profiles/keyrings/debian-13.asc"),
    ];
    let found = places.iter().find(|place| place.is_file());
    found.cloned().context("find Debian's archive keyring: install `debian-archive-keyring`")
}

/// Writes the configuration of an apt that lives below `apt` alone and knows the three suites of
/// [`RELEASE`]; returns its file.
pub(crate) fn configure(apt: &Path, mirrors: &Mirrors, keyring: &Path) -> Result<PathBuf> {
    for folder in ["lists/partial", "cache/archives/partial", "state", "log"] {
        let folder = apt.join(folder);
        std::fs::create_dir_all(&folder).with_context(|| format!("make `{}`", folder.display()))?;
    }
    let Mirrors { main, security } = mirrors;
    let sources = source(main, RELEASE, keyring)
        + &source(main, &format!("{RELEASE}-updates"), keyring)
        + &source(security, &format!("{RELEASE}-security"), keyring);
    let place = apt.display();
    // `#clear`: hooks of the machine's configuration (cleaning its own cache and the like) have no
    // business here. Preferences are the machine's wishes for itself.
    let configuration = format!(
        "#clear APT::Update::Post-Invoke;\n\
         #clear APT::Update::Post-Invoke-Success;\n\
         #clear APT::Update::Pre-Invoke;\n\
         #clear DPkg::Post-Invoke;\n\
         #clear DPkg::Pre-Install-Pkgs;\n\
         #clear APT::Default-Release;\n\
         Dir::State \"{place}/state\";\n\
         Dir::State::lists \"{place}/lists\";\n\
         Dir::State::status \"{place}/status\";\n\
         Dir::State::extended_states \"{place}/state/extended\";\n\
         Dir::Cache \"{place}/cache\";\n\
         Dir::Cache::archives \"{place}/cache/archives\";\n\
         Dir::Etc::SourceList \"{place}/sources.list\";\n\
         Dir::Etc::SourceParts \"/dev/null\";\n\
         Dir::Etc::Preferences \"/dev/null\";\n\
         Dir::Etc::PreferencesParts \"/dev/null\";\n\
         Dir::Log \"{place}/log\";\n\
         APT::Architecture \"amd64\";\n\
         APT::Architectures {{ \"amd64\"; }};\n\
         APT::Install-Recommends \"false\";\n\
         APT::Install-Suggests \"false\";\n\
         APT::Sandbox::User \"\";\n\
         Acquire::Languages \"none\";\n\
         Binary::apt-get::APT::Keep-Downloaded-Packages \"true\";\n\
         Debug::NoLocking \"true\";\n"
    );
    let file = apt.join("apt.conf");
    for (path, text) in [
        (apt.join("sources.list"), sources),
        (apt.join("status"), String::new()),
        (file.clone(), configuration),
    ] {
        std::fs::write(&path, text).with_context(|| format!("write `{}`", path.display()))?;
    }
    Ok(file)
}

/// One line of apt's sources.
fn source(mirror: &str, suite: &str, keyring: &Path) -> String {
    format!("deb [arch=amd64 signed-by={}] {mirror} {suite} main\n", keyring.display())
}

fn download(configuration: &Path, packages: &[&str]) -> Result<()> {
    let apt = || {
        let mut command = Command::new("apt-get");
        command.arg("-c").arg(configuration).args(["-qq", "-y"]);
        command.env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
        command.stdout(Stdio::null());
        command
    };
    run(apt().args(["-o", "APT::Update::Error-Mode=any", "update"]))?;
    run(apt().args(["--download-only", "install"]).args(packages))
}

fn unpack(archives: &Path, tree: &Path, least: usize) -> Result<()> {
    for folder in ["usr/bin", "usr/sbin", "usr/lib", "usr/lib64"] {
        std::fs::create_dir_all(tree.join(folder)).context("make the judges' tree")?;
        let name = folder.trim_start_matches("usr/");
        symlink(folder, tree.join(name)).context("make the judges' tree")?;
    }
    let mut count = 0;
    for archive in list(archives)?.iter().filter(|file| file.extension().is_some()) {
        unpack_one(archive, tree).with_context(|| format!("unpack `{}`", archive.display()))?;
        count += 1;
    }
    if count < least {
        bail!("{count} packages were downloaded, {least} asked for");
    }
    // Programs that run with their owner's rights have no place in a build folder.
    run(Command::new("chmod").args(["-R", "ug-s,u+w"]).arg(tree))
}

fn unpack_one(archive: &Path, tree: &Path) -> Result<()> {
    let mut contents = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(archive)
        .stdout(Stdio::piped())
        .spawn()
        .context("start `dpkg-deb`")?;
    let pipe = contents.stdout.take().context("read from `dpkg-deb`")?;
    let mut tar = Command::new("tar");
    tar.args(["-x", "--keep-directory-symlink", "--no-same-owner", "--delay-directory-restore"]);
    for folder in ["doc", "man", "info", "locale", "lintian"] {
        tar.arg(format!("--exclude=./usr/share/{folder}/*"));
    }
    run(tar.arg("-C").arg(tree).stdin(pipe))?;
    let status = contents.wait().context("wait for `dpkg-deb`")?;
    if !status.success() {
        bail!("`dpkg-deb` ended with {status}");
    }
    Ok(())
}

fn script(name: &str, place: &str) -> Result<String> {
    let mut text = String::from(
        "#!/bin/sh\n\
         bin=$(dirname \"$(readlink -f \"$0\")\")\n\
         root=$(dirname \"$bin\")/root\n\
         lib=$root/usr/lib/x86_64-linux-gnu\n",
    );
    let loader = format!(
        "exec \"$root/usr/lib64/ld-linux-x86-64.so.2\" --library-path \"$lib:$lib/systemd\" \
         --argv0 {name}"
    );
    match name {
        // The interpreter is Debian 13's too: the machine's may lack the module that it needs.
        "ukify" => {
            let python = python()?;
            text.push_str("export PYTHONHOME=\"$root/usr\" PYTHONDONTWRITEBYTECODE=1\n");
            text.push_str("export PYTHONPATH=\"$root/usr/lib/python3/dist-packages\"\n");
            text.push_str("PATH=$bin:$PATH\n");
            text.push_str(&format!("{loader} \"$root/{python}\" \"$root/{place}\" \"$@\"\n"));
        }
        "qemu-system-x86_64" => {
            text.push_str("export QEMU_MODULE_DIR=\"$lib/qemu\"\n");
            text.push_str(&format!(
                "{loader} \"$root/{place}\" -L \"$root/usr/share/qemu\" \
                 -L \"$root/usr/share/seabios\" -L \"$root/usr/lib/ipxe/qemu\" \"$@\"\n"
            ));
        }
        "qemu-img" | "qemu-io" => {
            text.push_str("export QEMU_MODULE_DIR=\"$lib/qemu\"\n");
            text.push_str(&format!("{loader} \"$root/{place}\" \"$@\"\n"));
        }
        _ => text.push_str(&format!("{loader} \"$root/{place}\" \"$@\"\n")),
    }
    Ok(text)
}

/// Where the interpreter lies: its name carries a version.
fn python() -> Result<String> {
    let version = |path: &PathBuf| {
        let name = path.file_name()?.to_str()?.to_owned();
        let minor = name.strip_prefix("python3.")?;
        minor.bytes().all(|byte| byte.is_ascii_digit()).then_some(format!("usr/bin/{name}"))
    };
    let found = list(&root().join("usr/bin"))?.iter().find_map(version);
    found.context("find Debian 13's Python among the judges")
}
