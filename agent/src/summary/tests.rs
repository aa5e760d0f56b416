use super::*;
use crate::catalog::manifest::{Parent, Verdict};
use crate::catalog::sample::{catalog, trusted};
use lifeboat_policy::proof::Outcome;
use lifeboat_policy::retention::{Freeze, Keep};

const HOUR: i64 = 3600;

/// Times are counted from this midnight; the first days of 1970 have no schedules.
const BEGIN: i64 = 1000 * 24 * HOUR;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(BEGIN + seconds, 0).unwrap()
}

fn unproven(hour: i64) -> Trusted {
    trusted("a", "a", BEGIN + hour * HOUR, hour, 1)
}

/// A backup of one hour, proven at once.
fn proven(hour: i64) -> Trusted {
    let entry = unproven(hour);
    let verdict = Verdict {
        binding: entry.manifest.binding.clone(),
        id: entry.id().clone(),
        manifest_sha256: entry.manifest_sha256,
        at: at(hour * HOUR),
        level: Level::Sound,
        outcome: Outcome::Passed,
        steps: Vec::new(),
        took_seconds: 1.0,
        agent_version: String::new(),
        etcd_version: None,
        learnt: Default::default(),
    };
    Trusted { verdicts: vec![verdict], ..entry }
}

fn hourly() -> Yardstick {
    let cron = |text| Some(Cron::parse(text, chrono_tz::Tz::UTC).unwrap());
    Yardstick { backup_cron: cron("@hourly"), ..Yardstick::bare(Level::Sound) }
}

fn rules() -> Rules {
    Rules {
        keep: Some(Keep { last: 1, min_proven: 1, ..Keep::default() }),
        time_zone: chrono_tz::Tz::UTC,
        grace: Duration::from_secs(3600),
        min_age: Duration::ZERO,
        max_deletions: 9,
        freeze_if_shrunk: Some(50),
    }
}

fn frozen(trusted: Vec<Trusted>, yardstick: &Yardstick, now: DateTime<Utc>) -> Option<Freeze> {
    plan(&catalog(trusted), yardstick, &rules(), now).frozen
}

#[test]
fn the_gauges_of_a_frozen_prune_are_all_freezes_but_the_one_that_is_a_wish() {
    assert_eq!(FREEZES, Freeze::NAMES[1..]);
    assert_eq!(Freeze::NAMES[0], Freeze::NoKeep.as_str());
}

#[test]
fn prune_freezes_when_the_deadline_of_the_newest_proof_has_passed() {
    let history = || vec![unproven(11), proven(10), proven(9)];
    let late = Freeze::ProofLate { deadline: at(12 * HOUR) };
    assert_eq!(frozen(history(), &hourly(), at(12 * HOUR)), None);
    assert_eq!(frozen(history(), &hourly(), at(12 * HOUR + 1)), Some(late.clone()));
    // A proven backup dated in the future makes no proof recent.
    let with_future = [vec![proven(400)], history()].concat();
    assert_eq!(frozen(with_future, &hourly(), at(12 * HOUR + 1)), Some(late));
    // Without a schedule nobody can say what is late, unless the config does.
    assert_eq!(frozen(history(), &Yardstick::bare(Level::Sound), at(14 * HOUR)), None);
    let three_hours = Some(Duration::from_secs(3 * 3600));
    let fixed = Yardstick { alert_after_proof: three_hours, ..Yardstick::bare(Level::Sound) };
    assert_eq!(frozen(history(), &fixed, at(13 * HOUR)), None);
    assert_eq!(frozen(history(), &fixed, at(13 * HOUR + 1)), Some(Freeze::ProofLate { deadline: at(13 * HOUR) }));
}

#[test]
fn where_proofs_have_a_schedule_the_deadline_follows_it() {
    let daily = Cron::parse("@daily", chrono_tz::Tz::UTC).unwrap();
    let yardstick = Yardstick { proof_cron: Some(daily), ..hourly() };
    let deadline = |yardstick: &Yardstick| {
        summarize(&catalog(vec![proven(10)]), yardstick, Some(&rules()), at(11 * HOUR)).proof_deadline
    };
    assert_eq!(deadline(&hourly()), Some(at(12 * HOUR)));
    assert_eq!(deadline(&yardstick), Some(at(48 * HOUR)));
    assert_eq!(frozen(vec![proven(10)], &yardstick, at(48 * HOUR)), None);
    assert!(frozen(vec![proven(10)], &yardstick, at(48 * HOUR + 1)).is_some());
}

