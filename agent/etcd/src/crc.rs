//! CRC-32C of a whole from the CRCs and lengths of its parts.
//!
//! Appending `n` bytes to a message multiplies its CRC, as a polynomial over GF(2), by x^(8n) modulo the Castagnoli
//! polynomial, and adds the CRC of what is appended. The operators x^(8n) are the same for every message, so those of
//! common lengths are computed once.

use std::sync::OnceLock;

/// The polynomial, bit-reversed as the CRC's registers are.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// The polynomial 1 in that notation.
const ONE: u32 = 1 << 31;

/// Lengths below this have their operator in a table.
const TABLE: usize = 4096;

/// Operators never change, so one table serves all checks of a process.
static JOINER: OnceLock<Joiner> = OnceLock::new();

/// Joins CRCs.
pub(crate) struct Joiner {
    /// x^(8n) for n below [`TABLE`].
    short: Vec<u32>,
    /// x^(8 * 2^k).
    powers: Vec<u32>,
}

impl Joiner {
    pub(crate) fn shared() -> &'static Joiner {
        JOINER.get_or_init(Joiner::new)
    }

    fn new() -> Self {
        let byte = (0..8).fold(ONE, |power, _| times_x(power));
        let short = std::iter::successors(Some(ONE), |power| Some(multiply(*power, byte))).take(TABLE).collect();
        let powers = std::iter::successors(Some(byte), |power| Some(multiply(*power, *power))).take(64).collect();
        Joiner { short, powers }
    }

    /// The CRC of two parts, end to end, the second of `len` bytes.
    pub(crate) fn join(&self, first: u32, second: u32, len: u64) -> u32 {
        let operator = match self.short.get(crate::num::narrow(len)) {
            Some(operator) => *operator,
            None => self.operator(len),
        };
        multiply(first, operator) ^ second
    }

    fn operator(&self, len: u64) -> u32 {
        let bits = (0u32..).zip(&self.powers).filter(|(bit, _)| (len >> bit) & 1 == 1);
        bits.fold(ONE, |product, (_, power)| multiply(product, *power))
    }
}

/// The CRC-32C of parts that came one after the other, and how long they are together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Joined {
    pub(crate) crc: u32,
    pub(crate) len: u64,
}

impl Joined {
    pub(crate) fn add(&mut self, crc: u32, len: u64) {
        self.crc = Joiner::shared().join(self.crc, crc, len);
        self.len = self.len.saturating_add(len);
    }
}

/// Multiplies by x: a shift to the right in this notation.
fn times_x(a: u32) -> u32 {
    (a >> 1) ^ (POLYNOMIAL & (a & 1).wrapping_neg())
}

/// The product of two polynomials, reduced.
fn multiply(a: u32, b: u32) -> u32 {
    let (mut product, mut shifted) = (0, b);
    for bit in (0..32).rev() {
        product ^= shifted & ((a >> bit) & 1).wrapping_neg();
        shifted = times_x(shifted);
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_crcs_equal_the_crc_of_the_joined_bytes() {
        let joiner = Joiner::new();
        let bytes: Vec<u8> = (0..300_000u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
        for len in [0, 1, 2, 17, 4095, 4096, 4097, 65_536, 250_001] {
            let (first, second) = bytes.split_at(bytes.len() - len);
            let joined = joiner.join(crc32c::crc32c(first), crc32c::crc32c(second), len as u64);
            assert_eq!(joined, crc32c::crc32c(&bytes), "{len}");
            let mut parts = Joined::default();
            [first, second].iter().for_each(|part| parts.add(crc32c::crc32c(part), part.len() as u64));
            assert_eq!((parts.crc, parts.len), (joined, 300_000));
        }
    }
}
