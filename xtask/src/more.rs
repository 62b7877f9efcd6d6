//! What is asked inside the guests of single profiles.

/// One profile's own questions.
pub(crate) struct More {
    pub(crate) profile: &'static str,
    /// Runs inside the guest as part of `facts.sh`, at the first boot (`$boot` is 1) and the second.
    pub(crate) script: &'static str,
    /// The machine has a port for the QEMU guest agent, and the host pings it there.
    pub(crate) agent: bool,
    /// What is claimed, the fact that decides, and the value that it must have.
    pub(crate) answers: &'static [(&'static str, &'static str, &'static str)],
}

const MORE: &[More] = &[More {
    profile: "newcomers",
    script: include_str!("more/newcomers.sh"),
    agent: true,
    answers: &[
        ("htop draws its screen on a terminal", "htop", "drawn"),
        ("ping works for a user without rights", "ping", "answered"),
        ("fping works for a user without rights", "fping", "127.0.0.1 is alive"),
        ("tcpdump sees that ping on the loopback", "tcpdump", "seen"),
        ("nginx runs", "nginx", "active"),
        ("nginx answers on the loopback", "http", "200 OK"),
        ("PostgreSQL's cluster runs", "postgresql", "active"),
        ("PostgreSQL keeps a table over a reboot", "kept_rows", "1"),
        ("psql's query is answered", "select", "1"),
        ("podman runs a container from an archive", "podman", crate::container::SAYS),
        ("LVM makes a volume that keeps what is written", "lvm", "kept"),
        ("the guest agent runs", "agent", "active"),
    ],
}];

impl More {
    /// The questions of a profile, if it has any.
    pub(crate) fn of(profile: &str) -> Option<&'static More> {
        MORE.iter().find(|more| more.profile == profile)
    }
}

#[cfg(test)]
mod tests {
    use crate::image::Profile;

    use super::*;

    #[test]
    fn every_row_is_of_a_profile_and_its_script_tells_what_is_asked() {
        for more in MORE {
            Profile::find(more.profile).unwrap();
            for (_, key, _) in more.answers {
                assert!(more.script.contains(&format!("tell {key} ")), "{key}");
            }
        }
    }
}
