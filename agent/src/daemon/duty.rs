//! Whose turn a slot is: every agent finds its own rank by asking etcd, and leaves the slot for so long to those before it.

use super::shared::Shared;
use crate::capture::{self, Survey};
use crate::clock::Stopwatch;
use crate::config::Etcd;
use chrono::{DateTime, Utc};
use lifeboat_policy::duty::{self, Me, Rank};
use lifeboat_policy::schedule::{Cron, jitter};
use std::time::Duration;

const ALONE: &str = "where no other agent backs this cluster up, set schedule.take_over: 0s; else configure the member on \
                     this host as 127.0.0.1";

/// What this agent remembers of its turns.
pub(super) struct Turns {
    /// Of this process: agents that begin at once do not knock at once.
    seed: u64,
    host: String,
    turn: Option<Turn>,
    told: bool,
}

/// A slot that is due, and for how long it is left to others. It counts from when it was first seen, so that what fails is
/// tried again without that wait, and agents that all come back after an outage take turns, too.
struct Turn {
    slot: DateTime<Utc>,
    seen: Stopwatch,
    wait: Duration,
}

impl Turns {
    pub fn new(seed: u64) -> Turns {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Turns { seed, host, turn: None, told: false }
    }

    /// How long this agent still has to wait before it serves the slot, if nobody else has done so by then.
    pub async fn wait(&mut self, shared: &Shared, cron: &Cron, slot: DateTime<Utc>) -> Duration {
        if self.turn.as_ref().is_none_or(|turn| turn.slot != slot) {
            let seen = Stopwatch::start();
            let spread = jitter(slot, cron.spread(slot, shared.config.schedule.jitter), self.seed);
            let wait = self.delay(shared, cron, slot).await.saturating_add(spread);
            self.turn = Some(Turn { slot, seen, wait });
        }
        self.turn.as_ref().map_or(Duration::ZERO, |turn| turn.wait.saturating_sub(turn.seen.elapsed()))
    }

    async fn delay(&mut self, shared: &Shared, cron: &Cron, slot: DateTime<Utc>) -> Duration {
        let step = shared.config.schedule.take_over;
        let Some(etcd) = shared.config.etcd.as_ref().filter(|_| !step.is_zero()) else {
            return Duration::ZERO;
        };
        let survey = tokio::select! {
            survey = capture::survey(etcd) => survey,
            () = shared.stop.cancelled() => return Duration::ZERO,
        };
        let survey = match survey {
            Ok(survey) => survey,
            // Whoever sees no member has nothing to leave to others; the backup fails by itself and says why.
            Err(error) => {
                tracing::debug!(%error, "whose turn it is cannot be told");
                return Duration::ZERO;
            }
        };
        let rank = self.rank(etcd, &survey, slot);
        let delay = rank.delay(step, cron.period_near(slot));
        self.tell(rank, slot, delay);
        delay
    }

    fn rank(&mut self, etcd: &Etcd, survey: &Survey, slot: DateTime<Utc>) -> Rank {
        let healthy = survey.members.iter().filter(|member| !member.is_corrupt());
        let members: Vec<duty::Member> = healthy
            .map(|member| duty::Member {
                id: member.member_id,
                is_leader: member.is_leader,
                is_learner: member.is_learner,
            })
            .collect();
        let cluster = survey.members.first().map_or(0, |member| member.cluster_id);
        let beside = capture::beside(etcd, &survey.members, &self.host);
        let me = beside.map_or(Me::Elsewhere(&self.host), |member| Me::Beside(member.member_id));
        if beside.is_none() && !std::mem::replace(&mut self.told, true) {
            tracing::warn!(
                host = self.host,
                hint = ALONE,
                "it cannot be told which member this agent runs beside: the agents of all members come first in each slot"
            );
        }
        duty::rank(cluster, slot, &members, me)
    }

    fn tell(&self, rank: Rank, slot: DateTime<Utc>, delay: Duration) {
        if !delay.is_zero() {
            tracing::info!(%slot, place = rank.place, wait_seconds = delay.as_secs_f64(), "other agents come first in this slot");
        }
    }
}
