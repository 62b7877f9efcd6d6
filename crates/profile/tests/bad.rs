//! Profiles that are wrong on purpose: 3.1 P1 to P10 of the catalogue of faults.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::Context;
use profile::{load, overlays, parse};
use store::Store;

fn refusal(text: &str) -> String {
    match parse(text, "x.yaml") {
        Ok(_) => panic!("taken: {}", text.chars().take(200).collect::<String>()),
        Err(error) => format!("{error:#}"),
    }
}

/// Every case is refused with the file's name and what is said.
fn refuse(cases: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (text, says) in cases {
        let shown: String = text.chars().take(100).collect();
        match parse(text, "x.yaml").map_err(|error| format!("{error:#}")) {
            Ok(profile) => wrong.push(format!("{shown:?} is taken: {}", profile.about)),
            Err(error) => {
                let good = error.starts_with("x.yaml:") && error.contains(says);
                if !good || error.len() > 2000 {
                    wrong.push(format!("{shown:?}: {error}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_bomb_of_aliases_depth_or_size_is_refused_by_budget() {
    let mut bomb = "about: &a0 x\n".to_owned();
    for level in 1..=10 {
        let list = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("k{level}: &a{level} [{list}]\n"));
    }
    bomb.push_str("users: *a10\n");
    let deep = format!("users: {}x{}", "[".repeat(1000), "]".repeat(1000));
    let flat = format!("users: [{}]", "a,".repeat(200_000));
    let aliases = format!("users: &a [u]\nfiles: [{}]", "*a,".repeat(10_000));
    for text in [bomb, deep, flat, aliases] {
        let error = refusal(&text);
        assert!(error.starts_with("x.yaml:") && error.len() < 2000, "{error}");
    }
    let scalar = format!("about: {}\n", "x".repeat(100 << 20));
    assert!(refusal(&scalar).contains("more than the 1048576"));
}

/// The keys known at a place of a profile, from the message about one that is not.
fn known(before: &str, after: &str) -> Vec<String> {
    let error = refusal(&format!("{before}colour-of-the-sky: blue{after}"));
    let keys = error.split_once("known are ").unwrap().1.lines().next().unwrap();
    keys.split(", ").map(str::to_owned).collect()
}

#[test]
fn every_key_with_one_letter_changed_is_an_unknown_key_whose_advice_is_the_key() {
    let archive = "archives: {a: {";
    let places = [
        ("", ""),
        ("units: {", "}"),
        ("kernel: {", "}"),
        ("layout: {", "}"),
        ("updates: {", "}"),
        ("health: {", "}"),
        (archive, "}}"),
    ];
    let mut tried = 0;
    for (before, after) in places {
        let keys = known(before, after);
        for key in &keys {
            for at in 0..key.len() {
                for letter in ["q", "z", "x"] {
                    let wrong = format!("{}{letter}{}", &key[..at], &key[at + 1..]);
                    if keys.contains(&wrong) || wrong.len() < 2 || wrong == *key {
                        continue;
                    }
                    let error = refusal(&format!("{before}{wrong}: x{after}"));
                    let says = format!("unknown key `{wrong}`; did you mean `{key}`?");
                    assert!(error.contains(&says), "{error}");
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 400, "{tried}");
}

#[test]
fn a_key_that_stands_twice_is_refused_in_merges_too() {
    refuse(&[
        ("id: a\nid: a\n", "key `id` stands twice"),
        ("id: a\n\"id\": b\n", "key `id` stands twice"),
        ("units: {mask: {a.service: x, a.service: x}}", "key `a.service` stands twice"),
        ("packages: {add: {a: '1', a: '2'}}", "key `a` stands twice"),
        ("layout: &l {usr: 1 GiB}\nkernel: {<<: *l}\n", "erge key"),
        ("layout: {<<: {usr: 1 GiB}, usr: 2 GiB}\n", "erge key"),
        ("layout: {<<: [{usr: 1 GiB}, {usr: 2 GiB}]}\n", "erge key"),
    ]);
}

#[test]
fn a_cycle_is_printed_as_a_path_and_depth_has_a_limit() {
    let cycle = |length: usize| {
        let read = move |path: &Path| {
            let number: usize = path.file_stem().unwrap().to_str().unwrap()[1..].parse()?;
            Ok(format!("extends: p{}\n", (number + 1) % length))
        };
        format!("{:#}", load(Path::new("p0.yaml"), &read).unwrap_err())
    };
    assert_eq!(cycle(1), "p0.yaml: extends itself: p0.yaml → p0.yaml");
    assert_eq!(cycle(2), "p0.yaml: extends itself: p0.yaml → p1.yaml → p0.yaml");
    for length in [50, 1000] {
        assert!(cycle(length).contains("more than 16 ancestors"));
    }
    // One parent: a diamond cannot be written.
    refuse(&[("extends: [a, b]\n", "x.yaml:1:")]);
}

#[test]
fn a_path_that_is_not_the_plain_one_is_refused_with_its_plain_form() {
    let long = format!("files: [{}]", "a".repeat(4096));
    let cases = [
        ("files: [/etc]", "is not relative"),
        ("files: ['C:\\etc']", "is not relative"),
        ("files: [a/./b]", "write `a/b`"),
        ("files: [./a]", "write `a`"),
        ("files: [a/]", "write `a`"),
        ("files: [a//b]", "write `a/b`"),
        ("files: [a/../../b]", "write `../b`"),
        ("files: {drop: [a/]}", "write `a`"),
        ("files: [\"a\\0b\"]", "control characters"),
        ("files: ['']", "is empty"),
        (&long, "too long"),
        ("drop: {../../etc/shadow: because}", "no path inside the tree"),
        ("drop: {/abs: because}", "no path inside the tree"),
        ("drop: {a/./b: because}", "no path inside the tree"),
        ("drop: {a/: because}", "no path inside the tree"),
        ("setid: {\"a\\0b\": because}", "no path inside the tree"),
        ("keep: [usr/../etc]", "no path inside the tree"),
        ("extends: \"a\\nb\"", "names no profile"),
        ("initrd: a/", "names no profile"),
        ("packages: [../a]", "is no package name"),
        ("units: {enable: [../a.service]}", "is no unit name"),
    ];
    refuse(&cases);
}

#[test]
fn a_source_that_is_no_file_of_its_own_is_refused_before_it_is_opened() {
    let here = judge::scratch("bad-sources");
    let make = |name: &str| {
        let made = judge::run(judge::tool("mkfifo").arg(here.join(name)));
        assert!(made.ok, "{}", made.text);
    };
    let text = |name: &str| profile::text(&here.join(name), 100).unwrap_err();
    // A pipe that nobody writes to: opening it the usual way would wait for ever.
    make("pipe.yaml");
    fs::create_dir_all(here.join("directory.yaml")).unwrap();
    fs::write(here.join("utf16.yaml"), b"\xff\xfei\0d\0:\0 \0a\0").unwrap();
    fs::write(here.join("large.yaml"), [b' '; 101]).unwrap();
    for (name, says) in [
        ("pipe.yaml", "is no file"),
        ("directory.yaml", "is no file"),
        ("utf16.yaml", "is not UTF-8: save it as UTF-8"),
        ("large.yaml", "has 101 bytes, more than the 100 allowed"),
        ("gone.yaml", "read `"),
    ] {
        let error = format!("{:#}", text(name));
        assert!(error.contains(name) && error.contains(says), "{error}");
    }
    assert!(
        profile::text(Path::new("/dev/zero"), 100).unwrap_err().to_string().contains("no file")
    );
    // The kernel says 0 bytes and gives more: what a file that grows looks like.
    let grows = profile::text(Path::new("/proc/self/status"), 1 << 20).unwrap_err();
    assert!(grows.to_string().contains("changed while it was read"), "{grows}");

    let store = Store::open(&here.join("store"), None).unwrap();
    let laid = |name: &str| {
        let read = |_: &Path| Ok(format!("files: [{name}]"));
        let profile = load(&here.join("p.yaml"), &read).context("load").unwrap();
        format!("{:#}", overlays(&profile, &store).unwrap_err())
    };
    symlink("/etc", here.join("link.d")).unwrap();
    assert!(laid("link.d").contains("is no directory itself"));
    fs::create_dir_all(here.join("pipe.d/etc")).unwrap();
    make("pipe.d/etc/pipe");
    assert!(laid("pipe.d").contains("pipe` is no file, directory or symbolic link"));
    assert!(laid("gone.d").contains("which key `files` names"));
}

#[test]
fn a_value_of_another_type_has_one_reading_or_none() {
    refuse(&[
        ("layout: {usr: 10GB}", "is not a number with KiB"),
        ("layout: {usr: 1073741824}", "is not a number with KiB"),
        ("layout: {usr: -1 GiB}", "is not a number with KiB"),
        ("layout: {usr: 1e400}", "is not a number with KiB"),
        ("layout: {usr: 99999999999 TiB}", "zero or beyond any disk"),
        ("layout: {usr: [1]}", "x.yaml:1:"),
        ("layout: {sector: -512}", "x.yaml:1:"),
        ("layout: {sector: 1e400}", "x.yaml:1:"),
        ("layout: {sector: 512.5}", "x.yaml:1:"),
        ("layout: {sector: 4294967808}", "x.yaml:1:"),
        ("layout: {sector: no}", "x.yaml:1:"),
        ("layout: {sector: 01000}", "x.yaml:1:18: invalid u32"),
        ("layout: []", "x.yaml:1:"),
        ("packages: a", "a list, or a map of `add` and `drop`"),
        ("packages: {add: 1}", "a list of packages"),
        ("units: {enable: a.service}", "x.yaml:1:"),
        ("units: {mask: [a.service]}", "x.yaml:1:"),
        ("archives: {a: b}", "x.yaml:1:"),
        ("credentials: no", "unknown value `no`"),
        ("arch: 64", "unknown value `64`"),
        ("id: {a: b}", "x.yaml:1:"),
        ("- a", "x.yaml:1:"),
        ("a", "x.yaml:1:"),
    ]);
    // The country, the octal mode, the float: text is what was written.
    for text in ["no", "off", "y", "0644", "0o644", "1_0", "1e3", "1.10", ".5", "0x1f"] {
        let profile = parse(&format!("about: {text}\nusers: [{text}]"), "x.yaml").unwrap();
        assert_eq!((profile.about.as_str(), profile.users[0].as_str()), (text, text));
    }
    // `null` is what was not written.
    assert_eq!(parse("version: null\nid: ~", "x.yaml").unwrap(), parse("{}", "x.yaml").unwrap());
}

#[test]
fn what_the_update_client_or_its_manager_would_misread_is_refused_by_its_key() {
    let long = format!("updates: {{feed: 'http://h/{}'}}", "a".repeat(1024));
    refuse(&[
        ("updates: {feed: ftp://h/a}", "key `updates`: key `feed`: feed `ftp://h/a` begins with"),
        ("updates: {feed: h/a}", "neither `http://` nor `https://`"),
        ("updates: {feed: 'http://'}", "names no host"),
        ("updates: {feed: 'http:///a'}", "names no host"),
        ("updates: {feed: 'http://u:secret@h/a'}", "`@` cannot stand in it"),
        ("updates: {feed: 'http://h/a?b'}", "`?` cannot stand in it"),
        ("updates: {feed: 'http://h/a#b'}", "`#` cannot stand in it"),
        ("updates: {feed: 'http://h/a b'}", "` ` cannot stand in it"),
        ("updates: {feed: \"http://h/a\\nMinVersion=9\"}", "`\\n` cannot stand in it"),
        (&long, "more than 1024"),
        ("updates: {channel: Beta}", "key `channel`: channel `Beta` is no name of a channel"),
        ("updates: {channel: ''}", "lower-case letters, digits, `.` and `-`"),
        ("updates: {channel: ..}", "is no name of a channel"),
        ("updates: {channel: a/b}", "is no name of a channel"),
        ("updates: {auto: yes}", "x.yaml:1:"),
        ("updates: {reboot: always}", "unknown value `always`"),
        ("updates: {valid: 30}", "key `valid`: time `30` is not a number with s, min, h or d"),
        ("updates: {valid: 49711d}", "zero or more than 49710 days"),
        ("updates: {valid: 0h}", "zero or more than"),
        ("updates: {floor: 1.0+3}", "key `floor`: version `1.0+3`"),
        ("updates: {window: ''}", "key `window`: window `` is no calendar event"),
        ("updates: {window: '3:00; reboot'}", "`;` cannot stand in a calendar event"),
        ("updates: {window: \"daily\\n[Install]\"}", "`\\n` cannot stand in a calendar event"),
        ("updates: {window: '%i'}", "`%` cannot stand in a calendar event"),
        ("health: {units: [a]}", "key `health`: key `units`: `a` is no unit name"),
        ("health: {units: [a@.service]}", "is a template"),
        ("health: {time: 10m}", "key `time`: time `10m`"),
        ("health: {time: 121min}", "key `health`: key `time`: `121min` is more than 2h"),
        ("health: {network: 1}", "x.yaml:1:"),
        (
            "health: {units: [a.service]}\nunits: {mask: {a.service: because}}",
            "key `health.units` waits for `a.service`, which is masked",
        ),
        ("kernel: {sbat: ['a,1,b,c,1']}", "key `kernel.sbat`: `a,1,b,c,1` is no line of SBAT"),
        ("kernel: {sbat: ['a,1,b,c,,u']}", "none of them empty"),
        ("kernel: {sbat: [\"a,1,b,c,1,u\\nsbat,9,b,c,1,u\"]}", "is no line of SBAT"),
        ("kernel: {sbat: ['a,0,b,c,1,u']}", "the generation `0`"),
        ("kernel: {sbat: ['a,65536,b,c,1,u']}", "no number from 1 to 65535"),
        ("kernel: {sbat: ['a,+1,b,c,1,u']}", "the generation `+1`"),
        ("kernel: {sbat: ['uki,1,b,c,1,u']}", "is not an image's own"),
        (
            "kernel: {sbat: ['a,1,b,c,1,u', 'a,2,b,c,1,u']}",
            "key `kernel.sbat` names the component `a` twice",
        ),
    ]);
}

#[test]
fn what_readers_of_yaml_disagree_on_is_refused_or_read_as_1_2() {
    refuse(&[
        ("id: a\n---\nid: b\n", "x.yaml:"),
        ("id: !!python/object:os.system a\n", "x.yaml:1:"),
        ("id: !secret a\n", "x.yaml:1:"),
        ("!!set {id: a}\n", "x.yaml:"),
        ("!local {id: a}\n", "x.yaml:"),
        ("!x id: a\n", "x.yaml:"),
        ("layout:\n\tusr: 1 GiB\n", "x.yaml:2:"),
        ("id: \u{feff}a\n", "a BOM must not appear inside"),
        ("id: \"a\\u0000\"\n", "cannot stand in an id"),
        ("id: a\u{0}\n", "x.yaml:1:"),
        ("id: 'a\n", "x.yaml:"),
        ("id: *gone\n", "x.yaml:"),
        ("%YAML 3.0\n---\nid: a\n", "x.yaml:"),
    ]);
    // What the core schema does not know has one reading: the bytes that it encodes.
    assert_eq!(parse("about: !!binary aGk=\n", "x.yaml").unwrap().about, "hi");
    let plain = parse("id: a\nusers:\n- b\n", "x.yaml").unwrap();
    for same in [
        "id: a\r\nusers:\r\n- b\r\n",
        "\u{feff}id: a\nusers: [b]\n",
        "---\nid: a\nusers: [b]\n...\n",
    ] {
        assert_eq!(parse(same, "x.yaml").unwrap(), plain, "{same:?}");
    }
}

#[test]
fn what_would_go_around_the_proof_or_has_no_reason_is_refused() {
    refuse(&[
        ("kernel: {args: [systemd.verity=0]}", "go around the proof"),
        ("kernel: {args: [rd.systemd.verity=no]}", "go around the proof"),
        ("kernel: {args: [roothash=00]}", "go around the proof"),
        ("kernel: {args: [init=/bin/sh]}", "go around the proof"),
        ("kernel: {args: [usrhash=00]}", "comes from the image"),
        ("kernel: {args: ['quiet init=/bin/sh']}", "is not one word"),
        ("units: {mask: {a.service: ' '}}", "has no reason"),
        ("setid: {usr/bin/x: ''}", "has no reason"),
        ("drop: {usr/bin/x: ''}", "has no reason"),
        ("without: {usr/bin/x: ''}", "has no reason"),
        ("users: [\"u a\\nu root 0\"]", "is not one line"),
    ]);
}
