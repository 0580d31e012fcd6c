//! Protobuf's wire format.

/// A field's value.
#[derive(Debug, Clone, Copy)]
pub enum Field<'a> {
    /// Whole numbers and truth values.
    Varint(u64),
    /// Eight bytes.
    Fixed64(u64),
    /// Four bytes, which Kubernetes has no use for.
    Fixed32,
    /// Texts, bytes and messages.
    Bytes(&'a [u8]),
}

/// Reads field after field; after an error nothing more.
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads a message.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(usize::try_from(length).ok()?)?;
        self.rest = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u64, Field<'a>)> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let length = self.varint()?;
                Field::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Field::Fixed32
            }
            _ => return None,
        };
        Some((key >> 3, value))
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<(u64, Field<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.rest = &[];
        }
        Some(field.ok_or_else(|| "the protobuf message is cut off or malformed".to_owned()))
    }
}

/// Text of a field.
pub fn text(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "a text is not UTF-8".to_owned())
}

/// The bytes of the field with a number; none where it is missing.
pub fn first_bytes(message: &[u8], number: u64) -> Result<&[u8], String> {
    for field in Reader::new(message) {
        if let (found, Field::Bytes(bytes)) = field?
            && found == number
        {
            return Ok(bytes);
        }
    }
    Ok(&[])
}

/// The text of the field with a number.
pub fn first_text(message: &[u8], number: u64) -> Result<String, String> {
    text(first_bytes(message, number)?)
}

/// The whole number of the field with a number; 0 where it is missing.
pub fn first_number(message: &[u8], number: u64) -> Result<u64, String> {
    for field in Reader::new(message) {
        if let (found, Field::Varint(value)) = field?
            && found == number
        {
            return Ok(value);
        }
    }
    Ok(0)
}
