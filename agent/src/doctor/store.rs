//! Each store: does it answer, and what may this key do there, against what the roles of this host should be able to.

use super::canary::{self, Again, Canary};
use super::{Asked, Check, Status, certificate, role_words, within, words};
use crate::config::{Location, Lock, Provider, Role, StoreConfig};
use crate::error::{Error, Reason, Result};
use crate::store::{LEFTOVER_GRACE, Layout, ObjectLock, Store, Versioning};
use chrono::TimeDelta;
use lifeboat_policy::span;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

const AREA: &str = "store";
/// A clock that is this wrong is worth a look; one that is `REFUSED` wrong makes S3 refuse every request.
const WRONG: TimeDelta = TimeDelta::seconds(5);
const REFUSED: TimeDelta = TimeDelta::minutes(15);
/// Where etcd keeps its data unless told otherwise.
const ETCD_DATA: &str = "/var/lib/etcd";

/// Where the objects lie, as far as it decides what a finding means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Folder {
        /// On the file system of etcd's own data.
        beside_etcd: bool,
    },
    Bucket(Provider),
}

pub(super) async fn look(asked: &Asked<'_>, config: &StoreConfig) -> Vec<Check> {
    let roles = &asked.config.roles;
    let name = &config.name;
    let (place, store) = match open(config) {
        Ok(opened) => opened,
        Err(error) => return vec![unreached(name, &error)],
    };
    let mut checks = Vec::new();
    if let Some(path) = &config.ca_file {
        let found = certificate::read(path);
        checks.push(certificate::judge_ca(AREA, &format!("{name}: the CA"), path, &found, asked.now()));
    }
    if let Err(error) = within(store.url(), Reason::StoreTimeout, store.check()).await {
        checks.push(unreached(name, &error));
        return checks;
    }
    checks.extend(look_at_bucket(asked, config, &store).await);
    if !asked.tries() {
        checks.push(Check::ok(AREA, format!("{name}: {} answers and lists", store.url())));
        checks.extend(judge_disk(name, place));
        return checks;
    }
    let layout = Layout::new(&asked.config.cluster);
    let canary = canary::try_out(&store, &layout, asked.clock, asked.runs(Role::Prune)).await;
    checks.extend(judge(name, store.url(), place, roles, &canary));
    checks
}

/// What S3 and Google tell of a bucket: what stands between its objects and a stolen key, and uploads that nobody finished.
async fn look_at_bucket(asked: &Asked<'_>, config: &StoreConfig, store: &Store) -> Vec<Check> {
    let name = &config.name;
    let mut checks = Vec::new();
    match within(store.url(), Reason::StoreTimeout, store.drops_unfinished_uploads()).await {
        Ok(found) => checks.extend(found.map(|found| judge_lifecycle(name, found))),
        Err(error) => checks.push(untold(name, "its lifecycle", &error)),
    }
    match within(store.url(), Reason::StoreTimeout, store.object_lock()).await {
        Ok(None) => return checks,
        Ok(Some(found)) => match judge_lock(name, found, config.lock) {
            Some(check) => checks.push(check),
            // Where overwriting is tried as well, that tells whether versions are kept.
            None if asked.tries() => {}
            None => match within(store.url(), Reason::StoreTimeout, store.versioning()).await {
                Ok(versioning) => checks.extend(versioning.map(|versioning| judge_versioning(name, versioning))),
                Err(error) => checks.push(untold(name, "its versioning", &error)),
            },
        },
        Err(error) => checks.push(untold(name, "its object lock", &error)),
    }
    match within(store.url(), Reason::StoreTimeout, store.leftovers(asked.now() - LEFTOVER_GRACE)).await {
        Ok(leftovers) => checks.extend(leftovers.map(|leftovers| judge_leftovers(name, leftovers.len()))),
        Err(error) => checks.push(untold(name, "its unfinished uploads", &error)),
    }
    checks
}

/// A question that no role needs an answer to.
fn untold(name: &str, what: &str, error: &Error) -> Check {
    Check::skip(AREA, format!("{name}: {what} cannot be read: {error}"))
}

