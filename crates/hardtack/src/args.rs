//! The command line.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::scripts::OnUnreviewed;

/// Bakes immutable container hosts: one profile in, one signed A/B image out.
#[derive(Debug, Parser)]
#[command(name = "hardtack", version, about, after_help = "Exit codes: docs/exit-codes.md")]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Bake a profile into a signed disk image.
    Image(Image),
    /// Resolve a profile's packages and write the lock.
    Lock(Lock),
    /// Make or use signing keys.
    #[command(subcommand)]
    Keys(Keys),
    /// Check or sweep what is kept.
    #[command(subcommand)]
    Store(Store),
    /// Print an assembled tree as mtree(5) text.
    Tree(Tree),
    /// Work on rules for packages.
    #[command(subcommand)]
    Rules(Rules),
    /// Show what any image is, from its bytes alone; fails where it is damaged.
    Inspect(Inspect),
    /// Say why a path or a package is in an image, or is not.
    Why(Why),
    /// Say what a build would run, and why; nothing is run or written.
    Explain(Explain),
    /// Put a baked image into a feed of updates, sign the feed again, or take a version out.
    Publish(Publish),
    /// Verify a feed of updates from outside, as a host would and beyond; nothing is written.
    Verify(Verify),
    /// Show what changed between two releases, from their bytes alone.
    Diff(Diff),
}

/// Where packages come from.
#[derive(Debug, Args)]
pub struct Origin {
    /// Where the archives are, instead of the profile's or this machine's apt configuration.
    #[arg(long, value_name = "URL", env = "HARDTACK_MIRROR", hide_env_values = true)]
    pub mirror: Option<String>,
    /// Accept an archive state that has expired; recorded in the lock.
    #[arg(long)]
    pub allow_stale: bool,
    /// Lock an archive state that is older than the lock there is; the reason is recorded.
    #[arg(long, value_name = "REASON", value_parser = NonEmptyStringValueParser::new())]
    pub allow_rollback: Option<String>,
}

/// Where things are kept, and what is known of packages.
#[derive(Debug, Args)]
pub struct Places {
    /// Where bytes and results are kept (default: the user's cache directory).
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Where locks of profiles without one are kept (default: `locks` in the store).
    #[arg(long, value_name = "DIR")]
    pub locks: Option<PathBuf>,
    /// Rules for packages (default: `rules` beside the profile).
    #[arg(long, value_name = "DIR")]
    pub rules: Option<PathBuf>,
}

/// `hardtack image`.
#[derive(Debug, Args)]
pub struct Image {
    /// The profile's file.
    pub profile: PathBuf,
    /// Where the image goes (default: `<id>` in the working directory).
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub places: Places,
    /// Signing keys; development keys are made where there are none (default: `keys` in the store).
    #[arg(long, value_name = "DIR")]
    pub keys: Option<PathBuf>,
    /// The image's version (default: the profile's, else the date of the lock's epoch).
    #[arg(long, value_name = "VERSION")]
    pub version: Option<String>,
    /// Lock again from the archive's present state, and print what changed.
    #[arg(long, conflicts_with = "locked")]
    pub update: bool,
    /// Fail where there is no lock or it does not fit the profile.
    #[arg(long)]
    pub locked: bool,
    /// An earlier release, or a feed's channel (its newest version), whose hosts must be able to
    /// take this one (default: what stands in the output directory, as a warning).
    #[arg(long, value_name = "DIR[#VERSION]")]
    pub previous: Option<PathBuf>,
    /// Put the SHA-256 of each disk, zeros included, into `result.json` too; takes seconds.
    #[arg(long)]
    pub checksums: bool,
    /// What becomes of the build when nobody has reviewed a script: `refuse` (default) or `warn`.
    #[arg(
        long,
        value_name = "WHAT",
        value_enum,
        default_value_t,
        hide_possible_values = true,
        hide_default_value = true
    )]
    pub unreviewed_scripts: OnUnreviewed,
    #[command(flatten)]
    pub origin: Origin,
}

