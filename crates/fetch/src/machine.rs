//! What this machine's package manager knows about the network: sources, proxies, logins.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::Address;
use crate::address::Login;
use crate::settings::Settings;

/// The configuration of this machine's package manager (sources.list(5), apt.conf(5),
/// apt_auth.conf(5)).
#[derive(Clone, Default)]
pub struct Machine {
    sources: Vec<Source>,
    settings: Settings,
    logins: Vec<(String, Login)>,
}

/// One URL of one entry of the sources.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) address: Address,
    /// File and line.
    pub(crate) place: String,
    suites: Vec<String>,
    /// The keys that it names, blanks normalized; nothing when it names none.
    signed_by: String,
}

/// Largest file of the configuration, in bytes.
const LARGEST: u64 = 4 << 20;

/// Reads the configuration below `root`, which is `/` but in tests. What is missing, or may not
/// be read, is as if it were empty.
pub fn read_machine(root: &Path) -> Result<Machine> {
    let etc = root.join("etc/apt");
    let mut machine = Machine::default();
    for file in in_order(&etc, "sources.list", &["list", "sources"])? {
        let Some(text) = read(&file)? else { continue };
        let place = display(root, &file);
        let found = if file.extension().is_some_and(|ext| ext == "sources") {
            read_stanzas(&text, &place)
        } else {
            Ok(read_lines(&text, &place))
        };
        machine.sources.extend(found.with_context(|| format!("read sources `{place}`"))?);
    }
    for file in in_order(&etc, "apt.conf", &["conf", ""])? {
        let Some(text) = read(&file)? else { continue };
        let read = machine.settings.read(&text);
        read.with_context(|| format!("read settings `{}`", display(root, &file)))?;
    }
    for file in in_order(&etc, "auth.conf", &["conf", ""])? {
        if let Some(text) = read(&file)? {
            machine.logins.extend(read_logins(&text));
        }
    }
    Ok(machine)
}

impl Machine {
    /// The first source whose URL ends with the component `path`. Two that name different keys
    /// for one suite of it are an error, as they are to the package manager.
    pub(crate) fn source(&self, path: &str) -> Result<Option<&Source>> {
        let mut known = self.sources.iter().filter(|source| source.address.last() == path);
        let Some(first) = known.next() else { return Ok(None) };
        let root = |source: &Source| source.address.to_string().trim_end_matches('/').to_owned();
        let same: Vec<&Source> =
            self.sources.iter().filter(|one| root(one) == root(first)).collect();
        for (i, one) in same.iter().enumerate() {
            let differs = |other: &&&Source| {
                other.signed_by != one.signed_by
                    && other.suites.iter().any(|suite| one.suites.contains(suite))
            };
            if let Some(other) = same[i + 1..].iter().find(differs) {
                bail!(
                    "{} and {} name different keys (`Signed-By`) for one suite of {}: make them \
                     agree, or name the archive with `--mirror URL`",
                    one.place,
                    other.place,
                    first.address
                );
            }
        }
        Ok(Some(first))
    }

    /// Whether an index past its end is refused (`Acquire::Check-Valid-Until` and `Check-Date`).
    pub fn checks_dates(&self) -> bool {
        self.settings.switch("Acquire::Check-Valid-Until", true)
            && self.settings.switch("Acquire::Check-Date", true)
    }

    /// The proxy for an address, by the package manager's own precedence: the host's before the
    /// scheme's, https's before http's.
    pub(crate) fn proxy(&self, address: &Address) -> Option<&str> {
        let schemes: &[&str] = if address.secure() { &["https", "http"] } else { &["http"] };
        let find = |ending: &str| {
            let names = schemes.iter().map(|scheme| format!("Acquire::{scheme}::Proxy{ending}"));
            names.into_iter().find_map(|name| self.settings.get(&name))
        };
        let proxy = find(&format!("::{}", address.host())).or_else(|| find(""));
        proxy.filter(|proxy| !proxy.eq_ignore_ascii_case("DIRECT") && *proxy != "false")
    }

    /// The login for an address: its own, or that of the first entry that names its host.
    pub(crate) fn login<'a>(&'a self, address: &'a Address) -> Option<&'a Login> {
        address.login().or_else(|| {
            let fits = |machine: &str| names(machine, address);
            self.logins.iter().find(|(machine, _)| fits(machine)).map(|(_, login)| login)
        })
    }
}

