//! `hardtack diff` on two versions of a host that the test bakes; the page before foreign parsers.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::bench::{Bench, LATER, Ran, start};

/// The difference of the two versions as people read it.
const GOLDEN: &str = include_str!("../golden/diff.txt");

const UNIT: &str = "[Unit]\nDescription=New\n[Service]\nExecStart=/usr/bin/tool\n\
                    [Install]\nWantedBy=multi-user.target\n";

impl Bench {
    /// Bakes version 1 into `one`, then changes archive, profile and rules, and bakes version 2
    /// into `two`.
    pub(crate) fn two_versions(&self) {
        self.version("1", "one", &[]);
        self.publish(LATER, &fixture::new());
        fs::create_dir_all(self.path("host.d/usr/lib/systemd/system")).unwrap();
        fs::write(self.path("host.d/usr/lib/systemd/system/new.service"), UNIT).unwrap();
        fs::create_dir_all(self.path("host.d/usr/lib/sysusers.d")).unwrap();
        fs::write(self.path("host.d/usr/lib/sysusers.d/new.conf"), "u new 901 \"New\"\n").unwrap();
        fs::write(self.path("host.d/usr/lib/<b>'&"), "a name that is markup\n").unwrap();
        fs::remove_file(self.path("host.d/usr/lib/own")).unwrap();
        let profile = fs::read_to_string(self.path("host.yaml")).unwrap();
        let more = "kernel:\n  args: [quiet, debug]\nunits:\n  enable: [new.service]\n\
                    setid:\n  usr/bin/also: the test wants it\n  usr/bin/tool: the same file\n";
        fs::write(self.path("host.yaml"), profile + more).unwrap();
        let rule = "about: A tool.\nmodes:\n  usr/bin/also: {mode: \"4755\"}\n  \
                    usr/bin/tool: {mode: \"4755\"}\n";
        fs::write(self.path("rules/debian/tool.yaml"), rule).unwrap();
        self.version("2", "two", &["--update"]);
    }

    fn version(&self, version: &str, output: &str, more: &[&str]) {
        let command = start(OsStr::new(env!("CARGO_BIN_EXE_hardtack")));
        let mut command = self.with_arguments(command, &self.path(output));
        let ran = Ran::of(command.args(["--version", version]).args(more).output().unwrap());
        assert_eq!(ran.code, Some(0), "{}", ran.text);
    }

    /// `hardtack diff`, in the bench's directory.
    pub(crate) fn diff(&self, words: &[&str]) -> Ran {
        let mut command = start(OsStr::new(env!("CARGO_BIN_EXE_hardtack")));
        Ran::of(command.current_dir(&self.directory).arg("diff").args(words).output().unwrap())
    }

    pub(crate) fn json(&self, old: &str, new: &str) -> Value {
        let ran = self.diff(&[old, new, "--json"]);
        assert_eq!(ran.code, Some(0), "{}", ran.text);
        serde_json::from_str(&ran.text).unwrap()
    }
}

