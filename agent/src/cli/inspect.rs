//! `lifeboat inspect`: what a snapshot file is, and whether it is sound.

use super::args::InspectArgs;
use super::open::{CLOCK, identity_from};
use super::output::{Output, grouped, size};
use super::progress::Progress;
use crate::capture::Verdict;
use crate::clock::Clock as _;
use crate::error::{Error, Reason, Result};
use crate::fetch::{Kind, SnapshotFile};
use crate::proof::names;
use etcdfile::{Finding, HashKv, Report};
use serde_json::{Value, json};

pub fn inspect(args: &InspectArgs, output: &Output) -> Result<()> {
    let file = SnapshotFile::open(&args.file)?;
    let identities = identity_from(&args.identity)?.map(|identity| identity.load()).transpose()?;
    let in_use = file.kind == Kind::BareDb && file.is_in_use();
    let bar = Progress::new(output, "inspect");
    let progress = |done: u64| bar.at(done, file.bytes);
    let verdict = file.verdict(identities.as_ref(), &std::env::temp_dir(), &progress);
    bar.finish();
    let verdict = verdict.map_err(|error| match error.reason {
        Reason::Damaged => error.on("inspect", args.file.display()).hint(
            "a snapshot is what `etcdctl snapshot save` writes; a database is a data dir's member/snap/db; a sealed one is db.zst.age",
        ),
        _ => error,
    })?;
    let findings = findings(&verdict, in_use);
    let report = verdict.checked.report();
    let asked = asked(args, &verdict)?;
    let mut fields = document(&file, report, &findings, &asked, in_use);
    fields["encryption_at_rest"] = json!(verdict.counted.encryption);
    let mut text = describe(&file, report, &findings, &asked, in_use);
    if !verdict.counted.encryption.is_empty() {
        text.push_str(&format!("  secrets   need encryption key {}\n", names(&verdict.counted.encryption)));
    }
    output.answer(CLOCK.now(), None, fields, &text);
    if !findings.is_empty() {
        let count = u64::try_from(findings.len()).unwrap_or(u64::MAX).saturating_add(report.more_findings);
        return Err(Error::new(Reason::Damaged, format!("{} is not sound: {count} findings", args.file.display()))
            .on("inspect", args.file.display())
            .hint("use another copy; of a live member's own database: compare the members, then replace that member"));
    }
    match asked {
        Hash::None(why) if args.hash_revision.is_some() => {
            Err(Error::new(Reason::Usage, format!("no HashKV for revision {}: {why}", args.hash_revision.unwrap_or(0)))
                .hint("ask at or below the revision shown, and not below the compaction"))
        }
        _ => Ok(()),
    }
}

/// What is wrong, and why that may be.
fn findings(verdict: &Verdict, in_use: bool) -> Vec<Finding> {
    let mut findings = verdict.checked.report().findings.clone();
    if in_use && !findings.is_empty() {
        let what =
            "an etcd runs on this file and writes to it: what was read is no one moment. Take a snapshot instead";
        findings.push(Finding { what: what.to_owned(), page: None, offset: None });
    }
    findings
}

/// HashKV where it was asked for, or why there is none.
enum Hash {
    Is(HashKv),
    None(String),
}

fn asked(args: &InspectArgs, verdict: &Verdict) -> Result<Hash> {
    let report = verdict.checked.report();
    let Some(revision) = args.hash_revision else {
        return Ok(report.hash_kv.map_or_else(|| Hash::None("the database is not sound".to_owned()), Hash::Is));
    };
    let compact = args.hash_compact_revision.unwrap_or(report.compact_revision);
    let hash = verdict.checked.hash_kv(revision, compact).map_err(|source| {
        Error::new(Reason::HostIo, "the notes on the database cannot be read again").because(source)
    })?;
    Ok(hash.map_or_else(|why| Hash::None(why.to_string()), Hash::Is))
}

fn document(file: &SnapshotFile, report: &Report, findings: &[Finding], asked: &Hash, in_use: bool) -> Value {
    let members: Vec<Value> = report
        .members
        .iter()
        .map(|member| {
            json!({ "id": format!("{:x}", member.id), "name": member.name, "is_learner": member.is_learner,
                "peer_urls": member.peer_urls, "client_urls": member.client_urls })
        })
        .collect();
    let (hash, because) = match asked {
        Hash::Is(hash) => (json!(hash), Value::Null),
        Hash::None(why) => (Value::Null, json!(why)),
    };
    json!({
        "file": file.path, "file_bytes": file.bytes, "kind": file.kind.name(), "in_use": in_use,
        "sound": findings.is_empty(), "findings": findings, "more_findings": report.more_findings,
        "revision": report.revision, "compact_revision": report.compact_revision,
        "scheduled_compact_revision": report.scheduled_compact_revision,
        "finished_compact_revision": report.finished_compact_revision,
        "records": report.records, "keys": report.keys, "tombstones": report.tombstones,
        "hash_kv": hash, "hash_kv_because": because, "status_hash": report.status_hash,
        "db_bytes": report.db_bytes, "free_bytes": report.free_bytes, "page_bytes": report.page_bytes,
        "beyond_bytes": report.beyond_bytes,
        "cluster_id": report.cluster_id.map(|id| format!("{id:x}")), "members": members,
        "storage_version": report.storage_version, "cluster_version": report.cluster_version,
        "consistent_index": report.consistent_index, "term": report.term, "auth_enabled": report.auth_enabled,
        "leases": report.leases, "alarms": report.alarms, "dangling_leases": report.dangling_leases,
        "dangling_lease_ids": report.dangling_lease_ids.iter().map(|id| format!("{id:x}")).collect::<Vec<_>>(),
    })
}

