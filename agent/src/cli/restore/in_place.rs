//! `lifeboat restore --in-place` and `--undo`: what this node is, what an earlier run left, the steps as they are told.

use super::super::open::CLOCK;
use super::super::output::{Output, count, moment};
use super::nodes::{joined, quoted};
use super::{Subject, entry, subject};
use crate::cli::args::RestoreArgs;
use crate::clock::{Clock as _, Stopwatch};
use crate::daemon::signals::Shutdown;
use crate::error::{Error, Reason, Result};
use crate::inplace::{self, Begun, Ended, Here, How, Journal, Peer, Sight, Stage, Steps, Swap, Told};
use crate::restore::{Agreed, RestorePlan};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Mutex;

/// This node's etcd and what starts it.
pub(super) struct Node {
    pub how: How,
    pub here: Here,
    pub swap: Swap,
}

/// Finds this node's etcd.
pub(super) async fn find(args: &RestoreArgs) -> Result<Node> {
    let how = How::find(args.static_pod.as_deref(), args.unit.as_deref()).await?;
    let here = how.read().await?;
    if let Some(name) = args.name.as_ref().filter(|name| **name != here.server.name) {
        let text = format!("--name {name}: etcd on this node is called {}", here.server.name);
        return Err(Error::new(Reason::Usage, text).hint("leave --name out: in place it is read from what starts etcd"));
    }
    let swap = Swap::plan(&here.server.data_dir, CLOCK.now())?;
    Ok(Node { how, here, swap })
}

impl Node {
    /// An earlier restore of this node that was cut short; one that only built is cleared away.
    pub fn under_way(&self, args: &RestoreArgs) -> Result<Option<Journal>> {
        let Some(journal) = Journal::read(&self.here.journal_dir)? else { return Ok(None) };
        match journal.stage {
            Stage::Done => return Ok(None),
            Stage::Building if !args.dry_run => {
                let _alone = Journal::lock(&self.here.journal_dir)?;
                return inplace::clear(&journal).map(|()| None);
            }
            _ => {}
        }
        let refused = |text: String| {
            Err(Error::new(Reason::TargetNotEmpty, text)
                .hint("go back first: lifeboat restore --undo; nothing was changed"))
        };
        if journal.undoing {
            return refused(format!("the restore of {} here is being undone", journal.subject));
        }
        let other = args.backup.as_ref().is_some_and(|backup| !journal.backup.contains(backup.as_str()));
        if other || args.plan.as_deref().is_some_and(|plan| !same_plan(plan, &journal.plan)) {
            return refused(format!("a restore of {} (backup {}) is under way here", journal.subject, journal.backup));
        }
        Ok(Some(journal))
    }

    /// What the plan says of this node.
    pub async fn lines(&self, plan: &RestorePlan) -> Result<Vec<(&'static str, String)>> {
        let version = self.here.version.as_ref().map_or_else(String::new, |version| format!(", etcd {version}"));
        let mut lines = vec![("node", format!("{}, {}{version}", self.here.server.name, self.how.describe()))];
        let restored = format!("{:x}", plan.cluster_id());
        let (mut silent, mut back, mut old, mut seen) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for peer in peers(plan) {
            match inplace::look(&peer, &self.here.server.peer_tls).await? {
                Sight::Silent => silent.push(peer.name),
                Sight::Serves(id) if id == restored => back.push(peer.name),
                Sight::Serves(_) => old.push(peer.name),
                Sight::Unclear(what) => seen.push(format!("{} cannot be told: {what}", peer.name)),
            }
        }
        for (names, said) in [
            (silent, "silent: good"),
            (back, "in the restored cluster already: good"),
            (old, "still in the old cluster: etcd here stays stopped until the command has run there too"),
        ] {
            seen.extend((!names.is_empty()).then(|| format!("{} {said}", joined(&names))));
        }
        lines.extend((!seen.is_empty()).then(|| ("peers", seen.join("; "))));
        lines.push(("stops", self.how.stops().to_owned()));
        Ok(lines)
    }

    /// That the backup's member of this name is at this node's address.
    pub fn check(&self, plan: &RestorePlan) -> Result<()> {
        let sorted = |urls: &[String]| urls.iter().cloned().collect::<BTreeSet<_>>();
        let own = &self.here.server.peer_urls;
        let planned = plan.members.iter().find(|member| member.name == plan.name).map(|member| &member.peer_urls);
        match planned {
            Some(planned) if !own.is_empty() && sorted(planned) != sorted(own) => {
                let text =
                    format!("{} is at {} here, and at {} in the backup", plan.name, own.join(", "), planned.join(", "));
                Err(Error::new(Reason::Usage, text)
                    .hint("if addresses have changed, give all members with --name and --initial-cluster"))
            }
            _ => Ok(()),
        }
    }

