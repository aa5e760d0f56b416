//! `lifeboat prove`: a test restore, now.

use super::args::{Cli, ProveArgs, StoreArgs};
use super::open::{self, CLOCK, Opened};
use super::output::{Output, time};
use super::{entry, log};
use crate::catalog::Trusted;
use crate::catalog::manifest::Verdict;
use crate::clock::Clock as _;
use crate::config::{Config, ProcessEnv, Role};
use crate::error::{Error, Reason, Result};
use crate::holdings::{Holder, Memory};
use crate::proof::Proving;
use crate::proof::binary;
use crate::setup;
use lifeboat_policy::proof::{Level, Outcome, Standing};
use serde_json::{Value, json};
use std::time::Duration;

pub async fn prove(cli: &Cli, args: &ProveArgs, output: &Output) -> Result<()> {
    log::begin(cli, None)?;
    let opened = open::open(cli, &StoreArgs::default(), false, output).await?;
    let Some(config) = &opened.config else {
        return Err(Error::new(Reason::Config, "a proof needs a config"));
    };
    let chosen = chosen(&opened, args)?;
    let single = opened.holdings.is_single();
    let mut text = String::new();
    let mut proofs = Vec::new();
    let mut worst = None;
    for holder in chosen {
        let verdict = prove_here(&opened, config, holder.at, holder.entry, args.level, None).await?;
        text.push_str(&describe(&verdict, (!single).then_some(&holder.held.name)));
        worst = worst.or(failed(&verdict));
        proofs.push(document(&verdict, &holder.held.name));
    }
    if proofs.is_empty() {
        text.push_str("nothing is due: every backup has a conclusive verdict\n");
    }
    let fields = match proofs.as_slice() {
        [only] if !args.all => only.clone(),
        _ => json!({ "proofs": proofs }),
    };
    output.answer(CLOCK.now(), Some(opened.cluster()), fields, &text);
    worst.map_or(Ok(()), Err)
}

/// What to prove, in which store: every store that has it is asked for it, because a proof tells what that store gives back.
fn chosen<'a>(opened: &'a Opened, args: &ProveArgs) -> Result<Vec<Holder<'a>>> {
    let required = opened.yardstick.required;
    let all = || {
        opened
            .holdings
            .readable()
            .flat_map(|(at, held, catalog)| catalog.trusted.iter().map(move |entry| Holder { at, held, entry }))
    };
    if args.all {
        return Ok(all().collect());
    }
    if args.due {
        let due = |holder: &Holder<'_>| matches!(holder.entry.standing(required), Standing::Unproven { .. });
        let mut newest: Vec<Holder<'a>> = all().filter(due).collect();
        newest.dedup_by_key(|holder| holder.at); // the first of each store
        return Ok(newest);
    }
    let id = open::find(opened.catalog(), required, args.backup.as_deref().unwrap_or("latest"))?;
    let chosen: Vec<Holder<'a>> = all().filter(|holder| *holder.entry.id() == id).collect();
    if chosen.is_empty() {
        return Err(Error::new(Reason::Unsigned, format!("backup {id} is not signed by a trusted key"))
            .hint("`lifeboat list` says why; nothing is opened that is not signed"));
    }
    Ok(chosen)
}

/// Proves one backup from the store at this place, with this config's keys, at `level` or the config's.
pub async fn prove_here(
    opened: &Opened,
    config: &Config,
    at: usize,
    entry: &Trusted,
    level: Option<Level>,
    limit: Option<Duration>,
) -> Result<Verdict> {
    let store = opened.access.place(at)?.store()?;
    let signer = setup::signer(config, Role::Prove)?;
    opened.catalog().may_sign(&signer, CLOCK.now())?;
    let level = level.unwrap_or(opened.yardstick.required);
    let binaries = if level == Level::Booted { binary::find(&config.proof, &ProcessEnv)? } else { Vec::new() };
    let identities = || opened.access.identities();
    let proving = Proving {
        store: &store,
        layout: opened.access.layout(),
        signer: &signer,
        clock: &CLOCK,
        identities: &identities,
        level,
        scratch_dir: config.proof.scratch_dir.clone(),
        scratch_max_bytes: config.proof.scratch_max_bytes,
        binaries: &binaries,
        limit: limit.unwrap_or(config.limits.prove),
        previous: opened.catalog().previous(entry).map(|previous| &previous.manifest),
        expect: &config.proof.expect,
        witness: Memory::default().witness(&opened.holdings, at, entry),
        rehearse: opened.catalog().newest().is_none_or(|newest| newest.id() <= entry.id()),
    };
    proving.prove(entry).await
}

/// `store` where there are several.
pub fn describe(verdict: &Verdict, store: Option<&String>) -> String {
    let from = store.map_or(String::new(), |store| format!(" from {store}"));
    let mut text = format!(
        "proof of {}{from}: {} at {} in {}\n",
        verdict.id,
        verdict.outcome,
        verdict.learnt.failed_at.unwrap_or(verdict.level),
        entry::seconds(verdict.took_seconds)
    );
    text.push_str(&entry::proof_lines(verdict, "  "));
    text
}

/// A failed proof is an answer, and an error too: code 10.
pub fn failed(verdict: &Verdict) -> Option<Error> {
    (verdict.outcome == Outcome::Failed).then(|| {
        let found = verdict.steps.last().map_or(String::new(), |step| step.found.clone());
        Error::new(Reason::ProofFailed, format!("backup {} failed its proof: {found}", verdict.id))
            .hint("it is kept as evidence and never a default choice; prove the one before it: `lifeboat prove BACKUP`")
    })
}

fn document(verdict: &Verdict, store: &str) -> Value {
    json!({
        "store": store, "id": verdict.id, "level": verdict.level, "outcome": verdict.outcome, "at": time(verdict.at),
        "took_seconds": verdict.took_seconds, "steps": verdict.steps, "etcd_version": verdict.etcd_version,
        "failed_at": verdict.learnt.failed_at, "restore_seconds": verdict.learnt.restore_seconds,
        "encryption_at_rest": verdict.learnt.encryption_at_rest, "key_counts": verdict.learnt.key_counts,
        "warnings": verdict.learnt.warnings,
    })
}
