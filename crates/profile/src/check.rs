//! The alphabets of what a profile names.

use anyhow::{Context, Result, bail};

/// The longest label of a GPT partition in UTF-16 units (UEFI specification, 5.3.3).
const LABEL_UNITS: usize = 36;
/// The longest suffix that a layout puts behind `<id>_<version>`.
const LONGEST_SUFFIX: &str = "_verity";

/// Checks a version: letters, digits, `.` and `-`, beginning with a letter or digit.
///
/// That is what both the `@v` of every update client and the loader's names take without a change
/// of meaning (`sysupdate.d(5)`; Boot Loader Specification, boot counting). systemd 257 takes `,`
/// and not `~` and `^`, 262 the other way round; what one does not take it never offers. All take
/// `_`, but end `@v` at the first one in `<id>_@v_@u`.
pub fn check_version(version: &str) -> Result<()> {
    if let Some(c) = version.chars().find(|c| !c.is_ascii_alphanumeric() && !".-".contains(*c)) {
        let why = match c {
            '+' => " (it would begin a boot counter)",
            '_' => " (it would end the version in names of a feed)",
            ',' | '~' | '^' => " (not every update client would offer it)",
            _ => "",
        };
        bail!(
            "version `{version}`: `{c}` cannot stand in a version{why}; letters, digits, `.` and \
             `-` can"
        );
    }
    if !version.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        bail!("version `{version}` does not begin with a letter or digit");
    }
    Ok(())
}

/// Checks an id: lower-case letters, digits, `.`, `_`, `-` (`os-release(5)`, IMAGE_ID).
pub(crate) fn check_id(id: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if let Some(c) = id.chars().find(|c| !good(*c) && !"._-".contains(*c)) {
        bail!(
            "id `{id}`: `{c}` cannot stand in an id; lower-case letters, digits, `.`, `_` and `-` \
             can"
        );
    }
    if !id.starts_with(good) {
        bail!("id `{id}` does not begin with a lower-case letter or a digit");
    }
    Ok(())
}

/// `<id>_<version>`: the label of a slot and the beginning of every artifact's name.
///
/// An ill-formed id or version is an error, and so is a pair whose longest partition label
/// (`…_verity`) has more than 36 UTF-16 units.
pub fn label(id: &str, version: &str) -> Result<String> {
    check_id(id)?;
    check_version(version)?;
    let label = format!("{id}_{version}");
    let units = format!("{label}{LONGEST_SUFFIX}").encode_utf16().count();
    if units > LABEL_UNITS {
        bail!(
            "partition label `{label}{LONGEST_SUFFIX}` has {units} UTF-16 units, {} more than a \
             GPT label can hold: shorten the id or the version",
            units - LABEL_UNITS
        );
    }
    Ok(label)
}

/// Checks a package name for what no family allows; the family itself says more later.
pub(crate) fn check_package(name: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || "+-._".contains(c);
    if name.is_empty() || !name.chars().all(good) {
        bail!("`{name}` is no package name");
    }
    Ok(())
}

/// Checks the name of a unit (`systemd.unit(5)`).
pub(crate) fn check_unit(name: &str) -> Result<()> {
    const KINDS: [&str; 9] =
        ["service", "socket", "target", "timer", "path", "mount", "automount", "swap", "slice"];
    let kind = name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).map(|(_, kind)| kind);
    let good = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    if !kind.is_some_and(|kind| KINDS.contains(&kind)) || !name.chars().all(good) {
        bail!("`{name}` is no unit name: it ends in one of .{}", KINDS.join(", ."));
    }
    Ok(())
}

/// Checks one word of the kernel's command line.
pub(crate) fn check_argument(argument: &str) -> Result<()> {
    const OURS: [&str; 3] = ["usrhash=", "systemd.verity_usr_data=", "systemd.verity_usr_hash="];
    // What would start the machine without the proof that its signature promises.
    const UNPROVEN: [&str; 6] =
        ["systemd.verity=", "rd.systemd.verity=", "roothash=", "init=", "rdinit=", "noinitrd"];
    if argument.is_empty() || argument.chars().any(|c| c.is_whitespace() || c.is_control()) {
        bail!("kernel argument `{}` is not one word", argument.escape_debug());
    }
    if let Some(ours) = OURS.iter().find(|ours| argument.starts_with(**ours)) {
        bail!("kernel argument `{ours}` comes from the image, never from a profile");
    }
    if let Some(bad) = UNPROVEN.iter().find(|bad| argument.starts_with(**bad)) {
        bail!("kernel argument `{bad}` would go around the proof of `/usr`: no profile can set it");
    }
    Ok(())
}

/// Checks a line of SBAT: component, generation, vendor, its package, version, address.
///
/// The components of stub, kernel and UKI are their makers' (shim, SBAT.md), and `sbat` is the
/// format's own.
pub(crate) fn check_sbat(line: &str) -> Result<()> {
    const OTHERS: [&str; 3] = ["sbat", "uki", "systemd-stub"];
    let shown: String = line.chars().take(200).collect();
    let shown = shown.escape_debug();
    let columns: Vec<&str> = line.split(',').collect();
    let printable = line.bytes().all(|b| (0x20..0x7f).contains(&b));
    if columns.len() != 6 || !printable || columns.iter().any(|column| column.trim().is_empty()) {
        bail!(
            "`{shown}` is no line of SBAT: `component,generation,vendor,package,version,address`, \
             printable ASCII, none of them empty"
        );
    }
    let (component, generation) = (columns[0], columns[1]);
    if let Some(other) = OTHERS.iter().find(|other| **other == component) {
        bail!("the component `{other}` of `{shown}` is not an image's own");
    }
    let plain = !generation.starts_with('0') && generation.bytes().all(|b| b.is_ascii_digit());
    if !plain || generation.parse::<u16>().is_err() {
        bail!("the generation `{generation}` of `{shown}` is no number from 1 to {}", u16::MAX);
    }
    Ok(())
}