/// `hardtack lock`.
#[derive(Debug, Args)]
pub struct Lock {
    /// The profile's file.
    pub profile: PathBuf,
    /// The lock's file (default: beside the profile, `<profile>.lock`).
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Rules for packages (default: `rules` beside the profile).
    #[arg(long, value_name = "DIR")]
    pub rules: Option<PathBuf>,
    #[command(flatten)]
    pub origin: Origin,
}

/// `hardtack rules`.
#[derive(Debug, Subcommand)]
pub enum Rules {
    /// Draft the rule of a package: its scripts in words, their digests filled in.
    New(NewRule),
}

/// `hardtack rules new`.
#[derive(Debug, Args)]
pub struct NewRule {
    /// The package; the profile need not ask for it.
    pub package: String,
    /// The profile whose lock or archives have the package.
    #[arg(long, value_name = "FILE")]
    pub profile: PathBuf,
    /// The draft's file, which must not be there (default: standard output).
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub places: Places,
    #[command(flatten)]
    pub origin: Origin,
}

/// `hardtack keys`.
#[derive(Debug, Subcommand)]
pub enum Keys {
    /// Make development keys.
    Make {
        /// The directory, made if missing; keys that are there stay.
        directory: PathBuf,
    },
    /// Write a variable store for OVMF in which these keys are enrolled and Secure Boot is on.
    Ovmf {
        /// The keys' directory.
        #[arg(long, value_name = "DIR")]
        keys: PathBuf,
        /// OVMF's own variable store, as the distribution ships it (`OVMF_VARS*.fd`).
        #[arg(long, value_name = "FILE")]
        template: PathBuf,
        /// The file to write.
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
    },
}

/// `hardtack store`.
#[derive(Debug, Subcommand)]
pub enum Store {
    /// Read everything in the store; set aside what is damaged, to be made anew.
    Verify {
        /// Where bytes and results are kept (default: the user's cache directory).
        #[arg(long, value_name = "DIR")]
        store: Option<PathBuf>,
    },
    /// Remove what no build has used for some days.
    Gc {
        /// Where bytes and results are kept (default: the user's cache directory).
        #[arg(long, value_name = "DIR")]
        store: Option<PathBuf>,
        /// How many days; 0 removes everything but the pool's releases.
        #[arg(long, value_name = "DAYS", default_value_t = 14)]
        days: u64,
    },
}

/// `hardtack tree`.
#[derive(Debug, Args)]
pub struct Tree {
    /// The profile's file.
    pub profile: PathBuf,
    /// How far the tree has been made.
    #[arg(long, value_enum, default_value_t)]
    pub at: At,
    /// Write the tree here as a tar archive with numeric owners, and print nothing.
    #[arg(long, value_name = "FILE")]
    pub tar: Option<PathBuf>,
    #[command(flatten)]
    pub places: Places,
    /// Signing keys, whose public halves are part of a tree (default: `keys` in the store).
    #[arg(long, value_name = "DIR")]
    pub keys: Option<PathBuf>,
    /// The image's version (default: the profile's, else the date of the lock's epoch).
    #[arg(long, value_name = "VERSION")]
    pub version: Option<String>,
    /// Fail where there is no lock or it does not fit the profile.
    #[arg(long)]
    pub locked: bool,
    #[command(flatten)]
    pub origin: Origin,
}

/// Which tree `hardtack tree` shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum At {
    /// Packages as the distribution's own installer would leave them: nothing of the profile but
    /// its packages, `/etc` at its place.
    Installed,
    /// What the image holds.
    #[default]
    Image,
    /// What the initial RAM disk holds.
    Initrd,
}

/// `hardtack inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    /// A disk (raw or fixed VHD), a partition's content, an EFI program or an archive.
    pub image: PathBuf,
    /// As JSON, for programs.
    #[arg(long)]
    pub json: bool,
}

