//! systemd.preset(5): the first line that matches a unit decides.

use anyhow::{Context, Result, bail};

use crate::pattern::component;

/// What a line says of units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Enable it; of a template these instances.
    Enable(Vec<String>),
    /// Remove its links.
    Disable,
    /// Leave it as it is.
    Ignore,
}

/// Lines of all files, in their order.
#[derive(Default)]
pub(super) struct Rules(Vec<(String, Decision)>);

impl Rules {
    pub(super) fn read(&mut self, text: &str) -> Result<()> {
        for (i, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            let mut words = line.split_whitespace();
            let verb = words.next().unwrap_or_default();
            let named = || format!("line {}: `{line}`", i + 1);
            let pattern = words.next().with_context(named)?;
            if pattern.contains('[') {
                bail!("{}: only `*` and `?` are known in patterns", named());
            }
            let decision = match verb {
                "enable" => Decision::Enable(words.map(str::to_owned).collect()),
                "disable" => Decision::Disable,
                "ignore" => Decision::Ignore,
                _ => bail!("{}: neither enable, disable nor ignore", named()),
            };
            self.0.push((pattern.to_owned(), decision));
        }
        Ok(())
    }

    /// The decision on a unit, if any line makes one.
    pub(super) fn decide(&self, unit: &str) -> Option<&Decision> {
        let matches = |pattern: &str| component(pattern.as_bytes(), unit.as_bytes());
        self.0.iter().find(|(pattern, _)| matches(pattern)).map(|(_, decision)| decision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_match_decides() {
        let mut rules = Rules::default();
        rules.read("# c\nenable a.*\ndisable a.service\n").unwrap();
        rules.read("enable g@.service tty1 tty2\ndisable *\n").unwrap();
        assert_eq!(rules.decide("a.service"), Some(&Decision::Enable(vec![])));
        assert_eq!(rules.decide("z.socket"), Some(&Decision::Disable));
        let instances = vec!["tty1".to_owned(), "tty2".to_owned()];
        assert_eq!(rules.decide("g@.service"), Some(&Decision::Enable(instances)));
    }

    #[test]
    fn an_unknown_verb_is_an_error_with_its_line() {
        for text in ["\nstart a.service", "\nenable", "\nenable a[bc].service"] {
            let error = Rules::default().read(text).unwrap_err();
            assert!(format!("{error:#}").contains("line 2"), "{text}");
        }
    }
}
