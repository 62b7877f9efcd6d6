//! Where a channel's files are had from: a directory, or a web server.

use std::fs::{self, File};
use std::io::{Cursor, Read};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use fetch::{Address, Client, LARGEST_SIGNATURE, Machine, Mirror, Sealed};
use store::Blob;

use crate::check_name;
use store::bounded;

/// Where the files of one channel are.
pub enum Origin {
    /// A directory of this machine.
    Directory(PathBuf),
    /// Below an address.
    Web(Box<(Client, Mirror)>),
}

impl Origin {
    /// Where `channel` of `feed` is: an address, or the path of a directory. Proxies and logins
    /// are `machine`'s.
    ///
    /// # Errors
    /// Another address than of HTTP, a name that no channel has.
    pub fn of(feed: &str, channel: &str, machine: Machine) -> Result<Self> {
        check_name(channel).context("the channel's name")?;
        if !feed.contains("://") {
            return Ok(Self::Directory(PathBuf::from(feed).join(channel)));
        }
        let root = Address::parse(feed).context("read the feed's address")?.join(channel);
        let mirror = Mirror { root, named_by: "--feed".to_owned(), checks_dates: true };
        Ok(Self::Web(Box::new((Client::new(machine), mirror))))
    }

    /// A signed file of at most `limit` bytes.
    pub(super) fn sealed(&self, name: &str, signature: &str, limit: u64) -> Result<Sealed> {
        match self {
            Self::Directory(_) => {
                let content = bounded(&self.path(name)?, limit)?;
                Ok(Sealed::new(content, bounded(&self.path(signature)?, LARGEST_SIGNATURE)?))
            }
            Self::Web(web) => fetch::sealed(&web.0, &web.1, name, signature, limit),
        }
    }

    /// The content of a file whose digest and size are known; both are right when this returns.
    ///
    /// From the web it is held in memory: nothing is written.
    pub(super) fn open(&self, name: &str, blob: &Blob) -> Result<Box<dyn Read>> {
        let Self::Web(web) = self else {
            let path = self.path(name)?;
            let size = fs::metadata(&path)?.len();
            ensure!(size == blob.size, "it has {size} bytes and not {}", blob.size);
            let found = store::blob_of(&path)?;
            ensure!(found == *blob, "its digest is {} and not {}", found.digest, blob.digest);
            return Ok(Box::new(File::open(&path)?));
        };
        Ok(Box::new(Cursor::new(fetch::verified(&web.0, &web.1, name, blob)?)))
    }

    /// Every name in the directory; a web server is not asked.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        let Self::Directory(directory) = self else { return Ok(Vec::new()) };
        let names = store::list(directory)?;
        let name = |path: PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
        Ok(names.into_iter().filter_map(name).collect())
    }

    /// Where a file is, which must be an ordinary one: nothing else could be read to its end.
    fn path(&self, name: &str) -> Result<PathBuf> {
        check_name(name)?;
        let Self::Directory(directory) = self else { anyhow::bail!("no directory") };
        let path = directory.join(name);
        let about = || format!("look at `{}`", path.display());
        let kind = fs::metadata(&path).with_context(about)?;
        ensure!(kind.is_file(), "`{}` is no file", path.display());
        Ok(path)
    }
}
