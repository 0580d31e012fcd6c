//! Header blocks of SPDY/3: name and value pairs in one zlib stream a direction, which begins with a known dictionary.
//!
//! Source: the SPDY protocol, draft 3, section 2.6.10.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

/// How far back deflate may refer.
const WINDOW: usize = 32 << 10;
/// Headers of a stream are a few words; more is no port-forward.
const MOST: usize = 16 << 10;
/// Bytes of zlib's header with the dictionary's checksum.
const ZLIB_HEADER: usize = 6;

/// Words that the dictionary begins with, each after its length.
const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding accept-language \
    accept-ranges age allow authorization cache-control connection content-base content-encoding content-language \
    content-length content-location content-md5 content-range content-type date etag expect expires from host \
    if-match if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma \
    proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade \
    user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie \
    keep-alive origin";
/// What follows them.
const REST: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 \
    Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 \
    Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept \
    Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,\
    application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=\
    utf-8charset=iso-8859-1,utf-,*,enq=0.";

fn dictionary() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1500);
    for word in WORDS.split(' ') {
        let word = word.replace('_', " ");
        bytes.extend(u32::try_from(word.len()).unwrap_or_default().to_be_bytes());
        bytes.extend(word.as_bytes());
    }
    bytes.extend(REST.as_bytes());
    bytes
}

/// Reads the header blocks of one direction.
pub(super) struct Reader {
    inflate: Box<DecompressorOxide>,
    window: Box<[u8]>,
    position: usize,
    begun: bool,
}

impl Reader {
    pub(super) fn new() -> Self {
        let dictionary = dictionary();
        let mut window = vec![0; WINDOW].into_boxed_slice();
        window[..dictionary.len()].copy_from_slice(&dictionary);
        Self { inflate: Box::default(), window, position: dictionary.len(), begun: false }
    }

    /// The pairs of a block; None if it is malformed or too large.
    pub(super) fn read(&mut self, mut block: &[u8]) -> Option<Vec<(String, String)>> {
        if !self.begun {
            block = block.get(ZLIB_HEADER..)?;
            self.begun = true;
        }
        pairs(&self.inflate(block)?)
    }

    fn inflate(&mut self, mut block: &[u8]) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        loop {
            let (status, read, written) = decompress(
                &mut self.inflate,
                block,
                &mut self.window,
                self.position,
                TINFL_FLAG_HAS_MORE_INPUT,
            );
            text.extend_from_slice(self.window.get(self.position..self.position + written)?);
            self.position = (self.position + written) % WINDOW;
            block = block.get(read..)?;
            match status {
                TINFLStatus::NeedsMoreInput => return Some(text),
                TINFLStatus::HasMoreOutput if text.len() <= MOST => {}
                _ => return None,
            }
        }
    }
}

fn pairs(text: &[u8]) -> Option<Vec<(String, String)>> {
    let mut rest = text;
    let count = number(&mut rest)?;
    let mut pairs = Vec::new();
    for _ in 0..count {
        pairs.push((word(&mut rest)?, word(&mut rest)?));
    }
    Some(pairs)
}

fn number(text: &mut &[u8]) -> Option<usize> {
    let (number, rest) = text.split_first_chunk::<4>()?;
    *text = rest;
    usize::try_from(u32::from_be_bytes(*number)).ok()
}

fn word(text: &mut &[u8]) -> Option<String> {
    let length = number(text)?;
    let (word, rest) = text.split_at_checked(length)?;
    *text = rest;
    String::from_utf8(word.to_vec()).ok()
}

/// A block without headers, as deflate stores it; zlib's own header stands before the first.
pub(super) fn empty(first: bool) -> Vec<u8> {
    let mut block = if first { vec![0x78, 0x01] } else { Vec::new() };
    block.extend([0x00, 0x04, 0x00, 0xfb, 0xff, 0, 0, 0, 0]);
    // The empty block of a flush: without it Go's reader looks for more and breaks.
    block.extend([0x00, 0x00, 0x00, 0xff, 0xff]);
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dictionary_is_that_of_the_protocol() {
        let (mut a, mut b) = (1_u32, 0_u32);
        for byte in dictionary() {
            a = (a + u32::from(byte)) % 65521;
            b = (b + a) % 65521;
        }
        assert_eq!((b << 16) | a, 0xe3c6_a7c2);
    }

    #[test]
    fn blocks_refer_to_the_dictionary_and_to_blocks_before() {
        // Written by zlib with the dictionary, and flushed after each block.
        let error = b"\x78\xf9\xe3\xc6\xa7\xc2\x02\x25\x3a\x70\x3a\x2b\x29\x4a\x4d\xcc\x85\x16\x25\xac\xa9\xa0\x80\x86\
            \x14\xcb\x45\xe0\x1c\x60\x69\x60\x61\x00\xa4\x39\x8b\x20\xd1\x98\x09\x4a\xde\x8c\x06\x00\x00\x00\x00\xff\xff";
        let data = b"\xc2\xaa\x19\x54\x0e\x25\x12\xd6\x0b\x00\x00\x00\xff\xff";
        let mut reader = Reader::new();
        for (block, kind) in [(&error[..], "error"), (data, "data")] {
            let expected = [("streamtype", kind), ("port", "9080"), ("requestid", "0")];
            let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
            assert_eq!(reader.read(block), Some(expected.to_vec()));
        }
    }

    #[test]
    fn stored_blocks_are_read_one_after_the_other() {
        let mut reader = Reader::new();
        let block = |header: &[u8], text: &[u8]| {
            let length = u16::try_from(text.len()).unwrap();
            [header, &[0], &length.to_le_bytes(), &(!length).to_le_bytes(), text].concat()
        };
        let text = b"\0\0\0\x01\0\0\0\x04port\0\0\0\x059080";
        assert!(
            reader.read(&block(&[0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2], text)).is_none(),
            "the value is cut off"
        );
        let text = b"\0\0\0\x01\0\0\0\x04port\0\0\0\x0280";
        assert_eq!(reader.read(&block(&[], text)), Some(vec![("port".to_owned(), "80".to_owned())]));
        assert_eq!(reader.read(&empty(false)), Some(vec![]));
    }

    #[test]
    fn malformed_blocks_are_refused() {
        for block in [
            &b""[..],
            b"\x78\xbb",
            b"\x78\xbb\xe3\xc6\xa7\xc2\xff\xff\xff",
            b"\x78\xbb\xe3\xc6\xa7\xc2\0\x01",
        ] {
            assert!(Reader::new().read(block).is_none(), "{block:?}");
        }
    }
}
