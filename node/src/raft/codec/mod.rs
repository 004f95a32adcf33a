//! The one binary form of Raft's own records, on disk and on the wire.
//!
//! Fixed layout, big-endian, a format byte in front of every record. It is written by hand because both sides must stay
//! readable for ever, whatever openraft changes in its types.

mod message;
mod record;
#[cfg(test)]
mod tests;

pub use message::SnapshotHeader;

/// The version of every record below. A newer one is refused: see [`CodecError::Format`].
pub const FORMAT: u8 = 1;

/// Why bytes are not a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("raft record ends too early")]
    Truncated,
    #[error("raft record has {0} bytes too many")]
    Trailing(usize),
    #[error("raft record has format {0}, this version reads {FORMAT}; upgrade this member before its peers")]
    Format(u8),
    #[error("raft record has tag {tag} where {place} is expected")]
    Tag { place: &'static str, tag: u8 },
    #[error("raft record holds no valid membership: {0}")]
    Membership(String),
}

impl From<CodecError> for std::io::Error {
    fn from(error: CodecError) -> Self {
        std::io::Error::new(std::io::ErrorKind::InvalidData, error)
    }
}

/// Something with a binary form.
pub trait Coded: Sized {
    fn encode(&self, out: &mut Vec<u8>);
    fn decode(input: &mut &[u8]) -> Result<Self, CodecError>;
}

/// A whole record: the format byte, then the value.
pub fn to_bytes<T: Coded>(value: &T) -> Vec<u8> {
    let mut out = vec![FORMAT];
    value.encode(&mut out);
    out
}

/// Reads a whole record; nothing may be left over.
pub fn from_bytes<T: Coded>(mut bytes: &[u8]) -> Result<T, CodecError> {
    let input = &mut bytes;
    match u8::decode(input)? {
        FORMAT => {}
        other => return Err(CodecError::Format(other)),
    }
    let value = T::decode(input)?;
    match input.len() {
        0 => Ok(value),
        left => Err(CodecError::Trailing(left)),
    }
}

fn take<'a>(input: &mut &'a [u8], count: usize) -> Result<&'a [u8], CodecError> {
    let (head, tail) = input.split_at_checked(count).ok_or(CodecError::Truncated)?;
    *input = tail;
    Ok(head)
}

macro_rules! number {
    ($($type:ty),*) => {$(
        impl Coded for $type {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }

            fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
                let (head, tail) = input.split_first_chunk().ok_or(CodecError::Truncated)?;
                *input = tail;
                Ok(Self::from_be_bytes(*head))
            }
        }
    )*};
}

number!(u8, u32, u64);

impl Coded for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        match u8::decode(input)? {
            0 => Ok(false),
            1 => Ok(true),
            tag => Err(CodecError::Tag {
                place: "a boolean",
                tag,
            }),
        }
    }
}

impl<T: Coded> Coded for Option<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.is_some().encode(out);
        if let Some(value) = self {
            value.encode(out);
        }
    }

    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        bool::decode(input)?.then(|| T::decode(input)).transpose()
    }
}

/// A count and as many values. The count is not trusted with memory: values are read one by one.
impl<T: Coded> Coded for Vec<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_count(self.len(), out);
        for value in self {
            value.encode(out);
        }
    }

    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        let count = u32::decode(input)?;
        let mut values = Vec::new();
        for _ in 0..count {
            values.push(T::decode(input)?);
        }
        Ok(values)
    }
}

fn encode_count(count: usize, out: &mut Vec<u8>) {
    u32::try_from(count)
        .expect("messages and entries are limited to a few MiB")
        .encode(out);
}
