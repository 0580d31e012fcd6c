//! Frames of SPDY/3.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Larger frames are refused; clients send at most 32 KiB at a time.
const MOST: usize = 1 << 20;
const HEAD: usize = 8;
const VERSION: u16 = 3;
const FIN: u8 = 1;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GO_AWAY: u16 = 7;

/// What a client sends, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A stream begins; its headers are compressed.
    Open { stream: u32, headers: Bytes },
    /// Bytes of a stream, and whether they are its last.
    Data { stream: u32, bytes: Bytes, last: bool },
    /// A stream is given up.
    Reset { stream: u32 },
    /// To be sent back.
    Ping { id: u32 },
    /// The client will open no more streams.
    GoAway,
    /// Anything else: settings, windows, late headers.
    Other,
}

/// Takes a frame off the front; Ok(None) while it is not whole.
///
/// # Errors
/// What comes is no SPDY/3.
pub(super) fn take(buffer: &mut BytesMut) -> Result<Option<Frame>, &'static str> {
    let Some((head, _)) = buffer.split_first_chunk::<HEAD>() else { return Ok(None) };
    let [a, b, c, d, flags, e, f, g] = *head;
    let length = u32::from_be_bytes([0, e, f, g]) as usize;
    if length > MOST {
        return Err("a frame is too large");
    }
    if buffer.len() < HEAD + length {
        return Ok(None);
    }
    buffer.advance(HEAD);
    let payload = buffer.split_to(length).freeze();
    if a & 0x80 == 0 {
        let stream = u32::from_be_bytes([a, b, c, d]);
        return Ok(Some(Frame::Data { stream, bytes: payload, last: flags & FIN != 0 }));
    }
    if u16::from_be_bytes([a & 0x7f, b]) != VERSION {
        return Err("not version 3 of SPDY");
    }
    control(u16::from_be_bytes([c, d]), payload).map(Some).ok_or("a frame is too short")
}

fn control(kind: u16, mut payload: Bytes) -> Option<Frame> {
    let id = |payload: &Bytes| payload.first_chunk::<4>().map(|id| u32::from_be_bytes(*id) & 0x7fff_ffff);
    Some(match kind {
        SYN_STREAM => {
            let stream = id(&payload)?;
            // Stream, associated stream, priority, slot.
            if payload.len() < 10 {
                return None;
            }
            payload.advance(10);
            Frame::Open { stream, headers: payload }
        }
        RST_STREAM => Frame::Reset { stream: id(&payload)? },
        PING => Frame::Ping { id: u32::from_be_bytes(*payload.first_chunk::<4>()?) },
        GO_AWAY => Frame::GoAway,
        _ => Frame::Other,
    })
}

fn control_frame(kind: u16, parts: &[&[u8]]) -> Bytes {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut frame = BytesMut::with_capacity(HEAD + length);
    frame.put_u16(0x8000 | VERSION);
    frame.put_u16(kind);
    // Nothing that is sent here comes near 16 MiB, so the flags' byte stays zero.
    frame.put_u32(u32::try_from(length).unwrap_or_default());
    parts.iter().for_each(|part| frame.put_slice(part));
    frame.freeze()
}

/// Accepts a stream.
pub(super) fn reply(stream: u32, headers: &[u8]) -> Bytes {
    control_frame(SYN_REPLY, &[&stream.to_be_bytes(), headers])
}

/// Refuses a stream.
pub(super) fn reset(stream: u32) -> Bytes {
    const REFUSED_STREAM: u32 = 3;
    control_frame(RST_STREAM, &[&stream.to_be_bytes(), &REFUSED_STREAM.to_be_bytes()])
}

/// Answers a ping.
pub(super) fn pong(id: u32) -> Bytes {
    control_frame(PING, &[&id.to_be_bytes()])
}

/// Bytes of a stream; `last` ends this side of it.
pub(super) fn data(stream: u32, bytes: &[u8], last: bool) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEAD + bytes.len());
    frame.put_u32(stream);
    let flags = if last { u32::from(FIN) << 24 } else { 0 };
    frame.put_u32(flags | u32::try_from(bytes.len()).unwrap_or_default());
    frame.put_slice(bytes);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_off_one_by_one_when_they_are_whole() {
        let sent = [data(5, b"abc", true), pong(7)].concat();
        let mut buffer = BytesMut::from(&sent[..10]);
        assert_eq!(take(&mut buffer), Ok(None));
        buffer.extend_from_slice(&sent[10..]);
        let bytes = Bytes::from_static(b"abc");
        assert_eq!(take(&mut buffer), Ok(Some(Frame::Data { stream: 5, bytes, last: true })));
        assert_eq!(take(&mut buffer), Ok(Some(Frame::Ping { id: 7 })));
        assert_eq!(take(&mut buffer), Ok(None));
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for bytes in
            [&b"\x80\x02\0\x01\0\0\0\0"[..], b"\0\0\0\x01\0\xff\xff\xff", b"\x80\x03\0\x01\0\0\0\x01\0"]
        {
            assert!(take(&mut BytesMut::from(bytes)).is_err(), "{bytes:?}");
        }
    }
}
