//! A difference as one page that needs nothing else: no script, no font, no network. It is HTML and
//! well-formed XML at once.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::compare::{Change, Diff, Section};
use super::text;
use super::treemap::{Rectangle, divide};
use crate::ledger::{mib, signed};

const STYLE: &str = "body{font:15px/1.5 sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;\
color:#1b1b1b;background:#fff}\
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}\
table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.15rem .6rem;border-bottom:1px solid #ddd;vertical-align:top;\
overflow-wrap:anywhere}\
td.number,th.number{text-align:right;white-space:nowrap}\
svg{width:100%;height:auto}svg text{font:11px sans-serif;fill:#1b1b1b}\
rect{stroke:#fff}\
.same{fill:#d9d9d9}.grown{fill:#f4a582}.shrunk{fill:#92c5de}.new{fill:#e08214}.gone{fill:#4393c3}\
.key span{display:inline-block;padding:0 .5rem;margin-right:.5rem}\
.key .same{background:#d9d9d9}.key .grown{background:#f4a582}.key .shrunk{background:#92c5de}\
.key .new{background:#e08214}.key .gone{background:#4393c3}";

/// The treemap's own unit; the page scales it.
const AREA: Rectangle = Rectangle { x: 0.0, y: 0.0, width: 960.0, height: 540.0 };
/// A letter of a label is about this wide, and a line this high.
const LETTER: f64 = 6.5;
const LINE: f64 = 14.0;

/// The page.
pub(super) fn page(diff: &Diff) -> String {
    let title = format!("{} → {}", text_of(&diff.old.name), text_of(&diff.new.name));
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width\"/>\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    );
    if diff.equal {
        page += "<p>No difference.</p>\n";
    }
    if !diff.not_compared.is_empty() {
        let names = diff.not_compared.join(", ");
        let _ = writeln!(page, "<p>Not compared, because one side does not say it: {names}.</p>");
    }
    if let Some(bytes) = &diff.bytes {
        sizes(&mut page, bytes);
    }
    section(&mut page, "Packages", &diff.packages, text::package);
    section(&mut page, "Boot", &diff.boot, Clone::clone);
    section(&mut page, "Loader", &diff.loader, Clone::clone);
    section(&mut page, "Programs", &diff.programs, Clone::clone);
    words(&mut page, diff);
    section(&mut page, "Units", &diff.units, Clone::clone);
    section(&mut page, "Users", &diff.users, Clone::clone);
    section(&mut page, "Groups", &diff.groups, Clone::clone);
    section(&mut page, "Set-id and capabilities", &diff.privileged, Clone::clone);
    slots(&mut page, diff);
    files(&mut page, diff);
    page + "</body>\n</html>\n"
}

/// What became of a package's bytes: class of the page's style, and word.
fn became(change: &Change<u64>) -> &'static str {
    match (change.old, change.new) {
        (None, _) => "new",
        (_, None) => "gone",
        (Some(old), Some(new)) if new > old => "grown",
        (Some(old), Some(new)) if new < old => "shrunk",
        _ => "same",
    }
}

fn growth(change: &Change<u64>) -> i128 {
    let of = |side: Option<u64>| i128::from(side.unwrap_or_default());
    of(change.new) - of(change.old)
}

/// Treemap and table. A package's area is the larger of its two sizes, so that what shrank or went
/// is as plain as what grew or came.
fn sizes(page: &mut String, bytes: &BTreeMap<String, Change<u64>>) {
    let larger = |change: &Change<u64>| change.old.max(change.new).unwrap_or_default();
    let mut rows: Vec<(&String, &Change<u64>)> = bytes.iter().collect();
    rows.sort_by_key(|(name, change)| (Reverse(larger(change)), *name));
    let total = |of: fn(&Change<u64>) -> Option<u64>| -> u64 {
        rows.iter().filter_map(|(_, change)| of(change)).sum()
    };
    let (old, new) = (total(|change| change.old), total(|change| change.new));
    let whole =
        format!("{} → {} ({})", mib(old), mib(new), signed(i128::from(new) - i128::from(old)));
    let _ = writeln!(page, "<h2>Bytes in /usr by package</h2>\n<p>{whole}</p>");
    *page += "<p class=\"key\">";
    for word in ["grown", "new", "shrunk", "gone", "same"] {
        let _ = write!(page, "<span class=\"{word}\">{word}</span>");
    }
    let _ = writeln!(
        page,
        "</p>\n<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"Bytes in /usr by package, \
         {whole}; the table below says the same\">",
        AREA.width, AREA.height
    );
    let areas: Vec<u64> = rows.iter().map(|(_, change)| larger(change)).collect();
    for ((name, change), area) in rows.iter().zip(divide(&areas, AREA)) {
        if area.width > 0.0 && area.height > 0.0 {
            tile(page, name, change, area);
        }
    }
    *page += "</svg>\n";
    rows.sort_by_key(|(name, change)| {
        (Reverse(growth(change).unsigned_abs()), Reverse(larger(change)), *name)
    });
    *page += "<details><summary>As a table</summary>\n<table>\n<tr><th>package</th>\
              <th class=\"number\">old</th><th class=\"number\">new</th>\
              <th class=\"number\">difference</th><th></th></tr>\n";
    for (name, change) in rows {
        let cell = |side: Option<u64>| side.map_or("–".to_owned(), |size| size.to_string());
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td>\
             <td class=\"number\">{}</td><td>{}</td></tr>",
            text_of(name),
            cell(change.old),
            cell(change.new),
            signed(growth(change)),
            became(change)
        );
    }
    *page += "</table>\n</details>\n";
}

