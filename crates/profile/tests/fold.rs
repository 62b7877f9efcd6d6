//! How a profile folds over its ancestors, and what it may not say.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use profile::{Health, Profile, Reboot, UnitState, Updates, load, parse};

/// Loads `top` among files given as text.
fn load_of(files: &[(&str, &str)], top: &str) -> Result<Profile> {
    load(Path::new(top), &|path| {
        let found = files.iter().find(|(name, _)| Path::new(name) == path);
        found.map(|(_, text)| (*text).to_owned()).context("no such file")
    })
}

fn wrong(files: &[(&str, &str)], top: &str) -> String {
    format!("{:#}", load_of(files, top).unwrap_err())
}

const PARENT: &str = "about: p\npackages: {add: [a, b]}\nfiles: [p.d]\nversion: 1.10\n\
    units: {enable: [a.service], disable: [b.service], mask: {c.service: too loud}}\n\
    kernel: {args: [rw, console=tty0]}\noutputs: [raw]\nlayout: {usr: 1 GiB}\n";

#[test]
fn sets_add_and_drop_and_scalars_replace() {
    let child = "extends: ../p/parent\npackages: {add: {c: 1.10, a: 2.20}, drop: [b]}\n\
        files: [../shared.d, c.d]\nunits: {disable: [a.service], enable: [b.service]}\n\
        kernel: {args: {add: [quiet], drop: [console=tty0]}}\nlayout: {esp: 64 MiB}\n";
    let child = load_of(&[("p/parent.yaml", PARENT), ("x/c.yaml", child)], "x/c.yaml").unwrap();
    assert_eq!((child.id.as_str(), child.about.as_str()), ("c", "p"));
    assert_eq!(child.version.as_deref(), Some("1.10"));
    let pins: Vec<_> = child.packages.iter().map(|(n, v)| (n.as_str(), v.as_deref())).collect();
    assert_eq!(pins, [("a", Some("2.20")), ("c", Some("1.10"))]);
    assert_eq!(child.files, ["p/p.d", "shared.d", "x/c.d"].map(PathBuf::from));
    assert_eq!(child.units["a.service"], UnitState::Disabled);
    assert_eq!(child.units["b.service"], UnitState::Enabled);
    assert_eq!(child.kernel_args, ["rw", "quiet"]);
    assert_eq!((child.layout.usr, child.layout.esp), (Some(1 << 30), Some(64 << 20)));
}

#[test]
fn a_child_opts_out_of_updates_in_one_line_and_keeps_the_rest() {
    let parent = "updates: {feed: http://host/path/, window: '*-*-* 03:00', reboot: window,\n\
        valid: 12h, floor: 1.0}\nhealth: {units: [a.service], time: 90s}\n\
        kernel: {sbat: ['x,1,v,p,1,u']}\n";
    let files = |child: &str| -> Profile {
        let child = format!("extends: p\n{child}\n");
        load_of(&[("p.yaml", parent), ("c.yaml", &child)], "c.yaml").unwrap()
    };
    let whole = Updates {
        feed: Some("http://host/path".into()),
        channel: "stable".into(),
        auto: true,
        window: "*-*-* 03:00".into(),
        reboot: Reboot::Window,
        valid: 12 * 3600,
        floor: Some("1.0".into()),
    };
    assert_eq!(files("").updates, Some(whole.clone()));
    let out = Updates { auto: false, ..whole.clone() };
    assert_eq!(files("updates: {auto: false}").updates, Some(out));
    let never = Updates { reboot: Reboot::Never, channel: "beta-1".into(), ..whole };
    assert_eq!(files("updates: {reboot: never, channel: beta-1}").updates, Some(never));

    let health = |child: &str| files(child).health;
    let all = Health { units: vec!["a.service".into(), "b.timer".into()], network: true, time: 90 };
    assert_eq!(health("health: {units: [b.timer], network: true}"), all);
    assert_eq!(health("health: {units: {drop: [a.service]}}").units, [""; 0]);
    let newer = "kernel: {sbat: {add: ['x,2,v,p,1,u'], drop: ['x,1,v,p,1,u']}}";
    assert_eq!(files(newer).sbat, ["x,2,v,p,1,u"]);

    assert_eq!(health("health: {time: 2h}").time, 7200);

    let nothing = parse("{}", "x.yaml").unwrap();
    assert_eq!((nothing.updates, nothing.health.time), (None, 600));
    let default = parse("updates: {}", "x.yaml").unwrap().updates.unwrap();
    assert_eq!((default.window.as_str(), default.valid), ("daily", 30 * 24 * 3600));
    assert!(default.auto && default.reboot == Reboot::Never && default.feed.is_none());
}

