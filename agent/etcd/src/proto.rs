//! The little of protobuf's wire format that etcd's records need.

/// One field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// A fixed-width field, which none of etcd's stored messages use: accepted as unknown, as etcd does.
    Other,
}

/// Reads a varint, and gives it with the rest.
pub(crate) fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    // Nearly every varint in a record is one byte.
    if let Some((&first, rest)) = bytes.split_first()
        && first < 0x80
    {
        return Some((u64::from(first), rest));
    }
    let mut value = 0u64;
    for (index, &byte) in bytes.iter().enumerate().take(10) {
        let shift = u32::try_from(index).ok()?.checked_mul(7)?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits.checked_shl(shift)?;
        if byte < 0x80 {
            return Some((value, bytes.get(index.checked_add(1)?..)?));
        }
    }
    None
}

/// Reads one field, and gives its number, itself and the rest.
pub(crate) fn field(bytes: &[u8]) -> Option<(u64, Field<'_>, &[u8])> {
    let (tag, rest) = varint(bytes)?;
    let number = tag >> 3;
    if number == 0 {
        return None;
    }
    let (field, rest) = match tag & 7 {
        0 => {
            let (value, rest) = varint(rest)?;
            (Field::Varint(value), rest)
        }
        2 => {
            let (len, rest) = varint(rest)?;
            let (value, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
            (Field::Bytes(value), rest)
        }
        1 => (Field::Other, rest.get(8..)?),
        5 => (Field::Other, rest.get(4..)?),
        _ => return None,
    };
    Some((number, field, rest))
}

/// A varint field's signed value, as protobuf's int64 stores it.
pub(crate) fn signed(value: u64) -> i64 {
    i64::from_le_bytes(value.to_le_bytes())
}

/// Writes a message field by field.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn new() -> Self {
        Writer::default()
    }

    fn raw(&mut self, mut value: u64) {
        while value >= 0x80 {
            let [low, ..] = value.to_le_bytes();
            self.0.push(low | 0x80);
            value >>= 7;
        }
        let [low, ..] = value.to_le_bytes();
        self.0.push(low);
    }

    /// A varint field, written even when it is zero: the spelling of etcd 3.5 and 3.6.
    pub(crate) fn varint(mut self, number: u64, value: u64) -> Self {
        self.raw(number << 3);
        self.raw(value);
        self
    }

    pub(crate) fn bytes(mut self, number: u64, value: &[u8]) -> Self {
        self.raw((number << 3) | 2);
        self.raw(crate::num::wide(value.len()));
        self.0.extend_from_slice(value);
        self
    }

    pub(crate) fn done(self) -> Vec<u8> {
        self.0
    }
}