/// Checks a path or path pattern inside the tree.
pub(crate) fn check_pattern(pattern: &str) -> Result<()> {
    let bad = |part: &str| matches!(part, "" | "." | "..") || part.len() > 255;
    if pattern.len() > 4095 || pattern.split('/').any(bad) || pattern.chars().any(char::is_control)
    {
        let shown: String = pattern.chars().take(200).collect();
        bail!(
            "`{}` is no path inside the tree: write it without a leading `/`, `.` or `..`",
            shown.escape_debug()
        );
    }
    Ok(())
}

/// Checks the name of a directory beside a profile: relative, and spelt in the one plain way.
pub(crate) fn check_beside(name: &str) -> Result<()> {
    const LONGEST: usize = 4095;
    let shown: String = name.chars().take(200).collect();
    let shown = shown.escape_debug();
    if name.is_empty() || name.len() > LONGEST || name.contains(|c: char| c.is_control()) {
        bail!("`{shown}` is no path: it is empty, too long or holds control characters");
    }
    if name.starts_with('/') || name.contains('\\') {
        bail!("`{shown}` is not relative to the profile's directory, with `/` between names");
    }
    let mut plain: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." if plain.last().is_some_and(|last| *last != "..") => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    let plain = plain.join("/");
    if plain != name {
        let short: String = plain.chars().take(200).collect();
        bail!("`{shown}` is not the plain spelling: write `{}`", short.escape_debug());
    }
    Ok(())
}

/// Checks that a reason says something.
pub(crate) fn check_reason(what: &str, reason: &str) -> Result<()> {
    if reason.split_whitespace().next().is_none() {
        bail!("{what} has no reason");
    }
    Ok(())
}

/// Bytes of a size such as `512 MiB`; the unit is KiB, MiB, GiB or TiB.
pub(crate) fn bytes(size: &str) -> Result<u64> {
    let wrong = || format!("size `{size}` is not a number with KiB, MiB, GiB or TiB");
    let digits = size.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = size.split_at(digits);
    let shift = match unit.trim_start_matches(' ') {
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => bail!(wrong()),
    };
    let number: u64 = number.parse().with_context(wrong)?;
    // The limit is what a GPT can describe with 512-byte sectors and Linux can open.
    number
        .checked_mul(1 << shift)
        .filter(|bytes| (1..1 << 60).contains(bytes))
        .with_context(|| format!("size `{size}` is zero or beyond any disk"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_update_client_or_loader_would_misread_is_refused() {
        for good in ["1.10", "20261125.0", "2026.1-rc1", "a.b-c", "1"] {
            check_version(good).unwrap();
        }
        for bad in
            ["", "1.9~rc1", "1:2.0", "2.0+3", "1 2", "1/2", "-1", ".1", "1^2", "é", "1_2", "1,2"]
        {
            assert!(check_version(bad).is_err(), "{bad}");
        }
        assert!(check_version("2.0+3").unwrap_err().to_string().contains("boot counter"));
        assert!(check_version("2_1").unwrap_err().to_string().contains("names of a feed"));
        assert!(check_version("2,1").unwrap_err().to_string().contains("not every update client"));
    }

    #[test]
    fn a_label_that_a_gpt_cannot_hold_is_refused() {
        assert_eq!(label("host", "1.10").unwrap(), "host_1.10");
        let id = "x".repeat(27);
        assert_eq!(format!("{}_verity", label(&id, "1").unwrap()).len(), 36);
        assert!(label(&id, "12").unwrap_err().to_string().contains("37 UTF-16 units, 1 more"));
        assert!(
            label("Host", "1").is_err() && label("-a", "1").is_err() && label("", "1").is_err()
        );
    }

    #[test]
    fn sizes_are_exact_and_cannot_overflow() {
        assert_eq!(bytes("512 MiB").unwrap(), 536_870_912);
        assert_eq!(bytes("1GiB").unwrap(), 1_073_741_824);
        for bad in ["", "512", "512 MB", "-1 MiB", "1.5 GiB", "0 MiB", "18446744073709551615 KiB"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_other_alphabets_are_refused() {
        check_unit("systemd-fsck@dev-sda.service").unwrap();
        for bad in ["ssh", ".service", "a b.service", "a.conf", "../a.service"] {
            assert!(check_unit(bad).is_err(), "{bad}");
        }
        for bad in ["/usr", "usr//lib", "usr/../etc", "", "usr/"] {
            assert!(check_pattern(bad).is_err(), "{bad}");
        }
        for bad in ["", "a b", "usrhash=1", "a\nb"] {
            assert!(check_argument(bad).is_err(), "{bad:?}");
        }
    }
}
