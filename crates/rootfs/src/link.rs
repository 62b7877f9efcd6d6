//! Where symbolic links lead, also when nothing is there.

/// File systems of the kernel and of a running manager.
const OF_THE_KERNEL: [&str; 4] = ["dev", "proc", "run", "sys"];
/// Directories that are empty in an image: a running host has its state there.
const OF_THE_HOST: [&str; 11] =
    ["boot", "efi", "home", "media", "mnt", "opt", "root", "srv", "tmp", "var", "lost+found"];

/// The path, without leading `/`, that the link at `path` names with `target`; `..` is folded by
/// the text alone, and does not climb above the root.
pub(crate) fn target(path: &str, target: &str) -> String {
    let mut parts: Vec<&str> = match target.starts_with('/') {
        true => Vec::new(),
        false => {
            path.rsplit_once('/').map_or(Vec::new(), |(parent, _)| parent.split('/').collect())
        }
    };
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Whether the kernel or the service manager makes what is at `path` (without leading `/`).
pub(crate) fn is_of_the_kernel(path: &str) -> bool {
    below(path, &OF_THE_KERNEL)
}

/// Whether only a running host has what is at `path` (without leading `/`).
pub(crate) fn made_at_boot(path: &str) -> bool {
    is_of_the_kernel(path) || below(path, &OF_THE_HOST)
}

fn below(path: &str, tops: &[&str]) -> bool {
    tops.contains(&path.split('/').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_target_starts_where_the_link_lies() {
        assert_eq!(target("etc/resolv.conf", "../run/x"), "run/x");
        assert_eq!(target("etc/resolv.conf", "../../run/./x"), "run/x");
        assert_eq!(target("usr/bin/a", "b"), "usr/bin/b");
        assert_eq!(target("a", "/usr//b"), "usr/b");
        assert!(made_at_boot("run/x") && made_at_boot("var") && !made_at_boot("usr/var"));
    }
}