/// `None`: the bucket has no object lock, and none is asked for.
pub(super) fn judge_lock(name: &str, found: Option<ObjectLock>, asked: Option<Lock>) -> Option<Check> {
    let kept = |days: u32, mode: &str| format!("{name}: object lock keeps every version for {days} days ({mode})");
    let default = found.and_then(|found| found.default);
    Some(match (found, default, asked) {
        // The longer of the two is what objects get.
        (Some(_), Some(default), Some(lock)) if lock.days > default.days => {
            Check::ok(AREA, kept(lock.days, lock.mode.name()))
        }
        (Some(_), Some(default), _) => Check::ok(AREA, kept(default.days, default.mode.name())),
        (Some(_), None, Some(lock)) => Check::ok(AREA, kept(lock.days, lock.mode.name())),
        (Some(_), None, None) => Check::warn(
            AREA,
            format!("{name}: the bucket was made with object lock, and nothing asks for it"),
            "give the bucket a default retention, or write `lock` in the config of this store",
        ),
        (None, _, Some(_)) => Check::fail(
            AREA,
            format!("{name}: the config asks for a lock, and the bucket was made without object lock"),
            "make a bucket with object lock, or take `lock` out of the config",
        ),
        (None, _, None) => return None,
    })
}

pub(super) fn judge_versioning(name: &str, found: Versioning) -> Check {
    match found {
        Versioning::On => Check::ok(AREA, format!("{name}: the bucket keeps versions")),
        Versioning::Off | Versioning::Suspended => plain(name),
    }
}

pub(super) fn judge_lifecycle(name: &str, drops_unfinished: bool) -> Check {
    match drops_unfinished {
        true => Check::ok(AREA, format!("{name}: the bucket's lifecycle drops uploads that nobody finished")),
        false => Check::warn(
            AREA,
            format!("{name}: no rule of the bucket's lifecycle drops uploads that nobody finished"),
            "a crash can leave parts that show nowhere and cost: add AbortIncompleteMultipartUpload, see stores.md",
        ),
    }
}

pub(super) fn judge_leftovers(name: &str, count: usize) -> Check {
    match count {
        0 => Check::ok(AREA, format!("{name}: no upload is left unfinished for more than a day")),
        count => Check::warn(
            AREA,
            format!("{name}: uploads left unfinished for more than a day: {count}"),
            "they cost and show nowhere; the role prune sweeps them, and so does a lifecycle rule of the bucket",
        ),
    }
}

fn plain(name: &str) -> Check {
    Check::warn(
        AREA,
        format!("{name}: a plain bucket: whoever steals a right to put or delete destroys backups at once"),
        "turn on versioning, or object lock, and let no key here delete versions: runbooks, Rights in the store",
    )
}

fn open(config: &StoreConfig) -> Result<(Place, Store)> {
    let place = match config.location()? {
        Location::File(path) => Place::Folder { beside_etcd: one_file_system(&path, Path::new(ETCD_DATA)) },
        Location::Bucket { provider, .. } => Place::Bucket(provider),
    };
    Ok((place, Store::open(config)?))
}

fn one_file_system(one: &Path, other: &Path) -> bool {
    let device = |path: &Path| std::fs::metadata(path).map(|found| found.dev()).ok();
    device(one).is_some_and(|here| device(other) == Some(here))
}

/// Which step towards the store failed, and what its error says.
pub(super) fn unreached(name: &str, error: &Error) -> Check {
    let text = error.to_string();
    let lower = text.to_lowercase();
    let step = match error.reason {
        Reason::StoreUnreachable if lower.contains("dns") || lower.contains("resolve") => {
            "the name of its host is not found"
        }
        Reason::StoreUnreachable => "it cannot be connected to",
        Reason::StoreTls => "it is reached, but TLS with it fails",
        Reason::StoreTimeout => "it does not answer in time",
        Reason::StoreBucketMissing => "the bucket or folder is not there",
        Reason::StoreDenied => "this key may not list it",
        Reason::StoreClockSkew => "it refuses this machine's clock",
        Reason::Config => "its config does not fit",
        _ => "it cannot be used",
    };
    Check { area: AREA, status: Status::Fail, found: format!("{name}: {step}: {text}"), hint: error.hint.clone() }
}

