//! Properties of the small modules: ids, spans, standings, choices.

use crate::world::{cases, failed, now, proven, standings, unproven};
use chrono::{DateTime, TimeDelta, Utc};
use lifeboat_policy::choice::{Allow, Candidate, Refusal, RefusalKind, Trusted, Want, choose};
use lifeboat_policy::id::{BackupId, resolve, short_len};
use lifeboat_policy::proof::{Level, Outcome, Standing, VerdictFact, standing};
use lifeboat_policy::span;
use proptest::prelude::*;
use std::time::Duration;

prop_compose! {
    fn verdicts()(all in prop::collection::vec((0i64..20, 0usize..4, 0usize..3), 0..8)) -> Vec<VerdictFact> {
        let outcomes = [Outcome::Passed, Outcome::Failed, Outcome::Inconclusive];
        let verdict = |(hour, level, outcome): (i64, usize, usize)| VerdictFact {
            level: Level::ALL[level],
            outcome: outcomes[outcome],
            at: now() - TimeDelta::hours(hour),
            took_seconds: 1.0,
        };
        all.into_iter().map(verdict).collect()
    }
}

prop_compose! {
    fn candidates()(all in prop::collection::vec(
        (-40i64..40, -3i64..3, prop::sample::select(vec!["a", "b"]), standings(), prop::bool::weighted(0.8), prop::bool::weighted(0.2),
         any::<u64>()), 1..12,
    )) -> Vec<Candidate> {
        let candidate = |(hour, lie, lineage, standing, trusted, late, random): (i64, i64, &str, Standing, bool, bool, u64)| Candidate {
            id: BackupId::new(now() + TimeDelta::hours(hour), random),
            lineage: lineage.to_owned(),
            revision: 1000 + hour + lie,
            captured_at: now() + TimeDelta::hours(hour),
            standing,
            trusted: if trusted { Trusted::Yes } else { Trusted::No("no signature".to_owned()) },
            late,
        };
        all.into_iter().map(candidate).collect()
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn a_late_backup_changes_nothing_about_the_default(all in candidates()) {
        let in_time: Vec<Candidate> = all.iter().filter(|c| !c.late).cloned().collect();
        let default = |all: &[Candidate]| choose(all, &Want::NewestProven, &Allow::default(), now()).map(|c| c.id).ok();
        prop_assert_eq!(default(&all), default(&in_time));
    }


    #[test]
    fn an_id_is_read_back_and_sorts_by_time(a in -1i64..253_402_300_799, b in 0i64..253_402_300_799, x in any::<u64>(), y in any::<u64>()) {
        let id = |seconds, random| BackupId::new(DateTime::<Utc>::from_timestamp(seconds, 999).unwrap(), random);
        let (first, second) = (id(a, x), id(b, y));
        prop_assert_eq!(BackupId::parse(first.as_str()), Ok(first.clone()));
        prop_assert_eq!(first.captured_at().timestamp(), a);
        if a != b {
            prop_assert_eq!(first < second, a < b);
        }
    }

    #[test]
    fn no_text_makes_the_reader_of_ids_panic(text in "\\PC{0,40}|[0-9T]{8,16}Z-[0-9a-f]{14,17}") {
        if let Ok(id) = BackupId::parse(&text) {
            prop_assert_eq!(id.as_str(), text);
        }
    }

    #[test]
    fn a_short_id_as_long_as_advised_names_its_backup(randoms in prop::collection::vec(0u64..u64::MAX, 1..30)) {
        let ids: Vec<BackupId> = randoms.iter().map(|r| BackupId::new(now(), *r >> 20 << 20)).collect();
        let len = short_len(ids.iter());
        for id in &ids {
            // A short random part may also begin like a date; then both are shown, never the wrong one taken.
            match resolve(id.short(len), ids.iter()) {
                Ok(found) => prop_assert_eq!(found, id),
                Err(_) => prop_assert!(id.as_str().starts_with(id.short(len)) || id.short(len).starts_with("20")),
            }
        }
    }

    #[test]
    fn what_a_span_reads_it_prints_and_reads_again(number in 0u64..100_000, unit in "[smhdw]") {
        let span = span::parse(&format!("{number}{unit}")).unwrap();
        prop_assert_eq!(span::parse(&span::print(span)), Ok(span));
    }

    #[test]
    fn no_text_makes_the_reader_of_spans_panic(text in "\\PC{0,12}|[0-9]{0,25}[a-z]{0,2}") {
        if let Ok(span) = span::parse(&text) {
            prop_assert!(span >= Duration::ZERO && !span::ago(span).is_empty());
        }
    }

    #[test]
    fn a_standing_does_not_depend_on_the_order_of_its_verdicts(
        (all, shuffled) in verdicts().prop_flat_map(|v| (Just(v.clone()), Just(v).prop_shuffle())), level in 0usize..4,
    ) {
        prop_assert_eq!(standing(&all, Level::ALL[level], false), standing(&shuffled, Level::ALL[level], false));
    }

    #[test]
    fn a_failure_condemns_and_inconclusive_changes_nothing(all in verdicts(), level in 0usize..4) {
        let required = Level::ALL[level];
        let before = standing(&all, required, false);
        let at = now() + TimeDelta::hours(1);
        let later = |level, outcome| [all.clone(), vec![VerdictFact { level, outcome, at, took_seconds: 1.0 }]].concat();
        for tried in Level::ALL {
            prop_assert!(standing(&later(tried, Outcome::Failed), required, false).is_failed());
            let unsure = standing(&later(tried, Outcome::Inconclusive), required, false);
            prop_assert_eq!((unsure.is_proven(), unsure.is_failed()), (before.is_proven(), before.is_failed()));
            let passed = standing(&later(tried, Outcome::Passed), required, false);
            prop_assert_eq!(passed.is_proven(), tried >= required || before.is_proven());
        }
        prop_assert!(!standing(&all, required, true).is_proven());
    }

    #[test]
    fn nothing_is_chosen_without_the_consent_that_it_needs(all in candidates(), pick in any::<prop::sample::Index>(), bits in 0u8..32) {
        let [unproven, older, unverified, diverged, late] = [1, 2, 4, 8, 16].map(|bit| bits & bit > 0);
        let allow = Allow { unproven, diverged, older, late, unverified };
        let wanted = pick.get(&all);
        match choose(&all, &Want::This(wanted.id.clone()), &allow, now()) {
            Ok(choice) => {
                prop_assert_eq!(&choice.id, &wanted.id);
                let needed = if wanted.standing.is_diverged() { allow.diverged } else { allow.unproven };
                prop_assert!(wanted.standing.is_proven() || needed);
                prop_assert!(wanted.trusted.is_yes() || allow.unverified);
                prop_assert!(!wanted.late || allow.late);
                let newer_proven = all.iter().any(|c| c.lineage == wanted.lineage && c.trusted.is_yes() && !c.late
                    && c.standing.is_proven() && (c.revision, c.captured_at) > (wanted.revision, wanted.captured_at));
                prop_assert!(!newer_proven || allow.older);
            }
            Err(Refusal { kind: RefusalKind::NeedsConsent { missing }, .. }) => {
                let given = Allow {
                    unproven: allow.unproven || missing.contains(&"unproven"),
                    diverged: allow.diverged || missing.contains(&"diverged"),
                    older: allow.older || missing.contains(&"older"),
                    late: allow.late || missing.contains(&"late"),
                    unverified: allow.unverified || missing.contains(&"unverified"),
                };
                prop_assert!(!missing.is_empty());
                let then = choose(&all, &Want::This(wanted.id.clone()), &given, now());
                prop_assert_eq!(then.map(|c| c.id), Ok(wanted.id.clone()), "the consent that is named must suffice");
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn the_default_is_trusted_proven_and_the_newest_such_of_its_lineage(all in candidates()) {
        match choose(&all, &Want::NewestProven, &Allow::default(), now()) {
            Ok(choice) => {
                let chosen = all.iter().find(|c| c.id == choice.id).unwrap();
                prop_assert!(chosen.trusted.is_yes() && chosen.standing.is_proven() && !chosen.late);
                let newer = |c: &&Candidate| c.lineage == chosen.lineage && c.trusted.is_yes() && !c.late && c.standing.is_proven()
                    && (c.revision, c.captured_at, &c.id) > (chosen.revision, chosen.captured_at, &chosen.id);
                prop_assert!(!all.iter().any(|c| newer(&c)));
                // Naming it changes nothing.
                let named = choose(&all, &Want::This(choice.id.clone()), &Allow::default(), now());
                prop_assert_eq!(named, Ok(choice));
            }
            Err(refusal) => prop_assert_eq!(refusal.kind, RefusalKind::NotUsable),
        }
    }
}

#[test]
fn the_three_standings_of_these_tests_are_three() {
    assert!(proven().is_proven() && failed().is_failed() && unproven().may_be_proven());
}
