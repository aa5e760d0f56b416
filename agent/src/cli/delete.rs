//! `lifeboat delete`: a person wants one backup gone. It is marked, and prune deletes it after the grace; never a guarded one.

use super::args::{Cli, DeleteArgs};
use super::hold::{self, Who, Written};
use super::open::{CLOCK, Opened};
use super::output::{Output, size, time};
use crate::catalog::{Catalog, Trusted};
use crate::clock::Clock as _;
use crate::error::{Error, Reason, Result};
use crate::holdings::Holder;
use crate::prune;
use chrono::{DateTime, Utc};
use lifeboat_policy::id::BackupId;
use lifeboat_policy::proof::Level;
use lifeboat_policy::retention::{self, Action, Circumstances, Facts, Rules, TombstoneFact};
use serde_json::json;

pub async fn delete(cli: &Cli, args: &DeleteArgs, output: &Output) -> Result<()> {
    let (opened, id) = hold::one(cli, &args.store, &args.backup, output).await?;
    let now = CLOCK.now();
    let signer = if args.apply { Some(hold::signer(&opened, &args.sign, Who::Operator)?) } else { None };
    let deletable_from = allowed(&opened, &id, now)?;
    let mut written = Written::default();
    let (mut text, mut bytes) = (String::new(), 0);
    for (at, entry) in hold::everywhere(&opened, &id, &mut written) {
        bytes += entry.manifest.sealed.bytes;
        if let Some(signer) = &signer {
            let done = async {
                let reader = opened.access.place(at)?.reader()?;
                prune::ask(&reader, signer, entry, &args.reason, now).await
            };
            written.add(&opened, at, done.await);
        }
    }
    text.push_str(&match args.apply {
        true => format!(
            "backup {id} is marked: prune deletes it from {} on, {} in all, unless it is held before\n",
            time(deletable_from),
            size(bytes)
        ),
        false => format!(
            "backup {id} would be marked, and deleted from {} on: {}. DRY RUN: nothing is marked.\nTo do it: --apply\n",
            time(deletable_from),
            size(bytes)
        ),
    });
    let fields = json!({
        "id": id, "applied": args.apply, "reason": args.reason, "deletable_from": time(deletable_from),
    });
    written.answer(&opened, output, now, fields, text, "marked")
}

/// When the backup may go, unless some store guards it: then nothing is marked anywhere.
fn allowed(opened: &Opened, id: &BackupId, now: DateTime<Utc>) -> Result<DateTime<Utc>> {
    let mut deletable_from = now;
    for Holder { held, entry, .. } in opened.holdings.holders(id) {
        let (Some(rules), Ok(catalog)) = (&held.rules, &held.catalog) else {
            return Err(Error::new(Reason::Config, "what guards a backup stands in a config, and there is none")
                .hint("give --config FILE; with several stores --store NAME names one of them"));
        };
        let place = if opened.holdings.is_single() { String::new() } else { format!(" in store {}", held.name) };
        let refused = |why: String| {
            Error::new(Reason::Guarded, format!("backup {id} cannot be deleted{place}: {why}"))
                .on("mark", id.as_str())
                .hint(
                    "what guards it is no rule but the last way back: take and prove a newer one first, or release it",
                )
        };
        guard(catalog, entry, opened.yardstick.required, rules, now).map_err(refused)?;
        deletable_from = deletable_from.max(now + rules.grace);
    }
    Ok(deletable_from)
}

/// Asks the plan itself what would become of the backup if it were asked for.
fn guard(catalog: &Catalog, entry: &Trusted, required: Level, rules: &Rules, now: DateTime<Utc>) -> Result<(), String> {
    // How much else is due, and what waits for somebody to look, has no say in this one.
    let rules = Rules { max_deletions: usize::MAX, freeze_if_shrunk: None, ..rules.clone() };
    let asked = TombstoneFact { at: now, deletable_from: now + rules.grace, asked: true };
    let as_asked = |fact: Facts| match fact.id == *entry.id() {
        true => Facts { tombstone: Some(asked), ..fact },
        false => fact,
    };
    let facts: Vec<Facts> = catalog.facts(required, rules.grace, now).into_iter().map(as_asked).collect();
    let plan = retention::plan(&facts, &rules, &Circumstances::default(), now);
    if let Some(freeze) = &plan.frozen {
        return Err(format!("prune is frozen: {freeze}"));
    }
    match plan.verdict(entry.id()) {
        Some(verdict) if verdict.action == Action::Keep => {
            // It was marked only here, to ask.
            let guards = verdict.reasons.iter().filter(|reason| **reason != retention::Reason::KeptAgain);
            Err(guards.map(ToString::to_string).collect::<Vec<_>>().join("; "))
        }
        _ => Ok(()),
    }
}
