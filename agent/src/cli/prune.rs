//! `lifeboat prune`: the retention plan with reasons; acts only with `--apply`.

use super::args::{Cli, PruneArgs, StoreArgs};
use super::log;
use super::open::{self, CLOCK};
use super::output::{Output, count, size, time};
use crate::catalog::Catalog;
use crate::clock::Clock as _;
use crate::config::{Config, Role};
use crate::error::{Error, Reason, Result};
use crate::holdings::Held;
use crate::keys::Signer;
use crate::prune::{self, Pruner};
use crate::setup;
use crate::store::{LEFTOVER_GRACE, sweep_leftovers};
use crate::summary;
use chrono::{DateTime, Utc};
use lifeboat_policy::retention::{Action, Plan, Verdict};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Kept backups shown without `--all`.
const KEPT_SHOWN: usize = 10;

pub async fn prune(cli: &Cli, args: &PruneArgs, output: &Output) -> Result<()> {
    log::begin(cli, None)?;
    let opened = open::open(cli, &StoreArgs::default(), false, output).await?;
    let Some(config) = &opened.config else {
        return Err(Error::new(Reason::Config, "a retention plan needs a config"));
    };
    let now = CLOCK.now();
    let signer = if args.apply { Some(setup::signer(config, Role::Prune)?) } else { None };
    signer.as_ref().map_or(Ok(()), |signer| opened.catalog().may_sign(signer, now))?;
    let (mut text, mut documents, mut failed) = (String::new(), Vec::new(), None);
    // Every store by its own rules, whatever becomes of the others.
    for (at, held, catalog) in opened.holdings.readable() {
        let Some(rules) = &held.rules else { continue };
        let plan = summary::plan(catalog, &opened.yardstick, rules, now);
        let (mut done, mut dropped) = (prune::Done::default(), 0);
        if let Some(signer) = &signer {
            match carry_out(&opened, config, at, &plan, signer, now).await {
                Ok(carried_out) => (done, dropped) = carried_out,
                Err(error) if opened.holdings.is_single() => return Err(error),
                Err(error) => {
                    text.push_str(&format!("{}: {error}\n", held.name));
                    failed = failed.or(Some(error));
                }
            }
        }
        text.push_str(&heading(held, catalog, args.apply));
        text.push_str(&body(catalog, &plan, args.all));
        text.push_str(&match args.apply {
            true => done_text(&done, dropped),
            false => format!("Frees {} now. To do it: lifeboat prune --apply\n", size(freed(catalog, &plan))),
        });
        documents.push(document(held, catalog, &plan, args.apply.then_some((&done, dropped))));
    }
    let fields = match documents.as_slice() {
        [only] if opened.holdings.is_single() => only.clone(),
        _ => json!({ "applied": args.apply, "stores": documents }),
    };
    output.answer(now, Some(opened.cluster()), fields, &text);
    failed.map_or(Ok(()), Err)
}

fn done_text(done: &prune::Done, uploads_dropped: usize) -> String {
    let (marked, deleted, freed) = (done.marked.len(), done.deleted.len(), size(done.freed_bytes));
    let uploads = match uploads_dropped {
        0 => String::new(),
        number => format!(" Unfinished uploads dropped: {number}."),
    };
    let mut text = format!("Done: {marked} marked, {deleted} deleted, {freed} freed.{uploads}\n");
    for id in &done.spared {
        text.push_str(&format!("  {id} was held meanwhile and stays\n"));
    }
    for locked in &done.locked {
        text.push_str(&format!("  locked, tried again at the next run: {}\n", locked.object));
    }
    if !done.orphans_marked.is_empty() || !done.orphans_deleted.is_empty() {
        let (marked, deleted) = (done.orphans_marked.len(), done.orphans_deleted.len());
        text.push_str(&format!("Uploads without a manifest: {marked} marked, {deleted} deleted.\n"));
    }
    text
}

/// What was done, and how many unfinished uploads were dropped.
async fn carry_out(
    opened: &open::Opened,
    config: &Config,
    at: usize,
    plan: &Plan,
    signer: &Signer,
    now: DateTime<Utc>,
) -> Result<(prune::Done, usize)> {
    if let Some(freeze) = &plan.frozen {
        return Err(Error::new(Reason::PruneFrozen, format!("prune is frozen: {freeze}")).hint("nothing was deleted"));
    }
    let reader = opened.access.place(at)?.reader()?;
    let Some((rules, catalog)) =
        opened.holdings.stores.get(at).and_then(|held| held.rules.as_ref().zip(held.catalog.as_ref().ok()))
    else {
        return Err(Error::new(Reason::Internal, format!("store {at} was not read")));
    };
    let pruner = Pruner { reader: &reader, signer, rules, orphan_grace: setup::orphan_grace(config), now };
    let done = pruner.apply(catalog, plan).await?;
    let swept = sweep_leftovers(reader.store(), reader.layout(), now, LEFTOVER_GRACE).await?;
    Ok((done, swept.aborted))
}

