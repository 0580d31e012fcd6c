//! The socket between the host side and the mesh's namespaces.
//!
//! Messages are JSON, one a packet (`SOCK_SEQPACKET`). A listener that the host side binds travels to the mesh as a
//! file descriptor: a socket keeps the network namespace in which it was made.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The longest message either side accepts, in bytes.
const MAX_MESSAGE: usize = 64 * 1024;

/// What the mesh says to the host side.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ToHost {
    /// Bind a TCP listener in the host's network; answered by [`FromHost`].
    Listen(SocketAddr),
    /// One line of progress for the person who waits.
    Progress(String),
    /// The mesh is up.
    Ready(Summary),
    /// The mesh cannot come up; the reason.
    Failed(String),
}

/// The host side's answer to [`ToHost::Listen`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FromHost {
    /// The listener comes with this message.
    Listening,
    /// The kernel refused: its error number.
    Refused(i32),
}

/// What `up` tells when the mesh is ready; also kept in the state directory for `status`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Summary {
    /// The API server's URL as seen from the host.
    pub api: String,
    /// The ingress gateway's URL as seen from the host, if it has one.
    pub gateway: Option<String>,
    /// Things that a user should know, such as ports that could not be bound.
    pub notes: Vec<String>,
    /// The demo that was applied.
    pub demo: Option<String>,
    /// From start to ready, in milliseconds.
    pub took_ms: u64,
}

/// One end of the link.
#[derive(Debug)]
pub struct Link(OwnedFd);

impl Link {
    /// Two ends, the second of which is meant to become a child's standard input.
    pub fn pair() -> io::Result<(Link, OwnedFd)> {
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Link(ours), theirs))
    }

    /// The end that this process got as its standard input.
    pub fn from_stdin() -> io::Result<Link> {
        Ok(Link(io::stdin().as_fd().try_clone_to_owned()?))
    }

    /// Sends one message, with a listener if there is one.
    pub fn send(&self, message: &impl Serialize, listener: Option<&TcpListener>) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds: Vec<BorrowedFd<'_>> = listener.iter().map(|l| l.as_fd()).collect();
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&fds));
        }
        rustix::net::sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Waits for one message; `None` when the other side is gone.
    pub fn receive<M: DeserializeOwned>(&self) -> io::Result<Option<(M, Option<TcpListener>)>> {
        let mut bytes = vec![0; MAX_MESSAGE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let read = rustix::net::recvmsg(
            &self.0,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        if read.bytes == 0 {
            return Ok(None);
        }
        let mut listener = None;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                listener = fds.map(TcpListener::from).last();
            }
        }
        Ok(Some((serde_json::from_slice(&bytes[..read.bytes])?, listener)))
    }

    /// A second handle on the same end.
    pub fn try_clone(&self) -> io::Result<Link> {
        Ok(Link(self.0.try_clone()?))
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_crosses_the_link_and_still_listens() {
        let (host, theirs) = Link::pair().unwrap();
        let mesh = Link(theirs);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        host.send(&FromHost::Listening, Some(&listener)).unwrap();
        drop(listener);
        let (message, received) = mesh.receive::<FromHost>().unwrap().unwrap();
        assert!(matches!(message, FromHost::Listening));
        let received = received.unwrap();
        assert_eq!(received.local_addr().unwrap(), address);
        std::net::TcpStream::connect(address).unwrap();
    }

    #[test]
    fn the_end_of_the_other_side_is_seen() {
        let (host, theirs) = Link::pair().unwrap();
        drop(theirs);
        assert!(host.receive::<ToHost>().unwrap().is_none());
    }
}
