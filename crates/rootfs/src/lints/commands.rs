//! What units, udev rules and the message bus start is there and may be executed.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use store::Tree;

use super::unit_file::{self, Setting};
use super::{Finding, Lint, Lookup, finding, paths, udev, unrunnable};
use crate::lines::words;

pub(super) const ROW: Lint = Lint {
    name: "exec",
    about: "a unit, udev rule or D-Bus service that starts a program which is not there",
    way_out: "add the program's package, leave out with `drop` what starts it, or mask the unit",
    run,
};

/// Settings that name a program (systemd.service(5), systemd.socket(5)).
const COMMANDS: [&str; 8] = [
    "ExecCondition",
    "ExecReload",
    "ExecStart",
    "ExecStartPost",
    "ExecStartPre",
    "ExecStop",
    "ExecStopPost",
    "ExecStopPre",
];

fn run(tree: &Tree, lookup: &Lookup<'_, '_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for places in &unit_file::MANAGERS {
        for name in unit_file::names(tree, places) {
            if !unit_file::masked(tree, places, name)
                && let Some(file) = unit_file::file(tree, places, name)
            {
                of_unit(tree, &unit_file::settings(tree, lookup, places, name, &file), &mut found);
            }
        }
    }
    for (path, entry) in paths(tree) {
        let problems = if udev::is_rules(path) {
            udev::problems(tree, lookup.text(tree, path))
        } else if is_bus_service(path) {
            of_bus(tree, lookup.text(tree, path))
        } else {
            continue;
        };
        found.extend(problems.into_iter().map(|problem| finding(path, entry, problem)));
    }
    Ok(found)
}

fn of_unit(tree: &Tree, settings: &[Setting], found: &mut Vec<Finding>) {
    if settings.iter().any(|setting| never_holds(tree, setting)) {
        return;
    }
    let mut commands: BTreeMap<&str, Vec<&Setting>> = BTreeMap::new();
    for setting in settings.iter().filter(|setting| COMMANDS.contains(&setting.key.as_str())) {
        let list = commands.entry(&setting.key).or_default();
        // An empty value takes back what was said before.
        if setting.value.is_empty() { list.clear() } else { list.push(setting) }
    }
    // A condition on the program itself says that it may be missing.
    let conditions = settings.iter().filter(|setting| of_path(&setting.key));
    let optional: BTreeSet<&str> = conditions.map(|setting| setting.value.as_str()).collect();
    for Setting { file, key, value } in commands.into_values().flatten() {
        let Some(entry) = tree.get(file) else { continue };
        let named = programs(value).into_iter().filter(|name| !optional.contains(name.as_str()));
        let lacking = named.filter_map(|program| unrunnable(tree, &program));
        found.extend(lacking.map(|what| finding(file, entry, format!("{key}= runs {what}"))));
    }
}

/// Whether a condition on what the image holds keeps the unit from ever starting. `/etc` is no
/// such place: its owner may add what is missing.
fn never_holds(tree: &Tree, Setting { key, value, .. }: &Setting) -> bool {
    let fixed = value.starts_with("/usr/") || value == "/etc/initrd-release";
    of_path(key) && fixed && !value.contains('%') && tree.resolve(value).is_none()
}

/// Whether a setting is a condition on a path (systemd.unit(5)).
fn of_path(key: &str) -> bool {
    let kinds = [
        "DirectoryNotEmpty",
        "FileIsExecutable",
        "FileNotEmpty",
        "PathExists",
        "PathIsDirectory",
        "PathIsSymbolicLink",
    ];
    let condition = key.strip_prefix("Condition").or_else(|| key.strip_prefix("Assert"));
    condition.is_some_and(|condition| kinds.contains(&condition))
}

/// The programs of one setting: a `;` of its own begins another command. A program whose absence
/// is ignored (`-`), or that only the manager can name (`%`, `$`), is none.
fn programs(value: &str) -> Vec<String> {
    let words =
        words(value).unwrap_or_else(|_| value.split_whitespace().map(str::to_owned).collect());
    let commands = words.split(|word| word == ";").filter_map(|command| command.first());
    let named = commands.filter_map(|word| {
        let begins = word.find(|c| !"-@:+!|".contains(c)).unwrap_or(word.len());
        let (prefix, program) = word.split_at(begins);
        (!prefix.contains('-') && !program.is_empty() && !program.contains(['%', '$']))
            .then(|| program.to_owned())
    });
    named.collect()
}