/// Everything that the canary told.
pub(super) fn judge(name: &str, url: &str, place: Place, roles: &BTreeSet<Role>, canary: &Canary) -> Vec<Check> {
    if let Err(error) = &canary.create {
        let found = format!("{name}: it lists, but nothing can be created in it: {error}");
        return vec![Check { area: AREA, status: Status::Fail, found, hint: error.hint.clone() }];
    }
    let mut checks = vec![judge_reading(name, url, canary)];
    checks.extend(canary.again.as_ref().map(|again| judge_again(name, again)));
    checks.extend(judge_overwrite(name, place, canary));
    checks.extend(judge_delete(name, place, roles, canary));
    checks.extend(judge_disk(name, place));
    checks.extend(canary.skew.map(|skew| judge_skew(name, skew)));
    checks
}

fn judge_reading(name: &str, url: &str, canary: &Canary) -> Check {
    let trouble = |what: &str, error: &Error| Check {
        area: AREA,
        status: Status::Fail,
        found: format!("{name}: {what}: {error}"),
        hint: error.hint.clone(),
    };
    match (&canary.read, &canary.listed) {
        (Some(Err(error)), _) => trouble("what was created cannot be read back", error),
        (Some(Ok(false)), _) => Check::fail(
            AREA,
            format!("{name}: what was created reads back as something else"),
            "something between here and the store changes or caches objects: no backup is safe there",
        ),
        (_, Some(Err(error))) => trouble("what was created cannot be listed", error),
        (_, Some(Ok(false))) => Check::warn(
            AREA,
            format!("{name}: a listing does not show what was created just before"),
            "its listings are stale, so what it keeps shows late; nothing is ever deleted because of that",
        ),
        _ => Check::ok(AREA, format!("{name}: {url} answers; a canary was created, read back and listed")),
    }
}

fn judge_again(name: &str, again: &Again) -> Check {
    match again {
        Again::Refused => Check::ok(AREA, format!("{name}: a name that is taken cannot be created again")),
        Again::Replaced => Check::warn(
            AREA,
            format!("{name}: it replaces silently what is created under a taken name"),
            "it ignores If-None-Match; names never repeat, so no backup rests on it, but versioning is the safer store",
        ),
        Again::Failed(error) => Check::of_error(AREA, Status::Warn, error),
    }
}

/// Whether the store keeps what is written over.
fn keeps_versions(canary: &Canary) -> bool {
    matches!(&canary.overwrite, Some(Ok(Some(_))))
}

fn judge_overwrite(name: &str, place: Place, canary: &Canary) -> Option<Check> {
    let outcome = canary.overwrite.as_ref()?;
    let provider = match place {
        // Whoever may create in a folder may replace: nothing that could be configured away.
        Place::Folder { .. } => return None,
        Place::Bucket(provider) => provider,
    };
    Some(match (outcome, provider) {
        (Err(error), _) if matches!(error.reason, Reason::StoreDenied | Reason::StoreConflict) => {
            Check::ok(AREA, format!("{name}: this key may not write over what is there"))
        }
        (Err(error), _) => Check::of_error(AREA, Status::Warn, error),
        (Ok(_), Provider::Gcs) => Check::skip(
            AREA,
            format!(
                "{name}: this key may overwrite; whether the bucket keeps the old versions cannot be asked from here"
            ),
        ),
        (Ok(Some(_)), _) => {
            Check::ok(AREA, format!("{name}: writing over an object makes a new version, and the old one stays"))
        }
        (Ok(None), _) => plain(name),
    })
}

fn judge_delete(name: &str, place: Place, roles: &BTreeSet<Role>, canary: &Canary) -> Option<Check> {
    let outcome = canary.delete.as_ref()?;
    let stays = format!("the canary {} stays, a few bytes that every reader passes by", canary.key);
    let prunes = roles.contains(&Role::Prune);
    let others: BTreeSet<Role> =
        roles.iter().copied().filter(|role| matches!(role, Role::Backup | Role::Prove)).collect();
    Some(match outcome {
        Err(error) if error.reason == Reason::StoreDenied && prunes => Check::fail(
            AREA,
            format!("{name}: this key may not delete, and the role prune runs here; {stays}"),
            grant(place),
        ),
        Err(error) if error.reason == Reason::StoreDenied => {
            Check::ok(AREA, format!("{name}: this key may not delete, as it should be; {stays}"))
        }
        Err(error) => {
            let found = format!("{name}: deleting failed: {error}; {stays}");
            Check {
                area: AREA,
                status: if prunes { Status::Fail } else { Status::Warn },
                found,
                hint: error.hint.clone(),
            }
        }
        Ok(false) => Check::warn(
            AREA,
            format!("{name}: the store says that it deleted the canary {}, and still has it", canary.key),
            "a lock or a stale answer; where the role prune runs, look whether its deletions come true",
        ),
        Ok(true) => may_delete(name, place, prunes, &others, canary),
    })
}

