//! Header lists that share one buffer.
//!
//! A message head arrives as one block of bytes. Its headers stay where they are: an entry is a pair of spans into
//! that block, so that reading, editing and writing a head allocates next to nothing. Names are lower case.

use bytes::Bytes;

/// Bytes of a header: a span of the head's buffer, a constant, or bytes of their own.
#[derive(Clone, Debug)]
enum Text {
    Span(u32, u32),
    Static(&'static [u8]),
    Own(Bytes),
}

#[derive(Clone, Debug)]
struct Entry {
    name: Text,
    value: Text,
}

/// An ordered list of headers (or trailers) with lower-case names.
#[derive(Clone, Debug, Default)]
pub struct Headers {
    buffer: Bytes,
    entries: Vec<Entry>,
}

fn resolve<'a>(buffer: &'a Bytes, text: &'a Text) -> &'a [u8] {
    match text {
        Text::Span(start, end) => &buffer[*start as usize..*end as usize],
        Text::Static(bytes) => bytes,
        Text::Own(bytes) => bytes,
    }
}

impl Headers {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty list whose spans will point into `buffer`.
    pub fn over(buffer: Bytes, capacity: usize) -> Self {
        Headers { buffer, entries: Vec::with_capacity(capacity) }
    }

    /// Adds a header that lies in the buffer. The caller has made the name lower case.
    pub fn push_span(&mut self, name: (u32, u32), value: (u32, u32)) {
        debug_assert!(name.1 as usize <= self.buffer.len() && value.1 as usize <= self.buffer.len());
        self.entries.push(Entry { name: Text::Span(name.0, name.1), value: Text::Span(value.0, value.1) });
    }

    /// The number of headers.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no header.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bytes that the headers take as `name: value` lines.
    pub fn wire_len(&self) -> usize {
        self.iter().map(|(name, value)| name.len() + value.len() + 4).sum()
    }

    /// All headers in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries
            .iter()
            .map(|entry| (resolve(&self.buffer, &entry.name), resolve(&self.buffer, &entry.value)))
    }

    /// The first value of `name` (lower case).
    #[inline]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.get_all(name).next()
    }

    /// The first value of `name`, if it is text.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The values of `name` (lower case) in order.
    #[inline]
    pub fn get_all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let name = name.as_bytes();
        self.iter().filter(move |(n, _)| n.len() == name.len() && *n == name).map(|(_, value)| value)
    }

    /// Whether `name` (lower case) is present.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// All values of `name` joined by `,`, as Envoy matches and logs repeated headers.
    pub fn joined(&self, name: &str) -> Option<std::borrow::Cow<'_, [u8]>> {
        let mut values = self.get_all(name);
        let first = values.next()?;
        let Some(second) = values.next() else { return Some(first.into()) };
        let mut all = [first, b",", second].concat();
        for value in values {
            all.push(b',');
            all.extend_from_slice(value);
        }
        Some(all.into())
    }

    /// Appends a header whose name is a constant (lower case).
    pub fn append(&mut self, name: &'static str, value: impl Into<Bytes>) {
        self.entries.push(Entry { name: Text::Static(name.as_bytes()), value: Text::Own(value.into()) });
    }

    /// Appends a header of constants (name in lower case).
    pub fn append_static(&mut self, name: &'static str, value: &'static str) {
        self.entries
            .push(Entry { name: Text::Static(name.as_bytes()), value: Text::Static(value.as_bytes()) });
    }

    /// Appends a header with a name of its own (lower case).
    pub fn append_own(&mut self, name: Bytes, value: Bytes) {
        self.entries.push(Entry { name: Text::Own(name), value: Text::Own(value) });
    }

    /// Replaces every value of `name` by one.
    pub fn set(&mut self, name: &'static str, value: impl Into<Bytes>) {
        self.set_text(Text::Static(name.as_bytes()), Text::Own(value.into()));
    }

    /// Replaces every value of `name` by a constant.
    pub fn set_static(&mut self, name: &'static str, value: &'static str) {
        self.set_text(Text::Static(name.as_bytes()), Text::Static(value.as_bytes()));
    }

    /// Replaces every value of `name` (lower case) by one.
    pub fn set_own(&mut self, name: Bytes, value: Bytes) {
        self.set_text(Text::Own(name), Text::Own(value));
    }

    fn set_text(&mut self, name: Text, value: Text) {
        let (buffer, mut value, mut found) = (&self.buffer, Some(value), false);
        let wanted = resolve(&Bytes::new(), &name).to_owned_small();
        self.entries.retain_mut(|entry| {
            if resolve(buffer, &entry.name) != wanted.as_slice() {
                return true;
            }
            match value.take() {
                Some(value) => {
                    entry.value = value;
                    found = true;
                    true
                }
                None => false,
            }
        });
        if let (false, Some(value)) = (found, value) {
            self.entries.push(Entry { name, value });
        }
    }

    /// Removes every value of `name` (lower case); tells whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.entries.len();
        let buffer = &self.buffer;
        self.entries.retain(|entry| resolve(buffer, &entry.name) != name.as_bytes());
        self.entries.len() != before
    }

    /// Keeps the headers for which `keep(name, value)` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        let buffer = &self.buffer;
        self.entries.retain(|entry| keep(resolve(buffer, &entry.name), resolve(buffer, &entry.value)));
    }
}

trait ToOwnedSmall {
    fn to_owned_small(&self) -> smallvec::SmallVec<[u8; 48]>;
}

impl ToOwnedSmall for [u8] {
    fn to_owned_small(&self) -> smallvec::SmallVec<[u8; 48]> {
        smallvec::SmallVec::from_slice(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed() -> Headers {
        let mut headers = Headers::over(Bytes::from_static(b"hostexampleaccept*/*accepttext"), 3);
        headers.push_span((0, 4), (4, 11));
        headers.push_span((11, 17), (17, 20));
        headers.push_span((20, 26), (26, 30));
        headers
    }

    #[test]
    fn a_span_reads_from_the_shared_buffer() {
        assert_eq!(parsed().get("host"), Some(&b"example"[..]));
        assert_eq!(parsed().get("hos"), None);
    }

    #[test]
    fn repeated_values_are_joined_with_a_comma() {
        assert_eq!(parsed().joined("accept").as_deref(), Some(&b"*/*,text"[..]));
    }

    #[test]
    fn setting_replaces_all_values_in_place_of_the_first() {
        let mut headers = parsed();
        headers.set("accept", "x");
        assert_eq!(
            headers.iter().map(|(n, _)| n.to_vec()).collect::<Vec<_>>(),
            [b"host".to_vec(), b"accept".to_vec()]
        );
        headers.set_static("via", "y");
        assert_eq!(headers.get("via"), Some(&b"y"[..]));
    }

    #[test]
    fn removing_says_whether_it_was_there() {
        let mut headers = parsed();
        assert!(headers.remove("accept"));
        assert!(!headers.remove("accept"));
        assert_eq!(headers.len(), 1);
    }
}
