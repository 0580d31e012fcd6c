//! Path normalization (RFC 3986, 6) as Envoy does it.

use bytes::Bytes;

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let end = path.iter().position(|b| matches!(b, b'?' | b'#')).unwrap_or(path.len());
    path.split_at(end)
}

fn hex(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|digit| digit as u8)
}

fn escaped(path: &[u8], at: usize) -> Option<u8> {
    match path.get(at..at + 3) {
        Some([b'%', high, low]) => Some(hex(*high)? << 4 | hex(*low)?),
        _ => None,
    }
}

/// Whether the path holds `%2F` or `%5C`.
pub fn has_escaped_slash(path: &[u8]) -> bool {
    let (path, _) = split(path);
    (0..path.len()).any(|at| matches!(escaped(path, at), Some(b'/' | b'\\')))
}

/// The path with `%2F` and `%5C` turned into `/` and `\`.
pub fn unescape_slashes(whole: &[u8]) -> Bytes {
    let (path, rest) = split(whole);
    let (mut out, mut at) = (Vec::with_capacity(whole.len()), 0);
    while at < path.len() {
        match escaped(path, at) {
            Some(slash @ (b'/' | b'\\')) => {
                out.push(slash);
                at += 3;
            }
            _ => {
                out.push(path[at]);
                at += 1;
            }
        }
    }
    out.extend_from_slice(rest);
    out.into()
}

/// Resolves `.` and `..` segments, unescapes unreserved characters and turns `\` into `/`. The outer none: the path
/// cannot be made normal (bad escape, NUL, or a dot segment with a parameter such as `..;x`, which servers that cut
/// parameters off take for `..` after every policy has seen another path); the inner none: it is already.
pub fn normalize(whole: &[u8]) -> Option<Option<Bytes>> {
    let (path, rest) = split(whole);
    let plain = !path.iter().any(|b| matches!(b, b'%' | b'\\' | b';' | 0)) && !has_dot_segment(path);
    if plain {
        return Some(None);
    }
    let (mut decoded, mut at) = (Vec::with_capacity(path.len()), 0);
    while at < path.len() {
        match path[at] {
            b'%' => {
                let byte = escaped(path, at)?;
                match byte {
                    0 => return None,
                    byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => decoded.push(byte),
                    _ => decoded.extend(path[at..at + 3].iter().map(u8::to_ascii_uppercase)),
                }
                at += 3;
                continue;
            }
            0 => return None,
            b'\\' => decoded.push(b'/'),
            byte => decoded.push(byte),
        }
        at += 1;
    }
    if has_dot_parameter(&decoded) {
        return None;
    }
    let mut out = resolve_dots(&decoded);
    out.extend_from_slice(rest);
    Some(Some(out.into()))
}

/// Whether a segment is `.` or `..` with a parameter, its semicolon escaped or not.
fn has_dot_parameter(path: &[u8]) -> bool {
    path.split(|b| *b == b'/').any(|segment| {
        let dots = segment.iter().take_while(|b| **b == b'.').count();
        let rest = &segment[dots..];
        (1..=2).contains(&dots) && (rest.starts_with(b";") || rest.starts_with(b"%3B"))
    })
}

fn has_dot_segment(path: &[u8]) -> bool {
    path.split(|b| *b == b'/').any(|segment| matches!(segment, b"." | b".."))
}

fn resolve_dots(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut segments = path[1..].split(|b| *b == b'/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"." if last => kept.push(b""),
            b"." => {}
            b".." => {
                kept.pop();
                if last {
                    kept.push(b"");
                }
            }
            segment => kept.push(segment),
        }
    }
    let mut out = Vec::with_capacity(path.len());
    for segment in kept {
        out.push(b'/');
        out.extend_from_slice(segment);
    }
    if out.is_empty() {
        out.push(b'/');
    }
    out
}

/// Folds repeated slashes of the path; none: there are none.
pub fn merge_slashes(whole: &[u8]) -> Option<Bytes> {
    let (path, rest) = split(whole);
    memchr::memmem::find(path, b"//")?;
    let mut out: Vec<u8> = path.to_vec();
    out.dedup_by(|a, b| *a == b'/' && *b == b'/');
    out.extend_from_slice(rest);
    Some(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(path: &str) -> Option<String> {
        let clean = normalize(path.as_bytes())?;
        Some(clean.map_or_else(|| path.to_owned(), |clean| String::from_utf8(clean.to_vec()).unwrap()))
    }

    #[test]
    fn dots_and_escapes_are_resolved() {
        assert_eq!(normal("/a/../b/./c?x=/../y").as_deref(), Some("/b/c?x=/../y"));
        assert_eq!(normal("/a/%2e%2E/b").as_deref(), Some("/b"));
        assert_eq!(normal("/../..").as_deref(), Some("/"));
        assert_eq!(normal("/a/..").as_deref(), Some("/"));
        assert_eq!(normal("/%61%2fb").as_deref(), Some("/a%2Fb"));
        assert_eq!(normal("/a\\b").as_deref(), Some("/a/b"));
        assert_eq!(normal("/plain").as_deref(), Some("/plain"));
    }

    #[test]
    fn bad_escapes_are_refused() {
        assert_eq!(normal("/%0"), None);
        assert_eq!(normal("/%zz"), None);
        assert_eq!(normal("/%00"), None);
    }

    #[test]
    fn dot_segments_with_parameters_are_refused() {
        for path in ["/a/..;/b", "/a/..;x=1/b", "/.;/a", "/a/%2e%2e;/b", "/a/..%3b/b", "/a\\..;\\b"] {
            assert_eq!(normal(path), None, "{path}");
        }
        assert_eq!(normal("/a;x=..;/...;/b").as_deref(), Some("/a;x=..;/...;/b"));
    }

    #[test]
    fn slashes_are_merged_in_the_path_alone() {
        assert_eq!(merge_slashes(b"//a///b?x=//").as_deref(), Some(&b"/a/b?x=//"[..]));
        assert_eq!(merge_slashes(b"/a"), None);
    }
}
