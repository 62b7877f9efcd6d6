//! Foreign programs that judge our formats; for tests alone.
//!
//! A missing judge is a failure, never a skipped test. Debian 13's programs come first, from
//! `target/judges/bin`, which `cargo xtask doctor --fix` fills; then those of the machine. The
//! folder that the environment variable `HARDTACK_JUDGES` names goes before both: so `cargo xtask
//! judge client` puts the newest systemd in the place of Debian 13's.

pub mod corpus;
pub mod forge;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a judge said.
#[derive(Debug)]
pub struct Ran {
    /// Whether it exited with 0.
    pub ok: bool,
    /// Its standard output followed by its standard error.
    pub text: String,
}

/// A command that starts the judge `name`.
///
/// # Panics
/// When the machine lacks it.
#[expect(clippy::disallowed_methods, reason = "judges are programs; tests alone run them")]
pub fn tool(name: &str) -> Command {
    let first = std::env::var_os("HARDTACK_JUDGES").map(PathBuf::from);
    let ours = first.into_iter().chain([target().join("judges/bin")]);
    if let Some(program) = ours.map(|bin| bin.join(name)).find(|program| program.exists()) {
        return Command::new(program);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    places.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
    match places.iter().map(|place| place.join(name)).find(|program| program.is_file()) {
        Some(program) => Command::new(program),
        None => panic!("the judge `{name}` is missing: run `cargo xtask doctor --fix`"),
    }
}

/// Runs a judge to its end, in the C locale.
///
/// # Panics
/// When it cannot be started.
pub fn run(command: &mut Command) -> Ran {
    let output = command.env("LC_ALL", "C").output();
    let output = output.unwrap_or_else(|error| panic!("start {command:?}: {error}"));
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Ran { ok: output.status.success(), text }
}

/// An empty directory `name` of the running test's own, under the workspace's `target`.
///
/// Tests run as threads of one process or as processes of their own: the thread's name is the
/// test's. It is hashed, because a path that holds a socket must stay short.
///
/// # Panics
/// When it cannot be made.
#[expect(clippy::disallowed_methods, reason = "tests of two crates may have one name")]
pub fn scratch(name: &str) -> PathBuf {
    let mut test = DefaultHasher::new();
    (std::thread::current().name(), std::env::var_os("CARGO_PKG_NAME")).hash(&mut test);
    let directory = target().join(format!("scratch/{name}-{:08x}", test.finish() >> 32));
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory)
        .unwrap_or_else(|error| panic!("make `{}`: {error}", directory.display()));
    directory
}

/// The workspace's `target`, without `..`: some judges refuse it.
fn target() -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    crates.and_then(Path::parent).unwrap_or(Path::new("")).join("target")
}
