//! The static worker in a root that holds itself and the declared blobs, and nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use store::{Blob, Store};

use crate::Made;

/// An empty root but for the worker and the blobs that a sample declares.
struct Root {
    directory: PathBuf,
    declared: BTreeSet<String>,
}

impl Root {
    fn new(name: &str, made: &Made, store: &Store) -> Self {
        let directory = judge::scratch(&format!("root-{name}"));
        let worker = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/static/worker");
        assert!(worker.exists(), "the static worker is missing: run `cargo xtask worker`");
        // A copy might still be open for writing in a process that another test starts just now.
        fs::hard_link(worker, directory.join("worker")).unwrap();
        fs::create_dir(directory.join("blobs")).unwrap();
        let mut root = Self { directory, declared: BTreeSet::new() };
        let declared = store::reached(&made.input).unwrap();
        for id in &declared.trees {
            root.give(&id.blob(), store);
            store.tree(id).unwrap().blobs().for_each(|blob| root.give(&blob, store));
        }
        declared.blobs.iter().for_each(|blob| root.give(blob, store));
        root
    }

    fn give(&mut self, blob: &Blob, store: &Store) {
        let name = blob.digest.to_string();
        let to = self.directory.join("blobs").join(&name);
        fs::write(to, store.read(blob).unwrap()).unwrap();
        self.declared.insert(name);
    }

    /// Whether the worker ended well, what it wrote and what it said. `trace` gets its opens.
    fn run(&self, stage: &str, input: &[u8], trace: &Path) -> (bool, Vec<u8>, String) {
        let mut strace = judge::tool("strace");
        strace.args(["-f", "-qq", "-e", "trace=%file", "-o"]).arg(trace);
        // Changing the root is for root alone, or for who is root in a namespace of his own.
        let root = judge::run(judge::tool("id").arg("-u")).text.trim() == "0";
        if !root {
            strace.args(["unshare", "-r"]);
        }
        strace.arg(judge::tool("chroot").get_program()).arg(&self.directory);
        pipe(strace.args(["/worker", stage]), input)
    }
}

fn pipe(command: &mut Command, input: &[u8]) -> (bool, Vec<u8>, String) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), output.stdout, said)
}

/// Paths that the worker, once started, opened with success.
fn opened(trace: &Path) -> Vec<String> {
    let text = fs::read_to_string(trace).unwrap();
    let lines = text.lines().skip_while(|line| !line.contains("execve(\"/worker\""));
    let opens = lines.skip(1).filter(|line| line.contains("open") && !line.contains(" = -1 "));
    opens.filter_map(|line| Some(line.split('"').nth(1)?.to_owned())).collect()
}

#[test]
fn a_static_worker_in_an_empty_root_gives_every_stage_s_golden_result() {
    let store = crate::store("worker");
    let mut count = 0;
    for made in crate::all(&store) {
        let name = made.name.replace(':', "-");
        let root = Root::new(&name, &made, &store);
        let trace = root.directory.with_extension("trace");
        let stage = made.name.split(':').next().unwrap();
        let (ok, output, said) = root.run(stage, &made.input, &trace);
        assert!(ok, "`{}`: {said}", made.name);
        let digest = store::Digest::of(&output).to_string();
        let line = format!("{} {} {digest}", made.name, made.revision);
        assert!(crate::GOLDEN.lines().any(|golden| golden == line), "not golden: {line}");

        let reached = store::reached(&output).unwrap();
        let trees = reached.trees.iter().map(|id| id.blob());
        for blob in reached.blobs.iter().copied().chain(trees) {
            let bytes = fs::read(root.directory.join("blobs").join(blob.digest.to_string()));
            assert_eq!(Blob::of(&bytes.unwrap()), blob, "`{}`", made.name);
        }
        let opened = opened(&trace);
        // What lies there was declared, or made by the stage.
        for path in &opened {
            assert!(path.starts_with("blobs/"), "`{}` opened `{path}`", made.name);
        }
        assert!(!opened.is_empty(), "`{}`: nothing was seen to be opened", made.name);
        count += 1;
    }
    assert_eq!(count, crate::GOLDEN.lines().count());
}

#[test]
fn a_declared_blob_that_is_missing_or_damaged_is_refused_by_name() {
    let store = crate::store("missing");
    for made in crate::samples::all(&store) {
        let root = Root::new(&made.name, &made, &store);
        let trace = root.directory.with_extension("trace");
        for name in &root.declared {
            let file = root.directory.join("blobs").join(name);
            let whole = fs::read(&file).unwrap();
            if whole.is_empty() {
                continue;
            }
            for damage in [None, Some(&whole[1..])] {
                fs::remove_file(&file).unwrap();
                if let Some(bytes) = damage {
                    fs::write(&file, bytes).unwrap();
                }
                let (ok, output, said) = root.run(&made.name, &made.input, &trace);
                assert!(!ok && output.is_empty(), "`{}` went on without {name}", made.name);
                assert!(said.contains(name) && said.contains(&made.name), "{said}");
                fs::write(&file, &whole).unwrap();
            }
        }
    }
}

#[test]
fn a_stage_that_is_none_and_an_input_that_is_none_are_refused() {
    let store = crate::store("none");
    let made = &crate::samples::all(&store)[0];
    let root = Root::new("none", made, &store);
    let trace = root.directory.with_extension("trace");
    let (ok, _, said) = root.run("improt", &made.input, &trace);
    assert!(!ok && said.contains("`improt`") && said.contains("import, merge"), "{said}");
    for input in [&b""[..], b"{}", &made.input[..made.input.len() - 1]] {
        let (ok, output, said) = root.run(&made.name, input, &trace);
        assert!(!ok && output.is_empty() && said.contains("`import`"), "{said}");
    }
}
