//! Each lint finds what it is for, and nothing on a clean tree.

use std::collections::BTreeMap;

use rootfs::{Finding, LINT, Linted, Patterns, Policy};
use store::{Entry, Store, Tree};

struct Sample {
    store: Store,
    tree: Tree,
    policy: Policy,
}

impl Sample {
    fn new(name: &str) -> Self {
        let store = Store::open(&judge::scratch(&format!("lints-{name}")), None).unwrap();
        Self { store, tree: Tree::default(), policy: Policy::default() }
    }

    fn file(&mut self, path: &str, text: &str, mode: u16) {
        let blob = self.store.put(text.as_bytes()).unwrap();
        self.tree.insert(path, Entry::file(blob, mode, "a")).unwrap();
    }

    fn link(&mut self, path: &str, target: &str) {
        self.tree.insert(path, Entry::symlink(target, "a")).unwrap();
    }

    fn findings(&self) -> Vec<Finding> {
        let tree = self.store.put_tree(&self.tree).unwrap();
        self.store.realize(&LINT, &Linted { tree, policy: self.policy.clone() }).unwrap()
    }

    fn says(&self, lint: &str, path: &str, part: &str) {
        let findings = self.findings();
        let hit = |f: &Finding| f.lint == lint && f.path == path && f.problem.contains(part);
        assert!(findings.iter().any(hit), "no `{part}` for `{path}` in {findings:?}");
    }
}

#[test]
fn set_id_and_capabilities_need_a_place_on_the_list() {
    let mut sample = Sample::new("setid");
    sample.file("usr/bin/su", "x", 0o4755);
    sample.file("usr/bin/ping", "x", 0o755);
    let ping = sample.tree.0.get_mut("usr/bin/ping").unwrap();
    ping.xattrs.insert("security.capability".to_owned(), vec![1]);
    sample.says("set-id", "usr/bin/su", "4755");
    sample.says("set-id", "usr/bin/ping", "capabilities");
    let listed = ["usr/bin/su", "usr/bin/ping"].map(|path| (path.to_owned(), "why".to_owned()));
    sample.policy.setid = BTreeMap::from(listed);
    assert_eq!(sample.findings(), []);
}

#[test]
fn a_package_manager_is_found_by_its_paths() {
    let mut sample = Sample::new("manager");
    sample.file("usr/bin/manager", "x", 0o755);
    assert_eq!(sample.findings(), []);
    sample.policy.forbid = Patterns::of(&["usr/bin/manager"]);
    sample.says("package-manager", "usr/bin/manager", "no image holds");
}

#[test]
fn secrets_are_found_in_the_factory_etc_as_well() {
    let mut sample = Sample::new("secret");
    sample.file("usr/share/factory/etc/machine-id", "", 0o444);
    sample.file("usr/share/x.pem", "-----BEGIN CERTIFICATE-----\n", 0o644);
    assert_eq!(sample.findings(), []);
    sample.file("usr/share/factory/etc/machine-id", "0123\n", 0o444);
    sample.file("usr/share/factory/etc/ssh/ssh_host_ed25519_key", "k", 0o600);
    sample.file("usr/share/x.pem", "a\n-----BEGIN EC PRIVATE KEY-----\nb\n", 0o644);
    sample.file("usr/share/factory/etc/shadow", "root:$y$j9T$x:20000::::::\n", 0o640);
    sample.says("secret", "etc/machine-id", "not empty");
    sample.says("secret", "etc/ssh/ssh_host_ed25519_key", "each host");
    sample.says("secret", "usr/share/x.pem", "private key");
    sample.says("secret", "etc/shadow", "password");
}

#[test]
fn an_enabled_unit_can_run() {
    let wants = "etc/systemd/system/multi-user.target.wants";
    let unit = |name: &str| format!("usr/lib/systemd/system/{name}");
    let mut sample = Sample::new("unit");
    sample.file("usr/bin/true", "x", 0o755);
    for (name, text) in [
        ("good.service", "[Service]\nExecStart=-/usr/bin/gone\nExecStart=/bin/true \\\n  -x\n"),
        ("reset.service", "[Service]\nExecStart=/usr/bin/gone\n"),
        ("getty@.service", "[Service]\nExecStart=true %I\n"),
    ] {
        sample.file(&unit(name), text, 0o644);
    }
    sample.file(&unit("reset.service.d/x.conf"), "[Service]\nExecStart=\nExecStart=true\n", 0o644);
    for name in ["good.service", "reset.service"] {
        sample.link(&format!("{wants}/{name}"), &format!("/{}", unit(name)));
    }
    sample.link(&format!("{wants}/getty@tty1.service"), &format!("/{}", unit("getty@.service")));
    assert_eq!(sample.findings(), []);
    sample.file(&unit("gone.service"), "[Service]\nExecStart=@/usr/bin/gone gone\n", 0o644);
    sample.file(&unit("first.service"), "[Unit]\nConditionFirstBoot=yes\n", 0o644);
    for name in ["gone.service", "first.service", "missing.service"] {
        sample.link(&format!("{wants}/{name}"), &format!("/{}", unit(name)));
    }
    sample.says("unit", &format!("{wants}/gone.service"), "`/usr/bin/gone`");
    sample.says("unit", &format!("{wants}/first.service"), "first boot");
    sample.says("unit", &format!("{wants}/missing.service"), "no such unit");
}

#[test]
fn a_mask_needs_a_reason() {
    let mut sample = Sample::new("mask");
    sample.link("etc/systemd/system/a.service", "/dev/null");
    sample.says("unit", "etc/systemd/system/a.service", "nobody says why");
    sample.policy.masked.insert("a.service".to_owned(), "not here".to_owned());
    assert_eq!(sample.findings(), []);
}

#[test]
fn a_program_finds_its_libraries_without_a_cache() {
    let mut sample = Sample::new("library");
    // This test's own program: its needs are known to be there on the machine.
    let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let blob = sample.store.put(&program).unwrap();
    sample.tree.insert("usr/bin/program", Entry::file(blob, 0o755, "a")).unwrap();
    sample.says("library", "usr/bin/program", "needs `libc.so.6`");
    sample.says("library", "usr/bin/program", "is started by");
    sample.policy.unmet.insert("usr/bin/program".to_owned(), "test".to_owned());
    let left = sample.findings();
    assert!(left.iter().all(|finding| finding.problem.contains("is started by")), "{left:?}");
}
