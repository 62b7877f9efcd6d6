//! The door to YAML: every file of ours that people write is read here.

use anyhow::{Result, anyhow, bail};
use serde::de::DeserializeOwned;
use serde_yaml::budget::Budget;
use serde_yaml::options::MergeKeyPolicy;
use serde_yaml::{Error, Options};

/// The largest file that is read, in bytes: the longest of ours has some ten thousand.
const MOST: usize = 1 << 20;

/// Reads one YAML document (version 1.2, core schema): no tags of programs, no merge keys.
///
/// Unknown and duplicate keys are errors where the type denies them; every error names `file`,
/// line and column, shows the line and, for a misspelt name, the nearest one that is known. A
/// string field keeps the text that was written: `1.10` stays `1.10`.
pub fn yaml<T: DeserializeOwned>(text: &str, file: &str) -> Result<T> {
    if text.len() > MOST {
        bail!("{file}: {} bytes are more than the {MOST} that a file may have", text.len());
    }
    serde_yaml::from_str_with_options(text, strict()).map_err(|error| {
        let error = error.without_snippet();
        let place = error.location().map(|l| (l.line(), l.column()));
        anyhow!(located(file, text, place, &message(error)))
    })
}

/// One reading of every document, at a cost that its size bounds.
fn strict() -> Options {
    let mut options = Options::default();
    options.merge_keys = MergeKeyPolicy::Error;
    options.reject_unsupported_tags = true;
    options.reject_tagged_field_names = true;
    options.strict_booleans = true;
    let mut budget = Budget::default();
    budget.max_depth = 32;
    budget.max_anchors = 64;
    budget.max_aliases = 256;
    budget.max_nodes = 100_000;
    options.budget = Some(budget);
    options
}

/// What is wrong, in one line and without the place.
fn message(error: &Error) -> String {
    match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            format!("unknown key `{field}`{}", advice(field, expected))
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            format!("unknown value `{variant}`{}", advice(variant, expected))
        }
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("key `{key}` stands twice"),
        Error::DuplicateMappingKey { key: None, .. } => "a key stands twice".to_owned(),
        Error::SerdeMissingField { field, .. } => format!("key `{field}` is missing"),
        Error::SerdeInvalidType { unexpected, expected, .. }
        | Error::SerdeInvalidValue { unexpected, expected, .. } => {
            format!("{unexpected} where {expected} is expected")
        }
        Error::Message { msg, .. } => msg.clone(),
        other => {
            let text = other.render_with_options(plain());
            text.lines().next().unwrap_or("cannot be read").to_owned()
        }
    }
}

fn plain() -> serde_yaml::RenderOptions<'static> {
    let mut options = serde_yaml::RenderOptions::default();
    options.snippets = serde_yaml::SnippetMode::Off;
    options
}

/// The message with its place and the line that it is about.
fn located(file: &str, text: &str, place: Option<(u64, u64)>, message: &str) -> String {
    let Some((line, column)) = place.filter(|(line, column)| *line > 0 && *column > 0) else {
        return format!("{file}: {message}");
    };
    let source = usize::try_from(line - 1).ok().and_then(|n| text.lines().nth(n)).unwrap_or("");
    let source: String = source.chars().take(200).collect();
    let margin = " ".repeat(line.to_string().len());
    let indent: String = source
        .chars()
        .take(usize::try_from(column - 1).unwrap_or(0))
        .map(|c| if c == '\t' { '\t' } else { ' ' })
        .collect();
    format!("{file}:{line}:{column}: {message}\n {line} | {source}\n {margin} | {indent}^")
}

/// Which name was meant, or which ones there are: what an error says behind `wrong`.
pub fn advice(wrong: &str, known: &[&str]) -> String {
    match store::nearest(wrong, known.iter().copied()) {
        Some(name) => format!("; did you mean `{name}`?"),
        None if known.is_empty() => "; none is known here".to_owned(),
        None => format!("; known are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        version: Option<String>,
        #[serde(default)]
        pins: BTreeMap<String, String>,
    }

    fn wrong(text: &str) -> String {
        yaml::<Sample>(text, "x.yaml").unwrap_err().to_string()
    }

    #[test]
    fn a_misspelt_key_shows_its_place_its_line_and_the_nearest_name() {
        assert_eq!(
            wrong("pins: {a: b}\nverison: 1\n"),
            "x.yaml:2:1: unknown key `verison`; did you mean `version`?\n 2 | verison: 1\n   | ^"
        );
    }

    #[test]
    fn a_key_like_none_of_ours_lists_them() {
        assert!(wrong("colour: red\n").contains("; known are version, pins"));
    }

    #[test]
    fn a_duplicate_key_is_an_error_in_structs_and_maps() {
        let twice = wrong("version: 1\nversion: 2\n");
        assert!(twice.starts_with("x.yaml:2:1: key `version` stands twice\n"), "{twice}");
        let twice = wrong("pins:\n  a: 1\n  b: 2\n  a: 3\n");
        assert!(twice.starts_with("x.yaml:4:3: key `a` stands twice\n"), "{twice}");
    }

    #[test]
    fn a_string_keeps_the_text_that_was_written() {
        for text in ["1.10", "2.20", "1e3", "4225e0434", "007", "0x10", "yes", "1_000"] {
            let sample: Sample =
                yaml(&format!("version: {text}\npins: {{a: {text}}}"), "x").unwrap();
            assert_eq!(sample.version.as_deref(), Some(text));
            assert_eq!(sample.pins["a"], text);
        }
    }

    #[test]
    fn broken_and_hostile_documents_are_errors_with_the_file_name() {
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\npins: *b\n";
        for text in
            ["pins: {a: b", "pins: [a, b]", "- x", "---\nversion: 1\n---\nversion: 2\n", bomb]
        {
            let error = wrong(text);
            assert!(error.starts_with("x.yaml:"), "{text}: {error}");
        }
        assert!(wrong(&" ".repeat(MOST + 1)).contains("more than"));
    }
}
