//! How large the parts of an upload are, so that they are few enough and alike.

/// S3 takes no smaller part but the last; GCS and Azure take any.
pub(super) const SMALLEST: u64 = 5 << 20;

/// S3 and GCS take so many parts; Azure five times as many.
pub(super) const MOST_PARTS: u64 = 10_000;

/// The largest object that fits, announced or not: eight times the largest etcd.
pub(super) const LARGEST_OBJECT: u64 = 64 << 30;

/// Where as much came as was announced, so many parts are left for what was not.
const ANNOUNCED_PARTS: u64 = 7_000;
/// Where nothing was announced, parts are alike up to this one: 24 GiB of the smallest.
const UNANNOUNCED_PARTS: u64 = 5_000;

/// Sizes are whole MiB: then they are whole numbers of the sealer's pieces, and nothing is cut.
const STEP: u64 = 1 << 20;

/// The plan of one upload, and how far it came.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    bytes: u64,
    /// Parts that are of the size chosen at first: some stores (R2) want all but the last alike.
    alike: u64,
    sent: u64,
    sent_bytes: u64,
}

impl Parts {
    /// `expected` is how long the object will be, as far as one can say.
    pub fn new(expected: Option<u64>) -> Parts {
        let parts = |bytes: u64| bytes.div_ceil(ANNOUNCED_PARTS).next_multiple_of(STEP).max(SMALLEST);
        let bytes = parts(expected.unwrap_or(0).min(LARGEST_OBJECT));
        let announced = expected.map_or(0, |expected| expected.min(LARGEST_OBJECT).div_ceil(bytes));
        Parts { bytes, alike: announced.max(UNANNOUNCED_PARTS), sent: 0, sent_bytes: 0 }
    }

    /// The size of the next part. One longer than was announced is cut so that the largest object still fits: no part is
    /// ever over 11 MiB, and with it the memory of an upload never over 11 MiB times one more than the parts on their way.
    pub fn next_bytes(&self) -> u64 {
        if self.sent < self.alike {
            return self.bytes;
        }
        let left = LARGEST_OBJECT.saturating_sub(self.sent_bytes);
        let parts_left = MOST_PARTS.saturating_sub(self.sent).max(1);
        left.div_ceil(parts_left).next_multiple_of(STEP).max(self.bytes)
    }

    /// Notes a part as sent; `false` where the store takes no more.
    #[must_use]
    pub fn sent(&mut self, bytes: u64) -> bool {
        self.sent += 1;
        self.sent_bytes = self.sent_bytes.saturating_add(bytes);
        self.sent <= MOST_PARTS
    }

    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Cuts an object of this length: the number of parts, the largest, and whether all but the last are alike.
    fn cut(expected: Option<u64>, length: u64) -> (u64, u64, bool) {
        let mut parts = Parts::new(expected);
        let (first, mut largest, mut alike) = (parts.next_bytes(), 0, true);
        let mut left = length;
        while left > 0 {
            let next = parts.next_bytes();
            assert!(next >= SMALLEST && next.is_multiple_of(STEP), "a part of {next}");
            let bytes = next.min(left);
            alike &= bytes == first || bytes == left;
            assert!(parts.sent(bytes), "{length} bytes, announced {expected:?}, need too many parts");
            largest = largest.max(next);
            left -= bytes;
        }
        assert_eq!(parts.sent_bytes(), length);
        (parts.sent, largest, alike)
    }

    #[test]
    fn usual_backups_go_in_the_smallest_parts() {
        assert_eq!(Parts::new(None).next_bytes(), SMALLEST);
        assert_eq!(Parts::new(Some(8 << 30)).next_bytes(), SMALLEST);
        assert_eq!(cut(None, 24 << 30), (4916, SMALLEST, true));
    }

    #[test]
    fn the_largest_object_fits_announced_or_not_or_wrongly() {
        assert_eq!(cut(Some(LARGEST_OBJECT), LARGEST_OBJECT), (6554, 10 << 20, true));
        let (parts, largest, _) = cut(None, LARGEST_OBJECT);
        assert!(parts <= MOST_PARTS && largest <= 9 << 20, "{parts} parts of up to {largest}");
        for wrong in [0, 1, 20 << 30, 34 << 30, 35 << 30, 50 << 30, 63 << 30, u64::MAX] {
            let (_, largest, _) = cut(Some(wrong), LARGEST_OBJECT);
            assert!(largest <= 11 << 20, "announced {wrong}: a part of {largest}");
        }
    }

    #[test]
    fn one_part_too_many_is_refused() {
        let mut parts = Parts::new(None);
        assert!((0..MOST_PARTS).all(|_| parts.sent(1)));
        assert!(!parts.sent(1));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_length_fits_in_parts_that_memory_holds(
            expected in proptest::option::of(0..=LARGEST_OBJECT * 2),
            length in 0..=LARGEST_OBJECT,
        ) {
            let (_, largest, alike) = cut(expected, length);
            prop_assert!(largest <= 11 << 20);
            prop_assert!(alike || expected.is_none_or(|expected| length > expected));
        }
    }
}
