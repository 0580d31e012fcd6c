//! Bodies of HTTP/1 messages: framing on the way in and out.

use super::H1Error;
use super::parse::{self, Limits};
use crate::http::Headers;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// A piece of a message after its head.
#[derive(Clone, Debug)]
pub enum Frame {
    /// Bytes of the body.
    Data(Bytes),
    /// Trailers; the end comes with them.
    Trailers(Headers),
    /// The end.
    End,
}

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// No body.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// Whatever comes until the connection ends (also after an upgrade).
    UntilClose,
}

/// Takes bodies off the wire.
#[derive(Clone, Copy, Debug)]
pub enum Decoder {
    /// The message is complete.
    Done,
    /// So many bytes to come.
    Length(u64),
    /// At the line of a chunk's size.
    Size,
    /// Within a chunk.
    Chunk(u64),
    /// At the line end after a chunk.
    ChunkEnd,
    /// In the trailer section.
    Trailers,
    /// Until the connection ends.
    UntilClose,
}

/// Longest line of a chunk's size with its extensions.
const MAX_SIZE_LINE: usize = 4096;

impl From<BodyKind> for Decoder {
    fn from(kind: BodyKind) -> Self {
        match kind {
            BodyKind::None | BodyKind::Length(0) => Decoder::Done,
            BodyKind::Length(length) => Decoder::Length(length),
            BodyKind::Chunked => Decoder::Size,
            BodyKind::UntilClose => Decoder::UntilClose,
        }
    }
}

impl Decoder {
    /// Whether the message is complete.
    pub fn is_done(&self) -> bool {
        matches!(self, Decoder::Done)
    }

    /// The next piece that `buf` holds; none: more bytes are needed.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Frame>, H1Error> {
        loop {
            match self {
                Decoder::Done => return Ok(Some(Frame::End)),
                _ if buf.is_empty() => return Ok(None),
                Decoder::UntilClose => return Ok(Some(Frame::Data(buf.split().freeze()))),
                Decoder::Length(left) => {
                    let data = take(buf, left);
                    if *left == 0 {
                        *self = Decoder::Done;
                    }
                    return Ok(Some(Frame::Data(data)));
                }
                Decoder::Size => match size_line(buf)? {
                    None => return Ok(None),
                    Some(0) => *self = Decoder::Trailers,
                    Some(size) => *self = Decoder::Chunk(size),
                },
                Decoder::Chunk(left) => {
                    let data = take(buf, left);
                    if *left == 0 {
                        *self = Decoder::ChunkEnd;
                    }
                    return Ok(Some(Frame::Data(data)));
                }
                Decoder::ChunkEnd => {
                    if buf.len() < 2 {
                        return Ok(None);
                    }
                    if &buf[..2] != b"\r\n" {
                        return Err(H1Error::Malformed("invalid chunk"));
                    }
                    buf.advance(2);
                    *self = Decoder::Size;
                }
                Decoder::Trailers => {
                    let Some(trailers) = parse::trailers(buf, Limits::default())? else { return Ok(None) };
                    *self = Decoder::Done;
                    return Ok(Some(if trailers.is_empty() {
                        Frame::End
                    } else {
                        Frame::Trailers(trailers)
                    }));
                }
            }
        }
    }

    /// The connection has ended: the end of the message, or a fault.
    pub fn at_eof(&mut self) -> Result<Frame, H1Error> {
        match self {
            Decoder::Done | Decoder::UntilClose => {
                *self = Decoder::Done;
                Ok(Frame::End)
            }
            _ => Err(H1Error::Truncated),
        }
    }
}

fn take(buf: &mut BytesMut, left: &mut u64) -> Bytes {
    let n = usize::try_from(*left).unwrap_or(usize::MAX).min(buf.len());
    *left -= n as u64;
    buf.split_to(n).freeze()
}

/// Reads `1*HEXDIG [;ext] CRLF`.
fn size_line(buf: &mut BytesMut) -> Result<Option<u64>, H1Error> {
    const BAD: H1Error = H1Error::Malformed("invalid chunk size");
    let Some(end) = memchr::memchr(b'\n', &buf[..buf.len().min(MAX_SIZE_LINE)]) else {
        // What cannot become a size is refused at once, not after the line's end.
        let digits = buf.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        let next = buf.get(digits);
        let hopeless = digits > 16 || next.is_some_and(|b| !matches!(b, b';' | b'\r' | b' ' | b'\t'));
        return if hopeless || buf.len() >= MAX_SIZE_LINE { Err(BAD) } else { Ok(None) };
    };
    let line = buf[..end].strip_suffix(b"\r").ok_or(BAD)?;
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let rest = line[digits..].trim_ascii_start();
    if digits == 0 || digits > 15 || !(rest.is_empty() || rest[0] == b';') || rest.contains(&b'\r') {
        return Err(BAD);
    }
    let size = line[..digits].iter().fold(0u64, |sum, digit| {
        // hexdigits by the count above
        sum << 4 | u64::from((*digit as char).to_digit(16).unwrap_or(0))
    });
    buf.advance(end + 1);
    Ok(Some(size))
}

