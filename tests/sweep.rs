//! Every operation of the store fails once, in every way: after each, what was trusted is still there, whole and never
//! overwritten, nothing is listed that is not, and a clean run goes on.

mod ground;
mod invariants;
mod pair;
mod wishes;

use std::sync::Arc;

use lifeboat::catalog::Catalog;
use lifeboat::error::{Reason, Result};
use lifeboat::store::Store;
use lifeboat_tests::fault_store::{Fault, FaultStore};

use ground::Ground;
use invariants::Outcome;

/// What is done while the store fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Publish,
    Read,
    Prune,
    Fetch,
    Hold,
    Ask,
}

#[test]
fn publishing_survives_every_fault_of_every_operation() {
    sweep(Act::Publish, 20);
}

#[test]
fn reading_the_catalog_survives_every_fault_of_every_operation() {
    sweep(Act::Read, 15);
}

#[test]
fn pruning_survives_every_fault_of_every_operation() {
    sweep(Act::Prune, 15);
}

#[test]
fn fetching_survives_every_fault_of_every_operation() {
    sweep(Act::Fetch, 15);
}

#[test]
fn holding_survives_every_fault_of_every_operation() {
    sweep(Act::Hold, 8);
}

#[test]
fn asking_for_a_deletion_survives_every_fault_of_every_operation() {
    sweep(Act::Ask, 8);
}

#[test]
fn holds_of_the_wrong_key_or_from_the_future_weaken_nothing_and_are_reported() {
    wishes::only_what_may_be_said_counts();
}

#[test]
fn a_hold_that_comes_between_plan_and_deletion_is_seen() {
    wishes::a_late_hold_spares();
}

#[test]
fn two_pruners_at_once_delete_no_more_than_one_would() {
    pair::both_at_once();
}

/// At least so many operations fail, or the sweep has missed its aim.
fn sweep(act: Act, least: u64) {
    // Where time stands still the pauses between tries cost nothing. A fetch has a thread of its own that waits for bytes,
    // and while one works time does not move by itself.
    let runtime = match act {
        Act::Fetch => tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build(),
        Act::Publish | Act::Read | Act::Prune | Act::Hold | Act::Ask => {
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()
        }
    };
    runtime.expect("a runtime").block_on(async {
        let ground = Ground::prepare().await;
        let listed = ground.objects().await;
        let (mut cases, mut operations) = (0, 0);
        for fault in Fault::all(listed) {
            for number in 0.. {
                let faulty = Arc::new(ground.base.fork());
                faulty.fail(number, fault);
                let outcome = run(&ground, act, store(faulty.clone())).await;
                lifeboat::store::settle().await;
                let met = faulty.operations();
                operations = operations.max(met);
                if number >= met {
                    break;
                }
                let Some(fired) = faulty.fired() else { continue };
                faulty.settle().await;
                let case = format!("{act:?}: operation {number} ({fired}) fails with {fault:?}");
                invariants::hold(&ground, &case, act, fault, &faulty, outcome).await;
                cases += 1;
            }
        }
        assert!(operations >= least, "{act:?} makes {operations} operations only");
        println!("{act:?}: {cases} faults over {operations} operations");
    });
}

fn store(objects: Arc<FaultStore>) -> Store {
    Store::over("main", "memory:///", objects)
}

/// Does it, and returns what its caller would have seen.
async fn run(ground: &Ground, act: Act, store: Store) -> Result<Outcome> {
    let outcome = match act {
        Act::Publish => ground.publish(&store, 4).await.map(|entry| Outcome::Published(Box::new(entry))),
        Act::Read => ground.read(&store).await.map(|seen| Outcome::Seen(Box::new(seen))),
        Act::Prune => ground.prune(&store).await.map(Outcome::Pruned),
        Act::Fetch => ground.fetch(&store).await.map(Outcome::Fetched),
        Act::Hold => ground.hold(&store, 1).await.map(|()| Outcome::Held),
        Act::Ask => ground.ask(&store, 2).await.map(|()| Outcome::Asked),
    };
    if let Err(error) = &outcome {
        assert_ne!(error.reason, Reason::Internal, "{act:?}: {error}");
    }
    outcome
}

/// The names of the trusted entries.
fn trusted(catalog: &Catalog) -> Vec<String> {
    catalog.trusted.iter().map(|entry| entry.id().to_string()).collect()
}
