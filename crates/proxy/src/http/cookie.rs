//! Values by which requests are hashed.

use super::Headers;

/// The value of a cookie.
pub fn find<'a>(headers: &'a Headers, name: &str) -> Option<&'a [u8]> {
    headers
        .get_all("cookie")
        .flat_map(|line| line.split(|b| *b == b';'))
        .map(<[u8]>::trim_ascii)
        .find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
        .map(|value| value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value))
}

/// The value of a query parameter.
pub fn query<'a>(path: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let query = &path[memchr::memchr(b'?', path)? + 1..];
    query.split(|b| *b == b'&').find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        let mut headers = Headers::new();
        headers.append_static("cookie", "ab=1; b=\"2\"");
        assert_eq!(find(&headers, "b"), Some(&b"2"[..]));
        assert_eq!(find(&headers, "a"), None);
        assert_eq!(query(b"/?ab=1&b=2", "b"), Some(&b"2"[..]));
    }
}