#[test]
fn a_shrunk_backup_is_a_finding_and_freezes_until_it_is_acknowledged() {
    let (mut small, mut big) = (proven(11), proven(10));
    (small.manifest.db.keys, big.manifest.db.keys) = (40, 100);
    let (id, about, binding) = (small.id().clone(), small.finding(SHRUNK), small.manifest.binding.clone());
    let mut catalog = catalog(vec![small, big]);
    let measured = |catalog: &Catalog| summarize(catalog, &hourly(), Some(&rules()), at(12 * HOUR));
    let kinds = |summary: &Summary| summary.findings.iter().map(|finding| finding.kind).collect::<Vec<_>>();
    let before = measured(&catalog);
    assert_eq!(kinds(&before), [SHRUNK]);
    let frozen = before.plan.unwrap().frozen;
    assert!(matches!(&frozen, Some(Freeze::Shrunk { id: named, had: 100, has: 40, .. }) if *named == id));
    let what = frozen.unwrap().to_string();
    let (reason, agent_version) = ("cleaned up".to_owned(), String::new());
    catalog.acks = vec![Ack { binding, at: at(0), finding: about, what, reason, agent_version }];
    let after = measured(&catalog);
    assert_eq!((kinds(&after).len(), after.acknowledged.len()), (0, 1));
    assert_eq!(after.plan.as_ref().unwrap().frozen, None);
    assert_eq!(after.plan.unwrap().marked().count(), 1);
}

#[test]
fn a_history_that_is_not_whole_freezes_and_what_nobody_signed_does_not() {
    let mut catalog = catalog(vec![proven(11), proven(10)]);
    catalog.strays = vec![crate::catalog::Stray { path: "x".to_owned(), why: Distrust::NoSignature }];
    assert_eq!(plan(&catalog, &hourly(), &rules(), at(12 * HOUR)).frozen, None);
    let gone = unproven(3);
    catalog.trusted[1].manifest.parents = vec![Parent { id: gone.id().clone(), manifest_sha256: gone.manifest_sha256 }];
    catalog.missing_parents = vec![gone.id().clone()];
    let frozen = plan(&catalog, &hourly(), &rules(), at(12 * HOUR)).frozen;
    assert!(matches!(&frozen, Some(Freeze::Findings(found)) if found.len() == 1), "{frozen:?}");
}

#[test]
fn a_failed_proof_freezes_until_it_is_acknowledged() {
    let mut bad = proven(11);
    bad.verdicts[0].outcome = Outcome::Failed;
    let (about, binding) = (bad.finding("proof_failed"), bad.manifest.binding.clone());
    let mut catalog = catalog(vec![bad, proven(10)]);
    let frozen = |catalog: &Catalog| plan(catalog, &hourly(), &rules(), at(12 * HOUR)).frozen;
    let found = frozen(&catalog);
    assert!(matches!(&found, Some(Freeze::Findings(found)) if found[0].contains("failed its proof")), "{found:?}");
    let (what, reason, agent_version) = (found.unwrap().to_string(), "a disk, replaced".to_owned(), String::new());
    catalog.acks = vec![Ack { binding, at: at(0), finding: about, what, reason, agent_version }];
    assert_eq!(frozen(&catalog), None);
}

#[test]
fn a_late_backup_is_a_finding_and_no_default_until_it_is_accepted() {
    use crate::catalog::Late;
    let (mut newer, older) = (proven(11), proven(10));
    newer.verdicts[0].learnt.late = Some(Late { looked_at: at(18 * HOUR), found_at: at(19 * HOUR) });
    let (id, about, binding) = (newer.id().clone(), newer.finding("late"), newer.manifest.binding.clone());
    let mut catalog = catalog(vec![newer, older.clone()]);
    let measured = |catalog: &Catalog| summarize(catalog, &hourly(), Some(&rules()), at(12 * HOUR));
    let before = measured(&catalog);
    assert_eq!(before.findings.iter().map(|finding| finding.kind).collect::<Vec<_>>(), ["late"]);
    assert!(before.findings[0].what.contains(&id.to_string()), "{}", before.findings[0].what);
    assert_eq!(before.restorable.map(|proven| proven.id), Some(older.id().clone()));
    assert_eq!(before.plan.unwrap().kept().count(), 2, "it displaces nobody, and stays");
    let (reason, agent_version, what) = ("I copied it".to_owned(), String::new(), String::new());
    catalog.acks = vec![Ack { binding, at: at(0), finding: about, what, reason, agent_version }];
    catalog.trusted[0].late_accepted = true; // as the reader does
    let after = measured(&catalog);
    assert_eq!((after.findings.len(), after.acknowledged.len()), (0, 1));
    assert_eq!(after.restorable.map(|proven| proven.id), Some(id));
    assert_eq!(after.plan.unwrap().marked().count(), 1);
}
