//! `lifeboat keyring trust` and `revoke`: the operator's next trust list, shown first and written with `--apply`.

use super::key_fields;
use crate::catalog::manifest::Parent;
use crate::catalog::trust_list::{Change, Content, Lost, TrustList, lost, next};
use crate::cli::args::{ChangeArgs, Cli, RevokeArgs, StoreArgs, TrustArgs};
use crate::cli::hold::{self, Who, Written};
use crate::cli::log;
use crate::cli::open::{self, CLOCK, Opened};
use crate::cli::output::{Output, count};
use crate::clock::Clock as _;
use crate::config::Role;
use crate::error::{Error, Reason, Result};
use crate::keys::{self, PublicKey, Signer, Trust};
use crate::wish;
use chrono::{DateTime, Utc};
use serde_json::json;

pub async fn trust(cli: &Cli, args: &TrustArgs, output: &Output) -> Result<()> {
    let opened = begin(cli, &args.change.store, output).await?;
    let mut changes = Vec::new();
    for text in &args.keys {
        let (role, key) = open::role_and_key(text);
        let key = keys::public_key(key)?;
        let known = opened.catalog().keys.find(&key).map(|known| known.role);
        let role = match role {
            Some(role) => role.parse().map_err(|why: String| Error::new(Reason::Usage, format!("{text:?}: {why}")))?,
            None => known.ok_or_else(|| {
                Error::new(Reason::Usage, format!("{text:?} names no role, and no config trusts this key yet"))
                    .hint("say whose it is: backup=KEY, prove=KEY or prune=KEY")
            })?,
        };
        changes.push(Change::Trust { role, key });
    }
    changes.extend(vouched(&opened, &args.change.vouch).await?);
    apply(&opened, &changes, &args.change, output).await
}

pub async fn revoke(cli: &Cli, args: &RevokeArgs, output: &Output) -> Result<()> {
    let opened = begin(cli, &args.change.store, output).await?;
    let (key, role) = meant(&opened.catalog().keys, &args.key)?;
    let mut changes = vec![Change::Revoke { role, key, reason: args.reason.clone() }];
    changes.extend(vouched(&opened, &args.change.vouch).await?);
    apply(&opened, &changes, &args.change, output).await
}

async fn begin(cli: &Cli, store: &StoreArgs, output: &Output) -> Result<Opened> {
    log::begin(cli, None)?;
    open::open(cli, store, false, output).await
}

/// The known key that a person means: by itself, its file, or the start of its SHA-256.
fn meant(trust: &Trust, text: &str) -> Result<(PublicKey, Role)> {
    let digests = text.len() >= 6 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let fits = |known: &&keys::TrustedKey| digests && known.key.fingerprint().to_string().starts_with(text);
    let mut fitting = trust.keys().iter().filter(fits);
    match (fitting.next(), fitting.next()) {
        (Some(known), None) => return Ok((known.key.clone(), known.role)),
        (Some(_), Some(_)) => {
            return Err(Error::new(Reason::Usage, format!("{text:?} fits several keys")).hint("give more of it"));
        }
        (None, _) => {}
    }
    let unknown = || {
        Error::new(Reason::Usage, format!("no key {text:?} is trusted here, so there is nothing to revoke"))
            .hint("`lifeboat keyring` shows each; a key that nobody trusts signs in vain")
    };
    let key = keys::public_key(text)?;
    let known = trust.find(&key).ok_or_else(unknown)?;
    Ok((key, known.role))
}

/// The manifests that are vouched for; also such as do not count now, since their key was revoked.
async fn vouched(opened: &Opened, backups: &[String]) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    for text in backups {
        let id = open::find(opened.catalog(), opened.yardstick.required, text)?;
        let parent = match opened.catalog().find(&id) {
            Some(entry) => Parent { id, manifest_sha256: entry.manifest_sha256 },
            None => {
                let mut found = None;
                for place in opened.access.places() {
                    found = place.reader()?.disowned(&id).await?.or(found);
                }
                let manifest_sha256 = found.ok_or_else(|| {
                    Error::new(Reason::Unsigned, format!("no key that was ever trusted signed backup {id}"))
                        .hint("only what a revoked key signed can be vouched for")
                })?;
                Parent { id, manifest_sha256 }
            }
        };
        changes.push(Change::Vouch(parent));
    }
    Ok(changes)
}

