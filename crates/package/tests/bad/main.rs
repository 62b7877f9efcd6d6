//! Archives that attack their reader: each is refused with the path, the reason and nothing else.

mod container;
mod differential;
mod headers;
mod names;

use std::collections::BTreeMap;

use judge::forge::{self, Tar};
use package::{Entry, Family};

type Found = BTreeMap<String, (Entry, Vec<u8>)>;

/// What is read of an archive, or the error's text.
fn read(archive: &[u8]) -> Result<Found, String> {
    let mut found = Found::new();
    let result = package::open(Family::Deb, archive, &mut |entry, content| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        found.insert(entry.path.clone(), (entry.clone(), bytes));
        Ok(())
    });
    result.map(|()| found).map_err(|error| format!("{error:#}"))
}

fn tar() -> Tar {
    Tar::default()
}

fn package(payload: Tar) -> Vec<u8> {
    forge::package(forge::control(), payload)
}

/// Every case is refused, and the message says so much.
fn refuse(cases: Vec<(&str, Tar, &str)>) {
    for (attack, payload, says) in cases {
        let Err(error) = read(&package(payload)) else { panic!("{attack}: taken") };
        assert!(error.contains(says), "{attack}: {error}");
        assert!(error.len() < 1000, "{attack}: {} bytes of message", error.len());
    }
}
