//! Packets: three bytes of length, one of sequence; and the fields in them.

use anyhow::{Context, ensure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

/// The largest packet that is read, in bytes; longer ones come in parts, which nothing here needs.
const MAX_PACKET: usize = 1024 * 1024;
const NULL: u8 = 0xfb;

/// A stream of packets.
pub(super) struct Packets<S> {
    stream: BufReader<S>,
    sequence: u8,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Packets<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream: BufReader::new(stream), sequence: 0 }
    }

    /// Begins a new command.
    pub(super) fn restart(&mut self) {
        self.sequence = 0;
    }

    pub(super) async fn read(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head).await.context("the connection was closed")?;
        let length = usize::try_from(u32::from_le_bytes([head[0], head[1], head[2], 0]))?;
        ensure!(length <= MAX_PACKET, "a packet of {length} bytes is too long");
        ensure!(head[3] == self.sequence, "a packet is out of sequence");
        self.sequence = self.sequence.wrapping_add(1);
        let mut packet = vec![0; length];
        self.stream.read_exact(&mut packet).await.context("the connection was closed")?;
        Ok(packet)
    }

    pub(super) async fn write(&mut self, packet: &[u8]) -> anyhow::Result<()> {
        ensure!(packet.len() <= MAX_PACKET, "a statement of {} bytes is too long", packet.len());
        let mut head = u32::try_from(packet.len())?.to_le_bytes();
        head[3] = self.sequence;
        self.sequence = self.sequence.wrapping_add(1);
        self.stream.write_all(&[&head, packet].concat()).await?;
        Ok(())
    }
}

/// The fields of a packet, from its front.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn new(packet: &'a [u8]) -> Self {
        Self(packet)
    }

    pub(super) fn take(&mut self, length: usize) -> anyhow::Result<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(length).context("a packet is too short")?;
        self.0 = rest;
        Ok(field)
    }

    pub(super) fn byte(&mut self) -> anyhow::Result<u8> {
        Ok(self.take(1)?[0])
    }

    /// Up to a NUL byte, or to the end where there is none.
    pub(super) fn until_nul(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        let field = &self.0[..end];
        self.0 = self.0.get(end + 1..).unwrap_or_default();
        field
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// A length-encoded integer.
    pub(super) fn length(&mut self) -> anyhow::Result<u64> {
        let bytes = match self.byte()? {
            0xfc => 2,
            0xfd => 3,
            0xfe => 8,
            small @ ..=0xfa => return Ok(small.into()),
            other => anyhow::bail!("{other:#x} is no length"),
        };
        let mut number = [0; 8];
        number[..bytes].copy_from_slice(self.take(bytes)?);
        Ok(u64::from_le_bytes(number))
    }

    /// A length-encoded string, or NULL.
    pub(super) fn text(&mut self) -> anyhow::Result<Option<String>> {
        if self.0.first() == Some(&NULL) {
            self.byte()?;
            return Ok(None);
        }
        let length = usize::try_from(self.length()?)?;
        Ok(Some(String::from_utf8_lossy(self.take(length)?).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_as_many_bytes_as_they_need() {
        for (bytes, number) in [
            (&[0xfa][..], 250),
            (&[0xfc, 0xfb, 0][..], 251),
            (&[0xfd, 0, 0, 1][..], 65_536),
            (&[0xfe, 0, 0, 0, 1, 0, 0, 0, 0][..], 16_777_216),
        ] {
            assert_eq!(Fields::new(bytes).length().unwrap(), number);
        }
        for bad in [&[][..], &[0xfb][..], &[0xff][..], &[0xfc, 1][..]] {
            assert!(Fields::new(bad).length().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_row_is_read_column_by_column() {
        let mut fields = Fields::new(b"\x04Cats\xfb\x00");
        assert_eq!(fields.text().unwrap().as_deref(), Some("Cats"));
        assert_eq!(fields.text().unwrap(), None);
        assert_eq!(fields.text().unwrap().as_deref(), Some(""));
        assert!(Fields::new(b"\x09Cats").text().is_err());
    }

    #[tokio::test]
    async fn packets_out_of_sequence_or_too_long_are_refused() {
        let of = |bytes: &'static [u8]| {
            let (ours, mut theirs) = tokio::io::duplex(64);
            tokio::spawn(async move { theirs.write_all(bytes).await });
            Packets::new(ours)
        };
        assert_eq!(of(b"\x02\0\0\0ab").read().await.unwrap(), b"ab");
        assert!(of(b"\x02\0\0\x05ab").read().await.is_err());
        assert!(of(b"\xff\xff\xff\0").read().await.unwrap_err().to_string().contains("too long"));
        assert!(of(b"\x02\0").read().await.is_err());
    }
}
