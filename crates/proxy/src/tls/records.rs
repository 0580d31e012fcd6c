//! The library's session without buffers, as a machine: records in; plain bytes, answers and records out.

use std::io;

use rustls::CommonState;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use tokio::io::ReadBuf;

/// Either end of a session.
pub(super) enum Session {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

impl Session {
    /// Processes records until more are wanted, or data may flow. Gives how many bytes were used up.
    ///
    /// # Errors
    /// Why the session is at its end; what the peer is to be told stands in `to`.
    pub(super) fn drive(
        &mut self,
        records: &mut [u8],
        to: &mut Outputs<'_, '_>,
    ) -> Result<(usize, Wants), rustls::Error> {
        match self {
            Session::Client(session) => drive(session, records, to),
            Session::Server(session) => drive(session, records, to),
        }
    }

    /// Writes a record of data to `buffer`, or without data the one that says that nothing follows. Gives how many bytes
    /// of `records` were used up, and how much was written.
    ///
    /// # Errors
    /// Nothing can be sent any more.
    pub(super) fn seal(
        &mut self,
        records: &mut [u8],
        to: &mut Outputs<'_, '_>,
        buffer: &mut [u8],
        data: Option<&[u8]>,
    ) -> io::Result<(usize, usize)> {
        match self {
            Session::Client(session) => seal(session, records, to, buffer, data),
            Session::Server(session) => seal(session, records, to, buffer, data),
        }
    }

    /// What was agreed.
    pub(super) fn facts(&self) -> &CommonState {
        match self {
            Session::Client(session) => session,
            Session::Server(session) => session,
        }
    }
}

/// What was kept of a stream of bytes, from `start` on.
#[derive(Debug, Default)]
pub(super) struct Kept {
    bytes: Vec<u8>,
    start: usize,
}

impl Kept {
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// Takes bytes off; memory is given back with the last one.
    pub(super) fn advance(&mut self, n: usize) {
        self.start += n;
        if self.is_empty() {
            *self = Kept::default();
        }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    pub(super) fn push(&mut self, more: &[u8]) {
        self.bytes.extend_from_slice(more);
    }
}

/// What the session wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    /// More of the peer.
    Bytes,
    /// Nothing: data may flow.
    Nothing,
}

/// Where things go.
pub(super) struct Outputs<'a, 'b> {
    /// Plain bytes of the peer,
    pub out: &'a mut ReadBuf<'b>,
    /// and those that do not fit.
    pub plain: &'a mut Kept,
    /// Bytes for the peer.
    pub outgoing: &'a mut Kept,
    /// Whether the peer has said that it sends no more.
    pub ended: &'a mut bool,
}

impl Outputs<'_, '_> {
    /// Takes up plain bytes.
    fn plain(&mut self, payload: &[u8]) {
        let n = if self.plain.is_empty() { payload.len().min(self.out.remaining()) } else { 0 };
        self.out.put_slice(&payload[..n]);
        self.plain.push(&payload[n..]);
    }

    /// Does what a state asks for, but for writing data; gives what is wanted then, or none if there is more to process.
    fn handle<D>(
        &mut self,
        state: ConnectionState<'_, '_, D>,
        used: &mut usize,
    ) -> Result<Option<Wants>, rustls::Error> {
        match state {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    *used += record.discard;
                    self.plain(record.payload);
                }
            }
            ConnectionState::EncodeTlsData(mut message) => {
                let start = self.outgoing.bytes.len();
                let mut room = 256;
                loop {
                    self.outgoing.bytes.resize(start + room, 0);
                    match message.encode(&mut self.outgoing.bytes[start..]) {
                        Ok(n) => break self.outgoing.bytes.truncate(start + n),
                        Err(EncodeError::InsufficientSize(size)) => room = size.required_size,
                        Err(EncodeError::AlreadyEncoded) => break self.outgoing.bytes.truncate(start),
                    }
                }
            }
            // What waits in `outgoing` is sent before anything else.
            ConnectionState::TransmitTlsData(transmit) => transmit.done(),
            ConnectionState::PeerClosed => *self.ended = true,
            ConnectionState::Closed => {
                *self.ended = true;
                return Ok(Some(Wants::Nothing));
            }
            ConnectionState::BlockedHandshake => return Ok(Some(Wants::Bytes)),
            ConnectionState::WriteTraffic(_) => return Ok(Some(Wants::Nothing)),
            // Early data are never offered, so that none are taken.
            _ => return Err(rustls::Error::General("early data were not asked for".to_owned())),
        }
        Ok(None)
    }
}

/// A session of either end, as the library has them.
trait Records {
    type Data;
    /// Whether something waits to be sent.
    fn has_answer(&self) -> bool;
    fn process<'c, 'i>(&'c mut self, records: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Records for UnbufferedClientConnection {
    type Data = ClientConnectionData;
    fn has_answer(&self) -> bool {
        self.wants_write()
    }
    fn process<'c, 'i>(&'c mut self, records: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(records)
    }
}

impl Records for UnbufferedServerConnection {
    type Data = ServerConnectionData;
    fn has_answer(&self) -> bool {
        self.wants_write()
    }
    fn process<'c, 'i>(&'c mut self, records: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(records)
    }
}

/// Processes records until more are wanted, or data may flow. Gives how many bytes were used up.
fn drive<R: Records>(
    session: &mut R,
    records: &mut [u8],
    to: &mut Outputs<'_, '_>,
) -> Result<(usize, Wants), rustls::Error> {
    let mut used = 0;
    loop {
        let UnbufferedStatus { discard, state } = session.process(&mut records[used..]);
        let mut more = discard;
        let wants = match state {
            Ok(state) => to.handle(state, &mut more)?,
            Err(error) => {
                farewell(session, to);
                return Err(error);
            }
        };
        used += more;
        if let Some(wants) = wants {
            return Ok((used, wants));
        }
    }
}

/// After an error: the alert that tells the peer. What waits is taken before any record is looked at, so that none need
/// be there.
fn farewell<R: Records>(session: &mut R, to: &mut Outputs<'_, '_>) {
    while session.has_answer() {
        let Ok(state @ ConnectionState::EncodeTlsData(_)) = session.process(&mut []).state else { return };
        if to.handle(state, &mut 0).is_err() {
            return;
        }
    }
}

/// Writes a record of data to `buffer`, or without data the one that says that nothing follows. Gives how many records'
/// bytes were used up, and how much was written.
fn seal<R: Records>(
    session: &mut R,
    records: &mut [u8],
    to: &mut Outputs<'_, '_>,
    buffer: &mut [u8],
    data: Option<&[u8]>,
) -> io::Result<(usize, usize)> {
    let mut used = 0;
    loop {
        let UnbufferedStatus { discard, state } = session.process(&mut records[used..]);
        let mut more = discard;
        let wants = match state.map_err(invalid)? {
            ConnectionState::WriteTraffic(mut traffic) => {
                let written = match data {
                    Some(data) => traffic.encrypt(data, buffer),
                    None => traffic.queue_close_notify(buffer),
                };
                return Ok((used + more, written.map_err(exhausted)?));
            }
            state => to.handle(state, &mut more).map_err(invalid)?,
        };
        used += more;
        if wants.is_some() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
    }
}

pub(super) fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn exhausted(error: EncryptError) -> io::Error {
    io::Error::other(error)
}
