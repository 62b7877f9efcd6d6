//! Every stage: its canonical forms, and the digest of a small result beside its revision.

mod generators;
mod samples;
mod worker;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use hardtack::STAGES;
use store::Store;

/// A stage that ran on a sample.
struct Made {
    /// The stage's name; for a generator `generate:<generator>`.
    name: String,
    /// The stage's revision, or the generator's.
    revision: u32,
    /// The sample in canonical form.
    input: Vec<u8>,
    /// The result in canonical form; what it names, it names by digest.
    output: Vec<u8>,
}

/// Name, revision and digest, one line each, as `golden/stages.txt` keeps them.
const GOLDEN: &str = include_str!("../golden/stages.txt");

fn store(name: &str) -> Store {
    Store::open(&judge::scratch(&format!("stages-{name}")), None).unwrap()
}

/// The lines of `GOLDEN` that `made` contradicts, as sentences.
fn contradictions(golden: &str, made: &[Made]) -> Vec<String> {
    let known: Vec<[&str; 3]> = golden
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>().try_into().expect("three words a line"))
        .collect();
    let mut found = Vec::new();
    for Made { name, revision, output, .. } in made {
        let digest = store::Digest::of(output).to_string();
        match known.iter().find(|[known, ..]| known == name) {
            None => found.push(format!("`{name}` has no line")),
            Some([_, old, same]) if *old == revision.to_string() && *same == digest => {}
            Some([_, old, _]) if *old == revision.to_string() => found.push(format!(
                "`{name}` makes other bytes under its old revision {old}: raise the revision, \
                 or results that users keep are wrong"
            )),
            Some(_) => found.push(format!("`{name}` has a new revision and needs a new line")),
        }
    }
    for [name, ..] in known {
        if !made.iter().any(|made| made.name == name) {
            found.push(format!("the line of `{name}` belongs to no stage"));
        }
    }
    found
}

fn all(store: &Store) -> Vec<Made> {
    let mut made = samples::all(store);
    made.extend(generators::all(store));
    made
}

#[test]
fn a_stage_that_makes_other_bytes_has_another_revision() {
    let made = all(&store("golden"));
    let found = contradictions(GOLDEN, &made);
    let mut lines = String::new();
    for Made { name, revision, output, .. } in &made {
        writeln!(lines, "{name} {revision} {}", store::Digest::of(output)).unwrap();
    }
    assert!(found.is_empty(), "{}\n\nwhat is made now:\n{lines}", found.join("\n"));
}

#[test]
fn what_transfer_files_match_is_what_a_disk_ships() {
    let store = store("labels");
    let plan = samples::lay_out(&store);
    let disk = store.realize(&disk::LAY_OUT, &plan).unwrap();
    let all: Vec<_> = disk.regions.iter().filter_map(|region| region.partition.as_ref()).collect();
    let slots = |wanted| all.iter().filter(move |one| one.slot == Some(wanted));
    for part in release::PARTS {
        let release::Place::Partition(kind) = part.place else { continue };
        let shipped = slots(disk::Slot::A).find(|one| one.role.name() == kind).unwrap();
        assert_eq!(shipped.label, release::label(kind, &plan.id, &plan.version), "{kind}");
        assert!(slots(disk::Slot::B).any(|one| one.role.name() == kind && one.label == "_empty"));
        // The client writes the same attribute bits as well: read-only.
        assert_eq!(shipped.attributes, 1 << 60, "{kind}");
    }
    assert_eq!(slots(disk::Slot::A).count() + 1, release::PARTS.len());
}

#[test]
fn other_bytes_under_an_old_revision_are_found() {
    let made = |revision, output: &[u8]| {
        let (name, output) = ("a".to_owned(), output.to_vec());
        vec![Made { name, revision, input: vec![], output }]
    };
    let line = format!("a 3 {}\n", store::Digest::of(b"x"));
    assert_eq!(contradictions(&line, &made(3, b"x")), Vec::<String>::new());
    assert!(contradictions(&line, &made(3, b"y"))[0].contains("raise the revision"));
    assert!(contradictions(&line, &made(4, b"y"))[0].contains("needs a new line"));
    assert!(contradictions("", &made(3, b"x"))[0].contains("no line"));
    assert!(contradictions(&line, &[])[0].contains("no stage"));
}

#[test]
fn every_stage_has_a_sample_and_a_name_of_its_own() {
    let names: BTreeSet<&str> = STAGES.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), STAGES.len(), "two stages have one name");
    let made = samples::all(&store("samples"));
    let sampled: BTreeSet<&str> = made.iter().map(|made| made.name.as_str()).collect();
    assert_eq!(names, sampled);
    for Made { name, revision, .. } in &made {
        let row = STAGES.iter().find(|row| row.name == name).unwrap();
        assert_eq!(row.revision, *revision, "`{name}`");
    }
}

#[test]
fn an_input_that_is_read_and_written_keeps_its_bytes() {
    for Made { name, input, .. } in samples::all(&store("recode")) {
        let row = STAGES.iter().find(|row| row.name == name).unwrap();
        assert_eq!((row.recode)(&input).unwrap(), input, "`{name}`");
        // Bytes that are not canonical must not pass for such: they would be another key.
        let spaced = [&input[..input.len() - 1], b" ", &input[input.len() - 1..]].concat();
        assert!((row.recode)(&spaced).is_ok_and(|bytes| bytes == input), "`{name}`");
        assert!((row.recode)(&input[..input.len() - 1]).is_err(), "`{name}` reads half an input");
    }
}

#[test]
fn results_are_the_same_in_another_store() {
    let (one, other) = (all(&store("one")), all(&store("other")));
    for (one, other) in one.iter().zip(&other) {
        assert_eq!(one.name, other.name);
        assert!(one.output == other.output, "`{}` depends on the store", one.name);
    }
}
