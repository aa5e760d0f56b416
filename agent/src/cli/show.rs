//! `lifeboat show`: the story of one backup.

use super::args::{Cli, ShowArgs};
use super::entry::{In, Presence};
use super::open::{self, CLOCK, Opened};
use super::output::{Output, grouped, size, time};
use super::{ack, entry, log};
use crate::catalog::Trusted;
use crate::catalog::manifest::Manifest;
use crate::clock::Clock as _;
use crate::error::{Error, Reason, Result};
use crate::proof;
use crate::summary::{self, Finding};
use serde_json::{Value, json};

pub async fn show(cli: &Cli, args: &ShowArgs, output: &Output) -> Result<()> {
    log::begin(cli, None)?;
    let opened = open::open(cli, &args.store, false, output).await?;
    let now = CLOCK.now();
    let catalog = opened.catalog();
    let id = open::find(catalog, opened.yardstick.required, &args.backup)?;
    let Some(found) = catalog.find(&id) else {
        let why = catalog.untrusted.iter().find(|entry| entry.id == id).map(|entry| entry.why.to_string());
        return Err(Error::new(Reason::Unsigned, format!("backup {id} does not count: {}", why.unwrap_or_default()))
            .hint("add the signer's public key if it is yours; otherwise find out who wrote it"));
    };
    let overview = summary::overview(&opened.holdings, &opened.yardstick, now);
    let stores = entry::In::each(&opened, &overview, &id);
    let mut text = story(found);
    for (place, account) in opened.holdings.stores.iter().zip(&stores) {
        text.push_str(&in_store(found, &place.url, account, opened.holdings.is_single()));
    }
    let about: Vec<&Finding> = overview.whole.findings.iter().filter(|finding| finding.speaks_of(&id)).collect();
    for finding in &about {
        text.push_str(&format!("FINDING    {}: {}\n             next: {}\n", finding.kind, finding.what, finding.hint));
    }
    let short = lifeboat_policy::id::short_len(catalog.trusted.iter().map(Trusted::id));
    let mut fields = entry::trusted(found, &stores, short);
    if let Value::Object(fields) = &mut fields {
        fields.insert("manifest".to_owned(), json!(found.manifest));
        fields.insert("verdicts".to_owned(), json!(found.verdicts));
    }
    let findings: Vec<Value> = about.into_iter().map(ack::finding).collect();
    output.answer(now, Some(opened.cluster()), json!({ "backup": fields, "findings": findings }), &text);
    Ok(())
}

/// Where it is, how it was proven there, and what becomes of it there.
fn in_store(found: &Trusted, url: &str, account: &In<'_>, single: bool) -> String {
    let name = if single { String::new() } else { format!("{}, ", account.name) };
    let (entry, plan) = match &account.place {
        Presence::Listed { entry, plan, .. } => (*entry, *plan),
        Presence::Absent | Presence::Behind(_) => return format!("stored     {name}{url}: NOT there\n"),
        Presence::Unknown => return format!("stored     {name}{url}: this store cannot be read\n"),
    };
    let present = if entry.present { "present" } else { "its data is MISSING" };
    let mut text = format!("stored     {name}{url}, {present}; signed by {}\n", found.manifest.binding.signer);
    for verdict in &entry.verdicts {
        text.push_str(&format!("proof      {} at {}, {}\n", verdict.outcome, verdict.level, time(verdict.at)));
        text.push_str(&entry::proof_lines(verdict, "             "));
    }
    if let Some(counted) =
        entry.verdicts.iter().rev().map(|verdict| &verdict.learnt.key_counts).find(|it| !it.is_empty())
    {
        text.push_str(&format!("keys       by path\n{}", entry::key_counts(counted)));
    }
    let reasons = plan.map(|plan| entry::reasons(plan, &entry.manifest)).unwrap_or_default();
    if !reasons.is_empty() {
        text.push_str(&format!("retention  {}\n", reasons.join("; ")));
    }
    text.push_str(&Opened::history(entry));
    for (tombstone, _) in entry.marks() {
        text.push_str(&format!("marked     {} to be deleted: {}\n", time(tombstone.at), tombstone.reason));
    }
    text
}

/// What each member answered, a line each, and what speaks against the backup.
fn answers(manifest: &Manifest) -> String {
    let mut text = String::new();
    for answer in &manifest.answers {
        let said = match (answer.hash, answer.file_hash) {
            (Some(hash), Some(own)) if hash == own => format!("{hash}, as the backup"),
            (Some(hash), Some(own)) => format!("{hash}, but the backup {own}"),
            (Some(hash), None) => format!("{hash}, which cannot be compared"),
            (None, _) => "no answer".to_owned(),
        };
        let because = answer.because.as_ref().map_or(String::new(), |because| format!(": {because}"));
        let compacted = answer.compact_revision.filter(|at| *at >= 0).map_or(String::new(), |at| format!("/{at}"));
        text.push_str(&format!("             {:10} {}{compacted}  {said}{because}\n", answer.name, answer.revision));
    }
    if let Some(why) = &manifest.unprovable {
        text.push_str(&format!("unprovable {why}\n"));
    }
    if !manifest.etcd.alarms.is_empty() {
        text.push_str(&format!("alarms     {}\n", manifest.etcd.alarms.join(", ")));
    }
    text
}

fn story(found: &Trusted) -> String {
    let manifest = &found.manifest;
    let db = &manifest.db;
    let members: Vec<&str> = manifest.etcd.members.iter().map(|member| member.name.as_str()).collect();
    let hash = db
        .hash_kv
        .map_or("not known".to_owned(), |hash| format!("{} (compacted at {})", hash.hash, hash.compact_revision));
    let recipients: Vec<String> =
        manifest.recipients.iter().map(|digest| digest.to_string()[..16].to_owned()).collect();
    let parents: Vec<String> = manifest.parents.iter().map(|parent| parent.id.to_string()).collect();
    [
        format!("backup     {}\n", manifest.id),
        format!(
            "captured   {} from {} (etcd {})\n",
            time(manifest.captured_at),
            manifest.etcd.member_name,
            manifest.etcd.version
        ),
        format!("slot       {}\n", manifest.slot.map_or("none: a person asked for it".to_owned(), time)),
        format!("state      revision {}, {} keys, {} records\n", grouped(db.revision), db.keys, db.records),
        format!("compacted  {}\n", grouped(db.compact_revision)),
        format!("hash       {hash}; live members: {}\n", entry::equality(manifest)),
        answers(manifest),
        manifest.encryption_at_rest.as_deref().map_or(String::new(), |keys| match keys {
            [] => "secrets    not encrypted at rest by the API server\n".to_owned(),
            keys => format!("secrets    need encryption key {}\n", proof::names(keys)),
        }),
        format!("size       {} of database, {} sealed\n", size(db.bytes), size(manifest.sealed.bytes)),
        format!("cluster    {}, members {}\n", manifest.etcd.cluster_id, members.join(", ")),
        format!(
            "lineage    {}; parents {}\n",
            manifest.lineage,
            if parents.is_empty() { "none".to_owned() } else { parents.join(", ") }
        ),
        format!("opens with sha256 of the recipient {}\n", recipients.join(", ")),
    ]
    .concat()
}
