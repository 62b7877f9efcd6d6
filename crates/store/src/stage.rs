//! A stage: a pure function with a name.

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Digest, Scratch, decode, encode};

/// One step of the pipeline: a pure function with a name.
///
/// Input and result have one canonical byte form ([`encode`], [`decode`]); the key is the digest
/// of name, revision and canonical input.
pub struct Stage<I, O> {
    /// Stable name, part of the key.
    pub name: &'static str,
    /// Bump when the same input must give different bytes; part of the key.
    pub revision: u32,
    /// What the input is about, for people (a package's name, say); no part of the key.
    pub about: fn(&I) -> String,
    /// The step itself: it sees its input and what [`Scratch`] opens, nothing else.
    pub run: fn(&I, &Scratch<'_>) -> Result<O>,
}

impl<I: Serialize + DeserializeOwned, O: Serialize + DeserializeOwned> Stage<I, O> {
    /// The key of `input` (canonical bytes); `salt` tells development builds apart.
    pub fn key(&self, input: &[u8], salt: Option<Digest>) -> Digest {
        key(self.name, self.revision, input, salt)
    }

    /// Decodes an input and encodes it again: the bytes must not change.
    pub fn recode(&self, input: &[u8]) -> Result<Vec<u8>> {
        encode(&decode::<I>(input)?)
    }

    /// Bytes in, bytes out: what a worker runs.
    pub fn run_erased(&self, input: &[u8], scratch: &Scratch<'_>) -> Result<Vec<u8>> {
        let input: I = decode(input).with_context(|| format!("stage `{}`: input", self.name))?;
        encode(&(self.run)(&input, scratch)?)
    }
}

pub(crate) fn key(name: &str, revision: u32, input: &[u8], salt: Option<Digest>) -> Digest {
    let salt = salt.map_or(String::new(), |d| format!(" {d}"));
    Digest::of(format!("{name} {revision} {}{salt}", Digest::of(input)).as_bytes())
}

/// A stage without its types: one row of the table of all stages, made by `erased!`.
pub struct Erased {
    /// [`Stage::name`].
    pub name: &'static str,
    /// [`Stage::revision`].
    pub revision: u32,
    /// [`Stage::run_erased`].
    pub run: fn(&[u8], &Scratch<'_>) -> Result<Vec<u8>>,
    /// [`Stage::recode`].
    pub recode: fn(&[u8]) -> Result<Vec<u8>>,
}

/// The row of a stage that is a constant.
///
/// ```
/// # use store::{Erased, Stage};
/// const TWICE: Stage<u32, u32> =
///     Stage { name: "twice", revision: 1, about: |n| n.to_string(), run: |n, _| Ok(n * 2) };
/// const ROW: Erased = store::erased!(TWICE);
/// # assert_eq!((ROW.recode)(b"7").unwrap(), b"7");
/// ```
#[macro_export]
macro_rules! erased {
    ($stage:path) => {
        $crate::Erased {
            name: $stage.name,
            revision: $stage.revision,
            run: |input, scratch| $stage.run_erased(input, scratch),
            recode: |input| $stage.recode(input),
        }
    };
}
