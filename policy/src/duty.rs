//! Which of several agents serves a slot, without a lock and without asking each other.
//!
//! Each agent ranks the members that are healthy by rendezvous hashing: every member gets a number from the cluster, the
//! slot and its own id, and the highest goes first; all followers before the leader, learners last. An agent stands for the
//! member that it runs beside. The first rank serves the slot at once, each further one waits a step longer and looks
//! whether the slot has been served meanwhile.
//!
//! Agents that see different members may both serve a slot, or both wait a little: two backups of one slot do no harm, and
//! retention thins them.

use crate::schedule::mix;
use chrono::{DateTime, Utc};
use std::cmp::Reverse;
use std::time::Duration;

/// A healthy member, as far as duty is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// etcd's id of it.
    pub id: u64,
    /// Whether it leads: it has enough to do.
    pub is_leader: bool,
    /// Whether it does not vote yet: it may be far behind.
    pub is_learner: bool,
}

/// For whom an agent stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Me<'a> {
    /// The member with this id.
    Beside(u64),
    /// None of them, or one cannot tell: an agent on this host.
    Elsewhere(&'a str),
}

/// An agent's place among those that may serve a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank {
    /// 0 serves at once.
    pub place: u32,
    /// The last place there is.
    pub last: u32,
    /// For an agent that stands for no member, how far into its step it waits, in 1/65536: they all have the last place,
    /// and cannot know of each other.
    pub part: u32,
}

/// The parts of a step.
const PARTS: u32 = 1 << 16;

/// The place of `me` for this slot. The order of `members` does not matter.
///
/// Who stands for a healthy member has a place of its own. Whoever does not comes after all of them, spread by a hash of
/// its host's name.
#[must_use]
pub fn rank(cluster_id: u64, slot: DateTime<Utc>, members: &[Member], me: Me<'_>) -> Rank {
    let of_slot = mix(cluster_id ^ mix(slot.timestamp().cast_unsigned()));
    let weight = |id: u64| mix(of_slot ^ mix(id));
    let key = |member: &Member| (member.is_learner, member.is_leader, Reverse(weight(member.id)), member.id);
    let mine = match me {
        Me::Beside(id) => members.iter().find(|member| member.id == id).map(key),
        Me::Elsewhere(_) => None,
    };
    let last = count(members.len());
    match mine {
        Some(mine) => Rank { place: count(members.iter().filter(|member| key(member) < mine).count()), last, part: 0 },
        None => {
            let name = match me {
                Me::Beside(id) => id,
                Me::Elsewhere(host) => host.bytes().fold(0, |hash, byte| mix(hash ^ u64::from(byte))),
            };
            let part = u32::try_from(weight(name) % u64::from(PARTS)).unwrap_or(0);
            Rank { place: last, last, part }
        }
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl Rank {
    /// How long to wait before this slot is taken over from those that come first: `step` for each place. The last place
    /// and its parts wait at most half of the slot's period; where they would wait longer, every step is shortened, so that
    /// the order stays.
    #[must_use]
    pub fn delay(self, step: Duration, period: Duration) -> Duration {
        let shortest = (period / 2).checked_div(self.last.saturating_add(1)).unwrap_or_default();
        let step = step.min(shortest);
        step.saturating_mul(self.place).saturating_add(step.mul_f64(f64::from(self.part) / f64::from(PARTS)))
    }
}
