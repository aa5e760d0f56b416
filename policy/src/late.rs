//! Whether a backup came into a store long after the time that it claims.
//!
//! A signature says who made a backup, not when: whoever stole a backup key can date one back. What tells is a prover's own
//! memory: a backup that it did not see in a store hours after its claimed time, and saw there later, was not there in time.
//! It may be honest (copied from elsewhere), but a person decides that.

use crate::moment;
use chrono::{DateTime, Utc};
use std::time::Duration;

/// How long after its claimed capture time a backup may come into a store.
pub const LATE_AFTER: Duration = Duration::from_secs(6 * 3600);

/// Whether a backup is late that claims to be of `captured_at` and is there now, where `without` is the latest look of a prover
/// at this store that did not show it; `None`: no look went without it.
///
/// Both must hold: somebody looked, and that more than [`LATE_AFTER`] after the claimed time. A backup that a prover
/// first meets after a long pause is not late: nobody looked when it should have been there. By a clock that is ahead one is
/// late the earlier, by one that is behind the later; neither by more than the clock is wrong.
#[must_use]
pub fn is_late(captured_at: DateTime<Utc>, without: Option<DateTime<Utc>>) -> bool {
    without.is_some_and(|looked_at| looked_at > moment::after(captured_at, LATE_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000 + seconds, 0).unwrap()
    }

    #[test]
    fn late_is_what_a_look_hours_after_its_time_did_not_show() {
        let six_hours = 6 * 3600;
        assert!(!is_late(at(0), None), "nobody looked before");
        assert!(!is_late(at(0), Some(at(-60))), "the look was before its time");
        assert!(!is_late(at(0), Some(at(six_hours))), "it may still have been under way");
        assert!(is_late(at(0), Some(at(six_hours + 1))));
        assert!(!is_late(DateTime::<Utc>::MAX_UTC, Some(at(0))), "one dated in the future is another matter");
    }
}
