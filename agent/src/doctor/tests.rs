//! Facts in, checks out.

use super::canary::{Again, Canary};
use super::certificate::{self, Certificate};
use super::host::{Scratch, judge_scratch};
use super::keys::{Sealing, Secret, judge_sealing, judge_secrets, judge_trust};
use super::store::{
    Place, judge as judge_store, judge_leftovers, judge_lifecycle, judge_lock, judge_versioning, unreached,
};
use super::*;
use crate::capture::{Member, Survey};
use crate::config::{ClusterName, Compare, Etcd, Lock, LockMode, Members, Provider};
use crate::store::{Layout, ObjectLock, Retention, Versioning};
use chrono::TimeDelta;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const S3: Place = Place::Bucket(Provider::S3);

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_400_000, 0).unwrap()
}

fn roles(roles: &[Role]) -> BTreeSet<Role> {
    roles.iter().copied().collect()
}

fn denied() -> Error {
    Error::new(Reason::StoreDenied, "cannot delete it: AccessDenied").hint("check the policy")
}

/// The check that has these words in what it found, and its status.
#[track_caller]
fn says(checks: &[Check], status: Status, words: &str) -> Check {
    let found = checks.iter().find(|check| check.found.contains(words));
    let found = found.unwrap_or_else(|| panic!("nothing says {words:?}: {checks:#?}"));
    assert_eq!(found.status, status, "{found:#?}");
    let needs_hint = matches!(status, Status::Warn | Status::Fail);
    assert_eq!(found.hint.is_some(), needs_hint, "a hint where there is something to do: {found:#?}");
    found.clone()
}

/// A canary in a store with versions, whose key may not delete.
fn good() -> Canary {
    let key = Layout::new(&ClusterName::parse("prod").unwrap()).canary(now(), 7);
    Canary {
        read: Some(Ok(true)),
        listed: Some(Ok(true)),
        skew: Some(TimeDelta::zero()),
        again: Some(Again::Refused),
        overwrite: Some(Ok(Some("v2".to_owned()))),
        delete: Some(Err(denied())),
        ..Canary::new(&key, Ok(()))
    }
}

fn store(place: Place, which: &[Role], canary: &Canary) -> Vec<Check> {
    judge_store("main", "s3://backups", place, &roles(which), canary)
}

#[test]
fn a_versioned_bucket_and_a_key_that_may_not_delete_are_all_good() {
    let checks = store(S3, &[Role::Backup, Role::Prove], &good());
    assert!(checks.iter().all(|check| check.status == Status::Ok), "{checks:#?}");
    let stays = says(&checks, Status::Ok, "may not delete, as it should be");
    assert!(stays.found.contains("prod/doctor/20261123T021320Z-00000007 stays"), "{stays:?}");
}

#[test]
fn a_right_to_delete_is_judged_by_the_roles_that_have_it_and_by_what_it_destroys() {
    let deleted = Canary { delete: Some(Ok(true)), overwrite: Some(Ok(None)), ..good() };
    let checks = store(S3, &[Role::Backup, Role::Prove], &deleted);
    let found = says(&checks, Status::Fail, "this key may delete; roles backup and prove must not");
    assert!(found.hint.unwrap().starts_with("remove s3:DeleteObject from its policy"));
    says(&store(S3, &[Role::Backup], &deleted), Status::Fail, "this key may delete; role backup must not");
    says(&store(S3, &[Role::Prune], &deleted), Status::Ok, "as the role prune must");
    let all = store(S3, &[Role::Backup, Role::Prove, Role::Prune], &deleted);
    says(&all, Status::Ok, "as the role prune must; so may backup and prove on this host");
    says(&store(S3, &[], &deleted), Status::Ok, "no agent's role runs here");
    let versioned = Canary { delete: Some(Ok(true)), ..good() };
    says(&store(S3, &[Role::Backup], &versioned), Status::Warn, "may hide objects by deleting them");
    let folder = Place::Folder { beside_etcd: false };
    says(&store(folder, &[Role::Backup], &deleted), Status::Ok, "cannot be kept from it");
    let azure = says(&store(Place::Bucket(Provider::Azure), &[Role::Prove], &deleted), Status::Fail, "must not");
    assert!(azure.hint.unwrap().contains("SAS"));
}