/// Whether the `machine` of a login names this address: `[scheme://]host[:port][/path]`. Without
/// a scheme it serves https alone, as in apt_auth.conf(5).
fn names(machine: &str, address: &Address) -> bool {
    let (scheme, rest) = machine.split_once("://").unwrap_or(("https", machine));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let authority = authority.to_ascii_lowercase();
    // The path ends where a component ends.
    let below = address.path().strip_prefix(path.trim_end_matches('/'));
    scheme == address.scheme()
        && (authority == address.authority() || authority == address.host())
        && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The one file and those of its `.d` directory with one of the extensions, in the order in
/// which they are read: settings end with the one file, sources begin with it.
fn in_order(etc: &Path, name: &str, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    let directory = etc.join(format!("{name}.d"));
    let mut files = match directory.is_dir() {
        true => store::list(&directory)?,
        false => Vec::new(),
    };
    files.retain(|file| {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or(".");
        let extension = file.extension().and_then(|ext| ext.to_str()).unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
        !name.starts_with('.') && name.chars().all(plain) && extensions.contains(&extension)
    });
    let one = etc.join(name);
    if name == "apt.conf" {
        files.push(one);
    } else {
        files.insert(0, one);
    }
    Ok(files)
}

fn read(file: &Path) -> Result<Option<String>> {
    let shown = file.display();
    match fs::metadata(file) {
        Err(_) => return Ok(None),
        Ok(meta) if meta.len() > LARGEST => bail!("`{shown}` has more than {LARGEST} bytes"),
        Ok(_) => {}
    }
    match fs::read(file) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        // Logins are often for root alone.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read `{shown}`")),
    }
}

fn display(root: &Path, file: &Path) -> String {
    let below = file.strip_prefix(root).unwrap_or(file);
    format!("/{}", below.display())
}

/// The one-line format: `TYPE [options] URL suite components…`.
fn read_lines(text: &str, place: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some((kind, rest)) = line.split_once(char::is_whitespace) else { continue };
        let rest = rest.trim_start();
        let options = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let (options, rest) = options.unwrap_or(("", rest));
        let keys = options.split_whitespace().find_map(|word| word.strip_prefix("signed-by="));
        let mut words = rest.split_whitespace();
        let url = words.next().unwrap_or_default();
        // Entries for source code serve no packages; other schemes (`cdrom:`) no network.
        if let (false, Ok(address)) = (kind.ends_with("-src"), Address::parse(url)) {
            sources.push(Source {
                address,
                place: format!("{place}, line {}", i + 1),
                suites: words.next().map(str::to_owned).into_iter().collect(),
                signed_by: keys.unwrap_or_default().to_owned(),
            });
        }
    }
    sources
}

/// The stanza format: `Types`, `URIs`, `Suites`, `Enabled`, `Signed-By`.
fn read_stanzas(text: &str, place: &str) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    let mut lines = text.lines().enumerate();
    for stanza in package::stanzas(text) {
        let stanza = stanza?;
        // Every stanza with a URL has one such line, also one that is switched off.
        let line = stanza.get("URIs").and_then(|_| {
            lines.find(|(_, line)| line.get(..5).is_some_and(|at| at.eq_ignore_ascii_case("URIs:")))
        });
        let line = line.map_or(1, |(i, _)| i + 1);
        let off = stanza.get("Enabled").map(str::to_ascii_lowercase);
        let off = off.is_some_and(|value| ["no", "false", "off", "0"].contains(&value.as_str()));
        let mut kinds = stanza.get("Types").unwrap_or_default().split_whitespace();
        if off || !kinds.any(|kind| !kind.ends_with("-src")) {
            continue;
        }
        let urls = stanza.get("URIs").unwrap_or_default().split_whitespace();
        let addresses = urls.filter_map(|url| Address::parse(url).ok());
        let words = |field| stanza.get(field).unwrap_or_default().split_whitespace();
        let suites: Vec<String> = words("Suites").map(str::to_owned).collect();
        let signed_by = words("Signed-By").collect::<Vec<_>>().join(" ");
        sources.extend(addresses.map(|address| Source {
            address,
            place: format!("{place}, line {line}"),
            suites: suites.clone(),
            signed_by: signed_by.clone(),
        }));
    }
    Ok(sources)
}

/// The netrc format: `machine M login L password P`, in any layout.
fn read_logins(text: &str) -> Vec<(String, Login)> {
    let mut logins: Vec<(String, Login)> = Vec::new();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let mut words = lines.flat_map(str::split_whitespace);
    while let Some(word) = words.next() {
        let Some(value) = words.next().map(str::to_owned) else { break };
        match (word, logins.last_mut()) {
            ("machine", _) => {
                logins.push((value, Login { user: String::new(), password: String::new() }));
            }
            ("login", Some((_, login))) => login.user = value,
            ("password", Some((_, login))) => login.password = value,
            _ => {}
        }
    }
    logins
}