fn describe(file: &SnapshotFile, report: &Report, findings: &[Finding], asked: &Hash, in_use: bool) -> String {
    let what = match file.kind {
        Kind::Snapshot => "a snapshot with its digest",
        Kind::BareDb => "a database, without a digest",
        Kind::Sealed => "a sealed snapshot",
    };
    let verdict = if findings.is_empty() { "sound" } else { "NOT sound" };
    let mut text = format!("{}: {what}, {verdict}\n", file.path.display());
    for finding in findings {
        text.push_str(&format!("  FINDING   {finding}\n"));
    }
    if report.more_findings > 0 {
        text.push_str(&format!("  FINDING   and {} more\n", report.more_findings));
    }
    let mut line = |name: &str, what: String| text.push_str(&format!("  {name:9} {what}\n"));
    line("revision", format!("{}, {}", grouped(report.revision), compacted(report)));
    line(
        "keys",
        format!(
            "{} alive; {} records, {} of them deletions; {} leases",
            report.keys, report.records, report.tombstones, report.leases
        ),
    );
    line(
        "hash",
        match asked {
            Hash::Is(hash) if hash.compact_revision < 0 => {
                format!("{} is HashKV at revision {}", hash.hash, grouped(hash.revision))
            }
            Hash::Is(hash) => format!(
                "{} is HashKV at revision {} compacted at {}",
                hash.hash,
                grouped(hash.revision),
                grouped(hash.compact_revision)
            ),
            Hash::None(why) => format!("none: {why}"),
        },
    );
    if let Some(hash) = report.status_hash {
        line("", format!("{hash:x} is what `etcdutl snapshot status` shows"));
    }
    line(
        "size",
        format!(
            "{} of database, {} of it free; pages of {} bytes",
            size(report.db_bytes),
            size(report.free_bytes),
            report.page_bytes
        ),
    );
    let version = |version: &Option<String>| version.clone().unwrap_or_else(|| "not recorded".to_owned());
    line("etcd", format!("storage {}, cluster {}", version(&report.storage_version), version(&report.cluster_version)));
    members(report, &mut line);
    remarks(report, in_use, &mut line);
    text
}

fn compacted(report: &Report) -> String {
    match (report.compact_revision, report.finished_compact_revision) {
        (-1, _) => "never compacted".to_owned(),
        (at, finished) if at > finished => {
            format!("compacted at {}: etcd was still at it, and ends it when it starts", grouped(at))
        }
        (at, _) => format!("compacted at {}", grouped(at)),
    }
}

fn members(report: &Report, line: &mut impl FnMut(&str, String)) {
    for (index, member) in report.members.iter().enumerate() {
        let name = if member.name.is_empty() { "(not started yet)" } else { member.name.as_str() };
        let learner = if member.is_learner { ", a learner" } else { "" };
        let what = format!("{name} {:x} at {}{learner}", member.id, member.peer_urls.join(" "));
        line(if index == 0 { "members" } else { "" }, what);
    }
    if report.members.is_empty() {
        line("members", "none recorded".to_owned());
    }
    if let Some(id) = report.cluster_id {
        line("cluster", format!("{id:x}, by the ids of the members that it began with"));
    }
}

/// What a person should know before it is restored.
fn remarks(report: &Report, in_use: bool, line: &mut impl FnMut(&str, String)) {
    if report.auth_enabled {
        line("auth", "users and roles are enforced".to_owned());
    }
    if report.alarms > 0 {
        line("alarms", format!("{} raised; a restore with lifeboat clears them", report.alarms));
    }
    if report.dangling_leases > 0 {
        let ids: Vec<String> = report.dangling_lease_ids.iter().take(5).map(|id| format!("{id:x}")).collect();
        let what = format!("{} keys name leases that do not exist: {}", report.dangling_leases, ids.join(", "));
        line("WARNING", what);
    }
    if in_use {
        line("WARNING", "an etcd runs on this file: it may change while it is read".to_owned());
    }
}
