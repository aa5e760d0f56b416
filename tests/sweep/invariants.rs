//! What must hold after every fault.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use lifeboat::catalog::{Catalog, Trusted};
use lifeboat::digest::Digest;
use lifeboat::error::Result;
use lifeboat::prune::Done;
use lifeboat::store::Store;
use lifeboat_policy::id::BackupId;
use lifeboat_policy::proof::Level;
use lifeboat_tests::fault_store::{Fault, FaultStore};
use object_store::memory::InMemory;
use object_store::{ObjectStore as _, ObjectStoreExt as _};

use super::ground::Ground;
use super::{Act, trusted};

/// What the act told its caller.
pub(super) enum Outcome {
    Published(Box<Trusted>),
    Seen(Box<Catalog>),
    Pruned(Done),
    Fetched(Digest),
    Held,
    Asked,
}

pub(super) async fn hold(
    ground: &Ground,
    case: &str,
    act: Act,
    fault: Fault,
    faulty: &FaultStore,
    outcome: Result<Outcome>,
) {
    let objects = faulty.sound();
    let sound = Store::over("main", "memory:///", objects.clone());
    let catalog = ground.read(&sound).await.unwrap_or_else(|error| panic!("{case}: {error}"));

    nothing_is_overwritten(ground, case, act, &objects).await;
    what_is_listed_is_whole(ground, case, &sound, &catalog).await;
    // 2 and 3 stay, whatever happened; 1 was to be deleted.
    for number in [2, 3] {
        assert!(catalog.find(&ground.id(number)).is_some(), "{case}: backup {number} is lost");
    }
    let newest = catalog.find(&ground.id(3)).expect("it was just found");
    if act != Act::Prune {
        assert!(catalog.find(&ground.id(1)).is_some(), "{case}: backup 1 is lost");
    }
    assert!(newest.tombstones.is_empty(), "{case}: the newest proven backup is marked");
    // What the store itself kept wrong is shown as such; nothing else may be.
    if fault != Fault::WrongBytes {
        assert!(catalog.untrusted.is_empty() && catalog.strays.is_empty(), "{case}: {catalog:?}");
    }
    if fault == Fault::Locked {
        let locked = matches!(&outcome, Ok(Outcome::Pruned(done)) if done.locked.len() == 1);
        assert!(locked, "{case}: a lock is told, and no failure");
    }
    what_was_told_is_true(ground, case, &catalog, outcome);
    a_clean_run_goes_on(ground, case, &sound).await;
}

#[allow(clippy::disallowed_methods)] // tests have a clock of their own
fn now() -> DateTime<Utc> {
    Utc::now()
}

async fn catalog_of(ground: &Ground, case: &str, sound: &Store) -> Catalog {
    ground.read(sound).await.unwrap_or_else(|error| panic!("{case}: {error}"))
}

async fn contents(objects: &InMemory) -> BTreeMap<String, Bytes> {
    let listed: Vec<_> = objects.list(None).try_collect().await.expect("memory lists");
    let mut contents = BTreeMap::new();
    for meta in listed {
        let read = objects.get(&meta.location).await.expect("memory reads").bytes().await.expect("memory reads");
        contents.insert(meta.location.to_string(), read);
    }
    contents
}

/// Every name has one content for ever, and only prune makes names go: those of backup 1, what was left of 0, and never a
/// tombstone.
async fn nothing_is_overwritten(ground: &Ground, case: &str, act: Act, objects: &Arc<InMemory>) {
    let after = contents(objects).await;
    let pruned = [0, 1].map(|number| ground.id(number).to_string());
    for (name, before) in contents(&ground.base.sound()).await {
        match after.get(&name) {
            Some(now) => assert!(*now == before, "{case}: {name} was overwritten"),
            None => {
                let may_go =
                    act == Act::Prune && pruned.iter().any(|id| name.contains(id)) && !name.contains("/tombstones/");
                assert!(may_go, "{case}: {name} is gone");
            }
        }
    }
}

/// A listed backup can be opened to the bytes that were captured.
async fn what_is_listed_is_whole(ground: &Ground, case: &str, sound: &Store, catalog: &Catalog) {
    for entry in &catalog.trusted {
        assert!(entry.present, "{case}: {} is listed without its data", entry.id());
        let opened = ground.opened(sound, entry).await;
        let opened = opened.unwrap_or_else(|error| panic!("{case}: {} is listed, but {error}", entry.id()));
        assert_eq!(opened, ground.snapshot_sha256, "{case}: {} holds other bytes", entry.id());
    }
}

