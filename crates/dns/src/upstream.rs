//! Names that others know.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use rand::Rng;
use simple_dns::RCODE;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::time::timeout;

/// How long one resolver may take; clients ask again after five seconds.
const PATIENCE: Duration = Duration::from_secs(2);
/// Octets of a message's head.
const HEAD: usize = 12;

/// How a query is sent: as the client sent it, so that an answer which is cut over UDP is asked for again over TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One datagram.
    Udp,
    /// One connection.
    Tcp,
}

/// The resolvers that know what a zone does not.
#[derive(Debug, Default)]
pub struct Upstream {
    /// Asked in this order.
    pub resolvers: Vec<SocketAddr>,
    /// Mark of the sockets (`SO_MARK`), where that is what exempts them from capture.
    pub mark: Option<u32>,
    failures: AtomicU64,
}

impl Upstream {
    /// These resolvers, asked from sockets with this mark.
    pub fn new(resolvers: Vec<SocketAddr>, mark: Option<u32>) -> Upstream {
        Upstream { resolvers, mark, failures: AtomicU64::default() }
    }

    /// How many queries no resolver could answer.
    pub fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    /// Asks the resolvers in turn until one answers with more than its own failure. `None` if none can be reached, which
    /// in a closed network is found out at once.
    pub async fn ask(&self, query: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let id = query.get(..2)?;
        // An id of our own: the client's may be guessed.
        let mut message = query.to_vec();
        message[..2].copy_from_slice(&rand::rng().random::<u16>().to_be_bytes());
        let mut failed = None;
        for resolver in &self.resolvers {
            let exchange = async {
                match transport {
                    Transport::Udp => self.datagram(*resolver, &message).await,
                    Transport::Tcp => self.connection(*resolver, &message).await,
                }
            };
            match timeout(PATIENCE, exchange).await {
                Ok(Ok(mut answer)) => {
                    answer[..2].copy_from_slice(id);
                    if !is_failure(&answer) {
                        return Some(answer);
                    }
                    failed.get_or_insert(answer);
                }
                outcome => tracing::debug!(%resolver, ?outcome, "no answer to a DNS query"),
            }
        }
        self.failures.fetch_add(1, Relaxed);
        failed
    }

    async fn datagram(&self, resolver: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
        let socket = self.socket(resolver, Type::DGRAM, Protocol::UDP)?;
        socket.connect(&resolver.into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        socket.send(query).await?;
        let mut answer = vec![0; usize::from(u16::MAX)];
        loop {
            let len = socket.recv(&mut answer).await?;
            if answers(query, &answer[..len]) {
                answer.truncate(len);
                answer.shrink_to_fit();
                return Ok(answer);
            }
        }
    }

    async fn connection(&self, resolver: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
        let len = u16::try_from(query.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let socket = self.socket(resolver, Type::STREAM, Protocol::TCP)?;
        let mut stream = TcpSocket::from_std_stream(socket.into()).connect(resolver).await?;
        stream.write_all(&[&len.to_be_bytes()[..], query].concat()).await?;
        let mut answer = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut answer).await?;
        match answers(query, &answer) {
            true => Ok(answer),
            false => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn socket(&self, to: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(to), kind, Some(protocol))?;
        if let Some(mark) = self.mark {
            socket.set_mark(mark)?;
        }
        socket.set_nonblocking(true)?;
        Ok(socket)
    }
}

/// Whether the resolver could not say: another may.
fn is_failure(answer: &[u8]) -> bool {
    [RCODE::ServerFailure, RCODE::NotImplemented, RCODE::Refused].iter().any(|code| code_is(answer, *code))
}

/// Whether a message has this code.
pub(crate) fn code_is(answer: &[u8], code: RCODE) -> bool {
    answer.get(3).is_some_and(|flags| RCODE::from(u16::from(flags & 0x0f)) == code)
}

/// Gives a message another code.
pub(crate) fn set_code(answer: &mut [u8], code: RCODE) {
    if let Some(flags) = answer.get_mut(3) {
        *flags = (*flags & 0xf0) | (code as u8 & 0x0f);
    }
}

/// Whether a message is the answer to a query: its id, its direction, and its question if it repeats it.
fn answers(query: &[u8], answer: &[u8]) -> bool {
    if answer.len() < HEAD || answer[..2] != query[..2] || answer[2] & 0x80 == 0 {
        return false;
    }
    // An error may come without the question.
    if answer[4..6] == [0, 0] {
        return true;
    }
    let question = query.get(HEAD..question_end(query)).unwrap_or_default();
    answer.get(HEAD..HEAD + question.len()).is_some_and(|repeated| repeated.eq_ignore_ascii_case(question))
}

/// Where the first question ends; the head's end where there is none.
fn question_end(message: &[u8]) -> usize {
    let mut at = HEAD;
    while let Some(len) = message.get(at) {
        at += 1 + usize::from(*len);
        if *len == 0 {
            return at + 4;
        }
    }
    HEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: [u8; 19] = [1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1];

    #[test]
    fn only_the_answer_to_the_query_counts() {
        let mut answer = QUERY;
        assert!(!answers(&QUERY, &answer), "it is a query");
        answer[2] |= 0x80;
        answer[13] = b'A';
        assert!(answers(&QUERY, &answer));
        assert!(!answers(&QUERY, &answer[..14]), "it is cut");
        answer[13] = b'b';
        assert!(!answers(&QUERY, &answer), "it is to another question");
        answer[5] = 0;
        assert!(answers(&QUERY, &answer[..HEAD]), "an error without the question");
        answer[0] = 9;
        assert!(!answers(&QUERY, &answer[..HEAD]), "another id");
    }

    #[test]
    fn codes_are_read_and_replaced() {
        let mut answer = QUERY;
        answer[3] = 0x83;
        assert!(code_is(&answer, RCODE::NameError) && !is_failure(&answer));
        set_code(&mut answer, RCODE::ServerFailure);
        assert!(answer[3] == 0x82 && is_failure(&answer));
    }
}