fn tile(page: &mut String, name: &str, change: &Change<u64>, area: Rectangle) {
    let Rectangle { x, y, width, height } = area;
    let word = became(change);
    let size = |side: Option<u64>| side.map_or("none".to_owned(), inspect::bytes);
    let about = format!(
        "{}: {} → {} ({}, {word})",
        text_of(name),
        size(change.old),
        size(change.new),
        signed(growth(change))
    );
    let _ = write!(
        page,
        "<g><title>{about}</title><rect class=\"{word}\" x=\"{x:.2}\" y=\"{y:.2}\" \
         width=\"{width:.2}\" height=\"{height:.2}\"/>"
    );
    let mut line = |text: &str, number: f64| {
        let fits = text.chars().count() as f64 * LETTER < width - LETTER;
        if fits && height > LINE * (number + 0.5) {
            let (x, y) = (x + LETTER / 2.0, y + LINE * number);
            let _ = write!(page, "<text x=\"{x:.2}\" y=\"{y:.2}\">{}</text>", text_of(text));
        }
    };
    line(name, 1.0);
    if growth(change) != 0 {
        line(&signed(growth(change)), 2.0);
    }
    *page += "</g>\n";
}

fn section<T>(page: &mut String, title: &str, section: &Section<T>, word: fn(&T) -> String) {
    let Some(changes) = section.as_ref().filter(|changes| !changes.is_empty()) else { return };
    let _ = writeln!(page, "<h2>{title}</h2>\n<table>\n<tr><th></th><th>old</th><th>new</th></tr>");
    for (name, change) in changes {
        let cell =
            |side: &Option<T>| side.as_ref().map_or("–".to_owned(), |one| text_of(&word(one)));
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
            text_of(name),
            cell(&change.old),
            cell(&change.new)
        );
    }
    *page += "</table>\n";
}

fn words(page: &mut String, diff: &Diff) {
    let Some(words) = diff.command_line.as_ref().filter(|words| !words.equal()) else { return };
    *page += "<h2>Command line</h2>\n";
    if words.reordered {
        *page += "<p>The same words in another order.</p>\n";
        return;
    }
    *page += "<ul>\n";
    for (what, words) in [("removed", &words.removed), ("added", &words.added)] {
        for word in words {
            let _ = writeln!(page, "<li>{what}: <code>{}</code></li>", text_of(word));
        }
    }
    *page += "</ul>\n";
}

fn slots(page: &mut String, diff: &Diff) {
    let Some(slots) = diff.slots.as_ref().filter(|slots| !slots.is_empty()) else { return };
    *page += "<h2>Slots</h2>\n<table>\n<tr><th></th><th>old</th><th>new</th></tr>\n";
    for (name, change) in slots {
        let (old, new) = (text::room(&change.old), text::room(&change.new));
        let _ = writeln!(page, "<tr><td>{}</td><td>{old}</td><td>{new}</td></tr>", text_of(name));
    }
    *page += "</table>\n";
}

fn files(page: &mut String, diff: &Diff) {
    let Some(changes) = diff.files.as_ref().filter(|changes| !changes.is_empty()) else { return };
    let _ = writeln!(
        page,
        "<h2>Files</h2>\n<details><summary>{}</summary>\n<table>\n<tr><th></th><th>path</th>\
         <th>what</th><th>package</th></tr>",
        text::counts(changes.values())
    );
    for (path, change) in changes {
        let (sign, what) = text::file(change);
        let origin = diff.origins.get(path).map_or("", String::as_str);
        let _ = writeln!(
            page,
            "<tr><td>{sign}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            text_of(path),
            text_of(&what),
            text_of(origin)
        );
    }
    *page += "</table>\n</details>\n";
}

/// Text that is no markup, and holds no character that XML 1.0, section 2.2 excludes.
fn text_of(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            odd if odd.is_control() || matches!(odd, '\u{fffe}' | '\u{ffff}') => {
                safe.extend(odd.escape_unicode());
            }
            plain => safe.push(plain),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_becomes_markup() {
        let safe = text_of("<script>\"'&\u{1}\u{ffff}ä");
        assert_eq!(safe, "&lt;script&gt;&quot;&#39;&amp;\\u{1}\\u{ffff}ä");
    }
}
