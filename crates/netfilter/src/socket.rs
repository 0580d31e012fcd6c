//! The netlink socket: one transaction out, acknowledgements in.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto, setsockopt,
    socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::attr::Buffer;
use crate::error::Error;

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_HEADER: usize = 16;
const SUBSYSTEM_NFTABLES: u16 = 10;
const ANSWER_TIMEOUT_SECONDS: i64 = 10;
const MIN_SEND_BUFFER: usize = 1 << 20;

/// Sends `messages`, whose sequence numbers are 1.. in step with `changes`, as one batch.
pub(crate) fn transact(messages: &Buffer, changes: &[String]) -> Result<(), Error> {
    let last = changes.len() as u32;
    let mut batch = Buffer::default();
    let begin = batch.open_message(BATCH_BEGIN, REQUEST, 0, 0, SUBSYSTEM_NFTABLES);
    batch.close_message(begin);
    batch.append(messages);
    let end = batch.open_message(BATCH_END, REQUEST, last + 1, 0, SUBSYSTEM_NFTABLES);
    batch.close_message(end);

    let fd = open(batch.bytes().len())?;
    sendto(fd.as_raw_fd(), batch.bytes(), &NetlinkAddr::new(0, 0), MsgFlags::empty())
        .map_err(|errno| Error::Socket { action: "send to the kernel", errno })?;
    answers(&fd, changes)
}

/// Sends one question with sequence number 1 and waits for the first answer.
pub(crate) fn ask(message: &Buffer, question: String) -> Result<(), Error> {
    let fd = open(message.bytes().len())?;
    sendto(fd.as_raw_fd(), message.bytes(), &NetlinkAddr::new(0, 0), MsgFlags::empty())
        .map_err(|errno| Error::Socket { action: "send to the kernel", errno })?;
    answers(&fd, &[question])
}

fn open(size: usize) -> Result<OwnedFd, Error> {
    let fail = |action| move |errno| Error::Socket { action, errno };
    let protocol = SockProtocol::NetlinkNetFilter;
    let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)
        .map_err(fail("open a netlink socket"))?;
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0)).map_err(fail("bind a netlink socket"))?;
    // A transaction is one datagram. Forcing takes a privilege that a user namespace may lack.
    let room = size.saturating_mul(2).max(MIN_SEND_BUFFER);
    if setsockopt(&fd, sockopt::SndBufForce, &room).is_err() {
        setsockopt(&fd, sockopt::SndBuf, &room).map_err(fail("size a netlink socket"))?;
    }
    setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::seconds(ANSWER_TIMEOUT_SECONDS))
        .map_err(fail("set a netlink socket's timeout"))?;
    Ok(fd)
}

/// Reads until the last change is acknowledged, or something failed. A kernel that aborts answers each failing
/// message in order; one that fails to commit answers the batch's first message only.
fn answers(fd: &OwnedFd, changes: &[String]) -> Result<(), Error> {
    let mut buffer = vec![0u8; 64 << 10];
    loop {
        let len = match recv(fd.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(len) => len,
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(Error::Socket { action: "read the kernel's answer", errno }),
        };
        let mut rest = &buffer[..len];
        while !rest.is_empty() {
            let (seq, errno, next) = parse(rest)?;
            if let Some(errno) = errno {
                return Err(Error::Refused { change: describe(seq, changes), errno });
            }
            if seq == changes.len() as u32 {
                return Ok(());
            }
            rest = next;
        }
    }
}

fn describe(seq: u32, changes: &[String]) -> String {
    let index = (seq as usize).checked_sub(1);
    index.and_then(|i| changes.get(i)).cloned().unwrap_or_else(|| "commit of the whole batch".into())
}

/// One answer: sequence number, error if it is one, what follows.
fn parse(bytes: &[u8]) -> Result<(u32, Option<Errno>, &[u8]), Error> {
    let word = |at: usize| -> Result<[u8; 4], Error> {
        bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).ok_or(Error::Truncated)
    };
    let len = u32::from_ne_bytes(word(0)?) as usize;
    let [k0, k1, ..] = word(4)?;
    let seq = u32::from_ne_bytes(word(8)?);
    let mut errno = None;
    if u16::from_ne_bytes([k0, k1]) == NLMSG_ERROR {
        let code = i32::from_ne_bytes(word(NLMSG_HEADER)?);
        errno = (code != 0).then(|| Errno::from_raw(-code));
    }
    if len < NLMSG_HEADER {
        return Err(Error::Truncated);
    }
    let next = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    Ok((seq, errno, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_message(seq: u32, code: i32) -> Vec<u8> {
        let mut bytes = 20u32.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&NLMSG_ERROR.to_ne_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&seq.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&code.to_ne_bytes());
        bytes
    }

    #[test]
    fn answers_are_read_with_their_error() {
        let mut bytes = error_message(3, -2);
        bytes.extend(error_message(4, 0));
        let (seq, errno, rest) = parse(&bytes).unwrap();
        assert_eq!((seq, errno), (3, Some(Errno::ENOENT)));
        let (seq, errno, rest) = parse(rest).unwrap();
        assert_eq!((seq, errno, rest.len()), (4, None, 0));
    }

    #[test]
    fn a_cut_answer_is_an_error_not_a_panic() {
        for len in 0..16 {
            assert!(parse(&error_message(1, -1)[..len]).is_err());
        }
    }
}