#[test]
fn a_pruner_that_may_not_delete_fails_and_any_other_trouble_with_deleting_is_told() {
    says(&store(S3, &[Role::Prune], &good()), Status::Fail, "may not delete, and the role prune runs here");
    let throttled = || Error::new(Reason::StoreThrottled, "503").hint("later");
    let trouble = Canary { delete: Some(Err(throttled())), ..good() };
    says(&store(S3, &[Role::Backup], &trouble), Status::Warn, "deleting failed: 503");
    says(&store(S3, &[Role::Prune], &trouble), Status::Fail, "deleting failed: 503");
    let still = Canary { delete: Some(Ok(false)), ..good() };
    says(&store(S3, &[Role::Prune], &still), Status::Warn, "and still has it");
}

#[test]
fn what_a_store_does_with_taken_names_is_told() {
    let silent = Canary { again: Some(Again::Replaced), overwrite: Some(Ok(None)), ..good() };
    let checks = store(S3, &[Role::Backup], &silent);
    says(&checks, Status::Warn, "replaces silently");
    says(&checks, Status::Warn, "a plain bucket: whoever steals a right");
    says(&store(Place::Bucket(Provider::Gcs), &[Role::Backup], &silent), Status::Skip, "cannot be asked from here");
    let refused = Canary { overwrite: Some(Err(denied())), ..good() };
    says(&store(S3, &[Role::Backup], &refused), Status::Ok, "may not write over");
    let error = Error::new(Reason::StoreThrottled, "slow down").hint("later");
    let unknown = Canary { again: Some(Again::Failed(error)), ..good() };
    says(&store(S3, &[Role::Backup], &unknown), Status::Warn, "slow down");
}

#[test]
fn what_does_not_come_back_as_it_was_sent_fails() {
    let changed = Canary { read: Some(Ok(false)), ..good() };
    says(&store(S3, &[Role::Backup], &changed), Status::Fail, "reads back as something else");
    let stale = Canary { listed: Some(Ok(false)), ..good() };
    says(&store(S3, &[Role::Backup], &stale), Status::Warn, "a listing does not show");
    let unread = Canary { read: Some(Err(denied())), ..good() };
    says(&store(S3, &[Role::Backup], &unread), Status::Fail, "cannot be read back");
    let key = Layout::new(&ClusterName::parse("prod").unwrap()).canary(now(), 7);
    let checks = store(S3, &[Role::Backup], &Canary::new(&key, Err(denied())));
    says(&checks, Status::Fail, "it lists, but nothing can be created");
    assert_eq!(checks.len(), 1);
}

#[test]
fn a_wrong_clock_warns_from_five_seconds_and_fails_where_s3_refuses() {
    let judged = |seconds| {
        let skewed = Canary { skew: Some(TimeDelta::seconds(seconds)), ..good() };
        store(S3, &[Role::Backup], &skewed)
    };
    says(&judged(5), Status::Ok, "clocks agree");
    says(&judged(-6), Status::Warn, "clock is 6s ahead of the store's");
    says(&judged(6), Status::Warn, "clock is 6s behind the store's");
    says(&judged(899), Status::Warn, "14m behind");
    says(&judged(900), Status::Fail, "15m behind");
}

#[test]
fn a_folder_on_etcds_own_disk_warns() {
    let beside = Place::Folder { beside_etcd: true };
    says(&store(beside, &[Role::Backup], &good()), Status::Warn, "what takes one takes both");
}

