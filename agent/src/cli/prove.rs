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
use crate::keys::Signer;
use crate::proof::Proving;
use crate::proof::binary::{self, EtcdBinary};
use crate::setup;
use lifeboat_policy::proof::{Level, Outcome};
use serde_json::{Value, json};
use std::sync::OnceLock;
use std::time::Duration;

pub async fn prove(cli: &Cli, args: &ProveArgs, output: &Output) -> Result<()> {
    log::begin(cli, None)?;
    let opened = open::open(cli, &StoreArgs::default(), false, output).await?;
    let Some(config) = &opened.config else {
        return Err(Error::new(Reason::Config, "a proof needs a config"));
    };
    let chosen = chosen(&opened, config, args)?;
    let prover = Prover::new(&opened, config)?;
    let single = opened.holdings.is_single();
    let mut text = String::new();
    let mut proofs = Vec::new();
    let (mut failure, mut trouble) = (None, None);
    for (holder, level) in &chosen {
        let store = &holder.held.name;
        let named = (!single).then_some(store);
        match prover.prove(holder.at, holder.entry, *level, config.limits.prove).await {
            Ok(verdict) => {
                text.push_str(&describe(&verdict, named));
                failure = failure.or(failed(&verdict));
                proofs.push(document(&verdict, store));
            }
            // Of several, one that cannot be tried must not keep the others from being.
            Err(error) if chosen.len() > 1 => {
                text.push_str(&inconclusive(holder, named, &error));
                proofs.push(json!({
                    "store": store, "id": holder.entry.id(), "outcome": Outcome::Inconclusive, "level": level,
                    "reason": error.reason.name(), "message": error.to_string(),
                }));
                trouble = trouble.or(Some(error));
            }
            Err(error) => return Err(error),
        }
    }
    if proofs.is_empty() {
        text.push_str("nothing is due; `lifeboat list` shows what is proven\n");
    }
    let fields = match proofs.as_slice() {
        [only] if !args.all && !args.due => only.clone(),
        _ => json!({ "proofs": proofs }),
    };
    output.answer(CLOCK.now(), Some(opened.cluster()), fields, &text);
    failure.or(trouble).map_or(Ok(()), Err)
}

fn inconclusive(holder: &Holder<'_>, store: Option<&String>, error: &Error) -> String {
    format!("proof of {}{}: inconclusive: {error}\n", holder.entry.id(), from(store))
}

fn from(store: Option<&String>) -> String {
    store.map_or(String::new(), |store| format!(" from {store}"))
}

/// What to prove, in which store, how deep: every store that has it is asked for it, because a proof tells what that store
/// gives back.
fn chosen<'a>(opened: &'a Opened, config: &Config, args: &ProveArgs) -> Result<Vec<(Holder<'a>, Level)>> {
    let required = opened.yardstick.required;
    let level = args.level.unwrap_or(required);
    let all = || {
        opened
            .holdings
            .readable()
            .flat_map(|(at, held, catalog)| catalog.trusted.iter().map(move |entry| Holder { at, held, entry }))
    };
    if args.all {
        return Ok(all().map(|holder| (holder, level)).collect());
    }
    if args.due {
        let due = opened.holdings.proofs_due(&setup::proof_rules(config, required)?, CLOCK.now());
        return Ok(due.into_iter().map(|(holder, task)| (holder, args.level.unwrap_or(task.level))).collect());
    }
    let id = open::find(opened.catalog(), required, args.backup.as_deref().unwrap_or("latest"))?;
    let chosen: Vec<_> = all().filter(|holder| *holder.entry.id() == id).map(|holder| (holder, level)).collect();
    if chosen.is_empty() {
        return Err(Error::new(Reason::Unsigned, format!("backup {id} is not signed by a trusted key"))
            .hint("`lifeboat list` says why; nothing is opened that is not signed"));
    }
    Ok(chosen)
}

/// What every proof of one command works with.
pub struct Prover<'a> {
    opened: &'a Opened,
    config: &'a Config,
    signer: Signer,
    binaries: OnceLock<Vec<EtcdBinary>>,
}

impl<'a> Prover<'a> {
    /// With this config's keys, of which the prover's must count.
    pub fn new(opened: &'a Opened, config: &'a Config) -> Result<Prover<'a>> {
        let signer = setup::signer(config, Role::Prove)?;
        opened.catalog().may_sign(&signer, CLOCK.now())?;
        Ok(Prover { opened, config, signer, binaries: OnceLock::new() })
    }

    /// The etcd servers to boot, looked for once: each is asked for its version.
    fn binaries(&self, level: Level) -> Result<&[EtcdBinary]> {
        if level < Level::Booted {
            return Ok(&[]);
        }
        if let Some(found) = self.binaries.get() {
            return Ok(found);
        }
        let found = binary::find(&self.config.proof, &ProcessEnv)?;
        Ok(self.binaries.get_or_init(|| found))
    }

    /// Proves one backup from the store at this place.
    pub async fn prove(&self, at: usize, entry: &Trusted, level: Level, limit: Duration) -> Result<Verdict> {
        let (opened, config) = (self.opened, self.config);
        let store = opened.access.place(at)?.store()?;
        let identities = || opened.access.identities();
        let proving = Proving {
            store: &store,
            layout: opened.access.layout(),
            signer: &self.signer,
            clock: &CLOCK,
            identities: &identities,
            level,
            scratch_dir: config.proof.scratch_dir.clone(),
            scratch_max_bytes: config.proof.scratch_max_bytes,
            binaries: self.binaries(level)?,
            limit,
            previous: opened.catalog().previous(entry).map(|previous| &previous.manifest),
            expect: &config.proof.expect,
            witness: Memory::default().witness(&opened.holdings, at, entry),
            rehearse: opened.catalog().newest().is_none_or(|newest| newest.id() <= entry.id()),
        };
        proving.prove(entry).await
    }
}

/// `store` where there are several.
pub fn describe(verdict: &Verdict, store: Option<&String>) -> String {
    let mut text = format!(
        "proof of {}{}: {} at {} in {}\n",
        verdict.id,
        from(store),
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
