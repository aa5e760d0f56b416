//! Whether a run is due: each slot at most once, one catch-up at most, whatever the clock does.

use super::Cron;
use crate::moment;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// No more missed slots are counted than this: a schedule of seconds after a year of downtime has millions.
const MISSED_AT_MOST: u32 = 10_000;

/// Whether to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Now, for this slot.
    Now {
        /// The slot: the latest at or before now.
        slot: DateTime<Utc>,
        /// Slots between the last run and this one that nobody served, at most 10,000. They are not caught up.
        missed: u32,
    },
    /// Not before this slot, or the end of the blackout's window.
    NotBefore(DateTime<Utc>),
}

/// Whether a run of `cron` is due at `now`, if `last_slot` is the last slot that was served.
///
/// Within a window of the blackout nothing is, not even what was missed before it: it is when the window ends.
///
/// One catch-up at most: of several missed slots the latest is due and the others are counted. Never the same slot twice:
/// if the clock was put back, nothing is due until the slot after `last_slot` comes. No `last_slot`: the latest is due.
///
/// A `last_slot` far in the future, left behind by a clock that was wrong, would therefore silence the schedule until that
/// date comes. A caller that remembers the slots it served uses [`due_unfired`], which is exact in both directions.
#[must_use]
pub fn due(cron: &Cron, last_slot: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Due {
    match (cron.latest_at_or_before(now), last_slot) {
        (Some(slot), last) if last.is_none_or(|last| slot > last) => now_or_later(cron, slot, last, now),
        (_, last) => not_before(cron.next_after(last.map_or(now, |last| last.max(now)))),
    }
}

/// Now, unless a blackout holds. `last`: the last slot that was served before this one.
fn now_or_later(cron: &Cron, slot: DateTime<Utc>, last: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Due {
    match cron.blackout().end_at(now) {
        Some(end) => Due::NotBefore(end),
        None => Due::Now { slot, missed: last.map_or(0, |last| count_while(cron, last, |missed| missed < slot)) },
    }
}

/// A schedule that has no slot left before the year 2101 waits for ever.
fn not_before(slot: Option<DateTime<Utc>>) -> Due {
    Due::NotBefore(slot.unwrap_or(DateTime::<Utc>::MAX_UTC))
}

/// The slots after `from` for as long as they are such, at most [`MISSED_AT_MOST`].
pub(crate) fn count_while(cron: &Cron, from: DateTime<Utc>, are: impl Fn(DateTime<Utc>) -> bool) -> u32 {
    let mut at = from;
    for count in 0..MISSED_AT_MOST {
        match cron.next_after(at) {
            Some(slot) if are(slot) => at = slot,
            _ => return count,
        }
    }
    MISSED_AT_MOST
}

/// The slots that were served, as many as fit: the memory that makes [`due_unfired`] exact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fired {
    slots: BTreeSet<DateTime<Utc>>,
}

impl Fired {
    /// How many slots are remembered: two months of half hours. The oldest are forgotten first.
    pub const CAPACITY: usize = 3000;

    /// Notes that a slot was served, whether its run succeeded or not.
    pub fn record(&mut self, slot: DateTime<Utc>) {
        self.slots.insert(slot);
        while self.slots.len() > Self::CAPACITY {
            self.slots.pop_first();
        }
    }

    /// Whether a slot was served.
    #[must_use]
    pub fn contains(&self, slot: DateTime<Utc>) -> bool {
        self.slots.contains(&slot)
    }

    /// The last slot before `at` that was served.
    #[must_use]
    pub fn last_before(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.slots.range(..at).next_back().copied()
    }
}

impl FromIterator<DateTime<Utc>> for Fired {
    fn from_iter<I: IntoIterator<Item = DateTime<Utc>>>(slots: I) -> Self {
        let mut fired = Fired::default();
        slots.into_iter().for_each(|slot| fired.record(slot));
        fired
    }
}

/// Like [`due`], from the set of slots that were served: no slot twice and none left out, even if the clock jumps a year
/// ahead and back. Slots from the future in `fired` silence those slots only.
#[must_use]
pub fn due_unfired(cron: &Cron, fired: &Fired, now: DateTime<Utc>) -> Due {
    match cron.latest_at_or_before(now) {
        Some(slot) if !fired.contains(slot) => now_or_later(cron, slot, fired.last_before(slot), now),
        _ => {
            let mut next = cron.next_after(now);
            while let Some(slot) = next.filter(|slot| fired.contains(*slot)) {
                next = cron.next_after(slot);
            }
            not_before(next)
        }
    }
}

/// How long to wait after a slot, so that many clusters do not knock at one store at once: less than `spread`, and the same
/// for the same slot and seed.
#[must_use]
pub fn jitter(slot: DateTime<Utc>, spread: Duration, seed: u64) -> Duration {
    let mixed = mix(seed ^ mix(slot.timestamp().cast_unsigned()));
    let nanos = u64::try_from(spread.as_nanos()).unwrap_or(u64::MAX);
    mixed.checked_rem(nanos).map_or(Duration::ZERO, Duration::from_nanos)
}

/// The finalizer of SplitMix64: every bit of the input moves every bit of the output.
pub(crate) fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// The instant by which the slot after the next must be served; see [`crate::freshness::deadline`].
pub(crate) fn two_slots_after(cron: &Cron, at: DateTime<Utc>) -> DateTime<Utc> {
    let slot = cron.latest_at_or_before(at).unwrap_or(at);
    let second = cron.next_after(slot).and_then(|first| cron.next_after(first));
    second.unwrap_or_else(|| moment::after(slot, cron.period_near(slot).saturating_mul(2)))
}
