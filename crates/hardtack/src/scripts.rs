//! Scripts that nobody has read: found before anything is built, told in words.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use rootfs::{Likeness, Similar, Stale, Unreviewed};
use store::Digest;

use crate::assemble::Packages;
use crate::plan::Plan;

/// A message tells no more of one script than this many sentences.
const SENTENCES: usize = 20;

/// What becomes of a build when nobody has read a script.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OnUnreviewed {
    /// It stops.
    #[default]
    Refuse,
    /// It goes on; each script is a warning, and the manifest names it.
    Warn,
}

/// The scripts that nobody has read, of host and initrd alike: a rule holds for a package,
/// whatever of it the initrd keeps.
///
/// # Errors
/// There are some, and the plan wants none.
pub fn unreviewed(plan: &Plan, packages: &Packages) -> Result<Vec<Unreviewed>> {
    let mut acknowledged: BTreeMap<String, BTreeSet<Digest>> = BTreeMap::new();
    for (package, scripts) in plan.host.scripts.iter().chain(&plan.initrd.scripts) {
        for script in scripts {
            let digest = script.sha256.parse();
            let digest = digest.with_context(|| format!("read `scripts` of `{package}`"))?;
            acknowledged.entry(package.clone()).or_default().insert(digest);
        }
    }
    let found = rootfs::unreviewed(&packages.all(), &plan.rules, &acknowledged)?;
    if plan.on_unreviewed == OnUnreviewed::Refuse && !found.is_empty() {
        let told: Vec<String> = found.iter().map(|script| told(script, plan)).collect();
        bail!(
            "nobody has reviewed {} of the packages' scripts, and none is ever run\n{}\
             --unreviewed-scripts warn builds all the same; such an image cannot be published",
            found.len(),
            told.concat()
        );
    }
    Ok(found)
}

/// What rules name in vain, a line each: the archive has moved on, or more is recognised.
pub fn stale(plan: &Plan, packages: &Packages) -> Vec<String> {
    let packages = packages.all();
    let line = |stale: &Stale<'_>| {
        let Stale { rule, moment, digest, recognised } = stale;
        let why = if *recognised {
            "every such script of its packages is recognised without it"
        } else {
            "no package of the lock has it"
        };
        format!("rule `{rule}` names the {moment} script {digest} in vain: {why}")
    };
    rootfs::stale(&packages, &plan.rules).iter().map(line).collect()
}

/// Package and moment, what the script would have done, and what can be done about it.
pub(crate) fn told(script: &Unreviewed, plan: &Plan) -> String {
    let Unreviewed { package, moment, digest, text } = script;
    let mut out = format!("unreviewed: {package} {moment} {digest}\n");
    let sentences = package::in_words(text, *moment, package);
    for sentence in sentences.iter().take(SENTENCES) {
        let _ = writeln!(out, "  - {sentence}");
    }
    if sentences.len() > SENTENCES {
        let more = sentences.len() - SENTENCES;
        let _ = writeln!(out, "  … {more} more, which `hardtack rules new` shows with the text");
    }
    let similar = rootfs::similar(script, &plan.rules);
    if similar.is_empty() {
        out.push_str("  no rule reviews a similar script\n");
    }
    for similar in similar {
        let _ = writeln!(out, "  {}", alike(&similar));
    }
    let _ = write!(
        out,
        "  if an image needs nothing of this, say so in the profile:\n    scripts:\n      \
         {package}: {digest} REASON\n  else write a rule: hardtack rules new --profile PROFILE \
         {package}\n"
    );
    out
}

fn alike(similar: &Similar<'_>) -> String {
    let Similar { rule, likeness, reviewed } = similar;
    let why = &reviewed.why;
    match likeness {
        Likeness::Text => format!("rule `{rule}` reviews the same text: {why}"),
        Likeness::Place => {
            let known: Vec<String> = reviewed.sha256.iter().map(Digest::to_string).collect();
            format!(
                "rule `{rule}` reviews another text of this script ({why}); of that one only the \
                 digest is kept ({}), so what has changed cannot be shown",
                known.join(", ")
            )
        }
        Likeness::Name => format!("rule `{rule}` reviews a script of a like package: {why}"),
    }
}
