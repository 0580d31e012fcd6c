//! Netlink messages and attributes as bytes (`linux/netlink.h`).

const NLA_F_NESTED: u16 = 0x8000;
const ALIGN: usize = 4;

/// A growing netlink message or run of messages.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
}

/// Where an open message or nested attribute began; closing writes its length there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Open(usize);

impl Buffer {
    /// Opens a message: `nlmsghdr` and `nfgenmsg`.
    pub fn open_message(&mut self, kind: u16, flags: u16, seq: u32, family: u8, resource: u16) -> Open {
        let open = Open(self.bytes.len());
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&seq.to_ne_bytes());
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&[family, 0]);
        self.bytes.extend_from_slice(&resource.to_be_bytes());
        open
    }

    /// Closes a message by writing its length.
    pub fn close_message(&mut self, open: Open) {
        let len = (self.bytes.len() - open.0) as u32;
        self.bytes[open.0..open.0 + 4].copy_from_slice(&len.to_ne_bytes());
    }

    /// Sets a flag of a message that is already written.
    pub fn set_flag(&mut self, message: Open, flag: u16) {
        let at = message.0 + 6;
        let flags = u16::from_ne_bytes([self.bytes[at], self.bytes[at + 1]]) | flag;
        self.bytes[at..at + 2].copy_from_slice(&flags.to_ne_bytes());
    }

    /// Opens a nested attribute.
    pub fn open(&mut self, kind: u16) -> Open {
        let open = Open(self.bytes.len());
        self.bytes.extend_from_slice(&0u16.to_ne_bytes());
        self.bytes.extend_from_slice(&(kind | NLA_F_NESTED).to_ne_bytes());
        open
    }

    /// Closes a nested attribute. Callers keep what they nest below 64 KiB (elements are sent in chunks).
    pub fn close(&mut self, open: Open) {
        let len = (self.bytes.len() - open.0) as u16;
        self.bytes[open.0..open.0 + 2].copy_from_slice(&len.to_ne_bytes());
    }

    /// A nested attribute written by `fill`.
    pub fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let open = self.open(kind);
        fill(self);
        self.close(open);
    }

    /// An attribute of raw bytes, padded.
    pub fn raw(&mut self, kind: u16, value: &[u8]) {
        self.bytes.extend_from_slice(&((value.len() + 4) as u16).to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGN), 0);
    }

    /// A 32-bit attribute in network order, as nf_tables has them.
    pub fn u32(&mut self, kind: u16, value: u32) {
        self.raw(kind, &value.to_be_bytes());
    }

    /// A NUL-terminated string.
    pub fn text(&mut self, kind: u16, value: &str) {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.raw(kind, &bytes);
    }

    /// Appends messages that are already encoded.
    pub fn append(&mut self, other: &Buffer) {
        self.bytes.extend_from_slice(&other.bytes);
    }

    /// The bytes so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_but_count_their_own_length() {
        let mut buffer = Buffer::default();
        buffer.text(1, "ab");
        assert_eq!(buffer.bytes(), [7, 0, 1, 0, b'a', b'b', 0, 0]);
    }

    #[test]
    fn nested_attributes_carry_flag_and_length() {
        let mut buffer = Buffer::default();
        buffer.nested(4, |b| b.u32(1, 7));
        assert_eq!(buffer.bytes(), [12, 0, 4, 0x80, 8, 0, 1, 0, 0, 0, 0, 7]);
    }
}
