//! `lifeboat restore`: the plan first, then consent, then the data dir.

mod from_file;

use super::args::{AllowWord, Cli, RestoreArgs};
use super::open::{self, CLOCK, Opened};
use super::output::{Output, grouped, size, time};
use super::progress::Progress;
use super::{entry, log};
use crate::catalog::Trusted;
use crate::clock::{Clock as _, Stopwatch};
use crate::daemon::signals::Shutdown;
use crate::error::{Error, Reason, Result};
use crate::proof::names;
use crate::restore::{self, Asking, Built, Members, Origin, RestorePlan, Target};
use crate::scratch;
use etcdfile::MemberSpec;
use lifeboat_policy::choice::{Allow, Choice, Refusal, RefusalKind, Want, choose};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead as _, Write as _};

/// What is restored: a backup of a store, or a file; as the plan and the answer name it.
struct Subject {
    title: String,
    /// In the sentence that says it is done.
    name: String,
    /// The plan's first lines: which backup, why, what is lost.
    backup: Vec<(&'static str, String)>,
    /// The plan's own fields of it in JSON.
    fields: Value,
    origin: Origin,
}

pub async fn restore(cli: &Cli, args: &RestoreArgs, output: &Output) -> Result<()> {
    log::begin(cli, None)?;
    let shutdown = Shutdown::listen()?;
    // Before anything is read over a slow line: a target that cannot be used ends it at once.
    restore::require_empty(&args.data_dir)?;
    if let Some(path) = &args.from {
        return from_file::restore(path, args, output, &shutdown).await;
    }
    let unverified = args.allow.contains(&AllowWord::Unverified);
    let opened = open::open(cli, &args.store, unverified, output).await?;
    let (chosen, choice) = chosen(&opened, args)?;
    let subject = stored(&opened, chosen, &choice, unverified);
    let plan = restore::plan(&subject.origin, target(args)?, members(args)?, token(args)?)?;
    // Loaded here too, so that a wrong file is told before anybody is asked.
    drop(opened.access.identities()?);
    let cluster = opened.cluster();
    let text = subject.describe(&plan);
    if args.dry_run {
        output.answer(CLOCK.now(), Some(cluster), subject.document(&plan, "planned", None), &text);
        return Ok(());
    }
    output.remark(&text);
    consent(args, cluster, "Type the cluster name")?;
    let watch = Stopwatch::start();
    let bar = Progress::new(output, "restore");
    let progress = |done: u64| bar.at(done, chosen.manifest.sealed.bytes);
    let work = build(&opened, chosen, &plan, output, &progress);
    let built = tokio::select! {
        built = work => built?,
        () = shutdown.token().cancelled() => return Err(interrupted()),
    };
    bar.finish();
    let done = Some((&built, watch.seconds()));
    let text = subject.report(&plan, &built, watch.seconds());
    output.answer(CLOCK.now(), Some(cluster), subject.document(&plan, "restored", done), &text);
    Ok(())
}

/// Reads the backup from the store that serves it best; where that one fails, from the next.
async fn build(
    opened: &Opened,
    chosen: &Trusted,
    plan: &RestorePlan,
    output: &Output,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Built> {
    let mut sources = opened.holdings.sources(chosen.id(), opened.yardstick.required).into_iter().peekable();
    while let Some(source) = sources.next() {
        let place = opened.access.place(source.at)?;
        let built = async {
            let (store, identities) = (place.store()?, opened.access.identities()?);
            let asking = Asking::default();
            restore::build(&store, opened.access.layout(), source.entry, identities, plan.clone(), &asking, progress)
                .await
        };
        match (built.await, sources.peek()) {
            (Err(error), Some(next)) if another_store_may_do_better(error.reason) => {
                output.remark(&format!(
                    "WARNING: {}: {error}\n  reading from {} instead\n",
                    place.name(),
                    next.held.name
                ));
            }
            (built, _) => return built,
        }
    }
    Err(Error::new(
        Reason::ObjectMissing,
        format!("the data of backup {} is in no store that can be read", chosen.id()),
    )
    .hint("use another backup: `lifeboat list`"))
}

/// The target's own troubles and a wrong key are the same whichever store is read.
fn another_store_may_do_better(reason: Reason) -> bool {
    use Reason::*;
    matches!(
        reason,
        StoreUnreachable
            | StoreDenied
            | StoreBucketMissing
            | StoreThrottled
            | StoreClockSkew
            | StoreTls
            | StoreTimeout
            | Damaged
            | ObjectMissing
    )
}

fn interrupted() -> Error {
    Error::new(Reason::Interrupted, "stopped by a signal; the target was not touched")
        .hint("run it again: what was begun beside it is cleared away by itself")
}

fn chosen<'a>(opened: &'a Opened, args: &RestoreArgs) -> Result<(&'a Trusted, Choice)> {
    let required = opened.yardstick.required;
    let want = match &args.backup {
        None => Want::NewestProven,
        Some(text) => Want::This(open::find(opened.catalog(), required, text)?),
    };
    let allows = |word| args.allow.contains(&word);
    let allow = Allow {
        unproven: allows(AllowWord::Unproven),
        diverged: allows(AllowWord::Diverged),
        older: allows(AllowWord::Older),
        late: allows(AllowWord::Late),
        unverified: allows(AllowWord::Unverified),
    };
    let choice = choose(&opened.catalog().candidates(required), &want, &allow, CLOCK.now()).map_err(refused)?;
    let found = opened.catalog().find(&choice.id).ok_or_else(|| {
        Error::new(Reason::Unsigned, format!("backup {} is not signed by a trusted key", choice.id))
            .hint("`lifeboat list` says why it does not count")
    })?;
    Ok((found, choice))
}

fn refused(refusal: Refusal) -> Error {
    let reason = match refusal.kind {
        RefusalKind::NoBackup => Reason::NoBackup,
        RefusalKind::NotUsable => Reason::NotUsable,
        RefusalKind::NeedsConsent { .. } => Reason::ConsentMissing,
    };
    Error::new(reason, refusal.text).hint(refusal.hint)
}

fn target(args: &RestoreArgs) -> Result<Target> {
    let dir =
        std::path::absolute(&args.data_dir).map_err(|source| Error::io("find", args.data_dir.display(), source))?;
    let bump = if args.no_bump { None } else { Some(args.bump) };
    Ok(Target { dir, bump, compact_file: args.compact_file, server: args.etcd_version })
}

/// `name=url,name=url`, several URLs of one member by repeating its name, as etcdutl takes them.
fn members(args: &RestoreArgs) -> Result<Members> {
    let (Some(name), Some(cluster)) = (&args.name, &args.initial_cluster) else {
        return Ok(Members::FromBackup);
    };
    let mut urls: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for part in cluster.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, url) = part.split_once('=').ok_or_else(|| {
            Error::new(Reason::Usage, format!("--initial-cluster: {part:?} is not NAME=URL"))
                .hint("expected like cp-1=https://10.0.0.11:2380,cp-2=https://10.0.0.12:2380")
        })?;
        urls.entry(name.to_owned()).or_default().push(url.to_owned());
    }
    if let Some(own) = &args.initial_advertise_peer_urls {
        let mut own: Vec<String> = own.split(',').map(|url| url.trim().to_owned()).collect();
        let mut known = urls.get(name).cloned().unwrap_or_default();
        own.sort();
        known.sort();
        if own != known {
            let text =
                format!("--initial-advertise-peer-urls {} is not what --initial-cluster says of {name}", own.join(","));
            return Err(Error::new(Reason::Usage, text).hint("give the same URLs in both"));
        }
    }
    let initial_cluster = urls.into_iter().map(|(name, peer_urls)| MemberSpec { name, peer_urls }).collect();
    Ok(Members::Given { name: name.clone(), initial_cluster })
}

