//! `cargo xtask repro`: one lock and one set of keys give one image, whoever bakes it and where.
//!
//! Two builds begin with empty stores in different directories and differ in all that must not
//! matter; a third image comes from the store of every day. All artifacts must be the same bytes.

mod compare;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use compare::same;

use crate::Build;
use crate::doctor::{self, Consent, Need};
use crate::image::{Profile, bake, compile};
use crate::locked::{self, copy, lock, packages, text};
use crate::run::{read, run, target};
use crate::stages::{everything_ran, named, nothing_to_do, stages};

#[derive(Args)]
pub(crate) struct Options {
    /// A name in `profiles/`, or the path of a profile.
    #[arg(default_value = "mini")]
    profile: String,
    /// Where the package archive is, when the profile must be locked or packages are missing.
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Install missing system packages without asking.
    #[arg(long)]
    yes: bool,
}

/// The verb.
pub(crate) fn repro(options: &Options) -> Result<()> {
    doctor::ready(Need::Test, Consent::from_flag(options.yes))?;
    compile()?;
    let profile = Profile::find(&options.profile)?;
    let mut build = Build::plain(&options.profile, options.mirror.clone());
    build.rest = ["--unreviewed-scripts", "warn"].map(str::to_owned).into();
    bake(&profile, &build)?;
    show(&profile)
}

/// The person without rights that builds beside root: `nobody` on every distribution.
const NOBODY: &str = "65534";

/// Everything that must not reach a byte.
struct Place {
    /// The builder's directory, home and, for the first, working directory.
    folder: PathBuf,
    umask: &'static str,
    zone: &'static str,
    locale: &'static str,
    /// The day that the builder's clock shows.
    date: Option<&'static str>,
    /// As [`NOBODY`], and with one processor.
    humble: bool,
}

/// Builds `profile`, baked already, in two places and compares all three.
pub(crate) fn show(profile: &Profile) -> Result<()> {
    let work = folder()?;
    let root = is_root()?;
    let first = Place {
        folder: work.join("first"),
        umask: "022",
        zone: "UTC",
        locale: "C",
        date: None,
        humble: false,
    };
    let second = Place {
        folder: work.join("another place/second"),
        umask: "077",
        zone: "Pacific/Kiritimati",
        locale: "tr_TR.UTF-8",
        date: Some("2031-02-03 04:05:06"),
        humble: true,
    };
    if !root {
        println!("note    one user only: `setpriv` needs root");
    }
    for place in [&first, &second] {
        place.furnish(profile, root)?;
        place.check(root)?;
        let start = Instant::now();
        everything_ran(&place.bake(profile, root)?, packages(&text(&lock(profile))?)?.len())?;
        println!("ok      {} from an empty store, {} s", place.about(root), seconds(start));
    }
    let names = same(&first.output(), &second.output())?;
    println!("ok      {names} artifacts are the same bytes in both");
    let names = same(&profile.output(), &second.output())?;
    println!("ok      {names} artifacts are those of the store of every day");

    let start = Instant::now();
    nothing_to_do(&second.bake(profile, root)?)?;
    println!("ok      again: no stage ran, {} s", seconds(start));
    let start = Instant::now();
    println!("ok      {}, {} s", one_file_changed(&second, &first, profile, root)?, seconds(start));
    std::fs::remove_dir_all(&work).with_context(|| format!("remove `{}`", work.display()))
}

fn seconds(start: Instant) -> u64 {
    start.elapsed().as_secs()
}

impl Place {
    fn about(&self, root: bool) -> String {
        let user = match (self.humble, root) {
            (true, true) => format!("user {NOBODY}, "),
            (false, true) => "root, ".to_owned(),
            (_, false) => String::new(),
        };
        let processors = if self.humble { "one processor" } else { "all processors" };
        let Place { umask, zone, locale, .. } = self;
        let date = self.date.unwrap_or("today");
        format!("{user}umask {umask}, {zone}, {locale}, {processors}, {date}:")
    }

    fn output(&self) -> PathBuf {
        self.folder.join("output")
    }

    /// Program, profiles, keys, lock and packages; no result of any stage.
    fn furnish(&self, profile: &Profile, root: bool) -> Result<()> {
        let folder = &self.folder;
        for name in ["store", "locks"] {
            let made = folder.join(name);
            std::fs::create_dir_all(&made).with_context(|| format!("make `{}`", made.display()))?;
        }
        let profiles = profile.file.parent().context("find the profile's folder")?;
        copy(profiles, &folder.join("profiles"))?;
        copy(&target().join("keys"), &folder.join("keys"))?;
        // One program for both, whatever is compiled meanwhile.
        copy(&target().join("debug/hardtack"), &folder.join("hardtack"))?;
        let lock = lock(profile);
        copy(&lock, &folder.join("locks").join(format!("{}.lock", profile.name)))?;
        locked::furnish(&folder.join("store"), &text(&lock)?)?;
        if root && self.humble {
            run(Command::new("chown").args(["-R", &format!("{NOBODY}:{NOBODY}")]).arg(folder))?;
        }
        Ok(())
    }

