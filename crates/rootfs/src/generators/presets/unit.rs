//! Names of units and their `[Install]` sections (systemd.unit(5)).

use std::fmt;

use crate::lines::joined;

const KINDS: [&str; 11] = [
    "automount",
    "device",
    "mount",
    "path",
    "scope",
    "service",
    "slice",
    "socket",
    "swap",
    "target",
    "timer",
];

/// Whether `name` is the name of a unit, a template's included.
pub(super) fn is_unit(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    name.rsplit_once('.').is_some_and(|(stem, kind)| {
        KINDS.contains(&kind)
            && !stem.is_empty()
            && !stem.starts_with('@')
            && name.len() <= 255
            && stem.chars().all(good)
    })
}

/// A unit's name in parts: `prefix@instance.kind`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    prefix: String,
    /// `Some("")` for a template.
    instance: Option<String>,
    kind: String,
}

impl Name {
    pub(super) fn of(name: &str) -> Self {
        let (stem, kind) = name.rsplit_once('.').unwrap_or((name, ""));
        let (prefix, instance) = match stem.split_once('@') {
            Some((prefix, instance)) => (prefix, Some(instance.to_owned())),
            None => (stem, None),
        };
        Self { prefix: prefix.to_owned(), instance, kind: kind.to_owned() }
    }

    pub(super) fn is_template(&self) -> bool {
        self.instance.as_deref() == Some("")
    }

    /// The name of an instance's template.
    pub(super) fn template(&self) -> Option<String> {
        let of_instance = self.instance.as_deref().is_some_and(|instance| !instance.is_empty());
        of_instance.then(|| format!("{}@.{}", self.prefix, self.kind))
    }

    /// The name of a template's instance.
    pub(super) fn with_instance(&self, instance: &str) -> Option<String> {
        self.is_template().then(|| format!("{}@{instance}.{}", self.prefix, self.kind))
    }

    /// `text` with the specifiers that are about names; `instance` stands in for a template's.
    pub(super) fn expand(&self, text: &str, instance: Option<&str>) -> String {
        let own = self.instance.as_deref().filter(|own| !own.is_empty());
        let instance = own.or(instance).unwrap_or_default();
        let whole = match self.is_template() && !instance.is_empty() {
            true => format!("{}@{instance}.{}", self.prefix, self.kind),
            false => self.to_string(),
        };
        let mut expanded = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                expanded.push(c);
                continue;
            }
            match chars.next() {
                Some('n') => expanded.push_str(&whole),
                Some('N') => expanded.push_str(whole.rsplit_once('.').map_or("", |(stem, _)| stem)),
                Some('p') => expanded.push_str(&self.prefix),
                Some('i' | 'I') => expanded.push_str(instance),
                Some('j' | 'J') => {
                    expanded.push_str(self.prefix.rsplit('-').next().unwrap_or_default());
                }
                Some('%') | None => expanded.push('%'),
                // Kept, so that it is no valid name and is reported.
                Some(other) => expanded.extend(['%', other]),
            }
        }
        expanded
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.instance {
            Some(instance) => write!(f, "{}@{instance}.{}", self.prefix, self.kind),
            None => write!(f, "{}.{}", self.prefix, self.kind),
        }
    }
}

/// What the `[Install]` sections of a unit say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Install {
    pub(super) alias: Vec<String>,
    pub(super) wanted_by: Vec<String>,
    pub(super) required_by: Vec<String>,
    pub(super) upheld_by: Vec<String>,
    pub(super) also: Vec<String>,
    pub(super) default_instance: Option<String>,
}

impl Install {
    /// Takes what one file says; an empty value empties a list.
    pub(super) fn read(&mut self, text: &str) {
        let mut here = false;
        for line in joined(text) {
            let line = line.trim();
            if line.starts_with('[') {
                here = line == "[Install]";
                continue;
            }
            let Some((key, value)) = line.split_once('=').filter(|_| here) else { continue };
            let value = value.trim();
            let list = match key.trim() {
                "Alias" => &mut self.alias,
                "WantedBy" => &mut self.wanted_by,
                "RequiredBy" => &mut self.required_by,
                "UpheldBy" => &mut self.upheld_by,
                "Also" => &mut self.also,
                "DefaultInstance" => {
                    self.default_instance = Some(value.to_owned()).filter(|v| !v.is_empty());
                    continue;
                }
                _ => continue,
            };
            if value.is_empty() {
                list.clear();
            }
            list.extend(value.split_whitespace().map(|word| word.trim_matches('"').to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_units_are_told_from_other_files() {
        for good in ["a.service", "a@.service", "a@b.socket", "-.mount", "x\\x2dy.slice"] {
            assert!(is_unit(good), "{good}");
        }
        for bad in
            ["a", "a.conf", ".service", "@.service", "a/b.service", "a.service.d", "a b.timer"]
        {
            assert!(!is_unit(bad), "{bad}");
        }
    }

    #[test]
    fn specifiers_speak_of_the_instance() {
        let name = Name::of("a-b@x.service");
        assert_eq!(name.expand("%n %N %p %i %j %%", None), "a-b@x.service a-b@x a-b x b %");
        assert_eq!(Name::of("g@.service").expand("%n", Some("tty1")), "g@tty1.service");
    }

    #[test]
    fn continued_lines_comments_and_resets_are_read_as_systemd_does() {
        let mut install = Install::default();
        install.read("[Unit]\nAlias=x.service\n[Install]\nWantedBy=a.target \\\n# c\n b.target\n");
        install.read("[Install]\nAlias=y.service\nAlias=\nDefaultInstance=z\n");
        let expected = Install {
            wanted_by: vec!["a.target".into(), "b.target".into()],
            default_instance: Some("z".into()),
            ..Install::default()
        };
        assert_eq!(install, expected);
    }
}
