//! Deletions that a person asked for.

use crate::world::*;
use chrono::TimeDelta;
use lifeboat_policy::retention::{Action, Circumstances, Facts, Reason, TombstoneFact, plan};
use proptest::prelude::*;

fn asked(entry: &Facts) -> Facts {
    let at = now() - TimeDelta::days(400);
    Facts { tombstone: Some(TombstoneFact { at, deletable_from: at, asked: true }), ..entry.clone() }
}

proptest! {
    #![proptest_config(cases(250))]

    /// It goes where nothing holds it but rules and youth; what the floors, a person or the future hold stays.
    #[test]
    fn what_a_person_wants_gone_goes_unless_it_is_guarded(facts in backups(), rules in rules(), index in any::<prop::sample::Index>()) {
        prop_assume!(!facts.is_empty());
        let mut facts = facts;
        let wanted = index.index(facts.len());
        facts[wanted] = asked(&facts[wanted]);
        let id = facts[wanted].id.clone();
        prop_assume!(facts.iter().filter(|e| e.id == id).count() == 1);
        let after = plan(&facts, &rules, &Circumstances::default(), now());
        prop_assume!(after.frozen.is_none());
        let verdict = after.verdict(&id).unwrap();
        let guarded = |reason: &Reason| matches!(reason, Reason::Newest | Reason::NewestProven | Reason::Held(_)
            | Reason::MinProven(_) | Reason::MayBeProven | Reason::NothingProvenInLineage | Reason::FromTheFuture);
        match verdict.action {
            Action::Keep => prop_assert!(verdict.reasons.iter().any(guarded), "{:?}", verdict.reasons),
            _ => prop_assert!(verdict.reasons.contains(&Reason::Asked) && !verdict.reasons.iter().any(guarded), "{:?}", verdict.reasons),
        }
        // The floors hold with it as without it, and a held one stays.
        for name in ["a", "b"] {
            let entries = lineage(&facts, name);
            let proven: Vec<_> = entries.iter().filter(|e| e.standing.is_proven()).collect();
            let floor = usize::try_from(rules.keep.as_ref().unwrap().min_proven).unwrap();
            for stays in entries.first().into_iter().chain(proven.iter().take(floor.max(1)).copied()) {
                prop_assert!(is_kept(&after, &stays.id), "{stays:?}");
            }
            prop_assert!(entries.iter().filter(|e| e.hold.is_some()).all(|e| is_kept(&after, &e.id)));
        }
        // Once it is gone, nothing else moves because of it.
        if verdict.action == Action::Delete {
            facts.retain(|e| e.id != id);
            let later = plan(&facts, &rules, &Circumstances::default(), now());
            prop_assume!(later.frozen.is_none());
            for verdict in later.verdicts {
                prop_assert_eq!(Some(verdict.action), after.verdict(&verdict.id).map(|v| v.action), "{:?}", verdict.id);
            }
        }
    }
}
