use super::*;
use crate::catalog::manifest::Verdict;
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
    plan(&catalog(trusted), yardstick, &rules(), &BTreeSet::new(), &[], now).frozen
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
fn a_shrunk_backup_freezes_until_it_is_acknowledged_and_findings_freeze() {
    let (mut small, mut big) = (proven(11), proven(10));
    (small.manifest.db.keys, big.manifest.db.keys) = (40, 100);
    let id = small.id().clone();
    let catalog = catalog(vec![small, big]);
    let planned = |acked: &BTreeSet<BackupId>, findings: &[String]| {
        plan(&catalog, &hourly(), &rules(), acked, findings, at(12 * HOUR))
    };
    let frozen = planned(&BTreeSet::new(), &[]);
    assert!(matches!(&frozen.frozen, Some(Freeze::Shrunk { id: named, had: 100, has: 40, .. }) if *named == id));
    let acked = BTreeSet::from([id]);
    assert_eq!(planned(&acked, &[]).frozen, None);
    assert_eq!(planned(&acked, &[]).marked().count(), 1);
    let findings = ["backup x is gone".to_owned()];
    assert_eq!(planned(&acked, &findings).frozen, Some(Freeze::Findings(findings.to_vec())));
}
