//! The decision itself.

use super::lineage::{Judged, Lineage};
use super::{Action, Circumstances, Facts, Freeze, Plan, Reason, Rules, TombstoneFact, Verdict, budget, freeze};
use crate::moment;
use crate::proof::Standing;
use chrono::{DateTime, Utc};
use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

/// Decides what becomes of each backup at `now`.
///
/// `facts` are those of *trusted* entries of one cluster in one store, in any order; an entry given twice counts once (of
/// two accounts of one backup, the one counts that keeps more: held, unmarked, proven). The answer has exactly one verdict
/// for each backup and depends on nothing but the arguments.
#[must_use]
pub fn plan(facts: &[Facts], rules: &Rules, circumstances: &Circumstances, now: DateTime<Utc>) -> Plan {
    let entries = in_order(facts, now);
    let in_time = entries.iter().copied().filter(|entry| !entry.late);
    let (future, present): (Vec<&Facts>, Vec<&Facts>) =
        in_time.partition(|entry| moment::is_future(entry.captured_at, now));
    let keep = match freeze::judgeable(&present, rules, circumstances, now) {
        Ok(keep) => keep,
        Err(freeze) => return frozen(&entries, freeze),
    };
    let lineages: Vec<Lineage<'_>> = present
        .chunk_by(|a, b| a.lineage == b.lineage)
        .map(|entries| Lineage { entries: entries.to_vec(), keep, rules, now })
        .collect();
    let mut judged: Vec<Vec<Judged>> = lineages.iter().map(Lineage::judge).collect();
    let over_budget = keep.budget.and_then(|budget| budget::apply(&lineages, &mut judged, &future, budget));
    let mut present = lineages.iter().zip(judged).flat_map(|(lineage, judged)| verdicts(lineage, judged));
    let verdicts: Vec<Verdict> = entries
        .iter()
        .filter_map(|entry| match moment::is_future(entry.captured_at, now) {
            _ if entry.late => Some(late(entry, rules, now)),
            true => Some(kept(entry, vec![Reason::FromTheFuture])),
            false => present.next(),
        })
        .collect();
    assert!(
        entries.iter().map(|entry| &entry.id).eq(verdicts.iter().map(|verdict| &verdict.id)),
        "every backup has exactly one verdict, in the order of the entries"
    );
    let planned = verdicts.iter().filter(|v| matches!(v.action, Action::Mark { .. } | Action::Delete)).count();
    if planned > rules.max_deletions {
        return frozen(&entries, Freeze::TooMany { planned, max: rules.max_deletions });
    }
    Plan { frozen: None, over_budget, verdicts }
}

/// The newest proven backup of the newest lineage that has one, of those that are neither late nor dated in the future: the
/// one whose age says whether proofs are recent.
#[must_use]
pub fn newest_proven(facts: &[Facts], now: DateTime<Utc>) -> Option<&Facts> {
    in_order(facts, now)
        .into_iter()
        .find(|entry| entry.standing.is_proven() && !entry.late && !moment::is_future(entry.captured_at, now))
}

fn frozen(entries: &[&Facts], freeze: Freeze) -> Plan {
    let verdict = |entry: &&Facts| Verdict {
        id: entry.id.clone(),
        action: Action::Keep,
        reasons: vec![Reason::Frozen(freeze.clone())],
    };
    let verdicts = entries.iter().map(verdict).collect();
    Plan { frozen: Some(freeze), over_budget: None, verdicts }
}

/// Each backup once, newest first, the newest lineage first. How new a lineage is says its latest capture time that is not
/// in the future and not late: lineages have no order of their own.
fn in_order(facts: &[Facts], now: DateTime<Utc>) -> Vec<&Facts> {
    let mut by_id: BTreeMap<_, &Facts> = BTreeMap::new();
    for entry in facts {
        let held = by_id.entry(&entry.id).or_insert(entry);
        if keeps_more(entry, held) == Ordering::Greater {
            *held = entry;
        }
    }
    let mut newest: BTreeMap<&str, (bool, DateTime<Utc>)> = BTreeMap::new();
    for entry in by_id.values() {
        let rank = (!entry.late && !moment::is_future(entry.captured_at, now), entry.captured_at);
        let known = newest.entry(&entry.lineage).or_insert(rank);
        *known = rank.max(*known);
    }
    let mut entries: Vec<&Facts> = by_id.into_values().collect();
    entries.sort_by_key(|e| {
        let lineage = newest.get(e.lineage.as_str()).copied();
        Reverse((lineage, &e.lineage, e.revision, e.captured_at, &e.id))
    });
    entries
}

