//! Listeners in the host's network, asked of the host side.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::{BoxFuture, FutureExt};
use lateen_node::HostPorts;

use crate::host::link::{FromHost, Link, ToHost};

/// The mesh's end of the link to the host side.
#[derive(Clone, Debug)]
pub struct HostSide {
    link: Arc<Mutex<Link>>,
}

impl HostSide {
    /// Speaks over the link that this process got as its standard input.
    pub fn from_stdin() -> io::Result<HostSide> {
        Ok(HostSide { link: Arc::new(Mutex::new(Link::from_stdin()?)) })
    }

    /// Asks for a listener. Blocks for a round trip between two processes.
    pub fn listen_blocking(&self, address: SocketAddr) -> io::Result<TcpListener> {
        let link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        link.send(&ToHost::Listen(address), None)?;
        match link.receive::<FromHost>()? {
            Some((FromHost::Listening, Some(listener))) => Ok(listener),
            Some((FromHost::Refused(code), _)) => Err(io::Error::from_raw_os_error(code)),
            Some((FromHost::Listening, None)) => Err(io::Error::other("the host side sent no listener")),
            None => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the host side is gone")),
        }
    }

    /// Asks for a listener.
    pub async fn listen(&self, address: SocketAddr) -> io::Result<TcpListener> {
        let host = self.clone();
        tokio::task::spawn_blocking(move || host.listen_blocking(address)).await?
    }

    /// Tells the host side something that needs no answer.
    pub fn tell(&self, message: &ToHost) {
        let link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = link.send(message, None) {
            tracing::debug!(%error, "the host side cannot be told");
        }
    }

    /// Blocks until the host side is gone.
    pub fn wait_until_gone(&self) -> io::Result<()> {
        use rustix::event::{PollFd, PollFlags, poll};
        let link = self.link.lock().unwrap_or_else(PoisonError::into_inner).try_clone()?;
        let mut fds = [PollFd::new(&link, PollFlags::empty())];
        while !fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR) {
            match poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl HostPorts for HostSide {
    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpListener>> {
        HostSide::listen(self, address).boxed()
    }
}