/// The canary is gone: whether that is as it should be.
fn may_delete(name: &str, place: Place, prunes: bool, others: &BTreeSet<Role>, canary: &Canary) -> Check {
    let swept = match canary.swept {
        0 => String::new(),
        count => format!("; {count} canaries of earlier runs went too"),
    };
    if prunes {
        let names: Vec<&str> = others.iter().map(|role| role.name()).collect();
        let shared = match names.is_empty() {
            true => String::new(),
            false => format!("; so may {} on this host", words(&names)),
        };
        return Check::ok(AREA, format!("{name}: this key may delete, as the role prune must{shared}{swept}"));
    }
    if others.is_empty() {
        return Check::ok(AREA, format!("{name}: this key may delete; no agent's role runs here"));
    }
    let roles = role_words(others);
    match place {
        Place::Folder { .. } => Check::ok(
            AREA,
            format!("{name}: a folder: who writes there may delete; {roles} need not, and cannot be kept from it"),
        ),
        Place::Bucket(_) if keeps_versions(canary) => Check::warn(
            AREA,
            format!("{name}: this key may hide objects by deleting them, though versions stay; {roles} must not"),
            revoke(place),
        ),
        Place::Bucket(_) => Check::fail(AREA, format!("{name}: this key may delete; {roles} must not"), revoke(place)),
    }
}

fn grant(place: Place) -> &'static str {
    match place {
        Place::Bucket(Provider::S3) => "allow s3:DeleteObject for the pruner's key: runbooks, Rights in the store",
        Place::Bucket(Provider::Gcs) => {
            "give the pruner's account storage.objects.delete: runbooks, Rights in the store"
        }
        Place::Bucket(Provider::Azure) => {
            "give the pruner's account or SAS the right to delete: runbooks, Rights in the store"
        }
        Place::Folder { .. } => "let the user that runs lifeboat write to the folder and everything in it",
    }
}

fn revoke(place: Place) -> &'static str {
    match place {
        Place::Bucket(Provider::S3) => "remove s3:DeleteObject from its policy: runbooks, Rights in the store",
        Place::Bucket(Provider::Gcs) => {
            "give it storage.objects.create, get and list, but not delete: runbooks, Rights in the store"
        }
        Place::Bucket(Provider::Azure) => "give the account or SAS no right to delete: runbooks, Rights in the store",
        Place::Folder { .. } => "mount it without that right",
    }
}

fn judge_disk(name: &str, place: Place) -> Option<Check> {
    let Place::Folder { beside_etcd } = place else { return None };
    Some(match beside_etcd {
        true => Check::warn(
            AREA,
            format!("{name}: the folder lies on the file system of {ETCD_DATA}: what takes one takes both"),
            "point the store at another machine, or at least another disk",
        ),
        false => Check::ok(AREA, format!("{name}: a folder: whoever may write to it may overwrite and delete")),
    })
}

fn judge_skew(name: &str, skew: TimeDelta) -> Check {
    let size = span::ago(skew.abs().to_std().unwrap_or_default());
    let way = if skew < TimeDelta::zero() { "ahead of" } else { "behind" };
    let found = format!("{name}: this machine's clock is {size} {way} the store's");
    let hint = "set the clock (NTP): ages, slots and retention are told by it";
    match skew.abs() {
        small if small <= WRONG => Check::ok(AREA, format!("{name}: clocks agree")),
        wrong if wrong < REFUSED => Check::warn(AREA, found, hint),
        _ => Check::fail(AREA, found, hint),
    }
}
