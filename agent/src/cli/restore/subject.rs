//! What is restored, in words and in JSON: the plan's lines, the report, and what to do then.

use super::Nodes;
use super::entry;
use super::grouped;
use crate::capture::{Ask, Counted};
use crate::catalog::Trusted;
use crate::cli::open::{CLOCK, Opened};
use crate::cli::output::{moment, size, time};
use crate::clock::Clock as _;
use crate::proof::names;
use crate::restore::{Built, Origin, RestorePlan};
use chrono::{DateTime, TimeDelta, Utc};
use lifeboat_policy::choice::Choice;
use lifeboat_policy::id::BackupId;
use lifeboat_policy::span;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// A backup of a store, or a file; as the plan and the answer name it.
pub(super) struct Subject {
    pub title: String,
    /// In the sentence that says it is done.
    pub name: String,
    /// The plan's first lines: which backup, why, what is lost.
    pub backup: Vec<(&'static str, String)>,
    /// The plan's own fields of it in JSON.
    pub fields: Value,
    pub origin: Origin,
    /// The keys of encryption at rest that the API servers will need.
    pub keys: String,
    pub in_place: Option<InPlace>,
}

/// This node, where its etcd's data is exchanged in place.
pub(super) struct InPlace {
    /// What the plan says of it.
    pub lines: Vec<(&'static str, String)>,
    pub data_dir: PathBuf,
    /// Whether its API server is started anew too.
    pub api_server: bool,
}

/// What is counted on the way: how much Kubernetes there is, for what is to be looked at afterwards.
pub(super) fn ask() -> Ask {
    Ask { kinds: true, expect: Vec::new() }
}

/// A backup of a store as the plan names it.
pub(super) fn stored(opened: &Opened, chosen: &Trusted, choice: &Choice, unverified: bool) -> Subject {
    let manifest = &chosen.manifest;
    let now = CLOCK.now();
    let at = moment(manifest.captured_at);
    let proof = entry::proof(chosen, &opened.yardstick, now);
    let mut backup = vec![
        (
            "backup",
            format!("{}, {at}, {} ago; proof: {proof}", manifest.id.short(6), entry::age(manifest.captured_at, now)),
        ),
        ("", choice.why.join("; ")),
    ];
    backup.extend(choice.notes.iter().map(|note| ("note", note.clone())));
    backup.extend(opened.catalog().newest().and_then(|newest| overdue(newest, now)).map(|note| ("note", note)));
    if unverified {
        let what = "no signature was checked: anyone who knows the recipient can have made this";
        backup.push(("WARNING", what.to_owned()));
    }
    backup.push(("lost", format!("all writes after {at} (revision {})", grouped(manifest.db.revision))));
    backup.push(("from", format!("{}, etcd {}", manifest.etcd.member_name, manifest.etcd.version)));
    let keys = names(manifest.encryption_at_rest.as_deref().unwrap_or_default());
    if !keys.is_empty() {
        backup.push(("secrets", format!("need encryption key {keys}: have it on the API server")));
    }
    let sources = opened.holdings.sources(&manifest.id, opened.yardstick.required);
    let sources: Vec<&str> = sources.iter().map(|source| source.held.name.as_str()).collect();
    if !opened.holdings.is_single() {
        backup.push(("stores", format!("read from {}", sources.join(", else "))));
    }
    Subject {
        title: format!("Using {} in {}", opened.cluster(), opened.access.urls()),
        name: format!("{} to {at}", opened.cluster()),
        backup,
        fields: json!({
            "backup": manifest.id, "manifest_sha256": chosen.manifest_sha256, "captured_at": time(manifest.captured_at),
            "stores": sources, "encryption_at_rest": manifest.encryption_at_rest,
        }),
        origin: Origin::of_manifest(manifest),
        keys,
        in_place: None,
    }
}

/// That the newest backup is older than its own schedule allows: then newer ones were taken away, or none was taken.
fn overdue(newest: &Trusted, now: DateTime<Utc>) -> Option<String> {
    let every = Duration::from_secs(newest.manifest.slot_seconds?);
    let age = now - newest.manifest.captured_at;
    (age > TimeDelta::from_std(every * 2).ok()?).then(|| {
        format!(
            "one was due every {}, and the newest here is {} old: newer ones may be missing, or none was taken",
            span::print(every),
            entry::age(newest.manifest.captured_at, now)
        )
    })
}

impl Subject {
    fn lines(&self) -> String {
        let mut text = format!("{}\n\nPLAN (nothing has been changed)\n", self.title);
        for (name, what) in &self.backup {
            text.push_str(&line(name, what));
        }
        text
    }

