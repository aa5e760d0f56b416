//! `lifeboat show`: the story of one backup.

use super::args::{Cli, ShowArgs};
use super::open::{self, CLOCK};
use super::output::{Output, grouped, size, time};
use super::{entry, log};
use crate::catalog::Trusted;
use crate::catalog::manifest::Manifest;
use crate::clock::Clock as _;
use crate::error::{Error, Reason, Result};
use crate::summary;
use serde_json::{Value, json};

pub async fn show(cli: &Cli, args: &ShowArgs, output: &Output) -> Result<()> {
    log::begin(cli, None)?;
    let opened = open::open(cli, &args.store, false).await?;
    let now = CLOCK.now();
    let id = open::find(&opened.catalog, opened.yardstick.required, &args.backup)?;
    let Some(found) = opened.catalog.find(&id) else {
        let why = opened.catalog.untrusted.iter().find(|entry| entry.id == id).map(|entry| entry.why.to_string());
        return Err(Error::new(Reason::Unsigned, format!("backup {id} does not count: {}", why.unwrap_or_default()))
            .hint("add the signer's public key if it is yours; otherwise find out who wrote it"));
    };
    let plan = opened
        .yardstick
        .rules
        .as_ref()
        .map(|rules| summary::plan(&opened.catalog, opened.yardstick.required, rules, now));
    let reasons = plan.as_ref().map(|plan| entry::reasons(plan, &found.manifest)).unwrap_or_default();
    let mut text = story(found, opened.access.store().url());
    for verdict in &found.verdicts {
        text.push_str(&format!("proof      {} at {}, {}\n", verdict.outcome, verdict.level, time(verdict.at)));
        for step in &verdict.steps {
            text.push_str(&format!(
                "             {:10} {:>7}  {}\n",
                step.name,
                entry::seconds(step.took_seconds),
                step.found
            ));
        }
    }
    if !reasons.is_empty() {
        text.push_str(&format!("retention  {}\n", reasons.join("; ")));
    }
    for (tombstone, _) in &found.tombstones {
        text.push_str(&format!("marked     {} to be deleted: {}\n", time(tombstone.at), tombstone.reason));
    }
    let short = lifeboat_policy::id::short_len(opened.catalog.trusted.iter().map(Trusted::id));
    let mut fields = entry::trusted(found, &opened.yardstick, plan.as_ref(), opened.access.store().name(), short);
    if let Value::Object(fields) = &mut fields {
        fields.insert("manifest".to_owned(), json!(found.manifest));
        fields.insert("verdicts".to_owned(), json!(found.verdicts));
    }
    output.answer(now, Some(opened.catalog.cluster.as_str()), json!({ "backup": fields }), &text);
    Ok(())
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

fn story(found: &Trusted, store: &str) -> String {
    let manifest = &found.manifest;
    let db = &manifest.db;
    let members: Vec<&str> = manifest.etcd.members.iter().map(|member| member.name.as_str()).collect();
    let hash = db
        .hash_kv
        .map_or("not known".to_owned(), |hash| format!("{} (compacted at {})", hash.hash, hash.compact_revision));
    let recipients: Vec<String> =
        manifest.recipients.iter().map(|digest| digest.to_string()[..16].to_owned()).collect();
    let parents: Vec<String> = manifest.parents.iter().map(|parent| parent.id.to_string()).collect();
    let present = if found.present { "present" } else { "its data is MISSING" };
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
        format!("size       {} of database, {} sealed\n", size(db.bytes), size(manifest.sealed.bytes)),
        format!("cluster    {}, members {}\n", manifest.etcd.cluster_id, members.join(", ")),
        format!(
            "lineage    {}; parents {}\n",
            manifest.lineage,
            if parents.is_empty() { "none".to_owned() } else { parents.join(", ") }
        ),
        format!("opens with sha256 of the recipient {}\n", recipients.join(", ")),
        format!("stored     {store}, {present}; signed by {}\n", manifest.binding.signer),
    ]
    .concat()
}
