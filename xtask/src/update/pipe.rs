//! The program that QEMU starts for each connection of a guest to the feed's address.
//!
//! QEMU's user network hands a connection to one fixed address over to a program's standard input
//! and output (`guestfwd`): so images that name one address are served side by side, each by the
//! server of its own test, whatever port that has.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::thread;

use anyhow::{Context, Result};

/// Copies both ways between this program's input and output and the port, until one end is over.
pub(crate) fn pipe(port: u16) -> Result<()> {
    let stream =
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connect to the server")?;
    let mut there = stream.try_clone().context("connect to the server")?;
    // The guest half-closes when it likes; only the answer's end is the end.
    thread::spawn(move || {
        let _ = copy(&mut std::io::stdin().lock(), &mut there);
        let _ = there.shutdown(Shutdown::Write);
    });
    copy(&mut &stream, &mut std::io::stdout().lock())
}

/// Unlike `std::io::copy` it hands on what came, at once.
fn copy(from: &mut dyn Read, to: &mut dyn Write) -> Result<()> {
    let mut piece = vec![0; 64 << 10];
    loop {
        let count = from.read(&mut piece).context("read from a connection")?;
        if count == 0 {
            return Ok(());
        }
        to.write_all(&piece[..count]).context("write to a connection")?;
        to.flush().context("write to a connection")?;
    }
}
