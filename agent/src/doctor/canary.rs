//! A canary: an object of our own, made to find out what this store's key may do to any object.

use super::within;
use crate::clock::Clock;
use crate::error::{Error, Reason, Result};
use crate::scratch;
use crate::store::{CanaryKey, Found, Layout, Store};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};

/// A canary that an earlier run left, and that is older than this, belongs to no run that is still under way.
const ABANDONED_AFTER: TimeDelta = TimeDelta::hours(1);
/// Times of objects are told in whole seconds by most stores.
const GRAIN: TimeDelta = TimeDelta::seconds(1);

/// What was tried on the canary, in this order. `None`: not tried, because what stands before it failed.
#[derive(Debug)]
pub(super) struct Canary {
    pub key: String,
    pub create: Result<()>,
    /// Whether what came back was what was sent.
    pub read: Option<Result<bool>>,
    /// Whether a listing shows it.
    pub listed: Option<Result<bool>>,
    /// How far the store's clock is ahead of ours.
    pub skew: Option<TimeDelta>,
    /// A second create with other bytes.
    pub again: Option<Again>,
    /// A plain put over it; the new version's name, where the store keeps versions.
    pub overwrite: Option<Result<Option<String>>>,
    /// Whether it is gone after the delete.
    pub delete: Option<Result<bool>>,
    /// Canaries of earlier runs that were removed.
    pub swept: usize,
}

#[derive(Debug)]
pub(super) enum Again {
    Refused,
    Replaced,
    Failed(Error),
}

/// Tries everything. `sweeps`: also remove what earlier runs could not, which is for a host whose role deletes.
pub(super) async fn try_out(store: &Store, layout: &Layout, clock: &dyn Clock, sweeps: bool) -> Canary {
    let before = clock.now();
    let named = scratch::random_u32().map_err(|source| Error::io("name", "a canary", source));
    let key = layout.canary(before, *named.as_ref().unwrap_or(&0));
    let mut canary = Canary::new(&key, Ok(()));
    let first = Bytes::from(format!("lifeboat doctor was here: {}\n", key.object()));
    canary.create = match named {
        Ok(_) => within(store.url(), Reason::StoreTimeout, store.create(key.object(), first.clone())).await,
        Err(error) => Err(error),
    };
    let after = clock.now();
    if canary.create.is_err() {
        return canary;
    }
    canary.read = Some(read(store, &key, &first).await);
    if let Some(Ok(_)) = canary.read {
        look_at(&mut canary, store, layout, &key, (before, after), sweeps).await;
        canary.again = Some(again(store, &key).await);
        let second = Bytes::from_static(b"lifeboat doctor wrote over its own canary\n");
        canary.overwrite = Some(within(store.url(), Reason::StoreTimeout, store.overwrite(&key, second)).await);
    }
    // Also where something before it failed: nothing is left behind that may be taken away.
    canary.delete = Some(delete(store, &key).await);
    canary
}

impl Canary {
    pub(super) fn new(key: &CanaryKey, create: Result<()>) -> Canary {
        let key = key.object().to_string();
        let (read, listed, skew, again, overwrite, delete) = (None, None, None, None, None, None);
        Canary { key, create, read, listed, skew, again, overwrite, delete, swept: 0 }
    }
}

async fn read(store: &Store, key: &CanaryKey, sent: &Bytes) -> Result<bool> {
    let cap = sent.len() as u64 + 1;
    Ok(within(store.url(), Reason::StoreTimeout, store.read(key.object(), cap)).await? == *sent)
}

/// What a listing says of it, and what stands around it.
async fn look_at(
    canary: &mut Canary,
    store: &Store,
    layout: &Layout,
    key: &CanaryKey,
    (before, after): (DateTime<Utc>, DateTime<Utc>),
    sweeps: bool,
) {
    let listed = match within(store.url(), Reason::StoreTimeout, store.list(&layout.canaries())).await {
        Ok(listed) => listed,
        Err(error) => {
            canary.listed = Some(Err(error));
            return;
        }
    };
    let found = listed.iter().find(|found| found.name == key.object().as_str());
    canary.skew = found.map(|found| skew(before, found.modified, after));
    canary.listed = Some(Ok(found.is_some()));
    if sweeps {
        for old in abandoned(&listed, layout, before) {
            if delete(store, &old).await.is_ok_and(|gone| gone) {
                canary.swept += 1;
            }
        }
    }
}

/// Canaries that nobody works with any more.
fn abandoned(listed: &[Found], layout: &Layout, now: DateTime<Utc>) -> Vec<CanaryKey> {
    let old = listed.iter().filter(|found| now - found.modified > ABANDONED_AFTER);
    old.filter_map(|found| layout.parse_canary(&found.name)).collect()
}

async fn again(store: &Store, key: &CanaryKey) -> Again {
    // Of the same length, so that only what they say tells the two apart.
    let other = Bytes::from(format!("lifeboat doctor is back!: {}\n", key.object()));
    match within(store.url(), Reason::StoreTimeout, store.create(key.object(), other)).await {
        Ok(()) => Again::Replaced,
        Err(error) if error.reason == Reason::StoreConflict => Again::Refused,
        Err(error) => Again::Failed(error),
    }
}

async fn delete(store: &Store, key: &CanaryKey) -> Result<bool> {
    let deleting = async {
        store.delete(key.object()).await?;
        Ok(store.head(key.object()).await?.is_none())
    };
    within(store.url(), Reason::StoreTimeout, deleting).await
}

/// How far the store's clock is ahead of ours, told from an object that was made between `before` and `after`.
fn skew(before: DateTime<Utc>, modified: DateTime<Utc>, after: DateTime<Utc>) -> TimeDelta {
    if modified > after {
        modified - after
    } else if modified + GRAIN < before {
        modified + GRAIN - before
    } else {
        TimeDelta::zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ClusterName;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_400_000 + seconds, 0).unwrap()
    }

    #[test]
    fn a_clock_within_the_time_of_the_request_is_right() {
        for modified in [9, 10, 11, 12] {
            assert_eq!(skew(at(10), at(modified), at(12)), TimeDelta::zero(), "{modified}");
        }
        assert_eq!(skew(at(10), at(20), at(12)), TimeDelta::seconds(8));
        assert_eq!(skew(at(10), at(2), at(12)), TimeDelta::seconds(-7));
    }

    #[test]
    fn only_old_canaries_are_swept() {
        let layout = Layout::new(&ClusterName::parse("prod").unwrap());
        let found = |name: &str, age: i64| Found { name: name.to_owned(), bytes: 1, modified: at(-age), e_tag: None };
        let (old, new) = (layout.canary(at(-7200), 1), layout.canary(at(-60), 2));
        let listed = [
            found(old.object().as_str(), 7200),
            found(new.object().as_str(), 60),
            found("prod/doctor/notes.txt", 999_999),
            found("prod/backups/x/manifest.json", 999_999),
        ];
        assert_eq!(abandoned(&listed, &layout, at(0)), [old]);
    }
}
