//! Pseudo-terminals.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::{Receiver, Sender};

/// A terminal's master end.
pub(crate) struct Terminal {
    output: Receiver,
    input: Sender,
    /// The slave, kept open until the program has it: a master without slave reports an error.
    slave: Option<File>,
    /// Where the program opens its end.
    pub path: String,
}

/// The client's window (`resize` channel).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Size {
    width: u16,
    height: u16,
}

impl Terminal {
    /// A new terminal.
    pub fn open() -> io::Result<Self> {
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let path = ptsname_r(&master)?;
        let slave = {
            use std::os::unix::fs::OpenOptionsExt;
            File::options().read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits()).open(&path)?
        };
        // A terminal is no pipe, but is read, written and polled like one.
        let output = Receiver::from_owned_fd_unchecked(master.as_fd().try_clone_to_owned()?)?;
        let input = Sender::from_owned_fd_unchecked(master.as_fd().try_clone_to_owned()?)?;
        Ok(Self { output, input, slave: Some(slave), path })
    }

    /// The program has the terminal now.
    pub fn started(&mut self) {
        self.slave = None;
    }

    /// Its two directions.
    pub fn split(self) -> (TerminalOutput, TerminalInput) {
        (TerminalOutput(self.output), TerminalInput(self.input))
    }
}

/// What the program writes.
pub(crate) struct TerminalOutput(Receiver);

impl TerminalOutput {
    /// Reads; 0 when the program is gone.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer).await {
            // The slave's last end is closed.
            Err(error) if error.raw_os_error() == Some(nix::errno::Errno::EIO as i32) => Ok(0),
            other => other,
        }
    }
}

/// What the program reads.
pub(crate) struct TerminalInput(Sender);

impl TerminalInput {
    /// Gives the program input.
    pub async fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.0.write_all(data).await
    }

    /// Tells the program the size of the window.
    pub fn resize(&self, size: &Size) {
        let size =
            rustix::termios::Winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 };
        if let Err(error) = rustix::termios::tcsetwinsize(&self.0, size) {
            tracing::debug!(%error, "terminal not resized");
        }
    }
}
