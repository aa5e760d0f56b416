//! Who acts on the store, each by its own clock.

use super::World;
use super::store::{Backup, Listing, failed, proven, unproven};
use chrono::{DateTime, TimeDelta, Utc};
use lifeboat_policy::id::BackupId;
use lifeboat_policy::retention::{Action, Plan};
use lifeboat_policy::schedule::{Due, Fired, due_unfired};
use std::collections::{BTreeSet, VecDeque};

/// The role backup on one node.
#[derive(Default)]
pub(super) struct Agent {
    ahead: TimeDelta,
    down: bool,
    /// Its own memory: what it served since it came up.
    served: BTreeSet<DateTime<Utc>>,
}

/// The role prune on one node.
#[derive(Default)]
pub(super) struct Pruner {
    ahead: TimeDelta,
    todo: VecDeque<Step>,
    /// What its clock said when it made its plan: a run has one time.
    planned_at: DateTime<Utc>,
    /// The plan was made from a true listing by a right clock, and nothing but this pruner changed anything since.
    undisturbed: bool,
}

enum Step {
    Mark(BackupId),
    /// The commit point of a deletion, then the rest.
    DeleteManifest(BackupId),
    DeleteBlob(BackupId),
}

impl Pruner {
    pub(super) fn is_idle(&self) -> bool {
        self.todo.is_empty()
    }
}

impl World {
    fn disturb(&mut self) {
        self.pruners.iter_mut().for_each(|pruner| pruner.undisturbed = false);
    }

    pub(super) fn back_up(&mut self, number: usize) {
        let agent = &self.agents[number];
        if agent.down {
            return;
        }
        let clock = self.now + agent.ahead;
        let seen = self.store.listing().into_values().map(|backup| backup.slot);
        let fired: Fired = seen.chain(agent.served.iter().copied()).collect();
        let Due::Now { slot, .. } = due_unfired(&self.cron, &fired, clock) else { return };
        if self.chance.one_in(12) {
            return; // it fails, and is tried again
        }
        assert!(self.agents[number].served.insert(slot), "slot {slot} was served twice by one agent");
        let crashes = self.chance.one_in(30);
        self.publish(slot, clock, !crashes);
    }

    fn publish(&mut self, slot: DateTime<Utc>, clock: DateTime<Utc>, manifest: bool) {
        let id = BackupId::new(clock, self.chance.any());
        self.tell(|| format!("backup {id} of slot {slot}{}", if manifest { "" } else { ", and a crash" }));
        self.store.create(Backup {
            id,
            slot,
            captured_at: clock,
            lineage: self.lineage,
            revision: self.revision,
            standing: unproven(),
            held: false,
            bytes: 1 + self.revision.unsigned_abs() % 3,
            tombstones: Vec::new(),
            manifest,
            blob: true,
        });
        self.disturb();
    }

    /// The world at rest: a backup at the true time.
    pub(super) fn back_up_rightly(&mut self) {
        self.revision += 1;
        self.publish(self.now, self.now, true);
        let newest = self.store.listing().into_values().max_by_key(|backup| (backup.lineage, backup.revision));
        let id = newest.expect("it was just published").id;
        self.store.write(&id, |backup| backup.standing = proven(backup.captured_at));
    }

    pub(super) fn prove(&mut self) {
        let waits = |backup: &Backup| !backup.standing.is_proven() && !backup.standing.is_failed();
        let newest = self.store.listing().into_values().filter(waits).max_by_key(|b| (b.lineage, b.revision));
        let Some(Backup { id, .. }) = newest else { return };
        let (at, passes) = (self.now, !self.chance.one_in(8));
        self.tell(|| format!("proof of {id}: {passes}"));
        self.store.write(&id, |backup| backup.standing = if passes { proven(at) } else { failed(at) });
        self.disturb();
    }

    fn any_backup(&mut self, counts: impl Fn(&Backup) -> bool) -> Option<BackupId> {
        let ids: Vec<BackupId> = self.store.listing().into_values().filter(counts).map(|backup| backup.id).collect();
        if ids.is_empty() { None } else { Some(self.chance.of(&ids).clone()) }
    }

    pub(super) fn hold_or_release(&mut self) {
        let Some(id) = self.any_backup(|_| true) else { return };
        self.tell(|| format!("hold or release {id}"));
        self.store.write(&id, |backup| backup.held = !backup.held);
        self.disturb();
    }

    /// A proof made again may fail. Of fewer than four the last could go that way, and nobody could help it.
    pub(super) fn a_proven_backup_turns_out_bad(&mut self) {
        let lineage = self.lineage;
        if self.store.proven(lineage) < 4 {
            return;
        }
        let Some(id) = self.any_backup(|b| b.lineage == lineage && b.standing.is_proven()) else { return };
        self.tell(|| format!("{id} turns out bad"));
        let at = self.now;
        self.store.write(&id, |backup| backup.standing = failed(at));
        self.disturb();
    }

    pub(super) fn clocks_jump(&mut self) {
        let jump = *self.chance.of(&[-400 * 1440, -9000, -90, -30, 30, 90, 9000, 43_000, 44_000, 400 * 1440]);
        let who = self.chance.up_to((self.agents.len() + self.pruners.len()) as i64) as usize;
        self.tell(|| format!("the clock of {who} is {jump} minutes ahead"));
        let agents = self.agents.len();
        match self.agents.get_mut(who) {
            Some(agent) => agent.ahead = TimeDelta::minutes(jump),
            None => self.pruners[who - agents].ahead = TimeDelta::minutes(jump),
        }
    }

