//! Where an archive is.

use anyhow::{Context, Result, bail};

use crate::{Address, Machine};

/// What is asked of an archive's place.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// What the profile calls the archive.
    pub name: &'a str,
    /// Last component of the archive's URL, by which it is known on this machine.
    pub path: &'a str,
    /// The paths of all archives that lie beside each other, this one's included.
    pub beside: &'a [&'a str],
    /// What the profile says.
    pub url: Option<&'a str>,
    /// What the command line or the environment says: the base of all archives, or the URL of
    /// one of them.
    pub explicit: Option<&'a str>,
}

/// The root of an archive.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// Its address.
    pub root: Address,
    /// Who named it, for messages.
    pub named_by: String,
    /// Whether an index past its end is refused: the package manager's configuration can switch
    /// that off for the archives that it names itself.
    pub checks_dates: bool,
}

/// Finds an archive: what was said explicitly, else the profile, else this machine's package
/// manager, whatever suite it uses of the archive.
pub fn mirror(place: &Place, machine: &Machine) -> Result<Mirror> {
    let name = place.name;
    if let Some(text) = place.explicit {
        let base = Address::parse(text).with_context(|| format!("read mirror for `{name}`"))?;
        let root = if base.last() == place.path {
            base
        } else if place.beside.contains(&base.last()) {
            base.sibling(place.path)
        } else {
            base.join(place.path)
        };
        let named_by = "--mirror or HARDTACK_MIRROR".into();
        return Ok(Mirror { root, named_by, checks_dates: true });
    }
    if let Some(text) = place.url {
        let root = Address::parse(text).with_context(|| format!("read url of archive `{name}`"))?;
        if root.login().is_some() {
            bail!("the url of archive `{name}` holds a login: logins belong in auth.conf");
        }
        let named_by = format!("url of archive `{name}` in the profile");
        return Ok(Mirror { root, named_by, checks_dates: true });
    }
    let source = machine.source(place.path);
    match source.with_context(|| format!("find archive `{name}` on this machine"))? {
        Some(source) => Ok(Mirror {
            root: source.address.clone(),
            named_by: source.place.clone(),
            checks_dates: machine.checks_dates(),
        }),
        None => bail!(
            "it is not known where archive `{name}` is: no source of this machine's package \
             manager ends in `/{}`; say it with `--mirror URL`, with the environment variable \
             HARDTACK_MIRROR, or with `url:` of the archive in the profile",
            place.path
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(explicit: Option<&str>, url: Option<&str>, path: &str) -> Result<String> {
        let place =
            Place { name: "a", path, beside: &["debian", "debian-security"], url, explicit };
        mirror(&place, &Machine::default()).map(|mirror| mirror.root.to_string())
    }

    #[test]
    fn a_mirror_is_a_base_or_the_url_of_one_archive() {
        for (text, path, root_is) in [
            ("http://m.test/debian", "debian", "http://m.test/debian"),
            ("http://m.test/debian/", "debian-security", "http://m.test/debian-security"),
            ("http://m.test/x/debian-security", "debian", "http://m.test/x/debian"),
            ("http://m.test", "debian", "http://m.test/debian"),
            ("http://m.test/x/", "debian-security", "http://m.test/x/debian-security"),
        ] {
            assert_eq!(root(Some(text), Some("http://p.test/"), path).unwrap(), root_is);
        }
        assert_eq!(root(None, Some("http://p.test/any"), "debian").unwrap(), "http://p.test/any");
    }

    #[test]
    fn an_unknown_archive_is_an_error_that_says_how_to_name_one() {
        let error = root(None, None, "debian").unwrap_err().to_string();
        for way in ["--mirror URL", "HARDTACK_MIRROR", "`url:`"] {
            assert!(error.contains(way), "{error}");
        }
    }
}