fn is_bus_service(path: &str) -> bool {
    path.ends_with(".service")
        && ["usr/share/dbus-1/services/", "usr/share/dbus-1/system-services/"]
            .iter()
            .any(|place| path.starts_with(place))
}

/// A service of the message bus (dbus-daemon(1)) that no unit starts.
fn of_bus(tree: &Tree, text: &str) -> Vec<String> {
    let lines = unit_file::pairs(text);
    if lines.iter().any(|(key, _)| key == "SystemdService") {
        return Vec::new();
    }
    let commands = lines.iter().filter(|(key, _)| key == "Exec");
    let programs = commands.flat_map(|(_, value)| programs(value));
    let lacking = programs.filter_map(|program| unrunnable(tree, &program));
    lacking.map(|what| format!("Exec= runs {what}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::Sample;
    use super::*;

    const UNITS: &str = "usr/lib/systemd/system";

    #[test]
    fn every_command_of_every_unit_is_there() {
        let mut sample = Sample::new("exec");
        sample.file("usr/bin/true", "x", 0o755);
        sample.file("usr/lib/data", "x", 0o644);
        let mut unit = |name: &str, text: &str| {
            sample.file(&format!("{UNITS}/{name}"), text, 0o644);
        };
        unit("good.service", "[Service]\nExecStart=-/usr/bin/gone\nExecStart=@!/bin/true \\\n x\n");
        unit("shell.service", "[Service]\nExecStart=true 'a ; gone' ; true\nExecStop=%h/x $Y\n");
        unit("reset.service", "[Service]\nExecStart=/usr/bin/gone\n");
        unit("reset.service.d/x.conf", "[Service]\nExecStart=\nExecStart=true\n");
        unit(
            "dead.service",
            "[Unit]\nConditionPathExists=/usr/bin/gone\n[Service]\nExecStart=/a\n",
        );
        unit("own.service", "[Unit]\nAssertFileIsExecutable=/etc/x\n[Service]\nExecStart=/etc/x\n");
        unit("run.service", "[Service]\nExecStart=/run/x\n");
        assert_eq!(sample.findings(), []);
        let mut unit = |name: &str, text: &str| {
            sample.file(&format!("{UNITS}/{name}"), text, 0o644);
        };
        unit("gone.service", "[Service]\nExecStart=true ; @/usr/bin/gone gone\n");
        unit("data.service", "[Service]\nExecStop=/lib/data\n");
        unit("plug@.socket", "[Socket]\nExecStartPre=plug %i\n");
        unit("good.service.d/x.conf", "[Service]\nExecReload=/usr/bin/reload\n");
        sample.says("exec", &format!("{UNITS}/gone.service"), "`/usr/bin/gone`, which is not");
        sample.says("exec", &format!("{UNITS}/data.service"), "may not be executed");
        sample.says("exec", &format!("{UNITS}/plug@.socket"), "ExecStartPre= runs `plug`");
        sample.says("exec", &format!("{UNITS}/good.service.d/x.conf"), "`/usr/bin/reload`");
        assert_eq!(sample.findings().len(), 4);
    }

    #[test]
    fn a_masked_unit_runs_nothing() {
        let mut sample = Sample::new("exec-masked");
        sample.file(&format!("{UNITS}/a@.service"), "[Service]\nExecStart=/usr/bin/gone\n", 0o644);
        sample.says("exec", &format!("{UNITS}/a@.service"), "gone");
        sample.link("etc/systemd/system/a@.service", "/dev/null");
        sample.policy.masked.insert("a@.service".to_owned(), "not here".to_owned());
        assert_eq!(sample.findings(), []);
    }

    #[test]
    fn a_service_of_the_bus_is_started_by_its_unit_or_by_a_program_that_is_there() {
        let bus = "usr/share/dbus-1/system-services";
        let mut sample = Sample::new("exec-bus");
        let by_unit = "[D-BUS Service]\nName=a\nExec=/bin/false\nSystemdService=a.service\n";
        sample.file(&format!("{bus}/a.service"), by_unit, 0o644);
        assert_eq!(sample.findings(), []);
        sample.file(&format!("{bus}/b.service"), "[D-BUS Service]\nExec=/usr/bin/b x\n", 0o644);
        sample.says("exec", &format!("{bus}/b.service"), "`/usr/bin/b`");
    }

    #[test]
    fn a_line_with_an_open_quote_still_names_its_program() {
        assert_eq!(programs("/usr/bin/a 'b"), ["/usr/bin/a"]);
        assert_eq!(programs(""), [""; 0]);
    }
}