#[test]
fn dropping_what_nobody_added_is_an_error_that_names_the_file() {
    for (key, what) in [
        ("packages: {drop: [zz]}", "`zz`"),
        ("kernel: {args: {drop: [zz]}}", "`zz`"),
        ("outputs: {drop: [vhd]}", "`vhd`"),
        ("files: {drop: [q.d]}", "`q.d`"),
        ("units: {drop: [q.service]}", "`q.service`"),
        ("health: {units: {drop: [q.service]}}", "`q.service`"),
        ("kernel: {sbat: {drop: ['q,1,a,b,1,u']}}", "`q,1,a,b,1,u`"),
    ] {
        let child = format!("extends: p\n{key}\n");
        let error = wrong(&[("p.yaml", PARENT), ("c.yaml", &child)], "c.yaml");
        assert!(error.starts_with("c.yaml: key `") && error.contains(what), "{error}");
    }
}

#[test]
fn contradictions_are_errors() {
    for key in [
        "packages: {add: [z], drop: [z]}",
        "packages: {add: [z, z]}",
        "packages: {drop: [a, a]}",
        "units: {enable: [z.service], mask: {z.service: because}}",
        "units: {enable: [z.service], disable: [z.service]}",
        "units: {enable: [c.service]}",
        "units: {mask: {z.service: ''}}",
        "units: {enable: [z]}",
        "kernel: {args: [rw, rw]}",
        "kernel: {args: [usrhash=00]}",
        "credentials: none\nkernel: {args: [systemd.import_credentials=no]}",
        "modules: [ext4]",
        "version: 1:2",
        "id: a/b",
        "version: 1234567890123456789012345678901234567890",
        "layout: {sector: 520}",
        "layout: {usr: 1 GB}",
        "drop: {/usr/x: because}",
        "setid: {usr/bin/x: ' '}",
        "lints: {set-id: {usr/bin/x: ' '}}",
        "lints: {set-id: {/usr/bin/x: because}}",
        "lints: {set-id: because}",
        "scripts: {a: deadbeef because}",
        "arch: sparc",
    ] {
        let child = format!("extends: p\n{key}\n");
        let error = wrong(&[("p.yaml", PARENT), ("c.yaml", &child)], "c.yaml");
        assert!(error.starts_with("c.yaml:"), "{key}: {error}");
    }
}

#[test]
fn a_masked_unit_is_enabled_only_after_its_mask_is_dropped() {
    let child = "extends: p\nunits: {drop: [c.service], enable: [c.service]}\n";
    let child = load_of(&[("p.yaml", PARENT), ("c.yaml", child)], "c.yaml").unwrap();
    assert_eq!(child.units["c.service"], UnitState::Enabled);
}

#[test]
fn a_profile_that_extends_itself_is_an_error_however_it_is_spelt() {
    let files = [("a.yaml", "extends: b"), ("b.yaml", "extends: ./x/../a.yaml")];
    assert_eq!(wrong(&files, "a.yaml"), "a.yaml: extends itself: a.yaml → b.yaml → a.yaml");
    assert!(wrong(&[("a.yaml", "extends: b")], "a.yaml").starts_with("read profile `b.yaml`"));
    let endless = |path: &Path| Ok(format!("extends: {}x", path.file_stem().unwrap().display()));
    let error = load(Path::new("x.yaml"), &endless).unwrap_err();
    assert!(format!("{error:#}").contains("more than 16 ancestors"));
}

#[test]
fn credentials_none_reach_the_command_line() {
    let profile = parse("credentials: none\nkernel: {args: [rw]}", "x.yaml").unwrap();
    assert_eq!(profile.kernel_args, ["rw", "systemd.import_credentials=no"]);
    assert_eq!(parse("{}", "x.yaml").unwrap().kernel_args, [""; 0]);
}

#[test]
fn an_acknowledgement_is_a_digest_and_a_reason() {
    let digits = "4225".repeat(16);
    let one = format!("scripts: {{a: {digits} only messages}}");
    let read = parse(&one, "x.yaml").unwrap().scripts;
    assert_eq!(
        (read["a"][0].sha256.as_str(), read["a"][0].reason.as_str()),
        (digits.as_str(), "only messages")
    );
    let two = format!("scripts:\n  a:\n  - {digits} x\n  - {digits} y\n");
    assert_eq!(parse(&two, "x.yaml").unwrap().scripts["a"].len(), 2);
    for bad in ["1.5", "''", &digits, "{b: c}"] {
        assert!(parse(&format!("scripts: {{a: {bad}}}"), "x.yaml").is_err(), "{bad}");
    }
}

#[test]
fn an_unknown_key_deep_inside_shows_its_place() {
    let error = wrong(&[("x.yaml", "id: x\npackages:\n  ad: [a]\n")], "x.yaml");
    assert!(error.starts_with("x.yaml:3:3: unknown key `ad`; did you mean `add`?\n"), "{error}");
    let error = wrong(&[("x.yaml", "arch: x86_64\n")], "x.yaml");
    assert!(
        error.starts_with("x.yaml:1:7: unknown value `x86_64`; did you mean `x86-64`?"),
        "{error}"
    );
}
