//! What a failed command exits with.

use std::{fmt, io};

use anyhow::{Error, Result};
use rustix::io::Errno;

/// The kinds of failure that a caller may tell apart; see `docs/exit-codes.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The command line, the profile or a rule.
    Profile,
    /// The lock: it cannot be made, or does not fit the profile.
    Lock,
    /// Bytes that cannot be had, or are not what the lock names.
    Fetch,
    /// A stage refused its input.
    Build,
    /// A key, a certificate or a signature.
    Sign,
    /// The result cannot be written: no room, no right.
    Output,
    /// An image or a feed that is looked at is damaged, or is none.
    Image,
    /// A feed does not take what is published, or is not what was published.
    Feed,
}

impl Fault {
    /// Every kind, for the documentation's table.
    pub const ALL: &[Self] = &[
        Self::Profile,
        Self::Lock,
        Self::Fetch,
        Self::Build,
        Self::Sign,
        Self::Output,
        Self::Image,
        Self::Feed,
    ];

    /// The exit code; 0 is success and 1 a fault of the program itself.
    pub fn code(self) -> u8 {
        match self {
            Self::Profile => 2,
            Self::Lock => 3,
            Self::Fetch => 4,
            Self::Build => 5,
            Self::Sign => 6,
            Self::Output => 7,
            Self::Image => 8,
            Self::Feed => 9,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Profile => "the profile cannot be used",
            Self::Lock => "the packages cannot be locked",
            Self::Fetch => "the packages cannot be fetched",
            Self::Build => "the image cannot be built",
            Self::Sign => "the image cannot be signed",
            Self::Output => "the image cannot be written",
            Self::Image => "what was looked at is not whole",
            Self::Feed => "the feed stays as it was",
        })
    }
}

impl std::error::Error for Fault {}

/// Says what kind of failure an error is.
pub trait Or<T> {
    /// The same result, its error marked as `fault`.
    fn fault(self, fault: Fault) -> Result<T>;
}

impl<T> Or<T> for Result<T> {
    fn fault(self, fault: Fault) -> Self {
        self.map_err(|error| {
            let fault = if is_of_the_host(&error) { Fault::Output } else { fault };
            error.context(fault)
        })
    }
}

/// Whether the machine refused to take what a stage made: no fault of the stage.
fn is_of_the_host(error: &Error) -> bool {
    use std::io::ErrorKind::{
        CrossesDevices, FileTooLarge, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
    };
    let kinds = [CrossesDevices, FileTooLarge, QuotaExceeded, ReadOnlyFilesystem, StorageFull];
    let codes = [Errno::IO, Errno::MFILE, Errno::NFILE].map(|code| Some(code.raw_os_error()));
    let causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    // One that was added as context is no cause by itself: only the whole error knows its type.
    let mut said = causes.chain(error.downcast_ref::<io::Error>());
    said.any(|said| kinds.contains(&said.kind()) || codes.contains(&said.raw_os_error()))
}

/// The exit code of an error: that of the outermost [`Fault`] in its chain, else 1.
pub fn code(error: &Error) -> u8 {
    error.downcast_ref::<Fault>().map_or(1, |fault| fault.code())
}

/// An error as people read it: one line a cause, outermost first.
pub fn text(error: &Error) -> String {
    let mut text = format!("error: {error}");
    for cause in error.chain().skip(1) {
        text += &format!("\n  because: {}", cause.to_string().replace('\n', "\n           "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_survive_more_context() {
        let mut codes: Vec<u8> = Fault::ALL.iter().map(|fault| fault.code()).collect();
        codes.dedup();
        assert_eq!(codes, [2, 3, 4, 5, 6, 7, 8, 9]);
        let error = Or::<()>::fault(Err(anyhow::anyhow!("it broke")), Fault::Sign).unwrap_err();
        assert_eq!(code(&error.context("more")), 6);
        let full = Error::new(io::Error::from(io::ErrorKind::StorageFull)).context("write");
        assert_eq!(code(&Or::<()>::fault(Err(full), Fault::Build).unwrap_err()), 7);
        let full = anyhow::anyhow!("GLib's").context(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(code(&Or::<()>::fault(Err(full), Fault::Sign).unwrap_err()), 7);
        assert_eq!(code(&anyhow::anyhow!("ours")), 1);
    }
}