#[cfg(any(test, feature = "fuzz"))]
/// Reads each kind of file from one text, and asks what was found.
pub(crate) fn fuzz(text: &str) {
    let mut machine = Machine { sources: read_lines(text, "fuzz"), ..Machine::default() };
    machine.sources.extend(read_stanzas(text, "fuzz").unwrap_or_default());
    machine.logins = read_logins(text);
    let _ = machine.settings.read(text);
    let _ = machine.checks_dates();
    for source in &machine.sources {
        let _ = machine.login(&source.address);
        let _ = machine.proxy(&source.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(name: &str, files: &[(&str, &str)]) -> Machine {
        let root = judge::scratch(&format!("fetch-machine-{name}"));
        for (path, text) in files {
            let path = root.join("etc/apt").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        read_machine(&root).unwrap()
    }

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn sources_are_read_as_the_package_manager_reads_them() {
        let machine = machine(
            "sources",
            &[
                (
                    "sources.list.d/a.sources",
                    "Types: deb\nEnabled: no\nURIs: http://off.test/debian\n",
                ),
                (
                    "sources.list.d/b.sources",
                    "# x\nTypes: deb deb-src\nURIs: http://b.test/x http://b.test/debian\n\
                     Suites: s\nSigned-By:\n -----BEGIN PGP\n .\n xx\n",
                ),
                (
                    "sources.list.d/c.list",
                    "#deb http://off.test/debian-security s main\n\
                     deb-src http://src.test/debian-security s main\n\
                     deb [arch=amd64 signed-by=/x] http://c.test/debian-security/ s main # y\n",
                ),
                ("sources.list.d/d.save", "deb http://save.test/other s main\n"),
                ("sources.list.d/e f.list", "deb http://space.test/other s main\n"),
            ],
        );
        let found = |path| {
            let source = machine.source(path).unwrap();
            source.map(|s| (s.address.to_string(), s.place.clone()))
        };
        let at = |url: &str, place: &str| Some((url.to_owned(), place.to_owned()));
        assert_eq!(
            found("debian"),
            at("http://b.test/debian", "/etc/apt/sources.list.d/b.sources, line 3")
        );
        let place = "/etc/apt/sources.list.d/c.list, line 3";
        assert_eq!(found("debian-security"), at("http://c.test/debian-security/", place));
        assert_eq!(found("other"), None);
        assert!(machine.checks_dates());
    }

    #[test]
    fn sources_that_name_different_keys_for_one_suite_are_told_with_files_and_lines() {
        let off = "Types: deb\nEnabled: no\nURIs: http://a.test/debian\nSuites: s\n\n";
        let stanza = "Types: deb\nURIs: http://a.test/debian\nSuites: s t\nSigned-By:\n \
                      -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n xx\n";
        let with = |name: &str, line: &str| {
            let list = ("sources.list.d/b.list", line);
            machine(name, &[("sources.list.d/a.sources", &format!("{off}{stanza}")), list])
        };
        let line = "# x\ndeb [signed-by=/k.gpg] http://a.test/debian/ t main\n";
        let error = with("keys", line).source("debian").err().unwrap().to_string();
        for part in ["a.sources, line 7", "b.list, line 2", "Signed-By", "--mirror URL"] {
            assert!(error.contains(part), "{error}");
        }
        let none = with("no-keys", "deb http://a.test/debian t main\n");
        assert!(none.source("debian").is_err());
        let other_suite = with("suites", "deb [signed-by=/k.gpg] http://a.test/debian u main\n");
        assert!(other_suite.source("debian").unwrap().is_some());
    }

    #[test]
    fn the_host_s_proxy_comes_before_the_scheme_s_and_direct_is_none() {
        let machine = machine(
            "proxy",
            &[
                (
                    "apt.conf.d/10",
                    "Acquire::http::Proxy \"http://p.test:1\";\n\
                 Acquire::http::Proxy::a.test \"DIRECT\";\nAcquire::Check-Date \"false\";\n",
                ),
                ("apt.conf.d/20.conf", "Acquire::https::Proxy::s.test \"http://q.test\";\n"),
                ("apt.conf.d/30.bak", "Acquire::http::Proxy \"http://never.test\";\n"),
            ],
        );
        let proxy = |url: &str| machine.proxy(&address(url)).map(str::to_owned);
        assert_eq!(proxy("http://a.test/"), None);
        assert_eq!(proxy("https://a.test/"), None);
        assert_eq!(proxy("http://b.test/").as_deref(), Some("http://p.test:1"));
        assert_eq!(proxy("https://b.test/").as_deref(), Some("http://p.test:1"));
        assert_eq!(proxy("https://s.test:8/").as_deref(), Some("http://q.test"));
        assert!(!machine.checks_dates());
    }

    #[test]
    fn a_login_without_scheme_serves_https_alone_and_only_below_its_path() {
        let machine = machine(
            "login",
            &[
                ("auth.conf", "# x\nmachine a.test/private login me\n password one\n"),
                ("auth.conf.d/b.conf", "machine http://b.test:80 login you password two\n"),
            ],
        );
        let login = |url: &str| machine.login(&address(url)).map(|l| l.password.clone());
        assert_eq!(login("https://a.test/private/x").as_deref(), Some("one"));
        assert_eq!(login("https://a.test/privateer"), None);
        assert_eq!(login("http://a.test/private/x"), None);
        assert_eq!(login("http://b.test:80/x").as_deref(), Some("two"));
        assert_eq!(login("http://b.test:81/x"), None);
        assert_eq!(login("https://c.test/"), None);
    }

    #[test]
    fn a_machine_without_configuration_knows_nothing() {
        assert!(machine("empty", &[]).source("debian").unwrap().is_none());
    }
}
