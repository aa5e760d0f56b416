//! `lifeboat keyring`: which recipient opens which backups, and which key signed what. It opens nothing.

mod change;

use super::args::{Cli, KeyringAction, KeyringArgs};
use super::log;
use super::open::{self, CLOCK, Opened};
use super::output::{Output, count, time};
use crate::catalog::trust_list::ListedKey;
use crate::catalog::{Catalog, Kind, Signature};
use crate::clock::Clock as _;
use crate::digest::Digest;
use crate::error::Result;
use crate::keys::{PublicKey, Recipients, TrustedKey};
use chrono::{DateTime, Utc};
use lifeboat_policy::id::BackupId;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub async fn keyring(cli: &Cli, args: &KeyringArgs, output: &Output) -> Result<()> {
    match &args.action {
        Some(KeyringAction::Trust(args)) => return change::trust(cli, args, output).await,
        Some(KeyringAction::Revoke(args)) => return change::revoke(cli, args, output).await,
        None => {}
    }
    log::begin(cli, None)?;
    let opened = open::open(cli, &args.store, false, output).await?;
    let ring = Ring::new(opened.catalog(), listed(&opened)?);
    output.answer(CLOCK.now(), Some(opened.cluster()), ring.fields(opened.catalog()), &ring.text(opened.catalog()));
    Ok(())
}

/// The config's recipients, each with the digest by which manifests name it; `None` where there is no config.
fn listed(opened: &Opened) -> Result<Option<BTreeMap<Digest, String>>> {
    let Some(config) = opened.config.as_ref().filter(|config| !config.keys.recipients.is_empty()) else {
        return Ok(None);
    };
    Ok(Some(Recipients::load(&config.keys.recipients)?.named().collect()))
}

/// How many of something there are, and over which time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Run {
    count: usize,
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
}

impl Run {
    fn add(&mut self, at: Option<DateTime<Utc>>) {
        self.count += 1;
        self.from = [self.from, at].into_iter().flatten().min();
        self.to = [self.to, at].into_iter().flatten().max();
    }

    fn words(&self) -> String {
        let day = |at: Option<DateTime<Utc>>| at.map_or("-".to_owned(), |at| at.format("%Y-%m-%d %H:%M").to_string());
        format!("{:>16}  {:>16}", day(self.from), day(self.to))
    }

    fn json(&self) -> Value {
        json!({ "count": self.count, "from": self.from.map(time), "to": self.to.map(time) })
    }
}

/// What one recipient opens.
struct Opens {
    sha256: Digest,
    /// As the config lists it.
    listed: Option<String>,
    backups: Run,
}

/// What one key signed.
struct Signs<'a> {
    key: &'a TrustedKey,
    sha256: Digest,
    /// Of each kind, what counts and what does not.
    counts: BTreeMap<Kind, Run>,
    refused: BTreeMap<Kind, Run>,
}

struct Ring<'a> {
    opens: Vec<Opens>,
    signs: Vec<Signs<'a>>,
    /// What nobody known signed.
    unknown: Vec<&'a Signature>,
    /// Backups that no listed recipient opens; empty where no config lists any.
    unopened: Vec<&'a BackupId>,
}

