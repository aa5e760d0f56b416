//! Months of operation in milliseconds: backups, proofs, holds, restores and pruners on clocks that jump, with listings
//! that lie, failures, and crashes between any two steps. After every step the store is held against what must exist.
//!
//! A failure names its seed; `LIFEBOAT_SEED=N` runs that one alone and prints what happened.

mod actors;
mod chance;
mod store;

use actors::{Agent, Pruner};
use chance::Chance;
use chrono::{DateTime, TimeDelta, Utc};
use lifeboat_policy::retention::{Action, Keep, Rules};
use lifeboat_policy::schedule::Cron;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use store::Store;

/// Enough to meet every rare pair of events many times, in a minute or two.
const SEEDS: u64 = 20_000;
/// Steps of one life; each moves time by up to some hours.
const STEPS: usize = 100;
const HOUR: u64 = 3600;

/// One life of a cluster's backups.
struct World {
    chance: Chance,
    /// The true time; every actor has a clock of its own.
    now: DateTime<Utc>,
    store: Store,
    agents: Vec<Agent>,
    pruners: Vec<Pruner>,
    rules: Rules,
    cron: Cron,
    /// Which history the cluster is in, and its revision.
    lineage: u32,
    revision: i64,
    /// Prints each event.
    tells: bool,
}

impl World {
    fn new(seed: u64, tells: bool) -> World {
        let mut chance = Chance::new(seed);
        let agents = (0..chance.up_to(3) + 1).map(|_| Agent::default()).collect();
        let pruners = (0..chance.up_to(2) + 1).map(|_| Pruner::default()).collect();
        let rules = rules(&mut chance);
        let texts: [&str; 5] = ["0 */6 * * *", "30 2 * * *", "*/45 * * * *", "0 1,13 * * 1-5", "15 * * * *"];
        let zones = [chrono_tz::UTC, chrono_tz::Europe::Berlin, chrono_tz::Australia::Lord_Howe];
        let cron = Cron::parse(chance.of::<&str>(&texts), *chance.of(&zones)).expect("the schedule is right");
        // Half a year around two changes of the clocks in Europe.
        let now =
            DateTime::from_timestamp(1_791_000_000, 0).expect("a time") + TimeDelta::minutes(chance.up_to(200_000));
        World { chance, now, store: Store::default(), agents, pruners, rules, cron, lineage: 0, revision: 1, tells }
    }

    fn step(&mut self) {
        self.now += TimeDelta::minutes(1 + self.chance.up_to(60 * 9));
        self.revision += 1 + self.chance.up_to(1000);
        for agent in 0..self.agents.len() {
            self.back_up(agent);
        }
        match self.chance.up_to(100) {
            0..35 => self.prove(),
            35..40 => self.hold_or_release(),
            40..44 => self.clocks_jump(),
            44..55 => self.clocks_are_set_right(),
            55..57 => self.an_agent_goes_or_comes(),
            57..58 => self.the_cluster_is_restored(),
            58..60 => self.a_proven_backup_turns_out_bad(),
            _ => {}
        }
        for pruner in 0..self.pruners.len() {
            if self.pruners[pruner].is_idle() && self.chance.one_in(4) {
                self.plan(pruner);
            }
        }
        // Their steps take turns in any order, and time may pass between any two.
        for _ in 0..self.chance.up_to(12) {
            let pruner = self.chance.up_to(self.pruners.len() as i64) as usize;
            self.prune_step(pruner);
        }
        self.store.check();
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.tells {
            println!("{} {}", self.now.format("%Y-%m-%dT%H:%M"), what());
        }
    }

    /// With right clocks, true listings and time enough every life ends in a store that nothing more is to be done to.
    fn comes_to_rest(&mut self) {
        for pruner in &mut self.pruners {
            *pruner = Pruner::default();
        }
        for round in 0.. {
            self.now += TimeDelta::hours(1) + TimeDelta::from_std(self.rules.grace).expect("a short grace");
            if round == 0 {
                self.back_up_rightly();
            }
            let plan = self.store.plan_from(&self.store.listing(), &self.rules, self.now);
            if plan.frozen.is_some() || plan.marked().chain(plan.waiting()).chain(plan.deleted()).next().is_none() {
                break;
            }
            assert!(
                round < 40,
                "prune never comes to rest: {:?}",
                plan.verdicts.iter().filter(|v| v.action != Action::Keep).collect::<Vec<_>>()
            );
            self.plan_rightly(0);
            while !self.pruners[0].is_idle() {
                self.prune_step_rightly(0);
            }
            self.store.check();
        }
    }
}

/// `min_proven` is never less than 2: with one floor a single proof that turns out bad may be the last.
fn rules(chance: &mut Chance) -> Rules {
    let mut some = |most: i64| if chance.one_in(2) { 0 } else { u32::try_from(chance.up_to(most)).expect("small") };
    let keep = Keep {
        last: some(6),
        hourly: some(8),
        daily: some(8),
        weekly: some(5),
        monthly: some(3),
        yearly: some(2),
        within: Some(Duration::from_secs(u64::from(some(100)) * HOUR)).filter(|span| !span.is_zero()),
        min_proven: 2 + some(2),
        quarterly: some(2),
        within_daily: Some(Duration::from_secs(u64::from(some(900)) * HOUR)).filter(|span| !span.is_zero()),
        within_weekly: Some(Duration::from_secs(u64::from(some(2000)) * HOUR)).filter(|span| !span.is_zero()),
        budget: Some(u64::from(some(90))).filter(|budget| *budget > 0),
        ..Keep::default()
    };
    Rules {
        keep: Some(keep),
        time_zone: *chance.of(&[chrono_tz::UTC, chrono_tz::America::St_Johns, chrono_tz::Pacific::Apia]),
        grace: Duration::from_secs(*chance.of(&[1, 24, 48]) * HOUR),
        min_age: Duration::from_secs(*chance.of(&[0, 6, 72]) * HOUR),
        freeze_if_shrunk: Some(50),
        max_deletions: *chance.of(&[5, 50, usize::MAX]),
    }
}

fn live(seed: u64, tells: bool) {
    let mut world = World::new(seed, tells);
    for _ in 0..STEPS {
        world.step();
    }
    world.comes_to_rest();
}

#[test]
#[allow(clippy::disallowed_methods)] // a test's own switch
fn no_sequence_of_clocks_crashes_and_lies_loses_the_backup_that_matters() {
    if let Some(seed) = std::env::var("LIFEBOAT_SEED").ok().and_then(|text| text.parse().ok()) {
        return live(seed, true);
    }
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= SEEDS {
                        break;
                    }
                    if let Err(panic) = std::panic::catch_unwind(|| live(seed, false)) {
                        eprintln!("LIFEBOAT_SEED={seed} shows this failure");
                        std::panic::resume_unwind(panic);
                    }
                }
            });
        }
    });
}