    pub(super) fn clocks_are_set_right(&mut self) {
        self.agents.iter_mut().for_each(|agent| agent.ahead = TimeDelta::zero());
        self.pruners.iter_mut().for_each(|pruner| pruner.ahead = TimeDelta::zero());
    }

    pub(super) fn an_agent_goes_or_comes(&mut self) {
        let who = self.chance.up_to(self.agents.len() as i64) as usize;
        let agent = &mut self.agents[who];
        *agent = Agent { down: !agent.down, ..Agent::default() };
    }

    pub(super) fn the_cluster_is_restored(&mut self) {
        self.tell(|| "the cluster is restored".to_owned());
        self.lineage += 1;
        self.revision = (self.revision - 5000).max(1);
    }

    pub(super) fn plan(&mut self, number: usize) {
        let (listing, lies) = match self.chance.up_to(20) {
            0 => (self.store.stale_listing(), true),
            1 => (self.without_one(), true),
            _ => (self.store.listing(), false),
        };
        let clock = self.now + self.pruners[number].ahead;
        let plan = self.store.plan_from(&listing, &self.rules, clock);
        let right = !lies && self.pruners[number].ahead.is_zero();
        self.take_up(number, &plan, clock, right);
    }

    pub(super) fn plan_rightly(&mut self, number: usize) {
        let plan = self.store.plan_from(&self.store.listing(), &self.rules, self.now);
        self.take_up(number, &plan, self.now, true);
    }

    fn without_one(&mut self) -> Listing {
        let mut listing = self.store.listing();
        if let Some(id) = self.any_backup(|_| true) {
            listing.remove(&id);
        }
        listing
    }

    fn take_up(&mut self, number: usize, plan: &Plan, clock: DateTime<Utc>, undisturbed: bool) {
        let pruner = &mut self.pruners[number];
        (pruner.planned_at, pruner.undisturbed) = (clock, undisturbed);
        for verdict in &plan.verdicts {
            match verdict.action {
                Action::Mark { .. } => pruner.todo.push_back(Step::Mark(verdict.id.clone())),
                Action::Delete => pruner.todo.push_back(Step::DeleteManifest(verdict.id.clone())),
                Action::Keep | Action::Wait { .. } => {}
            }
        }
    }

    pub(super) fn prune_step(&mut self, number: usize) {
        if !self.pruners[number].is_idle() && self.chance.one_in(25) {
            self.tell(|| format!("pruner {number} crashes"));
            self.pruners[number].todo.clear();
        }
        self.prune_step_rightly(number);
    }

    pub(super) fn prune_step_rightly(&mut self, number: usize) {
        let Some(step) = self.pruners[number].todo.pop_front() else { return };
        let (clock, now) = (self.pruners[number].planned_at, self.now);
        match step {
            Step::Mark(id) => {
                self.tell(|| format!("pruner {number} marks {id}"));
                self.store.write(&id, |backup| backup.tombstones.push((clock, now)));
            }
            Step::DeleteManifest(id) => {
                // Looked at directly: a hold that came after the plan undoes it.
                if self.store.find(&id).held || !self.store.find(&id).manifest {
                    return;
                }
                self.tell(|| format!("pruner {number} deletes {id}"));
                self.may_go(number, &id, clock);
                self.store.write(&id, |backup| backup.manifest = false);
                self.pruners[number].todo.push_front(Step::DeleteBlob(id));
            }
            Step::DeleteBlob(id) => self.store.write(&id, |backup| backup.blob = false),
        }
        let others = self.pruners.iter_mut().enumerate().filter(|(other, _)| *other != number);
        others.for_each(|(_, pruner)| pruner.undisturbed = false);
    }

    /// What must exist, written without the crate's own words.
    fn may_go(&self, number: usize, id: &BackupId, clock: DateTime<Utc>) {
        let backup = self.store.find(id);
        let grace = TimeDelta::from_std(self.rules.grace).expect("a short grace");
        let waited = |(claimed, stored): &(DateTime<Utc>, DateTime<Utc>)| *claimed.max(stored) + grace <= clock;
        assert!(backup.tombstones.iter().any(waited), "{id} goes before its grace is over");
        if backup.standing.is_proven() {
            let left = self.store.proven(backup.lineage);
            assert!(left > 1, "{id} is the last proven backup of its lineage");
        }
        if !self.pruners[number].undisturbed {
            return;
        }
        assert!(!self.store.is_newest(backup, |_| true), "{id} is the newest");
        assert!(!self.store.is_newest(backup, |b| b.standing.is_proven()), "{id} is the newest proven");
        let min_age = TimeDelta::from_std(self.rules.min_age).expect("a short age");
        assert!(backup.captured_at <= clock - min_age, "{id} is young");
        let floor = self.rules.keep.as_ref().map_or(0, |keep| keep.min_proven) as usize;
        if backup.standing.is_proven() {
            assert!(self.store.proven(backup.lineage) > floor, "{id} belongs to the floor of {floor}");
        }
        // Under a budget what is deleted first may make room for what was to be deleted next: that is then spared by the next
        // run only, and no harm.
        if self.rules.keep.as_ref().is_none_or(|keep| keep.budget.is_none()) {
            let plan = self.store.plan_from(&self.store.listing(), &self.rules, clock);
            let verdict = plan.verdict(id).map(|verdict| verdict.action);
            assert!(plan.frozen.is_some() || verdict == Some(Action::Delete), "{id}: a fresh plan says {verdict:?}");
        }
    }
}