/// Of two accounts of one backup, which keeps more. Total, so that the order of the input does not matter.
fn keeps_more(a: &Facts, b: &Facts) -> Ordering {
    let standing = |e: &Facts| match e.standing {
        Standing::Proven { level, at, .. } => (2, Some(level), Some(at)),
        Standing::Unproven { .. } => (1, None, None),
        Standing::Failed { level, at } => (0, Some(level), Some(at)),
    };
    let rank = |e: &Facts| (e.hold.clone(), e.tombstone.is_none(), !e.is_asked(), e.tombstone, standing(e));
    let place = |e: &Facts| (e.lineage.clone(), e.revision, e.captured_at);
    let size = |e: &Facts| (e.late, e.sealed_bytes, e.keys, e.db_bytes, e.parents.clone());
    rank(a).cmp(&rank(b)).then_with(|| place(a).cmp(&place(b))).then_with(|| size(a).cmp(&size(b)))
}

/// What becomes of a late backup: it is evidence, and goes only if a person asked for that and nobody holds it.
fn late(entry: &Facts, rules: &Rules, now: DateTime<Utc>) -> Verdict {
    match (&entry.hold, deletion(entry, rules, now)) {
        (None, action) if entry.is_asked() => {
            let grace_over = (action == Action::Delete).then_some(Reason::GraceOver);
            Verdict {
                id: entry.id.clone(),
                action,
                reasons: std::iter::once(Reason::Asked).chain(grace_over).collect(),
            }
        }
        (hold, _) => kept(entry, hold.clone().map(Reason::Held).into_iter().chain([Reason::Late]).collect()),
    }
}

/// What becomes of one lineage's backups.
fn verdicts(lineage: &Lineage<'_>, judged: Vec<Judged>) -> Vec<Verdict> {
    let (rules, now) = (lineage.rules, lineage.now);
    let hold_back = budget::others_first(lineage, &judged);
    let verdict = |(entry, judged): (&&Facts, Judged)| match deletion(entry, rules, now) {
        // Nothing of it is due before what would take its place is gone.
        Action::Delete if judged.over_budget && hold_back => Verdict {
            id: entry.id.clone(),
            action: Action::Wait { deletable_from: entry.tombstone.map_or(now, |t| deletable_from(t, rules)) },
            reasons: vec![Reason::OverBudget, Reason::AfterOthers],
        },
        action if !judged.is_kept() => {
            let mut reasons = vec![];
            if judged.over_budget {
                reasons.push(Reason::OverBudget);
            }
            if entry.is_asked() {
                reasons.push(Reason::Asked);
            }
            match action {
                Action::Delete => reasons.push(Reason::GraceOver),
                _ if reasons.is_empty() => reasons.push(Reason::NoRule),
                _ => {}
            }
            Verdict { id: entry.id.clone(), action, reasons }
        }
        _ => kept(entry, judged.reasons()),
    };
    lineage.entries.iter().zip(judged).map(verdict).collect()
}

fn kept(entry: &Facts, mut reasons: Vec<Reason>) -> Verdict {
    if entry.tombstone.is_some() {
        reasons.push(Reason::KeptAgain);
    }
    Verdict { id: entry.id.clone(), action: Action::Keep, reasons }
}

/// What is to be done with a backup that is not kept.
pub(super) fn deletion(entry: &Facts, rules: &Rules, now: DateTime<Utc>) -> Action {
    // One from the future, by a clock that was ahead, would wait until that day comes: it is marked anew.
    let tombstone = entry.tombstone.filter(|tombstone| !moment::is_future(tombstone.at, now));
    match tombstone.map(|tombstone| deletable_from(tombstone, rules)) {
        None => Action::Mark { deletable_from: moment::after(now, rules.grace) },
        Some(deletable_from) if now < deletable_from => Action::Wait { deletable_from },
        Some(_) => Action::Delete,
    }
}

fn deletable_from(tombstone: TombstoneFact, rules: &Rules) -> DateTime<Utc> {
    tombstone.deletable_from.max(moment::after(tombstone.at, rules.grace))
}
