//! Nobody enters without a password, and root is one account.

use anyhow::Result;
use store::Tree;

use super::{Finding, Lint, Lookup, finding};

pub(super) const ROW: Lint = Lint {
    name: "empty-password",
    about: "an account with an empty password, or a second one with the id of root",
    way_out: "lock the account (`*` or `!` as its password), or take it out",
    run,
};

fn run(tree: &Tree, lookup: &Lookup<'_, '_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for path in ["etc/passwd", "etc/shadow"] {
        let Some(entry) = tree.get(path) else { continue };
        for line in lookup.text(tree, path).lines().filter(|line| !line.is_empty()) {
            let fields: Vec<&str> = line.split(':').collect();
            let name = fields[0];
            if fields.get(1).is_none_or(|password| password.is_empty()) {
                found.push(finding(path, entry, format!("`{name}` enters without a password")));
            }
            if path == "etc/passwd" && fields.get(2) == Some(&"0") && name != "root" {
                found.push(finding(path, entry, format!("`{name}` has the id of root")));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Sample;

    #[test]
    fn an_account_without_a_password_and_a_second_root_are_found() {
        let etc = "usr/share/factory/etc";
        let mut sample = Sample::new("passwords");
        sample.file(&format!("{etc}/passwd"), "root:x:0:0::/:/bin/sh\na:*:5:5::/:/x\n", 0o644);
        sample.file(&format!("{etc}/shadow"), "root:*:1::::::\na:!*:1::::::\n", 0o640);
        assert_eq!(sample.findings(), []);
        sample.file(&format!("{etc}/passwd"), "root::0:0::/:/bin/sh\ntoor:x:0:0::/:/x\n", 0o644);
        sample.file(&format!("{etc}/shadow"), "root:*:1::::::\na::1::::::\n", 0o640);
        sample.says("empty-password", "etc/passwd", "`root` enters without");
        sample.says("empty-password", "etc/passwd", "`toor` has the id of root");
        sample.says("empty-password", "etc/shadow", "`a` enters without");
        assert_eq!(sample.findings().len(), 3);
    }
}