    /// Builds, and returns what the program said on standard output.
    fn bake(&self, profile: &Profile, root: bool) -> Result<String> {
        // A relative path in one place, an absolute one in the other.
        let at = |name: &str| match self.humble {
            true => name.to_owned(),
            false => self.folder.join(name).display().to_string(),
        };
        let mut words = vec![self.folder.join("hardtack").display().to_string()];
        words.extend(["image".to_owned(), at(&format!("profiles/{}", file_name(&profile.file)?))]);
        for name in ["store", "keys", "locks", "output"] {
            words.extend([format!("--{name}"), at(name)]);
        }
        words.extend(["--locked", "--unreviewed-scripts", "warn"].map(str::to_owned));
        let mut command = self.command(&words, root)?;
        command.current_dir(if self.humble { &self.folder } else { Path::new("/") });
        let said = read(&mut command).with_context(|| format!("bake: {}", self.about(root)))?;
        String::from_utf8(said).context("read what the program said")
    }

    /// A program under all of the place's conditions.
    fn command(&self, program: &[String], root: bool) -> Result<Command> {
        let mut words: Vec<String> = Vec::new();
        if self.humble {
            words.extend(["taskset", "--cpu-list", first_processor()?.as_str()].map(str::to_owned));
            if root {
                let user = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")];
                words.push("setpriv".to_owned());
                words.extend(user);
                words.push("--clear-groups".to_owned());
            }
        }
        if let Some(date) = self.date {
            words.extend(["faketime", date].map(str::to_owned));
        }
        words.extend_from_slice(program);
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("umask {}; exec \"$@\"", self.umask)).arg("sh").args(&words);
        // The packages lie in the store already: nothing is fetched.
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.folder.join("home")).env("TZ", self.zone);
        command.env("LC_ALL", self.locale).env("LANG", self.locale);
        Ok(command)
    }

    /// Fails where a condition was not what it says: two equal builds would then prove nothing.
    fn check(&self, root: bool) -> Result<()> {
        let question = "umask; id -u; date +%Y-%m-%d; nproc; echo $TZ";
        let words = ["sh", "-c", question].map(str::to_owned);
        let said = read(&mut self.command(&words, root)?)?;
        let said = String::from_utf8(said).context("read the conditions")?;
        let lines: Vec<&str> = said.lines().collect();
        let [umask, user, day, processors, zone] = lines.as_slice() else {
            bail!("the conditions were not told: {said}");
        };
        let day_as_meant = self.date.is_none_or(|date| date.starts_with(day));
        let user_as_meant = !root || (*user == NOBODY) == self.humble;
        let one_as_meant = !self.humble || *processors == "1";
        let rest = umask.ends_with(self.umask) && *zone == self.zone;
        if !(day_as_meant && user_as_meant && one_as_meant && rest) {
            bail!("the conditions are not those of {} {said}", self.about(root));
        }
        Ok(())
    }
}

/// Where both builds lie: below `target` where another user may go there, else where everybody may.
fn folder() -> Result<PathBuf> {
    let everybody = |folder: &Path| {
        std::fs::metadata(folder).is_ok_and(|about| about.permissions().mode() & 0o001 != 0)
    };
    let target = target();
    let place = match target.ancestors().all(everybody) {
        true => target,
        false => std::env::temp_dir(),
    };
    let folder = place.join("hardtack-repro");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)
            .with_context(|| format!("remove `{}`", folder.display()))?;
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("make `{}`", folder.display()))?;
    Ok(folder)
}

fn is_root() -> Result<bool> {
    Ok(read(Command::new("id").arg("-u"))?.starts_with(b"0\n"))
}

/// A processor that this program may use.
fn first_processor() -> Result<String> {
    let text = std::fs::read_to_string("/proc/self/status").context("read our own status")?;
    let allowed = text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let allowed = allowed.context("find the allowed processors")?.trim();
    let end = allowed.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(allowed.len());
    Ok(allowed[..end].to_owned())
}

fn file_name(path: &Path) -> Result<&str> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.with_context(|| format!("read the name of `{}`", path.display()))
}

/// A file more in the profile: no package is read again, and the comparison sees the difference.
fn one_file_changed(place: &Place, old: &Place, profile: &Profile, root: bool) -> Result<String> {
    let folder = place.folder.join("profiles").join(format!("{}.d/usr/lib", profile.name));
    std::fs::create_dir_all(&folder).with_context(|| format!("make `{}`", folder.display()))?;
    std::fs::write(folder.join("repro"), "changed\n").context("change the profile's files")?;
    if root {
        run(Command::new("chown").args(["-R", NOBODY]).arg(place.folder.join("profiles")))?;
    }
    let stages = stages(&place.bake(profile, root)?)?;
    let import = named(&stages, "import")?;
    if import.ran > 0 {
        bail!("a file of the profile changed, and {} packages were read again", import.ran);
    }
    if named(&stages, "merge")?.ran == 0 {
        bail!("a file of the profile changed, and `merge` did not run");
    }
    let Err(difference) = same(&old.output(), &place.output()) else {
        bail!("a file of the profile changed, and the image did not: the comparison is blind");
    };
    // What an image is compared by must see this one: of all that differs, the disk.
    let difference = difference.to_string();
    let disk = difference.split("; ").find(|part| part.contains(".raw`"));
    let disk = disk.with_context(|| format!("find the disk in: {difference}"))?;
    Ok(format!("one file changed: {} packages kept, none read; {disk}", import.kept))
}
