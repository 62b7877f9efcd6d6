//! Where the Debian archive is, as this machine's apt configuration says.

use std::path::Path;

use anyhow::{Context, Result};

use crate::run::list;

/// The environment variable by which a person names a mirror.
pub(crate) const VARIABLE: &str = "HARDTACK_MIRROR";

/// The two trees of the archive, each a URL without a final slash.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mirrors {
    pub(crate) main: String,
    pub(crate) security: String,
}

/// The mirrors of this machine: the environment first, then apt's sources below `etc`.
pub(crate) fn of_machine(etc: &Path) -> Result<Mirrors> {
    if let Ok(url) = std::env::var(VARIABLE) {
        return Ok(named(&url));
    }
    let mut addresses = Vec::new();
    let mut files = vec![etc.join("apt/sources.list")];
    let parts = etc.join("apt/sources.list.d");
    if parts.is_dir() {
        files.extend(list(&parts)?);
    }
    for file in files.iter().filter(|file| file.is_file()) {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("read apt's source `{}`", file.display()))?;
        match file.extension().and_then(|end| end.to_str()) {
            Some("list") => addresses.extend(one_line(&text)),
            Some("sources") => addresses.extend(stanzas(&text)),
            _ => {}
        }
    }
    choose(&addresses).with_context(|| {
        format!(
            "find a Debian archive in apt's configuration: none of its sources is one; \
             name a mirror by the environment variable {VARIABLE}, a URL that ends in `/debian`"
        )
    })
}

/// The mirrors below or beside a URL that a person gave.
pub(crate) fn named(url: &str) -> Mirrors {
    let url = url.trim_end_matches('/');
    let base = url.strip_suffix("/debian").unwrap_or(url);
    Mirrors { main: format!("{base}/debian"), security: format!("{base}/debian-security") }
}

fn choose(addresses: &[String]) -> Option<Mirrors> {
    let ending = |end: &str| {
        let found = addresses.iter().find(|url| url.ends_with(end));
        found.cloned()
    };
    let main = ending("/debian")?;
    let security = ending("/debian-security").unwrap_or_else(|| format!("{main}-security"));
    Some(Mirrors { main, security })
}

/// `deb [options] URL suite component…`, one source a line (sources.list(5)).
fn one_line(text: &str) -> Vec<String> {
    let mut urls = Vec::new();
    for line in text.lines() {
        let Some(rest) = line.trim_start().strip_prefix("deb ") else { continue };
        let rest = rest.trim_start();
        let rest = match rest.strip_prefix('[') {
            Some(options) => options.split_once(']').map_or("", |(_, after)| after),
            None => rest,
        };
        urls.extend(rest.split_whitespace().next().map(address));
    }
    urls
}

/// The deb822 form: the `URIs` of every stanza that is not switched off.
fn stanzas(text: &str) -> Vec<String> {
    let mut urls = Vec::new();
    for stanza in text.split("\n\n") {
        let mut here = Vec::new();
        let mut enabled = true;
        let mut field = String::new();
        for line in stanza.lines().filter(|line| !line.starts_with('#')) {
            let value = if line.starts_with([' ', '\t']) {
                line
            } else {
                let (name, value) = line.split_once(':').unwrap_or((line, ""));
                field = name.trim().to_ascii_lowercase();
                value
            };
            match field.as_str() {
                "uris" => here.extend(value.split_whitespace().map(address)),
                "enabled" => enabled = !matches!(value.trim(), "no" | "false" | "0"),
                _ => {}
            }
        }
        if enabled {
            urls.extend(here);
        }
    }
    urls
}

fn address(word: &str) -> String {
    word.trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_apt_sources_name_the_same_mirrors() {
        let lines = "# deb http://old.example/debian sid main\n\
                     deb [arch=amd64 signed-by=/k.gpg] http://a.example/x/debian/ bookworm main\n\
                     deb-src http://b.example/debian bookworm main\n\
                     deb http://a.example/x/debian-security bookworm-security main\n";
        let deb822 = "Types: deb\nURIs: http://off.example/debian\nEnabled: no\n\n\
                      Types: deb\n# a remark\nURIs:\n http://a.example/x/debian/\nSuites: s\n\n\
                      Types: deb\nURIs: http://a.example/x/debian-security\n";
        let expected = Some(Mirrors {
            main: "http://a.example/x/debian".into(),
            security: "http://a.example/x/debian-security".into(),
        });
        assert_eq!(choose(&one_line(lines)), expected);
        assert_eq!(choose(&stanzas(deb822)), expected);
    }

    #[test]
    fn another_distribution_is_no_mirror() {
        let ubuntu = one_line("deb http://a.example/ubuntu noble main\n");
        assert_eq!(choose(&ubuntu), None);
    }

    #[test]
    fn a_named_mirror_serves_both_trees() {
        assert_eq!(named("http://m.example/debian/"), named("http://m.example"));
    }
}