async fn apply(opened: &Opened, changes: &[Change], args: &ChangeArgs, output: &Output) -> Result<()> {
    let now = CLOCK.now();
    let readers = opened.access.places().iter().filter_map(|place| place.reader().ok()).collect::<Vec<_>>();
    let local = readers.first().map(|reader| reader.local_trust().clone()).unwrap_or_default();
    let current = opened.catalog().trust_list.as_deref();
    let content = next(current, &local, changes, now)
        .map_err(|why| Error::new(Reason::Usage, why).hint("`lifeboat keyring` shows every key with what it signed"))?;
    let n = free_number(opened, current).await?;
    let signer = if args.apply { Some(hold::signer(opened, &args.sign, Who::Operator)?) } else { None };
    let lost = lost(opened.catalog(), &content.applied_to(&local));
    let mut written = Written::default();
    if let Some(signer) = &signer {
        write(opened, signer, n, &content, now, &mut written).await?;
    }
    let text = describe(n, args.apply, &content, &lost, changes);
    let fields = json!({
        "n": n, "applied": args.apply, "keys": content.keys.iter().map(key_fields).collect::<Vec<_>>(), "manifests": content.manifests,
        "no_longer_counts": {
            "backups": lost.backups,
            "notes": lost.notes.iter().map(|(kind, number)| (kind.plural(), *number)).collect::<std::collections::BTreeMap<_, _>>(),
        },
    });
    written.answer(opened, output, now, fields, text, "written")
}

/// The next number at which nothing stands in any store: what somebody put there must not be in the way.
async fn free_number(opened: &Opened, current: Option<&TrustList>) -> Result<u32> {
    let mut n = current.map_or(0, |list| list.n).max(opened.catalog().lost_list.unwrap_or(0));
    'next: loop {
        n = n
            .checked_add(1)
            .ok_or_else(|| Error::new(Reason::Internal, "there are no more numbers for trust lists"))?;
        let key = opened.access.layout().trust_list(n);
        for place in opened.access.places() {
            let store = place.store()?;
            if store.head(&key).await?.is_some() || store.head(&key.signature()).await?.is_some() {
                continue 'next;
            }
        }
        return Ok(n);
    }
}

async fn write(
    opened: &Opened,
    signer: &Signer,
    n: u32,
    content: &Content,
    now: DateTime<Utc>,
    written: &mut Written,
) -> Result<()> {
    let prepared = wish::trust_list(opened.access.layout(), signer, n, content.clone(), now)?;
    for (at, place) in opened.access.places().iter().enumerate() {
        let done = async { prepared.clone().store_and_check(&place.store()?).await };
        written.add(opened, at, done.await.map(drop));
    }
    Ok(())
}

fn describe(n: u32, apply: bool, content: &Content, lost: &Lost, changes: &[Change]) -> String {
    let mut text = String::new();
    for change in changes {
        text.push_str(&match change {
            Change::Trust { role, key } => format!("trusts    {role}  {}\n", key.as_str()),
            Change::Revoke { role, key, reason } => format!("revokes   {role}  {}: {reason}\n", key.as_str()),
            Change::Vouch(parent) => format!("vouches   for backup {}\n", parent.id),
        });
    }
    for id in &lost.backups {
        text.push_str(&format!("loses     backup {id}: nobody vouched for it; keep it with --vouch {id}\n"));
    }
    for (kind, number) in &lost.notes {
        text.push_str(&format!("loses     {number} {}\n", kind.plural()));
    }
    let revoked = content.keys.iter().filter(|listed| listed.revoked.is_some()).count();
    let all = count(content.keys.len(), "key");
    text.push_str(&match apply {
        true => format!("trust list {n} is written: {all}, {revoked} of them revoked\n"),
        false => format!(
            "trust list {n} would hold {all}, {revoked} of them revoked. DRY RUN: nothing is written.\nTo do it: --apply\n"
        ),
    });
    text
}
