//! Starting programs, and where things lie in the repository.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The repository's top folder.
pub(crate) fn top() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

/// Everything that may be deleted.
pub(crate) fn target() -> PathBuf {
    top().join("target")
}

/// The Cargo that started this program, in the repository's top folder.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(top());
    // What Cargo told this program about itself must not reach the Cargo below: it would make
    // other fingerprints than the same command typed by hand.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs a program to its end, its output passing through; anything but success is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("start {}", name(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", line(command));
    }
    Ok(())
}

/// Runs a program to its end and returns its standard output; its errors become ours.
pub(crate) fn read(command: &mut Command) -> Result<Vec<u8>> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {}", name(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{} ended with {}: {}", line(command), output.status, said.trim());
    }
    Ok(output.stdout)
}

/// Where the program `name` is, as a shell would find it, looking into the administrator's folders
/// too: they are not on everybody's PATH.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// A command for a judge: Debian 13's own from `target/judges`, else the machine's.
pub(crate) fn tool(name: &str) -> Result<Command> {
    let ours = target().join("judges/bin").join(name);
    let program = if ours.exists() { Some(ours) } else { find(name) };
    let program = program
        .with_context(|| format!("find the program `{name}`: run `cargo xtask doctor --fix`"))?;
    Ok(Command::new(program))
}

/// The files and folders of a folder, sorted by name.
pub(crate) fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("list `{}`", folder.display()));
    let mut paths = Vec::new();
    for entry in entries? {
        paths.push(entry.with_context(|| format!("list `{}`", folder.display()))?.path());
    }
    paths.sort();
    Ok(paths)
}

fn name(command: &Command) -> String {
    format!("`{}`", command.get_program().to_string_lossy())
}

fn line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    let mut line = words.join(" ");
    if line.len() > 300 {
        line.truncate(line.floor_char_boundary(300));
        line.push('…');
    }
    format!("`{line}`")
}