/// An image that was baked before, where `image` with the same options left it.
#[derive(Debug, Args)]
pub struct Settled {
    /// The profile's file.
    pub profile: PathBuf,
    #[command(flatten)]
    pub places: Places,
    /// The image's version (default: the profile's, else the date of the lock's epoch).
    #[arg(long, value_name = "VERSION")]
    pub version: Option<String>,
}

/// `hardtack why`.
#[derive(Debug, Args)]
pub struct Why {
    /// A path of the image (`/usr/bin/x`), or a package's name.
    pub what: String,
    #[command(flatten)]
    pub of: Settled,
    /// Where the image is (default: `<id>` in the working directory).
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

/// `hardtack explain`.
#[derive(Debug, Args)]
pub struct Explain {
    #[command(flatten)]
    pub of: Settled,
    /// Signing keys (default: `keys` in the store).
    #[arg(long, value_name = "DIR")]
    pub keys: Option<PathBuf>,
}

/// `hardtack publish`.
#[derive(Debug, Args)]
pub struct Publish {
    /// The feed's directory, which a web server hands out; made where there is none.
    pub feed: PathBuf,
    #[command(flatten)]
    pub what: ToPublish,
    /// The channel (default: the release's, else `stable`; all of them are signed again).
    #[arg(long, value_name = "NAME")]
    pub channel: Option<String>,
    /// How long the new signatures hold (default: the release's, the channel's, else 30d).
    #[arg(long, value_name = "TIME")]
    pub valid: Option<String>,
    /// When they are made, as `2026-11-25T22:23:24Z` (default: now).
    #[arg(long, value_name = "MOMENT")]
    pub at: Option<String>,
    /// Signing keys (default: `keys` in the user's cache directory).
    #[arg(long, value_name = "DIR")]
    pub keys: Option<PathBuf>,
    /// Publish although anybody may have the keys: for trials.
    #[arg(long)]
    pub development_keys_are_fine_for_this_feed: bool,
}

/// What `hardtack publish` does.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct ToPublish {
    /// Add the release in this directory, as `hardtack image` wrote it.
    #[arg(long, value_name = "DIR")]
    pub release: Option<PathBuf>,
    /// Sign again before signatures expire; no version changes.
    #[arg(long)]
    pub refresh: bool,
    /// Take this version out of the channel.
    #[arg(long, value_name = "VERSION")]
    pub retire: Option<String>,
}

/// `hardtack verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// The feed: a directory, or the address that hosts fetch it from.
    #[arg(long, value_name = "URL|DIR")]
    pub feed: String,
    /// The channel.
    #[arg(long, value_name = "NAME", default_value = "stable")]
    pub channel: String,
    /// OpenPGP keys whose lists are believed (default: `release.pub.pgp` of the keys).
    #[arg(long, value_name = "FILE")]
    pub keyring: Option<PathBuf>,
    /// Certificate that the hosts' firmware trusts (default: `db.crt` of the keys).
    #[arg(long, value_name = "FILE")]
    pub certificate: Option<PathBuf>,
    /// When it is asked whether signatures hold, as `2026-11-25T22:23:24Z` (default: now).
    #[arg(long, value_name = "MOMENT")]
    pub at: Option<String>,
    /// Where the two public keys are (default: `keys` in the user's cache directory).
    #[arg(long, value_name = "DIR")]
    pub keys: Option<PathBuf>,
}

/// `hardtack diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// The earlier release: an image, a release's directory, a feed's channel (its newest version)
    /// or a lock; with `#VERSION` behind it where there is more than one.
    pub old: String,
    /// The later release, likewise.
    pub new: String,
    /// Name every file; short, files are counted by package.
    #[arg(long)]
    pub full: bool,
    /// As JSON, for programs.
    #[arg(long, conflicts_with = "full")]
    pub json: bool,
    /// Also write a page that needs nothing else, with a treemap of bytes by package.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}