/// A new token by default: members of the old cluster that still run must not talk to the restored one.
fn token(args: &RestoreArgs) -> Result<String> {
    match &args.initial_cluster_token {
        Some(token) => Ok(token.clone()),
        None => Ok(format!("lifeboat-{:016x}", scratch::random_u64()?)),
    }
}

/// A backup of a store as the plan names it.
fn stored(opened: &Opened, chosen: &Trusted, choice: &Choice, unverified: bool) -> Subject {
    let manifest = &chosen.manifest;
    let now = CLOCK.now();
    let at = manifest.captured_at.format("%Y-%m-%d %H:%M:%S UTC");
    let proof = entry::proof(chosen, &opened.yardstick, now);
    let mut backup = vec![
        (
            "backup",
            format!("{}, {at}, {} ago; proof: {proof}", manifest.id.short(6), entry::age(manifest.captured_at, now)),
        ),
        ("", choice.why.join("; ")),
    ];
    backup.extend(choice.notes.iter().map(|note| ("note", note.clone())));
    if unverified {
        let what = "no signature was checked: anyone who knows the recipient can have made this";
        backup.push(("WARNING", what.to_owned()));
    }
    backup.push(("lost", format!("all writes after {at} (revision {})", grouped(manifest.db.revision))));
    backup.push(("from", format!("{}, etcd {}", manifest.etcd.member_name, manifest.etcd.version)));
    let keys = manifest.encryption_at_rest.as_deref().unwrap_or_default();
    if !keys.is_empty() {
        backup.push(("secrets", format!("need encryption key {}: have it on the API server", names(keys))));
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
    }
}

