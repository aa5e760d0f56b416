//! Who may say what about a backup, and when it counts.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use lifeboat::catalog::note;
use lifeboat::catalog::wish::{Hold, HoldAction};
use lifeboat::store::Store;

use super::ground::Ground;
use super::store;

fn run(test: impl AsyncFn(Ground, Store)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let ground = Ground::prepare().await;
        let objects = store(Arc::new(ground.base.fork()));
        test(ground, objects).await;
    });
}

#[allow(clippy::disallowed_methods)] // tests have a clock of their own
fn now() -> DateTime<Utc> {
    Utc::now()
}

/// A hold or release of backup 1 by a role's key, at a time, with or without its signature.
async fn say(ground: &Ground, store: &Store, role: &str, action: HoldAction, at: DateTime<Utc>, signed: bool) {
    let catalog = ground.read(store).await.expect("memory reads");
    let (entry, signer) = (catalog.find(&ground.id(1)).expect("it is listed"), ground.signer(role));
    let random = catalog.strays.len() + entry.holds.len();
    let key = ground.layout.hold(entry.id(), at, u32::try_from(random).expect("few"));
    let hold = Hold {
        binding: note::binding::<Hold>(&ground.layout, &key, &signer),
        id: entry.id().clone(),
        manifest_sha256: entry.manifest_sha256,
        at,
        action,
        reason: "a test".to_owned(),
        until: None,
        agent_version: "0".to_owned(),
    };
    let prepared = note::prepare(&hold, &key, &signer).expect("it can be signed");
    match signed {
        true => drop(prepared.store(store).await.expect("memory takes it")),
        false => store.create(&prepared.key, prepared.json).await.expect("memory takes it"),
    }
}

/// Whether backup 1 is held, and how many objects do not count.
async fn state(ground: &Ground, store: &Store) -> (bool, usize) {
    let catalog = ground.read(store).await.expect("memory reads");
    let entry = catalog.find(&ground.id(1)).expect("it is listed");
    (entry.held(now()).is_some(), catalog.strays.len())
}

pub(super) fn only_what_may_be_said_counts() {
    run(async |ground, store| {
        use HoldAction::{Hold, Release};
        let (far, past) = (now() + TimeDelta::days(400), now() - TimeDelta::minutes(9));
        // Neither an unsigned hold nor one from the future keeps anything.
        say(&ground, &store, "operator", Hold, past, false).await;
        say(&ground, &store, "operator", Hold, far, true).await;
        assert_eq!(state(&ground, &store).await, (false, 2));
        // Every trusted role may hold.
        for role in ["backup", "prove", "prune"] {
            say(&ground, &store, role, Hold, past, true).await;
            assert_eq!(state(&ground, &store).await, (true, 2), "{role}");
        }
        // Only the operator may release, at a time that has come, and with a signature.
        for role in ["backup", "prove", "prune"] {
            say(&ground, &store, role, Release, now(), true).await;
        }
        say(&ground, &store, "operator", Release, far, true).await;
        say(&ground, &store, "operator", Release, now(), false).await;
        assert_eq!(state(&ground, &store).await, (true, 7));
        say(&ground, &store, "operator", Release, now(), true).await;
        assert_eq!(state(&ground, &store).await, (false, 7));
    });
}

/// The plan was made, then a person held the backup: it is spared, and so is what is left of one that is gone.
pub(super) fn a_late_hold_spares() {
    run(async |ground, store| {
        let before = ground.read(&store).await.expect("memory reads");
        say(&ground, &store, "backup", HoldAction::Hold, now(), true).await;
        let done = ground.prune_from(&store, &before).await.expect("memory deletes");
        assert_eq!((done.spared, done.deleted), (vec![ground.id(1)], vec![]));
        let catalog = ground.read(&store).await.expect("memory reads");
        assert!(catalog.find(&ground.id(1)).is_some_and(|entry| entry.present && entry.marks().next().is_none()));
    });
}