#[test]
fn the_step_towards_a_store_that_failed_is_named() {
    let step = |reason, text: &str| unreached("main", &Error::new(reason, text).hint("do")).found;
    let dns = step(Reason::StoreUnreachable, "error sending request: dns error: Name or service not known");
    assert!(dns.starts_with("main: the name of its host is not found: error sending"), "{dns}");
    assert!(step(Reason::StoreUnreachable, "connection refused").contains("cannot be connected to"));
    assert!(step(Reason::StoreDenied, "403").contains("this key may not list it"));
    assert!(step(Reason::StoreBucketMissing, "NoSuchBucket").contains("the bucket or folder is not there"));
    assert!(step(Reason::StoreTls, "UnknownIssuer").contains("TLS with it fails"));
}

#[test]
fn certificates_warn_two_weeks_before_they_end() {
    let until = |span: TimeDelta| {
        let one = Certificate { name: "lifeboat".to_owned(), from: now() - TimeDelta::days(90), until: now() + span };
        vec![certificate::judge_own("client certificate", Path::new("/pki/c.crt"), &Ok(vec![one]), now())]
    };
    says(&until(TimeDelta::days(14)), Status::Ok, "client certificate is valid until 2026-12-07");
    let soon = says(&until(TimeDelta::hours(12 * 24 + 5)), Status::Warn, "expires in 12 days (2026-12-05)");
    assert!(soon.hint.unwrap().starts_with("renew /pki/c.crt"));
    says(&until(TimeDelta::hours(5)), Status::Warn, "expires in 5 hours");
    says(&until(TimeDelta::hours(-30)), Status::Fail, "expired 1 day ago");
    let one = |name: &str, from, until| Certificate { name: name.to_owned(), from, until };
    let far = now() + TimeDelta::days(300);
    let early = Ok(vec![one("x", now() + TimeDelta::days(1), far)]);
    let checks = vec![certificate::judge_own("client certificate", Path::new("/c"), &early, now())];
    says(&checks, Status::Fail, "not valid before 2026-11-24");
    let borrowed = Ok(vec![one("kube-etcd-healthcheck-client", now(), far)]);
    let checks = vec![certificate::judge_own("client certificate", Path::new("/c"), &borrowed, now())];
    says(&checks, Status::Warn, "kubeadm's own health check");
    let rotating = Ok(vec![one("old", now(), now() - TimeDelta::days(1)), one("new", now(), far)]);
    let checks = vec![certificate::judge_ca("etcd", "etcd's CA", Path::new("/ca"), &rotating, now())];
    says(&checks, Status::Ok, "etcd's CA is valid until");
}

fn member(id: u64) -> Member {
    Member {
        endpoint: format!("http://10.0.0.{id}:2379"),
        member_id: id,
        cluster_id: 7,
        name: format!("cp-{id}"),
        version: "3.6.14".to_owned(),
        is_leader: id == 2,
        is_learner: false,
        db_bytes: 20_480,
        revision: 1000,
        raft_term: 2,
        alarms: Vec::new(),
    }
}

fn survey(members: Vec<Member>, unreachable: Vec<(String, Error)>, revision: Result<i64>) -> Vec<Check> {
    let etcd = Etcd {
        endpoints: vec!["http://10.0.0.1:2379".to_owned()],
        members: Members::Discover,
        tls: None,
        user: None,
        password_file: None,
        compare: Compare::All,
    };
    let voters: BTreeMap<u64, String> = (1..=3).map(|id| (id, format!("cp-{id}"))).collect();
    etcd::judge(&etcd, &Ok(Survey { members, unreachable, revision, voters }))
}