    /// Without a target: what would be restored, and what to type.
    pub fn show(&self, id: &BackupId) -> String {
        let mut text = self.lines();
        let members: Vec<String> = self.origin.members.iter().map(|member| member.name.clone()).collect();
        text.push_str(&line("members", &members.join(", ")));
        let each = if members.len() > 1 { ", on one member; it prints the command for each of the others" } else { "" };
        let id = id.short(6);
        let ways = [
            ("--in-place              ", "exchanges the data of this node's etcd: stops, swaps, starts, waits"),
            ("--data-dir /var/lib/etcd", "builds a data dir and touches nothing else; move the old one aside first"),
        ];
        text.push_str(&format!("\nWith what you gave just now{each}:\n"));
        for (flags, what) in ways {
            text.push_str(&format!("  lifeboat restore {id} {flags}   {what}\n"));
        }
        text
    }

    pub fn shown(&self) -> Value {
        let members: Vec<&str> = self.origin.members.iter().map(|member| member.name.as_str()).collect();
        let mut planned = json!({ "revision": self.origin.revision, "members": members });
        extend(&mut planned, &self.fields);
        json!({ "plan": planned, "report": null, "state": "planned" })
    }

    pub fn describe(&self, plan: &RestorePlan) -> String {
        let mut text = self.lines();
        let mut put = |name: &str, what: &str| text.push_str(&line(name, what));
        match &self.in_place {
            None => put("member", &plan.name),
            Some(node) => node.lines.iter().for_each(|(name, what)| put(name, what)),
        }
        let members: Vec<String> =
            plan.members.iter().map(|m| format!("{} {}", m.name, m.peer_urls.join(" "))).collect();
        put("members", &format!("{}; cluster token {}", members.join(", "), plan.token));
        if !self.origin.learners.is_empty() {
            let learners = self.origin.learners.join(", ");
            put("learners", &format!("left out: {learners}; add them again once the cluster runs"));
        }
        if let Some(oldest) = self.origin.oldest_server() {
            put("server", &format!("etcd {oldest} or newer starts from it"));
        }
        let (needed, free) = (size(plan.needed_bytes), size(plan.free_bytes));
        let anew = if plan.target.compact_file { "; the database is written anew without free pages" } else { "" };
        let data = match &self.in_place {
            Some(node) => {
                let how = "built beside it, then exchanged; the old one is kept";
                format!("{}: needs {needed}, {free} free; {how}{anew}", node.data_dir.display())
            }
            None => format!("{}: needs {needed}, {free} free{anew}", plan.target.dir.display()),
        };
        put("data", &data);
        let revision = match plan.target.bump {
            Some(_) => format!("continues at {}, so watchers list afresh", grouped(plan.first_revision(&self.origin))),
            None => format!(
                "continues at {}: watchers from before may believe a stale world",
                grouped(self.origin.revision)
            ),
        };
        put("revision", &revision);
        text.push('\n');
        text
    }

    pub fn report(&self, plan: &RestorePlan, built: &Built, seconds: f64) -> String {
        let remarks = remarks(built);
        let rate = size((self.origin.db_bytes as f64 / seconds.max(0.001)) as u64);
        format!(
            "RESTORED {} in {}: {} keys, {} at {rate}/s, revision {}\n{remarks}\n{}",
            self.name,
            entry::seconds(seconds),
            built.report.keys,
            size(self.origin.db_bytes),
            grouped(built.committed.revision),
            steps(&self.next(plan, &built.counted)),
        )
    }

    /// What the build gave, in one line.
    pub fn built(&self, built: &Built, seconds: f64) -> String {
        let rate = size((self.origin.db_bytes as f64 / seconds.max(0.001)) as u64);
        format!("{}, {rate}/s, {} keys; tree sound", size(self.origin.db_bytes), built.report.keys)
    }