impl Subject {
    fn describe(&self, plan: &RestorePlan) -> String {
        let mut text = format!("{}\n\nPLAN (nothing has been changed)\n", self.title);
        let mut line = |name: &str, what: &str| text.push_str(&format!("  {name:9} {what}\n"));
        for (name, what) in &self.backup {
            line(name, what);
        }
        line("member", &plan.name);
        let members: Vec<String> =
            plan.members.iter().map(|m| format!("{} {}", m.name, m.peer_urls.join(" "))).collect();
        line("members", &format!("{}; cluster token {}", members.join(", "), plan.token));
        if !self.origin.learners.is_empty() {
            let learners = self.origin.learners.join(", ");
            line("learners", &format!("left out: {learners}; add them again once the cluster runs"));
        }
        if let Some(oldest) = self.origin.oldest_server() {
            line("server", &format!("etcd {oldest} or newer starts from it"));
        }
        let (needed, free) = (size(plan.needed_bytes), size(plan.free_bytes));
        let anew = if plan.target.compact_file { "; the database is written anew without free pages" } else { "" };
        line("data", &format!("{}: needs {needed}, {free} free{anew}", plan.target.dir.display()));
        let revision = match plan.target.bump {
            Some(_) => format!("continues at {}, so watchers list afresh", grouped(plan.first_revision(&self.origin))),
            None => format!(
                "continues at {}: watchers from before may believe a stale world",
                grouped(self.origin.revision)
            ),
        };
        line("revision", &revision);
        text.push('\n');
        text
    }

    fn report(&self, plan: &RestorePlan, built: &Built, seconds: f64) -> String {
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
        let rate = size((self.origin.db_bytes as f64 / seconds.max(0.001)) as u64);
        format!(
            "RESTORED {} in {}: {} keys, {} at {rate}/s, revision {}\n{remarks}\nNext\n  1. start etcd with --name {} \
             --data-dir {}\n  2. check it: etcdctl endpoint status; etcdctl get --count-only --prefix \"\"\n  3. take a backup: \
             lifeboat backup --wait-proven 15m\n",
            self.name,
            entry::seconds(seconds),
            built.report.keys,
            size(self.origin.db_bytes),
            grouped(built.committed.revision),
            plan.name,
            plan.target.dir.display(),
        )
    }

    fn document(&self, plan: &RestorePlan, state: &str, done: Option<(&Built, f64)>) -> Value {
        let members: Vec<Value> =
            plan.members.iter().map(|member| json!({ "name": member.name, "peer_urls": member.peer_urls })).collect();
        let mut planned = json!({
            "revision": self.origin.revision, "first_revision": plan.first_revision(&self.origin), "bump": plan.target.bump,
            "data_dir": plan.target.dir, "name": plan.name, "members": members, "token": plan.token,
            "learners_left_out": self.origin.learners, "compact_file": plan.target.compact_file,
            "oldest_etcd": self.origin.oldest_server().map(|line| line.to_string()),
            "needed_bytes": plan.needed_bytes, "free_bytes": plan.free_bytes,
        });
        if let (Value::Object(planned), Value::Object(fields)) = (&mut planned, &self.fields) {
            planned.extend(fields.clone());
        }
        json!({
            "plan": planned,
            "report": done.map(|(built, seconds)| json!({
                "took_seconds": seconds, "keys": built.report.keys, "revision": built.committed.revision,
                "db_bytes": built.committed.db_bytes, "dangling_leases": built.report.dangling_leases,
                "dropped_members": built.committed.dropped_members, "dropped_alarms": built.committed.dropped_alarms,
            })),
            "state": state,
        })
    }
}

/// Asks at the terminal for a word. No terminal and no `--yes` is a no.
fn consent(args: &RestoreArgs, word: &str, question: &str) -> Result<()> {
    if args.yes {
        return Ok(());
    }
    let missing = |what: &str| {
        Error::new(Reason::ConsentMissing, format!("{what}: nothing was changed"))
            .hint(format!("run it again and type {word}, or give --yes"))
    };
    let terminal = std::fs::OpenOptions::new().read(true).write(true).open("/dev/tty");
    let Some(mut terminal) = terminal.ok().filter(std::io::IsTerminal::is_terminal) else {
        return Err(missing("there is no terminal to ask at"));
    };
    let mut ask = || -> std::io::Result<String> {
        write!(terminal, "{question} to build {}: ", args.data_dir.display())?;
        terminal.flush()?;
        let mut answer = String::new();
        std::io::BufReader::new(&terminal).read_line(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|source| Error::io("ask at", "the terminal", source))?;
    if answer.trim() == word { Ok(()) } else { Err(missing(&format!("the answer was not {word}"))) }
}