fn document(held: &Held, catalog: &Catalog, plan: &Plan, done: Option<(&prune::Done, usize)>) -> Value {
    let ids = |wanted: fn(&Action) -> bool| -> Vec<Value> {
        plan.verdicts.iter().filter(|v| wanted(&v.action)).map(verdict_json).collect()
    };
    json!({
        "store": held.name,
        "applied": done.is_some(),
        "frozen": plan.frozen.as_ref().map(|freeze| json!({ "reason": freeze.as_str(), "what": freeze.to_string() })),
        "over_budget": plan.over_budget.map(|over| json!({ "guarded_bytes": over.guarded_bytes, "budget_bytes": over.budget })),
        "keep": ids(|action| matches!(action, Action::Keep)),
        "mark": ids(|action| matches!(action, Action::Mark { .. } | Action::Wait { .. })),
        "delete": ids(|action| matches!(action, Action::Delete)),
        "orphans": catalog.orphans.iter().map(|orphan| &orphan.id).collect::<Vec<_>>(),
        "refused": catalog.untrusted.iter().map(|entry| json!({ "id": entry.id, "why": entry.why.to_string() })).collect::<Vec<_>>(),
        "spared": done.map_or(&[][..], |(done, _)| &done.spared),
        "locked": done.iter().flat_map(|(done, _)| &done.locked).map(locked_json).collect::<Vec<_>>(),
        "orphans_marked": done.map_or(&[][..], |(done, _)| &done.orphans_marked),
        "orphans_deleted": done.map_or(&[][..], |(done, _)| &done.orphans_deleted),
        "uploads_dropped": done.map_or(0, |(_, dropped)| dropped),
        "freed_bytes": done.map_or_else(|| freed(catalog, plan), |(done, _)| done.freed_bytes),
    })
}

fn locked_json(locked: &prune::Locked) -> Value {
    json!({ "id": locked.id, "object": locked.object, "why": locked.why })
}

fn heading(held: &Held, catalog: &Catalog, apply: bool) -> String {
    let all: u64 = catalog.trusted.iter().map(|entry| entry.manifest.sealed.bytes).sum();
    let dry = if apply { "" } else { " DRY RUN: nothing is deleted." };
    format!("{} in {}, {}, {}.{dry}\n", catalog.cluster, held.url, count(catalog.trusted.len(), "backup"), size(all))
}

fn body(catalog: &Catalog, plan: &Plan, all: bool) -> String {
    let mut text = String::new();
    if let Some(freeze) = &plan.frozen {
        text.push_str(&format!("FROZEN: {freeze}\n"));
    }
    if let Some(over) = &plan.over_budget {
        let (guarded, budget) = (size(over.guarded_bytes), size(over.budget));
        text.push_str(&format!("WARNING: what no rule may give up is {guarded}, more than keep.budget, {budget}\n"));
    }
    let kept: Vec<&Verdict> = plan.kept().collect();
    let mut groups: BTreeMap<String, usize> = BTreeMap::new();
    for reason in kept.iter().flat_map(|verdict| &verdict.reasons) {
        *groups.entry(reason.group()).or_default() += 1;
    }
    let groups: Vec<String> = groups.iter().map(|(group, count)| format!("{group}: {count}")).collect();
    text.push_str(&format!("keep {}   {}\n", kept.len(), groups.join("   ")));
    let shown = if all { kept.len() } else { KEPT_SHOWN.min(kept.len()) };
    for verdict in kept.iter().take(shown) {
        text.push_str(&line(catalog, verdict));
    }
    if shown < kept.len() {
        text.push_str(&format!("  ... {} more: --all\n", kept.len() - shown));
    }
    let marked: Vec<&Verdict> = plan.marked().chain(plan.waiting()).collect();
    for (name, verdicts) in [("mark", marked), ("delete", plan.deleted().collect())] {
        if !verdicts.is_empty() {
            text.push_str(&format!("{name} {}\n", verdicts.len()));
            verdicts.iter().for_each(|verdict| text.push_str(&line(catalog, verdict)));
        }
    }
    if !catalog.orphans.is_empty() {
        text.push_str(&format!(
            "{} uploads without a manifest: under way, or left by a crash; swept after a grace of their own\n",
            catalog.orphans.len()
        ));
    }
    text
}

fn line(catalog: &Catalog, verdict: &Verdict) -> String {
    let bytes = catalog.find(&verdict.id).map_or(0, |entry| entry.manifest.sealed.bytes);
    let mut reasons: Vec<String> = verdict.reasons.iter().map(ToString::to_string).collect();
    if let Action::Mark { deletable_from } | Action::Wait { deletable_from } = verdict.action {
        reasons.push(format!("deletable from {}", deletable_from.format("%Y-%m-%d %H:%M:%S")));
    }
    let at = verdict.id.captured_at().format("%Y-%m-%d %H:%M:%S");
    format!("  {}  {at}  {:>8}  {}\n", verdict.id.short(6), size(bytes), reasons.join("; "))
}

fn freed(catalog: &Catalog, plan: &Plan) -> u64 {
    plan.deleted().filter_map(|verdict| catalog.find(&verdict.id)).map(|entry| entry.manifest.sealed.bytes).sum()
}

fn verdict_json(verdict: &Verdict) -> Value {
    let deletable_from = match verdict.action {
        Action::Mark { deletable_from } | Action::Wait { deletable_from } => Some(time(deletable_from)),
        Action::Keep | Action::Delete => None,
    };
    let reasons: Vec<String> = verdict.reasons.iter().map(ToString::to_string).collect();
    json!({ "id": verdict.id, "reasons": reasons, "deletable_from": deletable_from })
}
