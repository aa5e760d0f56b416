//! Backups that came long after the time they claim: they stay, and change nothing for any other.

use crate::world::*;
use chrono::TimeDelta;
use lifeboat_policy::retention::{Action, Circumstances, Facts, Freeze, Reason, TombstoneFact, plan};
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases(250))]

    #[test]
    fn a_late_backup_displaces_no_other(facts in backups(), late in backups(), rules in rules(), untold in any::<u64>()) {
        let in_time = with_parents(facts, untold);
        let late: Vec<Facts> = late.into_iter()
            .filter(|e| in_time.iter().all(|known| known.id != e.id))
            .map(|e| Facts { late: true, ..e })
            .collect();
        let circumstances = Circumstances::default();
        let without = plan(&in_time, &rules, &circumstances, now());
        let with = plan(&[late.clone(), in_time.clone()].concat(), &rules, &circumstances, now());
        prop_assert_eq!(&with.frozen, &without.frozen);
        prop_assert_eq!(&with.over_budget, &without.over_budget);
        for verdict in &without.verdicts {
            prop_assert_eq!(with.verdict(&verdict.id), Some(verdict));
        }
        for entry in &late {
            prop_assert!(is_kept(&with, &entry.id));
            let reasons = &with.verdict(&entry.id).unwrap().reasons;
            prop_assert!(with.frozen.is_some() || reasons.contains(&Reason::Late), "{reasons:?}");
        }
    }

    #[test]
    fn where_all_are_late_nothing_counts_as_proven(facts in backups(), rules in rules()) {
        let all: Vec<Facts> = facts.into_iter().map(|e| Facts { late: true, ..e }).collect();
        let frozen = plan(&all, &rules, &Circumstances::default(), now()).frozen;
        prop_assert!(matches!(frozen, Some(Freeze::NothingProven | Freeze::NoKeep)), "{frozen:?}");
    }

    #[test]
    fn a_person_may_ask_for_the_deletion_of_a_late_one_unless_somebody_holds_it(
        facts in backups(), late in backup(), rules in rules(), held in any::<bool>(),
    ) {
        let in_time: Vec<Facts> = facts.into_iter().filter(|e| e.id != late.id).collect();
        let at = now() - TimeDelta::days(400);
        let tombstone = Some(TombstoneFact { at, deletable_from: at, asked: true });
        let late = Facts { late: true, tombstone, hold: held.then(|| "evidence".to_owned()), ..late };
        let plan = plan(&[in_time, vec![late.clone()]].concat(), &rules, &Circumstances::default(), now());
        prop_assume!(plan.frozen.is_none());
        let verdict = plan.verdict(&late.id).unwrap();
        match held {
            true => prop_assert_eq!(verdict.action, Action::Keep),
            false => prop_assert!(verdict.action == Action::Delete && verdict.reasons.contains(&Reason::Asked), "{verdict:?}"),
        }
    }
}
