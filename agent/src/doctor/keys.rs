//! Keys: is each here that a role needs, for its owner alone, and does somebody open what is sealed?

use super::{Asked, Check, Status, within, words};
use crate::config::{Config, Finding, Role, StoreConfig};
use crate::error::{Error, Reason, Result};
use crate::keys::{Identities, Recipients, Signer};
use crate::setup::{self, Place};
use crate::store::Layout;
use chrono::{DateTime, Utc};
use futures::future::join_all;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// A secret file: whose, where, and its mode once it was read and understood.
#[derive(Debug)]
pub(super) struct Secret {
    pub what: String,
    pub path: PathBuf,
    pub mode: Result<u32>,
}

/// Which of the recipients the identities of this host open.
#[derive(Debug)]
pub(super) struct Sealing {
    pub opened: Vec<bool>,
    /// Where the identities are, if there are any here.
    pub identity: Option<PathBuf>,
}

pub(super) fn look(config: &Config, now: DateTime<Utc>) -> Vec<Check> {
    let signing = config.keys.signing_keys.iter().map(|(role, path)| Secret {
        what: format!("signing key of {role}"),
        path: path.clone(),
        mode: Signer::from_file(path).and_then(|_| mode(path)),
    });
    let identity = config.keys.identity_file.as_ref().map(|path| Secret {
        what: "identity".to_owned(),
        path: path.clone(),
        mode: Identities::from_file(path).and_then(|_| mode(path)),
    });
    let mut checks = judge_secrets(&signing.chain(identity).collect::<Vec<_>>());
    let trusted = setup::trust(config)
        .map(|trust| Role::ALL.into_iter().filter(|role| trust.has(*role)).collect::<BTreeSet<Role>>());
    checks.extend(judge_trust(&config.roles, &trusted));
    checks.push(judge_sealing(&config.roles, &sealing(config, now)));
    checks.extend(setup::validity(config, "", now).iter().map(validity));
    checks
}

/// Whether what this host signs counts: its keys may have been revoked by the operator's list, of which only the stores tell.
/// A store that cannot be read has a line of its own.
pub(super) async fn counting(asked: &Asked<'_>) -> Vec<Check> {
    let Ok(trust) = setup::trust(asked.config) else { return Vec::new() };
    let signers: Vec<Signer> =
        asked.config.keys.signing_keys.values().filter_map(|path| Signer::from_file(path).ok()).collect();
    let in_store = async |store: &StoreConfig| {
        let place = Place::new(store.clone(), Layout::new(&asked.config.cluster), trust.clone(), None);
        let catalog = within(&store.name, Reason::StoreTimeout, place.catalog(asked.clock)).await.ok()?;
        let list = catalog.trust_list.as_ref()?;
        let refused = signers.iter().filter_map(|signer| catalog.may_sign(signer, asked.now()).err());
        let mut checks: Vec<Check> = refused.map(|error| Check::of_error("keys", Status::Fail, &error)).collect();
        checks
            .push(Check::ok("keys", format!("trust list {} in {} was asked for this host's keys", list.n, store.name)));
        Some(checks)
    };
    let of_stores = join_all(asked.config.stores.iter().map(in_store)).await;
    of_stores.into_iter().flatten().flatten().collect()
}

fn validity(finding: &Finding) -> Check {
    let status = if finding.is_error() { Status::Fail } else { Status::Warn };
    Check { area: "keys", status, found: finding.what.clone(), hint: Some(finding.fix.clone()) }
}

pub(super) fn mode(path: &Path) -> Result<u32> {
    let found = std::fs::metadata(path).map_err(|source| Error::io("look at", path.display(), source))?;
    Ok(found.permissions().mode() & 0o7777)
}

/// Seals a few bytes for each recipient and opens them again, as far as the keys of this host do.
fn sealing(config: &Config, now: DateTime<Utc>) -> Result<Option<Sealing>> {
    if config.keys.recipients.is_empty() {
        return Ok(None);
    }
    // Where none may be used now, that has a line of its own.
    let all = Recipients::load(&config.keys.recipients)?;
    let recipients = all.at(now).unwrap_or(all);
    let identities = match &config.keys.identity_file {
        // One that cannot be read has its own line already.
        Some(path) => Identities::from_file(path).ok(),
        None => None,
    };
    let mut opened = Vec::new();
    for recipient in recipients.as_dyn() {
        let sealed = seal(recipient)?;
        opened.push(identities.as_ref().is_some_and(|identities| opens(identities, &sealed)));
    }
    let identity = config.keys.identity_file.clone().filter(|_| identities.is_some());
    Ok(Some(Sealing { opened, identity }))
}

const SEALED: &[u8] = b"lifeboat doctor";

