//! What goes for the budget's sake.

use super::lineage::{Judged, Lineage, preference};
use super::{Action, Facts, OverBudget, decide};
use std::cmp::Reverse;

/// Gives up what only rules keep until the rest fits. Says by how much it cannot.
///
/// What stays is a first part of one order that no deletion changes: a bigger budget therefore only lengthens it, and what
/// fitted once fits again when the others are gone. How new a lineage is says its newest backup here, which always stays.
pub(super) fn apply(
    lineages: &[Lineage<'_>],
    judged: &mut [Vec<Judged>],
    future: &[&Facts],
    budget: u64,
) -> Option<OverBudget> {
    let mut guarded_bytes = future.iter().fold(0u64, |sum, entry| sum.saturating_add(entry.sealed_bytes));
    let mut candidates = vec![];
    for (lineage, judged) in lineages.iter().zip(judged) {
        let rank = lineage.entries.first().map(|newest| (newest.captured_at, &newest.lineage));
        for (at, (entry, judged)) in lineage.entries.iter().zip(judged).enumerate() {
            if judged.is_guarded() {
                guarded_bytes = guarded_bytes.saturating_add(entry.sealed_bytes);
            } else if judged.is_kept() {
                candidates.push((Reverse((preference(entry), rank)), at, entry.sealed_bytes, judged));
            }
        }
    }
    candidates.sort_by_key(|(order, at, ..)| (*order, *at));
    let (mut sum, mut full) = (guarded_bytes, false);
    for (.., bytes, judged) in candidates {
        sum = sum.saturating_add(bytes);
        full |= sum > budget;
        if full {
            judged.give_up();
        }
    }
    (guarded_bytes > budget).then_some(OverBudget { guarded_bytes, budget })
}

/// Whether deleting now what is due and over budget would let a backup that no rule keeps, and that is still there, take its
/// place in a rule. It would be kept again for nothing, and where clocks lied it might push another one over the budget.
pub(super) fn others_first(lineage: &Lineage<'_>, judged: &[Judged]) -> bool {
    let goes = |entry: &Facts, judged: &Judged| {
        judged.over_budget && decide::deletion(entry, lineage.rules, lineage.now) == Action::Delete
    };
    let both = || lineage.entries.iter().zip(judged);
    if !both().any(|(entry, judged)| goes(entry, judged)) {
        return false;
    }
    let (entries, before): (Vec<&Facts>, Vec<&Judged>) =
        both().filter(|(entry, judged)| !goes(entry, judged)).map(|(entry, judged)| (*entry, judged)).unzip();
    let after = lineage.with(entries).judge();
    before.iter().zip(&after).any(|(before, after)| !before.is_kept() && !before.over_budget && after.is_kept())
}
