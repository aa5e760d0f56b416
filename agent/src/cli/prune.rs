//! `lifeboat prune`: the retention plan with reasons; acts only with `--apply`.

use super::args::{Cli, PruneArgs, StoreArgs};
use super::log;
use super::open::{self, CLOCK};
use super::output::{Output, size, time};
use crate::catalog::Catalog;
use crate::clock::Clock as _;
use crate::config::Role;
use crate::error::{Error, Reason, Result};
use crate::prune;
use crate::setup;
use crate::store::{LEFTOVER_GRACE, Swept, sweep_leftovers};
use crate::summary;
use lifeboat_policy::retention::{Action, Plan, Verdict};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Kept backups shown without `--all`.
const KEPT_SHOWN: usize = 10;

pub async fn prune(cli: &Cli, args: &PruneArgs, output: &Output) -> Result<()> {
    log::begin(cli, None)?;
    let opened = open::open(cli, &StoreArgs::default(), false).await?;
    let Some(config) = &opened.config else {
        return Err(Error::new(Reason::Config, "a retention plan needs a config"));
    };
    let now = CLOCK.now();
    let plan = summary::plan(&opened.catalog, opened.yardstick.required, &setup::rules(config), now);
    let frees = freed(&opened.catalog, &plan);
    let (mut done, mut swept) = (prune::Done::default(), Swept::default());
    if args.apply {
        if let Some(freeze) = &plan.frozen {
            return Err(
                Error::new(Reason::PruneFrozen, format!("prune is frozen: {freeze}")).hint("nothing was deleted")
            );
        }
        let signer = setup::signer(config, Role::Prune)?;
        done =
            prune::apply(opened.access.store(), opened.access.layout(), &signer, &opened.catalog, &plan, now).await?;
        swept = sweep_leftovers(opened.access.store(), opened.access.layout(), now, LEFTOVER_GRACE).await?;
    }
    let mut text = heading(&opened, args.apply);
    text.push_str(&body(&opened.catalog, &plan, args.all));
    text.push_str(&match args.apply {
        true => format!(
            "Done: {} marked, {} deleted, {} freed.{}\n",
            done.marked.len(),
            done.deleted.len(),
            size(done.freed_bytes),
            match swept.aborted {
                0 => String::new(),
                aborted => format!(" Unfinished uploads dropped: {aborted}."),
            }
        ),
        false => format!("Frees {} now. To do it: lifeboat prune --apply\n", size(frees)),
    });
    let ids = |wanted: fn(&Action) -> bool| -> Vec<Value> {
        plan.verdicts.iter().filter(|v| wanted(&v.action)).map(verdict_json).collect()
    };
    let fields = json!({
        "applied": args.apply,
        "frozen": plan.frozen.as_ref().map(|freeze| json!({ "reason": freeze.as_str(), "what": freeze.to_string() })),
        "keep": ids(|action| matches!(action, Action::Keep)),
        "mark": ids(|action| matches!(action, Action::Mark { .. } | Action::Wait { .. })),
        "delete": ids(|action| matches!(action, Action::Delete)),
        "orphans": opened.catalog.orphans,
        "refused": opened.catalog.untrusted.iter().map(|entry| json!({ "id": entry.id, "why": entry.why.to_string() })).collect::<Vec<_>>(),
        "uploads_dropped": swept.aborted,
        "freed_bytes": if args.apply { done.freed_bytes } else { frees },
    });
    output.answer(now, Some(opened.catalog.cluster.as_str()), fields, &text);
    Ok(())
}

fn heading(opened: &open::Opened, apply: bool) -> String {
    let catalog = &opened.catalog;
    let all: u64 = catalog.trusted.iter().map(|entry| entry.manifest.sealed.bytes).sum();
    let dry = if apply { "" } else { " DRY RUN: nothing is deleted." };
    format!(
        "{} in {}, {} backups, {}.{dry}\n",
        catalog.cluster,
        opened.access.store().url(),
        catalog.trusted.len(),
        size(all)
    )
}

fn body(catalog: &Catalog, plan: &Plan, all: bool) -> String {
    let mut text = String::new();
    if let Some(freeze) = &plan.frozen {
        text.push_str(&format!("FROZEN: {freeze}\n"));
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
            "{} uploads without a manifest: under way, or left by a crash; not touched\n",
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