    /// How far beyond this revision watchers may have seen this cluster: by the data here, and by the restore before.
    pub fn ahead_of(&self, revision: i64) -> Result<u64> {
        let last = Journal::read(&self.here.journal_dir)?.map_or(0, |last| last.first_revision);
        let last = u64::try_from(last.saturating_sub(revision)).unwrap_or(0);
        Ok(self.here.ahead_of(revision).max(last))
    }

    /// With the lock that keeps others out meanwhile.
    pub fn begin(&self, plan: &RestorePlan, agreed: &Agreed, subject: &Subject) -> Result<(Journal, File)> {
        let alone = Journal::lock(&self.here.journal_dir)?;
        if let Some(last) = Journal::read(&self.here.journal_dir)?.filter(|last| last.stage == Stage::Done) {
            last.archive(&self.here.journal_dir)?;
        }
        let begun = Begun {
            subject: &subject.name,
            cluster: &agreed.cluster,
            backup: &agreed.backup.to_string(),
            plan: &agreed.to_text()?,
            name: &plan.name,
            cluster_id: plan.cluster_id(),
            first_revision: plan.first_revision(&subject.origin),
            peers: peers(plan),
            swap: self.swap.clone(),
        };
        let journal = Journal::begin(&self.how, &self.here.server.data_dir, begun, CLOCK.now());
        journal.save(&self.here.journal_dir)?;
        Ok((journal, alone))
    }
}

fn peers(plan: &RestorePlan) -> Vec<Peer> {
    let others = plan.members.iter().filter(|member| member.name != plan.name);
    others.map(|member| Peer { name: member.name.clone(), urls: member.peer_urls.clone() }).collect()
}

/// A plan is given as a word or as a file with it.
fn same_plan(given: &str, known: &str) -> bool {
    super::agreed(given).and_then(|plan| plan.to_text()).is_ok_and(|plan| plan == known)
}

/// Goes on with what an earlier run began.
pub(super) async fn go_on(
    node: &Node,
    mut journal: Journal,
    args: &RestoreArgs,
    output: &Output,
    shutdown: &Shutdown,
) -> Result<()> {
    let what = format!(
        "the restore of {} that began at {}, at the step `{}`",
        journal.subject,
        moment(journal.began),
        journal.stage.name()
    );
    let plan =
        json!({ "backup": journal.backup, "plan": journal.plan, "data_dir": journal.data_dir, "name": journal.name });
    if args.dry_run {
        let text = format!("Under way here: {what}. The same without --dry-run goes on (nothing has been changed)\n");
        let fields = json!({ "plan": plan, "report": null, "state": "planned" });
        output.answer(CLOCK.now(), Some(&journal.cluster), fields, &text);
        return Ok(());
    }
    let _alone = Journal::lock(&node.here.journal_dir)?;
    output.remark(&format!("Going on with {what}\n\n"));
    let watch = Stopwatch::start();
    let ended = run(&node.here, &mut journal, args, output, shutdown).await?;
    let fields = json!({ "plan": plan, "report": facts(&journal, &ended, watch.seconds()), "state": "restored" });
    output.answer(CLOCK.now(), Some(&journal.cluster), fields, &text(&journal, watch.seconds()));
    Ok(())
}

/// The steps after the build, from wherever the journal stands.
pub(super) async fn run(
    here: &Here,
    journal: &mut Journal,
    args: &RestoreArgs,
    output: &Output,
    shutdown: &Shutdown,
) -> Result<Ended> {
    let waits = Mutex::new(BTreeSet::new());
    let tell = |told: Told| match told {
        Told::Waits(stage, what) => {
            // Once for each: what is waited for may take turns.
            let mut told = waits.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let line = format!("  {:7} waiting: {what}\n", stage.name());
            if told.insert(line.clone()) {
                output.remark(&line);
            }
        }
        Told::Did(stage, what, took) => output.remark(&step(stage, &what, took)),
        Told::Warning(what) => output.remark(&format!("  WARNING {what}\n")),
    };
    let steps = Steps { journal, here, wait: args.wait, tell: &tell };
    tokio::select! {
        ended = steps.run() => ended,
        () = shutdown.token().cancelled() => Err(interrupted_between()),
    }
}

/// One line of what was done, with its time in a column of its own.
pub(super) fn step(stage: Stage, what: &str, took: f64) -> String {
    format!("  {:7} {what:60} {}\n", stage.name(), entry::seconds(took))
}

fn interrupted_between() -> Error {
    Error::new(Reason::Interrupted, "stopped by a signal between two steps")
        .hint("run the same again: it goes on where it stood; or go back: lifeboat restore --undo")
}

