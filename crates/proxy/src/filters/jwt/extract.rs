//! Where tokens stand in a request.

use crate::config::JwtProvider;
use crate::http::{RequestHead, cookie};
use bytes::Bytes;
use smallvec::SmallVec;

/// Where a token was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A header.
    Header(Box<str>),
    /// A query parameter.
    Query(Box<str>),
    /// A cookie.
    Cookie(Box<str>),
}

/// A token that was found.
#[derive(Debug)]
pub struct Found {
    /// Where.
    pub place: Place,
    /// The token.
    pub text: String,
    /// The providers whose tokens may stand there.
    pub providers: SmallVec<[usize; 2]>,
}

/// The tokens that stand where one of the providers has them stand.
pub fn extract(all: &[JwtProvider], which: &[usize], head: &RequestHead) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for &index in which {
        let Some(provider) = all.get(index) else { continue };
        for_each(provider, head, |place, text| {
            match found.iter_mut().find(|other| other.place == place && other.text == text) {
                Some(same) => same.providers.push(index),
                None => {
                    let text = text.to_owned();
                    found.push(Found { place, text, providers: SmallVec::from_slice(&[index]) });
                }
            }
        });
    }
    found
}

fn for_each(provider: &JwtProvider, head: &RequestHead, mut found: impl FnMut(Place, &str)) {
    for (name, prefix) in &provider.from_headers {
        for value in head.headers.get_all(name) {
            if let Some(text) = token_in(&String::from_utf8_lossy(value), prefix) {
                found(Place::Header(name.clone()), text);
            }
        }
    }
    for name in &provider.from_params {
        if let Some(value) = parameter(&head.path, name) {
            found(Place::Query(name.clone()), &value);
        }
    }
    for name in &provider.from_cookies {
        if let Some(value) = cookie::find(&head.headers, name) {
            found(Place::Cookie(name.clone()), &String::from_utf8_lossy(value));
        }
    }
}

/// What follows the prefix, wherever in the value that stands; none: the prefix is missing.
fn token_in<'a>(value: &'a str, prefix: &str) -> Option<&'a str> {
    if prefix.is_empty() {
        return Some(value);
    }
    let rest = &value[value.find(prefix)? + prefix.len()..];
    let legal = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    // As Envoy: a value without a token is taken whole, so that it is told as malformed and not as missing.
    Some(rest.find(legal).map_or(value, |at| &rest[at..]))
}

/// The first query parameter of that name, decoded.
fn parameter(path: &[u8], name: &str) -> Option<String> {
    let query = &path[memchr::memchr(b'?', path)? + 1..];
    query.split(|byte| *byte == b'&').find_map(|pair| {
        let (key, value) = split(pair);
        (decoded(key) == name).then(|| decoded(value))
    })
}

fn split(pair: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'=', pair) {
        Some(at) => (&pair[..at], &pair[at + 1..]),
        None => (pair, b""),
    }
}

fn decoded(text: &[u8]) -> String {
    let (mut out, mut at) = (Vec::with_capacity(text.len()), 0);
    let digit = |at: usize| text.get(at).and_then(|byte| (*byte as char).to_digit(16));
    while at < text.len() {
        match (text[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high << 4 | low) as u8);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

impl Place {
    /// Takes the token out of the request. Cookies stay, as in Envoy.
    pub fn remove(&self, head: &mut RequestHead) {
        match self {
            Place::Header(name) => {
                head.headers.remove(name);
            }
            Place::Query(name) => head.path = without(&head.path, name),
            Place::Cookie(_) => {}
        }
    }
}

/// The path without the query parameters of that name.
fn without(path: &Bytes, name: &str) -> Bytes {
    let Some(at) = memchr::memchr(b'?', path) else { return path.clone() };
    let (only, query) = (&path[..at], &path[at + 1..]);
    let kept: Vec<&[u8]> =
        query.split(|byte| *byte == b'&').filter(|pair| decoded(split(pair).0) != name).collect();
    if kept.is_empty() { path.slice(..at) } else { [only, b"?", &kept.join(&b'&')].concat().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_follows_its_prefix() {
        assert_eq!(token_in("Bearer a.b.c", "Bearer "), Some("a.b.c"));
        assert_eq!(token_in("x Bearer   a.b.c", "Bearer "), Some("a.b.c"));
        assert_eq!(token_in("Basic a.b.c", "Bearer "), None);
        assert_eq!(token_in("Bearer ", "Bearer "), Some("Bearer "));
        assert_eq!(token_in("a.b.c", ""), Some("a.b.c"));
    }

    #[test]
    fn parameters_are_decoded_and_taken_out_by_their_whole_name() {
        assert_eq!(parameter(b"/?xt=1&t=a%2Eb", "t").as_deref(), Some("a.b"));
        assert_eq!(without(&"/p?a=1&t=x&b=2&%74=y".into(), "t"), "/p?a=1&b=2");
        assert_eq!(without(&"/p?t=x".into(), "t"), "/p");
    }
}