    /// What is left for a person, from what was found in the backup.
    pub fn next(&self, plan: &RestorePlan, counted: &Counted) -> Vec<String> {
        let mut steps = Vec::new();
        let in_place = self.in_place.is_some();
        if !in_place {
            steps.push(format!("start etcd with --name {} --data-dir {}", plan.name, plan.target.dir.display()));
        }
        if plan.members.len() > 1 && !in_place {
            let others: Vec<&str> =
                plan.members.iter().map(|member| member.name.as_str()).filter(|name| *name != plan.name).collect();
            steps.push(format!("the same on {}: a majority must run before any of them answers", others.join(", ")));
        }
        steps.push("check it: etcdctl endpoint status; etcdctl get --count-only --prefix \"\"".to_owned());
        let kind = |wanted: &str| counted.kinds.iter().find(|kind| kind.prefix == wanted).map_or(0, |kind| kind.keys);
        if counted.kinds.iter().any(|kind| kind.prefix.starts_with("/registry/")) {
            if !self.keys.is_empty() {
                let what = "before kube-apiserver starts: its --encryption-provider-config must hold key";
                steps.push(format!("{what} {}", self.keys));
            }
            let api_server = self.in_place.as_ref().is_some_and(|node| node.api_server);
            let anew = match (plan.target.bump.is_some(), api_server) {
                (true, true) => None,
                (true, false) => {
                    Some("kube-apiserver if it ran meanwhile: it lists afresh, and so does all that watches it")
                }
                (false, true) => Some(
                    "kube-controller-manager, kube-scheduler and every kubelet: the revision goes on where it ended, so they \
                     may believe a world that is gone",
                ),
                (false, false) => Some(
                    "kube-apiserver, kube-controller-manager, kube-scheduler and every kubelet: the revision goes on where it \
                     ended, so they may believe a world that is gone",
                ),
            };
            steps.extend(anew.map(|anew| format!("restart {anew}")));
            steps.push(format!(
                "kubectl get nodes (the backup knows {}); restart the kubelet of each NotReady after 2 min",
                kind("/registry/minions")
            ));
            if kind("/registry/masterleases") > 0 {
                let what = "kubectl get endpoints kubernetes: API servers that are gone leave it within a minute";
                steps.push(what.to_owned());
            }
            steps.push("redo what was changed since; what was deleted since is back".to_owned());
        }
        steps.push("take a backup: lifeboat backup --wait-proven 15m".to_owned());
        steps
    }

    /// `nodes` where a store's backup is restored.
    pub fn document(
        &self,
        plan: &RestorePlan,
        nodes: Option<&Nodes>,
        state: &str,
        done: Option<(&Built, f64)>,
    ) -> Value {
        let members: Vec<Value> =
            plan.members.iter().map(|member| json!({ "name": member.name, "peer_urls": member.peer_urls })).collect();
        let mut planned = json!({
            "revision": self.origin.revision, "first_revision": plan.first_revision(&self.origin), "bump": plan.target.bump,
            "data_dir": plan.target.dir, "name": plan.name, "members": members, "token": plan.token,
            "learners_left_out": self.origin.learners, "compact_file": plan.target.compact_file,
            "oldest_etcd": self.origin.oldest_server().map(|line| line.to_string()),
            "needed_bytes": plan.needed_bytes, "free_bytes": plan.free_bytes,
            "plan": nodes.map(|nodes| &nodes.plan), "other_nodes": nodes.map(Nodes::commands),
        });
        extend(&mut planned, &self.fields);
        json!({
            "plan": planned,
            "report": done.map(|(built, seconds)| json!({
                "took_seconds": seconds, "keys": built.report.keys, "revision": built.committed.revision,
                "db_bytes": built.committed.db_bytes, "dangling_leases": built.report.dangling_leases,
                "dropped_members": built.committed.dropped_members, "dropped_alarms": built.committed.dropped_alarms,
                "next": self.next(plan, &built.counted),
            })),
            "state": state,
        })
    }
}

/// What is left to do, by number.
pub(super) fn steps(next: &[String]) -> String {
    let mut text = "Next\n".to_owned();
    for (at, step) in next.iter().enumerate() {
        text.push_str(&format!("  {}. {step}\n", at + 1));
    }
    text
}

/// What was noticed while it was built.
pub(super) fn remarks(built: &Built) -> String {
    let mut remarks = String::new();
    if built.committed.dropped_alarms > 0 {
        remarks.push_str(&format!("  {} alarms of the old cluster were cleared\n", built.committed.dropped_alarms));
    }
    if built.committed.dropped_downgrade {
        remarks.push_str("  a downgrade that the old cluster had begun was called off\n");
    }
    if built.report.dangling_leases > 0 {
        // Not of our making: the source cluster has it too. etcd serves such a key, but ends at the first put that
        // keeps its lease, and again at every start after that.
        remarks.push_str(&format!(
            "  WARNING: {} keys name a lease that does not exist, as in the source cluster. Write these keys anew, without\n  \
             --ignore-lease, before anything else does: leases {}\n",
            built.report.dangling_leases,
            built.report.dangling_lease_ids.iter().map(|id| format!("{id:x}")).collect::<Vec<_>>().join(", ")
        ));
    }
    remarks
}

fn line(name: &str, what: &str) -> String {
    format!("  {name:9} {what}\n")
}

pub(super) fn extend(planned: &mut Value, fields: &Value) {
    if let (Value::Object(planned), Value::Object(fields)) = (planned, fields) {
        planned.extend(fields.clone());
    }
}