/// The report's fields beyond those of a restore into a data dir.
pub(super) fn facts(journal: &Journal, ended: &Ended, seconds: f64) -> Value {
    let old: Option<PathBuf> = Some(journal.swap.kept_dir(&journal.data_dir)).filter(|dir| dir.exists());
    json!({
        "took_seconds": seconds, "next": journal.next, "old_data": old, "api_server_ready": ended.api_ready,
        "members": members(ended),
    })
}

fn members(ended: &Ended) -> Value {
    ended.members.map_or(Value::Null, |(running, of)| json!({ "running": running, "of": of }))
}

/// Said when it is done.
pub(super) fn text(journal: &Journal, seconds: f64) -> String {
    let next = subject::steps(&journal.next);
    format!("\nRESTORED {} in {}.\n\n{next}", journal.subject, entry::seconds(seconds))
}

/// What may be done with the two data dirs afterwards.
pub(super) fn undo_or_keep(journal: &Journal, how: &How) -> String {
    let flags = how.words().iter().map(|word| format!(" {}", quoted(word))).collect::<String>();
    let every = if journal.peers.is_empty() { "" } else { " On every node:" };
    let kept = journal.swap.kept_dir(&journal.data_dir);
    // Said before the exchange: the old one still has its name.
    let right = if journal.swap.live.exists() { format!(" Right? rm -r {}", kept.display()) } else { String::new() };
    format!("Wrong?{every} lifeboat restore --undo{flags}.{right}")
}

/// Takes the last restore of this node back.
pub(super) async fn undo(args: &RestoreArgs, output: &Output, shutdown: &Shutdown) -> Result<()> {
    let how = How::find(args.static_pod.as_deref(), args.unit.as_deref()).await?;
    let here = how.read().await?;
    let nothing = |text: String| Err(Error::new(Reason::Usage, text).hint("nothing was changed"));
    let dir = &here.journal_dir;
    let Some(mut journal) = Journal::read(dir)? else {
        return nothing(format!("no restore in place of this node is known: {} holds no journal", dir.display()));
    };
    if journal.undoing && journal.stage == Stage::Done {
        return nothing(format!("the restore of {} is undone already", journal.subject));
    }
    if journal.stage == Stage::Building && !args.dry_run {
        let _alone = Journal::lock(dir)?;
        inplace::clear(&journal)?;
        journal.undoing = true;
        journal.archive(dir)?;
        let text = "UNDONE: only a new data dir had been begun, and it is removed; etcd was never stopped\n";
        output.answer(
            CLOCK.now(),
            Some(&journal.cluster),
            json!({ "plan": null, "report": null, "state": "undone" }),
            text,
        );
        return Ok(());
    }
    output.remark(&plan_of_undo(&journal));
    if args.dry_run {
        let fields = json!({ "plan": { "backup": journal.backup, "undo": true }, "report": null, "state": "planned" });
        output.answer(CLOCK.now(), Some(&journal.cluster), fields, "");
        return Ok(());
    }
    let question = format!("Type the cluster name to bring the old data back on {}", journal.name);
    super::consent(args, &question, &journal.cluster)?;
    let _alone = Journal::lock(dir)?;
    if !journal.undoing {
        (journal.undoing, journal.stage) = (true, Stage::Stopping);
        journal.save(dir)?;
    }
    let watch = Stopwatch::start();
    let ended = run(&here, &mut journal, args, output, shutdown).await?;
    let who = match ended.members {
        Some((running, of)) => format!("{running} of {}", count(of, "member")),
        None => "etcd stays stopped, as there was no data before".to_owned(),
    };
    let undone = journal.swap.undone.display().to_string();
    let text = format!(
        "\nUNDONE the restore of {} in {}: {who}. The restored data is kept in {undone}\n",
        journal.subject,
        entry::seconds(watch.seconds())
    );
    let report = json!({
        "took_seconds": watch.seconds(), "restored_data": undone, "api_server_ready": ended.api_ready,
        "members": members(&ended),
    });
    let fields = json!({ "plan": { "backup": journal.backup, "undo": true }, "report": report, "state": "undone" });
    output.answer(CLOCK.now(), Some(&journal.cluster), fields, &text);
    Ok(())
}

fn plan_of_undo(journal: &Journal) -> String {
    let others = match journal.peers.is_empty() {
        true => String::new(),
        false => {
            let names: Vec<String> = journal.peers.iter().map(|peer| peer.name.clone()).collect();
            format!(
                "  peers     the same on {}: etcd here starts only when none of them runs the restored cluster\n",
                joined(&names)
            )
        }
    };
    format!(
        "UNDO the restore of {} that began at {} (nothing has been changed)\n  data      {} gets back what was there before\n  \
         lost      what was written since is kept aside, not merged\n{others}\n",
        journal.subject,
        moment(journal.began),
        journal.data_dir.display()
    )
}
