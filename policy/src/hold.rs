//! Whether a person holds a backup: from every hold and release on it to what counts now.
//!
//! A hold counts from when it was made until it ends, or until a release that is no older than it. What is dated in the
//! future counts for nothing: a release from the year 2099 frees nothing, and a hold does not begin early.

use crate::moment;
use chrono::{DateTime, Utc};

/// One signed hold or release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldFact {
    /// When it was made, by its signer's clock.
    pub at: DateTime<Utc>,
    /// What it says.
    pub says: Says,
}

/// What a hold or a release says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// Keep it.
    Hold {
        /// Why, in a person's words.
        reason: String,
        /// Until when; for ever where none is given.
        until: Option<DateTime<Utc>>,
    },
    /// Every hold up to now ends.
    Release,
}

/// The hold that counts: of several the one that ends last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Why, in a person's words.
    pub reason: String,
    /// Until when; for ever where none is given.
    pub until: Option<DateTime<Utc>>,
    /// When it was made.
    pub at: DateTime<Utc>,
}

impl Held {
    /// `before 1.37`, `before 1.37, until 2026-12-01 00:00 UTC`.
    #[must_use]
    pub fn words(&self) -> String {
        match self.until {
            None => self.reason.clone(),
            Some(until) => format!("{}, until {} UTC", self.reason, until.format("%Y-%m-%d %H:%M")),
        }
    }
}

/// Whether something that claims this time is dated in the future, further than clocks may differ.
#[must_use]
pub fn is_future(at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    moment::is_future(at, now)
}

/// The hold that counts at `now`, if any does. The order of `facts` does not matter.
#[must_use]
pub fn held(facts: &[HoldFact], now: DateTime<Utc>) -> Option<Held> {
    let present = || facts.iter().filter(|fact| !moment::is_future(fact.at, now));
    let released = present().filter(|fact| fact.says == Says::Release).map(|fact| fact.at).max();
    present()
        .filter(|fact| released.is_none_or(|released| fact.at > released))
        .filter_map(|fact| match &fact.says {
            Says::Hold { reason, until } if until.is_none_or(|until| now < until) => {
                Some(Held { reason: reason.clone(), until: *until, at: fact.at })
            }
            Says::Hold { .. } | Says::Release => None,
        })
        .max_by(|a, b| {
            let rank = |held: &Held| (held.until.is_none(), held.until, held.at);
            rank(a).cmp(&rank(b)).then_with(|| a.reason.cmp(&b.reason))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_400_000 + hours * 3600, 0).unwrap()
    }

    fn hold(made: i64, reason: &str, until: Option<i64>) -> HoldFact {
        HoldFact { at: at(made), says: Says::Hold { reason: reason.to_owned(), until: until.map(at) } }
    }

    fn release(made: i64) -> HoldFact {
        HoldFact { at: at(made), says: Says::Release }
    }

    fn reason(facts: &[HoldFact], now: i64) -> Option<String> {
        held(facts, at(now)).map(|held| held.reason)
    }

    #[test]
    fn a_hold_counts_until_it_ends_or_is_released() {
        assert_eq!(reason(&[], 0), None);
        assert_eq!(reason(&[hold(0, "a", None)], 9_000), Some("a".to_owned()));
        assert_eq!(reason(&[hold(0, "a", Some(5))], 4), Some("a".to_owned()));
        assert_eq!(reason(&[hold(0, "a", Some(5))], 5), None);
        assert_eq!(reason(&[hold(0, "a", None), release(3)], 4), None);
        // Made in the same second: the release was meant.
        assert_eq!(reason(&[hold(3, "a", None), release(3)], 4), None);
        assert_eq!(reason(&[release(3), hold(4, "again", None)], 5), Some("again".to_owned()));
    }

    #[test]
    fn of_several_holds_the_one_that_ends_last_counts_in_any_order() {
        let mut facts = [hold(0, "short", Some(9)), hold(1, "long", Some(90)), hold(2, "gone", Some(3))];
        for _ in 0..3 {
            assert_eq!(reason(&facts, 5), Some("long".to_owned()));
            facts.rotate_left(1);
        }
        assert_eq!(reason(&[hold(1, "ever", None), hold(2, "long", Some(90))], 5), Some("ever".to_owned()));
    }

    #[test]
    fn what_is_dated_in_the_future_counts_for_nothing() {
        assert_eq!(reason(&[hold(0, "a", None), release(1_000)], 5), Some("a".to_owned()));
        assert_eq!(reason(&[hold(1_000, "early", None)], 5), None);
        // Clocks may differ a little: a hold that was just made elsewhere counts at once.
        assert_eq!(reason(&[hold(6, "a", None)], 5), Some("a".to_owned()));
    }

    #[test]
    fn the_words_say_why_and_until_when() {
        let words = |until| held(&[hold(0, "before 1.37", until)], at(1)).unwrap().words();
        assert_eq!(words(None), "before 1.37");
        assert_eq!(words(Some(5)), "before 1.37, until 2026-11-23 07:13 UTC");
    }
}