#[test]
fn etcd_is_told_in_one_line_and_every_complaint_in_one_more() {
    let all = survey(vec![member(1), member(3), member(2)], Vec::new(), Ok(1000));
    says(&all, Status::Ok, "3 of 3 members, 3.6.14, no alarms, cp-2 leads");
    assert_eq!(all.len(), 1);

    let silent = Error::new(Reason::EtcdUnreachable, "etcd at cp-3 did not answer").hint("start it");
    let full =
        Member { alarms: vec!["NOSPACE".to_owned()], is_learner: true, version: "3.5.9".to_owned(), ..member(4) };
    let some = survey(vec![member(1), full], vec![("cp-3".to_owned(), silent)], Ok(1000));
    says(&some, Status::Ok, "1 of 3 members, 1 learner, 3.5.9, 3.6.14");
    says(&some, Status::Warn, "cp-3 did not answer");
    assert!(says(&some, Status::Fail, "cp-4 raises the alarm NOSPACE").hint.unwrap().contains("alarm disarm"));

    let no_quorum = Error::new(Reason::EtcdUnhealthy, "no quorum").hint("most members must run");
    says(&survey(vec![member(1)], Vec::new(), Err(no_quorum)), Status::Fail, "no quorum");
}

#[test]
fn secrets_that_others_may_read_warn() {
    let secret = |what: &str, mode| Secret { what: what.to_owned(), path: PathBuf::from("/k"), mode: Ok(mode) };
    let checks = judge_secrets(&[secret("signing key of backup", 0o440), secret("identity", 0o644)]);
    says(&checks, Status::Ok, "hidden from other users: signing key of backup");
    says(&checks, Status::Warn, "identity /k has mode 0644");
}

#[test]
fn a_role_that_can_believe_nobody_fails() {
    let trusted = |which: &[Role]| Ok(roles(which));
    assert_eq!(judge_trust(&roles(&[Role::Backup]), &trusted(&[Role::Backup, Role::Prove])), []);
    let unproven = judge_trust(&roles(&[Role::Backup]), &trusted(&[Role::Backup]));
    says(&unproven, Status::Warn, "every backup looks unproven");
    let blind = judge_trust(&roles(&[Role::Prove]), &trusted(&[Role::Prove]));
    says(&blind, Status::Fail, "no backup key is trusted here, so the role prove can believe nothing");
    let pruner = judge_trust(&roles(&[Role::Prune]), &trusted(&[Role::Backup, Role::Prune]));
    says(&pruner, Status::Fail, "no prove key is trusted here, so the role prune");
}

#[test]
fn somebody_else_must_open_what_is_sealed_and_the_prover_too() {
    let judge = |which: &[Role], opened: &[bool], here: bool| {
        let identity = here.then(|| PathBuf::from("/k/prove.key"));
        vec![judge_sealing(&roles(which), &Ok(Some(Sealing { opened: opened.to_vec(), identity })))]
    };
    let all = [Role::Backup, Role::Prove];
    says(&judge(&all, &[true, false], true), Status::Ok, "opens what the recipients seal; 1 of 2 recipients");
    says(&judge(&all, &[false, false], true), Status::Fail, "no key in /k/prove.key opens");
    says(&judge(&all, &[true], true), Status::Warn, "if this host is lost, no backup opens");
    says(&judge(&[Role::Backup], &[false], false), Status::Warn, "one recipient only");
    says(&judge(&[Role::Backup], &[false, false], false), Status::Ok, "2 recipients");
    says(&[judge_sealing(&roles(&all), &Ok(None))], Status::Skip, "nothing is sealed here");
}

#[test]
fn scratch_must_hold_a_proof_of_the_live_database() {
    let found = |free, max, needed, mode| Scratch {
        dir: PathBuf::from("/scratch"),
        mode,
        writable: Ok(()),
        free: Ok(free),
        max,
        needed,
        sized: true,
    };
    let gib = 1_u64 << 30;
    let judge = |scratch: Scratch| vec![judge_scratch(&scratch)];
    says(
        &judge(found(9 * gib, 12 * gib, Some(gib), Some(0o700))),
        Status::Ok,
        "writable, 9.0 GiB free, a proof needs 1.0",
    );
    says(
        &judge(found(gib, 12 * gib, Some(2 * gib), Some(0o700))),
        Status::Fail,
        "needs 2.0 GiB, /scratch has 1.0 GiB free",
    );
    says(&judge(found(9 * gib, gib, Some(2 * gib), Some(0o700))), Status::Fail, "proof.scratch.max is 1.0 GiB");
    says(&judge(found(0, gib, None, None)), Status::Ok, "will be made, 0 MiB free");
    says(&judge(found(9 * gib, gib, None, Some(0o755))), Status::Warn, "mode 0755");
}