impl<'a> Ring<'a> {
    fn new(catalog: &'a Catalog, listed: Option<BTreeMap<Digest, String>>) -> Ring<'a> {
        let mut opens: BTreeMap<Digest, Run> = BTreeMap::new();
        let mut unopened = Vec::new();
        for entry in &catalog.trusted {
            for recipient in &entry.manifest.recipients {
                opens.entry(*recipient).or_default().add(Some(entry.manifest.captured_at));
            }
            let opened =
                |listed: &BTreeMap<Digest, String>| entry.manifest.recipients.iter().any(|r| listed.contains_key(r));
            if listed.as_ref().is_some_and(|listed| !opened(listed)) {
                unopened.push(entry.id());
            }
        }
        let listed = listed.unwrap_or_default();
        for digest in listed.keys() {
            opens.entry(*digest).or_default();
        }
        let opens =
            opens.into_iter().map(|(sha256, backups)| Opens { sha256, listed: listed.get(&sha256).cloned(), backups });
        let signs = catalog.keys.keys().iter().map(|key| Signs::new(key, &catalog.signatures));
        let known = |signature: &&Signature| {
            signature.signer.is_some_and(|signer| catalog.keys.keys().iter().any(|key| key.key.fingerprint() == signer))
        };
        let unknown = catalog.signatures.iter().filter(|signature| !known(signature) && signature.why.is_some());
        Ring { opens: opens.collect(), signs: signs.collect(), unknown: unknown.collect(), unopened }
    }

    fn fields(&self, catalog: &Catalog) -> Value {
        let list = catalog.trust_list.as_deref();
        json!({
            "trust_list": list.map(|list| json!({
                "n": list.n, "at": time(list.at), "signer": list.binding.signer, "manifests": list.manifests,
            })),
            "recipients": self.opens.iter().map(|opens| json!({
                "sha256": opens.sha256, "recipient": opens.listed, "backups": opens.backups.json(),
            })).collect::<Vec<_>>(),
            "keys": self.signs.iter().map(Signs::json).collect::<Vec<_>>(),
            "unknown": self.unknown.iter().map(|signature| json!({
                "path": signature.path, "why": signature.why.as_ref().map(ToString::to_string),
            })).collect::<Vec<_>>(),
            "unopened": self.unopened,
            "unused": { "recipients": self.unused_recipients(), "keys": self.unused_keys() },
        })
    }

    fn unused_recipients(&self) -> Vec<&str> {
        let unused = self.opens.iter().filter(|opens| opens.backups.count == 0);
        unused.filter_map(|opens| opens.listed.as_deref()).collect()
    }

    fn unused_keys(&self) -> Vec<&str> {
        let unused = self.signs.iter().filter(|signs| signs.counts.is_empty() && signs.refused.is_empty());
        unused.map(|signs| signs.key.key.as_str()).collect()
    }

    fn text(&self, catalog: &Catalog) -> String {
        let list = match &catalog.trust_list {
            Some(list) => format!("trust list {} of {}", list.n, list.at.format("%Y-%m-%d %H:%M UTC")),
            None => "no trust list".to_owned(),
        };
        let mut text = format!("{}: {}, {list}\n\n", catalog.cluster, count(catalog.trusted.len(), "trusted backup"));
        text.push_str("OPENS     BACKUPS  FROM              TO                RECIPIENT\n");
        for opens in &self.opens {
            let name = opens.listed.as_deref().unwrap_or("not listed here");
            text.push_str(&format!(
                "{}  {:>7}  {}  {name}\n",
                short(opens.sha256),
                opens.backups.count,
                opens.backups.words()
            ));
        }
        text.push_str("\nSIGNS     ROLE      WHAT                  FROM              TO                STATE\n");
        for signs in &self.signs {
            text.push_str(&signs.lines());
        }
        for id in &self.unopened {
            text.push_str(&format!("\nbackup {id}: no recipient that is listed here opens it\n"));
        }
        for signature in &self.unknown {
            let why = signature.why.as_ref().map(ToString::to_string).unwrap_or_default();
            text.push_str(&format!("\n{}: {why}\n", signature.path));
        }
        for name in self.unused_recipients() {
            text.push_str(&format!("\nunused: no backup is sealed for {name}\n"));
        }
        for key in self.unused_keys() {
            text.push_str(&format!("\nunused: {key} signed nothing that is here\n"));
        }
        text
    }
}

impl<'a> Signs<'a> {
    fn new(key: &'a TrustedKey, signatures: &[Signature]) -> Signs<'a> {
        let sha256 = key.key.fingerprint();
        let mut signs = Signs { key, sha256, counts: BTreeMap::new(), refused: BTreeMap::new() };
        for signature in signatures.iter().filter(|signature| signature.signer == Some(sha256)) {
            let side = if signature.why.is_none() { &mut signs.counts } else { &mut signs.refused };
            side.entry(signature.kind).or_default().add(signature.at);
        }
        signs
    }

    /// Whether it counts, and since when not.
    fn state(&self) -> String {
        let validity = &self.key.validity;
        let from = match (self.key.local, self.key.listed) {
            (true, true) => "config and trust list",
            (true, false) => "config",
            (false, _) => "trust list",
        };
        let day = |at: DateTime<Utc>| at.format("%Y-%m-%d %H:%M UTC");
        match (validity.revoked, validity.until) {
            (Some(at), _) => format!("REVOKED {}", day(at)),
            (None, Some(until)) => format!("trusted until {} by {from}", day(until)),
            (None, None) => format!("trusted by {from}"),
        }
    }

    fn lines(&self) -> String {
        let head = format!("{}  {:8}", short(self.sha256), self.key.role);
        let mut lines = Vec::new();
        for kind in Kind::ALL {
            for (side, suffix) in [(&self.counts, ""), (&self.refused, ", count not")] {
                if let Some(run) = side.get(&kind) {
                    lines.push(format!("{:20}  {}", format!("{} {}{suffix}", run.count, kind.plural()), run.words()));
                }
            }
        }
        if lines.is_empty() {
            lines.push(format!("{:20}  {}", "nothing", Run::default().words()));
        }
        let name = self.key.id.as_ref().map_or(String::new(), |id| format!(" ({id})"));
        lines.iter().map(|line| format!("{head}  {line}  {}{name}\n", self.state())).collect()
    }

    fn json(&self) -> Value {
        let side = |side: &BTreeMap<Kind, Run>| {
            side.iter().map(|(kind, run)| (kind.plural().to_owned(), run.json())).collect::<serde_json::Map<_, _>>()
        };
        let validity = &self.key.validity;
        json!({
            "role": self.key.role, "key": self.key.key.as_str(), "sha256": self.sha256, "id": self.key.id,
            "in_config": self.key.local, "in_trust_list": self.key.listed,
            "from": validity.from.map(time), "until": validity.until.map(time), "revoked": validity.revoked.map(time),
            "signed": side(&self.counts), "not_counted": side(&self.refused),
        })
    }
}

/// A listed key as JSON, in the answers of `trust` and `revoke`.
fn key_fields(listed: &ListedKey) -> Value {
    let sha256 = PublicKey::parse(&listed.key).ok().map(|key| key.fingerprint());
    json!({
        "role": listed.role, "key": listed.key, "sha256": sha256, "id": listed.id,
        "from": listed.from.map(time), "until": listed.until.map(time),
        "revoked": listed.revoked.as_ref().map(|revoked| json!({ "at": time(revoked.at), "reason": revoked.reason })),
    })
}

fn short(digest: Digest) -> String {
    digest.to_string().chars().take(8).collect()
}