/// Puts bodies on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoder {
    /// Nothing (HEAD, 204, 304, no body).
    None,
    /// As it is: the head told its length, or the end of the connection ends it.
    Raw,
    /// In chunks.
    Chunked,
}

impl Encoder {
    /// Appends a piece to `out`.
    pub fn encode(self, frame: &Frame, out: &mut BytesMut) {
        match (self, frame) {
            (Encoder::None, _) | (Encoder::Raw, Frame::Trailers(_) | Frame::End) => {}
            (Encoder::Raw, Frame::Data(data)) => out.extend_from_slice(data),
            (Encoder::Chunked, Frame::Data(data)) if data.is_empty() => {}
            (Encoder::Chunked, Frame::Data(data)) => {
                put_hex(data.len(), out);
                out.put_slice(b"\r\n");
                out.put_slice(data);
                out.put_slice(b"\r\n");
            }
            (Encoder::Chunked, Frame::End) => out.put_slice(b"0\r\n\r\n"),
            (Encoder::Chunked, Frame::Trailers(trailers)) => {
                out.put_slice(b"0\r\n");
                for (name, value) in trailers.iter() {
                    out.put_slice(name);
                    out.put_slice(b": ");
                    out.put_slice(value);
                    out.put_slice(b"\r\n");
                }
                out.put_slice(b"\r\n");
            }
        }
    }
}

fn put_hex(mut number: usize, out: &mut BytesMut) {
    let (mut digits, mut at) = ([0u8; 16], 16);
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[number & 15];
        number >>= 4;
        if number == 0 {
            break;
        }
    }
    out.put_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_all(text: &[u8], step: usize) -> Result<(Vec<u8>, Option<Headers>, usize), H1Error> {
        let (mut decoder, mut buf, mut body) =
            (Decoder::from(BodyKind::Chunked), BytesMut::new(), Vec::new());
        let mut fed = 0;
        loop {
            match decoder.decode(&mut buf)? {
                Some(Frame::Data(data)) => body.extend_from_slice(&data),
                Some(Frame::Trailers(trailers)) => {
                    return Ok((body, Some(trailers), buf.len() + text.len() - fed));
                }
                Some(Frame::End) => return Ok((body, None, buf.len() + text.len() - fed)),
                None if fed == text.len() => return Err(H1Error::Truncated),
                None => {
                    let end = (fed + step).min(text.len());
                    buf.extend_from_slice(&text[fed..end]);
                    fed = end;
                }
            }
        }
    }

    #[test]
    fn chunks_are_read_however_they_are_cut() {
        let text = b"3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\nNEXT";
        for step in 1..text.len() {
            let (body, trailers, rest) = decode_all(text, step).unwrap();
            assert_eq!(body, b"abc0123456789");
            assert_eq!(trailers.unwrap().get("x-t"), Some(&b"1"[..]));
            assert_eq!(rest, 4, "what follows is left alone");
        }
    }

    #[test]
    fn bad_chunks_are_refused() {
        for text in [
            &b"x\r\n"[..],
            b"\r\n",
            b"-1\r\n",
            b"0x3\r\n",
            b"3\nabc",
            b"3\r\nabcd\r\n",
            b"fffffffffffffffff\r\n",
            b"3 4\r\n",
        ] {
            assert!(matches!(decode_all(text, 64), Err(H1Error::Malformed(_))), "{text:?}");
        }
    }

    #[test]
    fn what_is_encoded_decodes_again() {
        let mut out = BytesMut::new();
        Encoder::Chunked.encode(&Frame::Data(Bytes::from(vec![b'x'; 300])), &mut out);
        Encoder::Chunked.encode(&Frame::Data(Bytes::new()), &mut out);
        Encoder::Chunked.encode(&Frame::End, &mut out);
        assert_eq!(decode_all(&out, 7).unwrap().0.len(), 300);
    }
}
