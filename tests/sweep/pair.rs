//! Two pruners over one store, at once, in many interleavings: what goes is what either of them would have let go.

use std::sync::Arc;

use lifeboat_tests::fault_store::FaultStore;

use super::ground::Ground;
use super::{store, trusted};

/// Each decides in which order the two take turns.
const SEEDS: u64 = 100;

pub(super) fn both_at_once() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let ground = Ground::prepare().await;
        let alone = after(&ground, |objects| async { ground.prune(&store(objects)).await.map(drop) }).await;
        let mut orders = 0;
        for seed in 0..SEEDS {
            let both = after(&ground, |objects| async {
                objects.pace(seed);
                let (store, other) = (store(objects.clone()), store(objects));
                let (one, two) = tokio::join!(ground.prune(&store), ground.prune(&other));
                one.and(two).map(drop)
            })
            .await;
            // Neither deletes what one alone keeps, and the newest proven one is untouched.
            assert_eq!(both, alone, "seed {seed}");
            assert!(both.contains(&ground.id(3).to_string()) && !both.contains(&ground.id(1).to_string()));
            orders += 1;
        }
        assert_eq!(orders, SEEDS);
    });
}

/// The trusted entries once this was done to a fork of the ground, and everything is whole.
async fn after<F, W>(ground: &Ground, act: F) -> Vec<String>
where
    F: FnOnce(Arc<FaultStore>) -> W,
    W: Future<Output = lifeboat::error::Result<()>>,
{
    let objects = Arc::new(ground.base.fork());
    act(objects.clone()).await.expect("no operation fails");
    let catalog = ground.read(&store(objects)).await.expect("memory reads");
    assert!(catalog.trusted.iter().all(|entry| entry.present), "{:?}", trusted(&catalog));
    assert!(catalog.orphans.is_empty() && catalog.strays.is_empty() && catalog.untrusted.is_empty());
    trusted(&catalog)
}
