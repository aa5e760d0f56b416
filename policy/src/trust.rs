//! Whether what a key signed counts: the key's validity, and what is left of it once it was revoked.
//!
//! An object's date is its signer's claim. Validity believes it, because a key that is merely retired is in honest hands.
//! Revocation does not: whoever stole the key writes whatever date he likes. So what a revoked key signed counts only where
//! somebody else vouched for it before: a trusted prover whose verdict names it to the bit, or the operator.

use crate::moment::{CLOCK_TOLERANCE, after, before};
use chrono::{DateTime, Utc};

/// What is known of the key that signed an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Validity {
    /// It signs from then on; since ever where none is given.
    pub from: Option<DateTime<Utc>>,
    /// It signs until then; for ever where none is given.
    pub until: Option<DateTime<Utc>>,
    /// When the operator revoked it.
    pub revoked: Option<DateTime<Utc>>,
}

/// Who else vouches for exactly these bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vouched {
    /// The earliest verdict on it by a prover that is trusted and not revoked.
    pub verdict_at: Option<DateTime<Utc>>,
    /// The operator lists it.
    pub by_operator: bool,
}

/// Why what a known key signed does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The key was revoked then, and nobody vouched for this before.
    Revoked(DateTime<Utc>),
    /// It is dated before the key's validity.
    Before(DateTime<Utc>),
    /// It is dated after the key's validity.
    After(DateTime<Utc>),
}

/// Whether an object that this key signed and that is `dated` so counts. `vouched` is `None` for what nobody can vouch for:
/// verdicts, tombstones, holds.
///
/// # Errors
/// With the reason why it does not.
pub fn counts(key: &Validity, dated: DateTime<Utc>, vouched: Option<Vouched>) -> Result<(), Refusal> {
    let vouched = vouched.unwrap_or_default();
    if vouched.by_operator {
        return Ok(());
    }
    if let Some(revoked) = key.revoked {
        // The prover's clock is honest: its key was not revoked.
        return match vouched.verdict_at {
            Some(at) if at <= revoked => Ok(()),
            _ => Err(Refusal::Revoked(revoked)),
        };
    }
    match (key.from, key.until) {
        (Some(from), _) if dated < before(from, CLOCK_TOLERANCE) => Err(Refusal::Before(from)),
        (_, Some(until)) if dated > after(until, CLOCK_TOLERANCE) => Err(Refusal::After(until)),
        _ => Ok(()),
    }
}

/// Whether a key may be used at `now` to sign or to seal: outside its validity it is not.
///
/// # Errors
/// With the end of its validity that was missed.
pub fn usable(key: &Validity, now: DateTime<Utc>) -> Result<(), Refusal> {
    match (key.revoked, key.from, key.until) {
        (Some(at), ..) => Err(Refusal::Revoked(at)),
        (_, Some(from), _) if now < from => Err(Refusal::Before(from)),
        (.., Some(until)) if now >= until => Err(Refusal::After(until)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_400_000 + hours * 3600, 0).unwrap()
    }

    fn verdict(hours: i64) -> Option<Vouched> {
        Some(Vouched { verdict_at: Some(at(hours)), by_operator: false })
    }

    const LISTED: Option<Vouched> = Some(Vouched { verdict_at: None, by_operator: true });
    const NOBODY: Option<Vouched> = Some(Vouched { verdict_at: None, by_operator: false });

    #[test]
    fn a_revoked_key_s_own_dates_say_nothing() {
        let key = Validity { revoked: Some(at(10)), ..Validity::default() };
        for dated in [-9_000, 0, 9, 10, 11, 9_000] {
            assert_eq!(counts(&key, at(dated), NOBODY), Err(Refusal::Revoked(at(10))));
            assert_eq!(counts(&key, at(dated), None), Err(Refusal::Revoked(at(10))));
            assert_eq!(counts(&key, at(dated), verdict(10)), Ok(()));
            assert_eq!(
                counts(&key, at(dated), verdict(11)),
                Err(Refusal::Revoked(at(10))),
                "proven after the theft was known"
            );
            assert_eq!(counts(&key, at(dated), LISTED), Ok(()));
        }
    }

    #[test]
    fn a_key_that_is_not_revoked_counts_within_its_validity_give_or_take_a_clock() {
        let key = Validity { from: Some(at(10)), until: Some(at(20)), revoked: None };
        for (dated, wanted) in [
            (8, Err(Refusal::Before(at(10)))),
            (9, Ok(())),
            (15, Ok(())),
            (21, Ok(())),
            (22, Err(Refusal::After(at(20)))),
        ] {
            assert_eq!(counts(&key, at(dated), None), wanted, "{dated}");
            assert_eq!(counts(&key, at(dated), LISTED), Ok(()), "{dated}");
        }
        assert_eq!(counts(&Validity::default(), DateTime::<Utc>::MIN_UTC, None), Ok(()));
        assert_eq!(counts(&Validity::default(), DateTime::<Utc>::MAX_UTC, None), Ok(()));
    }

    #[test]
    fn nothing_is_signed_or_sealed_outside_the_validity() {
        let key = Validity { from: Some(at(10)), until: Some(at(20)), revoked: None };
        assert_eq!(usable(&key, at(9)), Err(Refusal::Before(at(10))));
        assert_eq!(usable(&key, at(10)), Ok(()));
        assert_eq!(usable(&key, at(20)), Err(Refusal::After(at(20))));
        assert_eq!(usable(&Validity { revoked: Some(at(1)), ..key }, at(15)), Err(Refusal::Revoked(at(1))));
    }
}