fn seal(recipient: &dyn age::Recipient) -> Result<Vec<u8>> {
    use std::io::Write as _;
    let failed = |source: std::io::Error| Error::new(Reason::Internal, "a few bytes cannot be sealed").because(source);
    let encryptor = age::Encryptor::with_recipients(std::iter::once(recipient))
        .map_err(|source| Error::new(Reason::Config, "a recipient cannot be sealed for").because(source))?;
    let mut sealed = Vec::new();
    let mut writer = encryptor.wrap_output(&mut sealed).map_err(failed)?;
    writer.write_all(SEALED).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(sealed)
}

fn opens(identities: &Identities, sealed: &[u8]) -> bool {
    use std::io::Read as _;
    let Ok(decryptor) = age::Decryptor::new_buffered(sealed) else { return false };
    let Ok(mut reader) = decryptor.decrypt(identities.as_dyn()) else { return false };
    let mut plain = Vec::new();
    reader.read_to_end(&mut plain).is_ok() && plain == SEALED
}

pub(super) fn judge_secrets(secrets: &[Secret]) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut good = Vec::new();
    for secret in secrets {
        match &secret.mode {
            Err(error) => checks.push(Check::of_error("keys", Status::Fail, error)),
            Ok(mode) if mode & 0o007 != 0 => {
                let path = secret.path.display();
                let found = format!("{} {path} has mode {mode:04o}: every user of this host may use it", secret.what);
                checks.push(Check::warn(
                    "keys",
                    found,
                    format!("chmod 0600 {path}; make a new one if others were here"),
                ));
            }
            Ok(_) => good.push(secret.what.as_str()),
        }
    }
    if !good.is_empty() {
        checks.insert(0, Check::ok("keys", format!("readable, and hidden from other users: {}", words(&good))));
    }
    checks
}

/// Whose signatures each role has to believe to do its work.
fn needs(role: Role) -> &'static [Role] {
    match role {
        Role::Backup | Role::Operator => &[],
        Role::Prove => &[Role::Backup],
        Role::Prune => &[Role::Backup, Role::Prove],
    }
}

pub(super) fn judge_trust(roles: &BTreeSet<Role>, trusted: &Result<BTreeSet<Role>>) -> Vec<Check> {
    let trusted = match trusted {
        Ok(trusted) => trusted,
        Err(error) => return vec![Check::of_error("keys", Status::Fail, error)],
    };
    let lacking =
        |role: &Role| needs(*role).iter().find(|needed| !trusted.contains(needed)).map(|needed| (*role, *needed));
    let mut checks: Vec<Check> = roles
        .iter()
        .filter_map(lacking)
        .map(|(role, needed)| {
            let found =
                format!("no {needed} key is trusted here, so the role {role} can believe nothing that it works on");
            Check::fail("keys", found, format!("add the public key to keys.trusted_keys.{needed}"))
        })
        .collect();
    if checks.is_empty() && !trusted.contains(&Role::Prove) {
        checks.push(Check::warn(
            "keys",
            "no prove key is trusted here: every backup looks unproven from this host",
            "add the prover's public key to keys.trusted_keys.prove",
        ));
    }
    checks
}

pub(super) fn judge_sealing(roles: &BTreeSet<Role>, sealing: &Result<Option<Sealing>>) -> Check {
    let sealing = match sealing {
        Ok(Some(sealing)) => sealing,
        Ok(None) => return Check::skip("keys", "no recipients: nothing is sealed here"),
        Err(error) => return Check::of_error("keys", Status::Fail, error),
    };
    let all = sealing.opened.len();
    let own = sealing.opened.iter().filter(|opened| **opened).count();
    let recipients = format!("{all} recipient{}", if all == 1 { "" } else { "s" });
    match &sealing.identity {
        None if all == 1 && !roles.contains(&Role::Prove) => Check::warn(
            "keys",
            "one recipient only: if its identity is lost, no backup opens",
            "add a recovery recipient whose identity lies offline, twice: lifeboat keygen --role recovery",
        ),
        None => Check::ok("keys", format!("{recipients}; no identity is here to try them")),
        Some(path) if own == 0 => Check::fail(
            "keys",
            format!(
                "no key in {} opens what the recipients seal: proofs of new backups cannot be made",
                path.display()
            ),
            "add its own recipient to keys.recipients (age-keygen -y FILE shows it), or correct keys.identity_file",
        ),
        Some(path) if own == all => Check::warn(
            "keys",
            format!("{} opens for every recipient: if this host is lost, no backup opens", path.display()),
            "add a recovery recipient whose identity lies offline, twice: lifeboat keygen --role recovery",
        ),
        Some(_) => Check::ok(
            "keys",
            format!(
                "identity opens what the recipients seal; {} of {recipients} opened elsewhere, for recovery",
                all - own
            ),
        ),
    }
}
