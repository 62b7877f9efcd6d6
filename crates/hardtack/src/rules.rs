//! `hardtack rules new`: the draft of a rule, from the package itself.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;

use anyhow::{Context, Result};
use lock::{Lock, Options};
use package::{Control, Fact, Remainder, Script};
use rootfs::Rules;
use store::Store;

use crate::args::NewRule;
use crate::fault::{Fault, Or as _};
use crate::inputs;
use crate::{hand_over, print, progress};

/// Writes the draft of a package's rule.
pub(crate) fn new(arguments: &NewRule) -> Result<()> {
    let profile = &arguments.profile;
    let wishes =
        inputs::wishes(profile, arguments.places.rules.as_deref()).fault(Fault::Profile)?;
    let options = inputs::options(&arguments.origin);
    let (root, locks) = hand_over::places(&arguments.places)?;
    let lock = inputs::lock_with(&arguments.package, profile, &wishes, &options, &locks);
    let lock = lock.fault(Fault::Lock)?;
    std::fs::create_dir_all(&root)
        .with_context(|| format!("make `{}`", root.display()))
        .fault(Fault::Output)?;
    let store = Store::open(&root, None).fault(Fault::Output)?;
    let control = control(&arguments.package, &lock, &options, &store)?;
    let text = draft(&control, wishes.rules()).fault(Fault::Build)?;
    let Some(output) = &arguments.output else {
        print(text.trim_end());
        return Ok(());
    };
    // A rule that somebody has written is worth more than a draft.
    let file = OpenOptions::new().write(true).create_new(true).open(output);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written
        .with_context(|| {
            format!("write the draft to `{}`, which must not be there", output.display())
        })
        .fault(Fault::Output)
}

/// The package's control data, fetched where the store lacks it.
fn control(package: &str, lock: &Lock, options: &Options, store: &Store) -> Result<Control> {
    let locked = lock.packages.iter().find(|locked| locked.id.name == package);
    let locked = locked
        .with_context(|| format!("find `{package}` among the locked packages"))
        .fault(Fault::Lock)?;
    let mut wanted = lock::wanted(lock, options).fault(Fault::Fetch)?;
    wanted.retain(|wanted| wanted.blob == locked.blob);
    fetch::all(&wanted, store, progress()).fault(Fault::Fetch)?;
    let archive = store.open_blob(&locked.blob).fault(Fault::Fetch)?;
    let family = lock.family(locked).fault(Fault::Lock)?;
    let control = package::control(family, archive)
        .with_context(|| format!("read control data of `{package}`"))
        .fault(Fault::Build)?;
    if control.id != locked.id {
        return Err(anyhow::anyhow!("the archive is of `{}`, not of `{package}`", control.id.name))
            .fault(Fault::Build);
    }
    Ok(control)
}

/// The text of a rule file whose reasons are still to be written.
fn draft(control: &Control, rules: &Rules) -> Result<String> {
    let id = &control.id;
    let mut out = format!(
        "# A draft for `{}` {} ({}). Read each script, say here what of it an image needs\n\
         # (docs/profile.md, \"Rules\"), say why nothing more is needed, and delete the comments.\n",
        id.name, id.version.0, id.architecture
    );
    if rules.for_package(&id.name).is_some() {
        out.push_str("# There is a rule for this package already: take over what is new.\n");
    }
    out.push_str("about: \"\"\n");
    let mut scripts = String::new();
    for script in &control.scripts {
        let (facts, left) = package::read_script(script, id);
        scripts.push_str(&about(script, &facts, &left, &id.name)?);
        if let Some(digest) = left.digest {
            let moment = script.moment;
            let _ =
                write!(scripts, "  - moment: {moment}\n    sha256: [{digest}]\n    why: \"\"\n");
        }
    }
    if !scripts.lines().any(|line| line.starts_with("  - ")) {
        out.push_str("# None of its scripts needs a rule: there is none, or all is recognised.\n");
    } else {
        out.push_str("scripts:\n");
    }
    Ok(out + &scripts)
}

/// Comments on one script.
fn about(script: &Script, facts: &[Fact], left: &Remainder, package: &str) -> Result<String> {
    let moment = script.moment;
    let mut out = format!("  # {moment}, run by `{}`\n", comment(&script.interpreter.join(" ")));
    if !facts.is_empty() {
        out.push_str("  # Recognised, and done without a rule:\n");
        for fact in facts {
            let text = String::from_utf8(store::encode(fact)?).context("read a fact as UTF-8")?;
            let _ = writeln!(out, "  #   {}", comment(&text));
        }
    }
    if left.digest.is_none() {
        return Ok(out + "  # Nothing else is left.\n");
    }
    out.push_str("  # What it would have done:\n");
    for sentence in package::in_words(&left.text, moment, package) {
        let _ = writeln!(out, "  #   - {}", comment(&sentence));
    }
    out.push_str("  # Its text, as the digest names it:\n");
    for line in left.text.lines() {
        let _ = writeln!(out, "  #   | {}", comment(line));
    }
    Ok(out)
}

/// A line that cannot end a comment, whatever the package holds.
fn comment(line: &str) -> String {
    let ends = |c: char| (c.is_control() && c != '\t') || matches!(c, '\u{2028}' | '\u{2029}');
    line.chars()
        .flat_map(|c| if ends(c) { c.escape_unicode().collect() } else { vec![c] })
        .collect()
}