/// A success is a success, and nobody was shown what is not there.
fn what_was_told_is_true(ground: &Ground, case: &str, catalog: &Catalog, outcome: Result<Outcome>) {
    match outcome {
        Err(_) => {}
        Ok(Outcome::Published(entry)) => {
            let found = catalog.find(entry.id());
            let found = found.unwrap_or_else(|| panic!("{case}: it was called published and is not listed"));
            assert_eq!(found.manifest_sha256, entry.manifest_sha256, "{case}");
        }
        Ok(Outcome::Seen(seen)) => {
            let real = trusted(catalog);
            for entry in &seen.trusted {
                assert!(real.contains(&entry.id().to_string()), "{case}: {} was invented", entry.id());
                let real = catalog.find(entry.id()).expect("it was just found");
                assert_eq!(entry.manifest_sha256, real.manifest_sha256, "{case}");
                assert!(entry.verdicts.len() <= real.verdicts.len(), "{case}: a verdict was invented");
            }
        }
        Ok(Outcome::Pruned(done)) => {
            let gone = |id: &BackupId| catalog.find(id).is_none();
            assert!(done.deleted.iter().all(gone), "{case}: it was called deleted and is listed");
        }
        Ok(Outcome::Held) => {
            let entry = catalog.find(&ground.id(1)).expect("it was found before");
            assert!(entry.held(catalog.read_at).is_some(), "{case}: it was called held and is not");
            assert!(entry.marks().next().is_none(), "{case}: it is held and still marked");
        }
        Ok(Outcome::Asked) => {
            let entry = catalog.find(&ground.id(2)).expect("it was found before");
            assert!(entry.marks().any(|(mark, _)| mark.asked), "{case}: it was called marked and is not");
        }
        Ok(Outcome::Fetched(digest)) => {
            assert_eq!(digest, ground.snapshot_sha256, "{case}: other bytes were given out")
        }
    }
}

/// Another backup is published, prune does what is left of its work, and the newest proven backup opens.
async fn a_clean_run_goes_on(ground: &Ground, case: &str, sound: &Store) {
    let held =
        catalog_of(ground, case, sound).await.find(&ground.id(1)).is_some_and(|entry| entry.held(now()).is_some());
    let again = ground.publish(sound, 5).await;
    let again = again.unwrap_or_else(|error| panic!("{case}: the next backup fails: {error}"));
    for _ in 0..2 {
        ground.prune(sound).await.unwrap_or_else(|error| panic!("{case}: the next prune fails: {error}"));
    }
    if held {
        let catalog = catalog_of(ground, case, sound).await;
        assert!(catalog.find(&ground.id(1)).is_some_and(|entry| entry.present), "{case}: what is held was pruned");
        ground.release(sound, 1).await.unwrap_or_else(|error| panic!("{case}: it cannot be released: {error}"));
        // It is marked anew, and waits for its grace: none is over within this test's clock.
        ground.prune(sound).await.unwrap_or_else(|error| panic!("{case}: the next prune fails: {error}"));
        let catalog = catalog_of(ground, case, sound).await;
        let entry = catalog.find(&ground.id(1)).unwrap_or_else(|| panic!("{case}: it went without a grace"));
        assert!(entry.marks().next().is_some(), "{case}: what was released is not marked");
    }
    let catalog = catalog_of(ground, case, sound).await;
    let left = ground.id(0).to_string();
    let left: Vec<_> = catalog.orphans.iter().filter(|orphan| orphan.id.as_str() == left).collect();
    assert!(left.is_empty(), "{case}: an upload left behind outlives two clean prunes: {left:?}");
    assert!(catalog.find(again.id()).is_some_and(|entry| entry.present), "{case}: the next backup is not listed");
    assert!(held || catalog.find(&ground.id(1)).is_none(), "{case}: backup 1 outlives two clean prunes");
    let proven = catalog.newest_proven(Level::Booted).map(|entry| entry.id().clone());
    assert_eq!(proven, Some(ground.id(3)), "{case}");
    let fetched = ground.fetch(sound).await.unwrap_or_else(|error| panic!("{case}: the next fetch fails: {error}"));
    assert_eq!(fetched, ground.snapshot_sha256, "{case}");
}