#[test]
fn a_proof_needs_an_etcd_that_is_no_older_than_the_cluster() {
    let binary = |version: &str| EtcdBinary {
        path: PathBuf::from("/opt/etcd"),
        version: version.to_owned(),
        line: version.parse().unwrap(),
    };
    let line = |text: &str| Some(text.parse().unwrap());
    let booted = |versions: &[&str]| Ok((Level::Booted, versions.iter().map(|version| binary(version)).collect()));
    let judge = |level: &Result<(Level, Vec<EtcdBinary>)>, line| vec![proof::judge(level, None, line)];
    says(&judge(&booted(&["3.5.9", "3.6.14"]), line("3.6")), Status::Ok, "with etcd 3.6.14, as the cluster runs 3.6");
    says(&judge(&booted(&["3.5.9", "3.7.1"]), line("3.6")), Status::Ok, "with etcd 3.7.1, the nearest");
    says(&judge(&booted(&["3.5.9"]), line("3.6")), Status::Fail, "no etcd here is that new: 3.5.9");
    says(&judge(&booted(&["3.5.9"]), None), Status::Ok, "to `booted` with etcd 3.5.9");
    says(&judge(&Ok((Level::Sound, Vec::new())), line("3.6")), Status::Warn, "only to `sound`");
    let chosen = vec![proof::judge(&Ok((Level::Sound, Vec::new())), Some(Level::Sound), line("3.6"))];
    says(&chosen, Status::Ok, "as the config says");
}

#[test]
fn the_outcome_counts_what_failed_and_what_warns() {
    let check = |status| Check { area: "etcd", status, found: String::new(), hint: None };
    use Status::*;
    assert_eq!(outcome(&[check(Ok), check(Skip)]), "all good");
    assert_eq!(outcome(&[check(Fail), check(Warn), check(Ok)]), "1 failed, 1 warning");
    assert_eq!(outcome(&[check(Warn), check(Warn)]), "2 warnings");
    assert_eq!(outcome(&[check(Fail)]), "1 failed");
}

#[test]
fn locks_versions_and_unfinished_uploads_of_a_bucket_are_judged() {
    let retention = Retention { mode: LockMode::Compliance, days: 14 };
    let lock = |days| Some(Lock { mode: LockMode::Governance, days });
    let judge = |found, lock| judge_lock("main", found, lock).into_iter().collect::<Vec<_>>();
    let (default, none) = (Some(ObjectLock { default: Some(retention) }), Some(ObjectLock { default: None }));
    says(&judge(default, None), Status::Ok, "for 14 days (compliance)");
    says(&judge(default, lock(30)), Status::Ok, "for 30 days (governance)");
    says(&judge(default, lock(7)), Status::Ok, "for 14 days (compliance)");
    says(&judge(none, lock(30)), Status::Ok, "for 30 days (governance)");
    says(&judge(none, None), Status::Warn, "nothing asks for it");
    says(&judge(None, lock(30)), Status::Fail, "made without object lock");
    assert_eq!(judge(None, None), []);
    for plain in [Versioning::Off, Versioning::Suspended] {
        says(&[judge_versioning("main", plain)], Status::Warn, "a plain bucket");
    }
    says(&[judge_versioning("main", Versioning::On)], Status::Ok, "keeps versions");
    says(&[judge_lifecycle("main", true)], Status::Ok, "drops uploads");
    says(&[judge_lifecycle("main", false)], Status::Warn, "no rule of the bucket's lifecycle");
    says(&[judge_leftovers("main", 0)], Status::Ok, "no upload is left unfinished");
    says(&[judge_leftovers("main", 3)], Status::Warn, "more than a day: 3");
}