#[test]
fn two_versions_differ_in_what_was_changed_and_in_nothing_else() {
    let bench = Bench::new("diff");
    bench.two_versions();
    // Nothing but the images themselves is asked.
    fs::remove_dir_all(bench.path("store")).unwrap();
    let ran = bench.diff(&["one", "two", "--full", "--html", "page.html"]);
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    assert!(ran.text == GOLDEN, "the difference is now\n{}", ran.text);
    let words = ["new | extra: none → 5 B", "grown | profile:host.d", "usr/lib/<b>'&", "quiet"];
    the_page_is_well_formed_and_says(&words, &bench.path("page.html"));
    let ran = bench.diff(&["two", "one", "--html", "back.html"]);
    assert!(ran.text.contains("files: 9 changed, 1 new, 12 gone"), "{}", ran.text);
    let words = ["gone | extra: 5 B → none", "shrunk | layout", "usr/lib/<b>'&", "quiet"];
    the_page_is_well_formed_and_says(&words, &bench.path("back.html"));

    let found = bench.json("one", "two");
    assert_eq!(found["packages"]["tool"]["old"]["version"], "1.0");
    assert_eq!(found["packages"]["extra"]["old"], Value::Null);
    assert_eq!(found["units"]["new.service"], json!({"old": null, "new": "enabled"}));
    assert_eq!(found["privileged"]["usr/bin/tool"], json!({"old": null, "new": "4755 0:0"}));
    assert_eq!(found["command-line"]["added"], json!(["quiet", "debug"]));
    assert_eq!(found["origins"]["usr/share/extra/text"], "extra");
    assert_eq!((&found["equal"], &found["not-compared"]), (&json!(false), &json!([])));

    // The ledger of the image is that of the build.
    let extents = fs::read(bench.path("two/host_2.extents.json")).unwrap();
    let extents = filesystem::Extents::read(&extents).unwrap();
    let bytes = found["bytes"].as_object().unwrap();
    let new = bytes.iter().filter_map(|(name, both)| Some((name.as_str(), both["new"].as_u64()?)));
    assert_eq!(new.collect::<std::collections::BTreeMap<_, _>>(), extents.by_origin());

    let other_way = bench.json("two", "one");
    assert_eq!(other_way["packages"]["extra"]["new"], Value::Null);
    let raw = bench.json("one/host_1.raw", "two/host_2.raw#2");
    assert_eq!((&raw["files"], &raw["bytes"]), (&found["files"], &found["bytes"]));
    let same = bench.diff(&["one", "one/host_1.raw"]);
    assert_eq!(same.code, Some(0), "{}", same.text);
    assert!(same.text.contains("no difference"), "{}", same.text);

    let locks = bench.diff(&["one/host_1.lock", "two"]);
    assert_eq!(locks.code, Some(0), "{}", locks.text);
    assert!(locks.text.contains("+ extra  3 amd64 (host)"), "{}", locks.text);
    let silent = "does not say it: boot, loader, programs, command-line, units";
    assert!(locks.text.contains(silent), "{}", locks.text);
    for (bad, words) in [
        (["one", "nowhere"], "nowhere"),
        (["one", "keys"], "is no release"),
        (["one", "two#1"], "is of version 2, not 1"),
        (["one", "two/host_2.raw#1"], "it holds host_2, not version 1"),
        (["one", "keyring.pgp"], "read `keyring.pgp`"),
    ] {
        let ran = bench.diff(&bad);
        assert_eq!(ran.code, Some(8), "{}", ran.text);
        assert!(ran.text.contains(words), "`{words}` is not in {}", ran.text);
    }
}

/// Python's XML parser takes the page, and the damaged one it does not; nothing in it asks for
/// another file.
fn the_page_is_well_formed_and_says(words: &[&str], path: &PathBuf) {
    const JUDGE: &str = "
import sys, xml.etree.ElementTree as tree
page = tree.parse(sys.argv[1]).getroot()
tiles = page.findall('.//svg/g')
rows = page.findall('.//details/table/tr')
print(len(tiles), 'tiles', len(rows), 'rows')
for tile in tiles:
    print(tile.find('rect').get('class'), '|', tile.find('title').text)
for element in page.iter():
    for name, value in element.attrib.items():
        if name in ('src', 'href', 'xlink:href') or 'url(' in value or '://' in value:
            print('ASKS', element.tag, name, value)
    if element.tag in ('script', 'link', 'iframe', 'img'):
        print('ASKS', element.tag)
print(''.join(page.itertext()))
";
    let judged = |path: &PathBuf| judge::run(judge::tool("python3").args(["-c", JUDGE]).arg(path));
    let ran = judged(path);
    assert!(ran.ok, "{}", ran.text);
    assert!(!ran.text.contains("ASKS"), "{}", ran.text);
    for words in words {
        assert!(ran.text.contains(words), "`{words}` is not in {}", ran.text);
    }
    let page = fs::read_to_string(path).unwrap();
    let damaged = path.with_extension("damaged");
    fs::write(&damaged, page.replacen("&lt;b&gt;", "<b>", 1)).unwrap();
    assert!(!judged(&damaged).ok, "the judge takes anything");
}
