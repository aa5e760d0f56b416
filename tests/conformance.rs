//! What every kind of store must do alike, asked of each: through `lifeboat::store::Store`, as the agent uses it.

mod checks;
mod faults;
mod many;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};

use lifeboat::config::{ClusterName, StoreConfig};
use lifeboat::store::{Layout, ObjectKey, Store};
use lifeboat_policy::id::BackupId;
use lifeboat_tests::azurite::Azurite;
use lifeboat_tests::bucket::Bucket;
use lifeboat_tests::gcs::Gcs;
use lifeboat_tests::s3::{Moto, S3};
use object_store::memory::InMemory;
use tempfile::TempDir;

/// Where a check finds its store.
enum Place {
    Memory(Arc<InMemory>),
    Folder(TempDir),
    Bucket(Bucket),
}

/// An empty store of one kind, for one check.
struct Stand {
    place: Place,
    store: Store,
}

impl Stand {
    fn memory() -> Self {
        let objects = Arc::new(InMemory::new());
        let store = Store::over("main", "memory:///", objects.clone());
        Self { place: Place::Memory(objects), store }
    }

    fn folder() -> Self {
        let dir = tempfile::Builder::new().prefix("lifeboat-folder-").tempdir().expect("a temporary folder");
        let store = opened(&format!("file://{}", dir.path().display()), &[]);
        Self { place: Place::Folder(dir), store }
    }

    /// A folder of its own in a bucket that all checks share.
    fn bucket(bucket: &Bucket) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("check-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let place = Place::Bucket(bucket.clone());
        Self { store: opened(&format!("{}/{prefix}", bucket.url()), &bucket.options()), place }
    }

    /// The same place below another prefix; one that has no prefixes gives the same store again.
    fn below(&self, prefix: &str) -> Store {
        match &self.place {
            Place::Memory(objects) => Store::over("main", "memory:///", objects.clone()),
            Place::Folder(dir) => {
                let folder = dir.path().join(prefix);
                std::fs::create_dir_all(&folder).expect("the folder is ours");
                opened(&format!("file://{}", folder.display()), &[])
            }
            Place::Bucket(bucket) => opened(&format!("{}/{prefix}", bucket.url()), &bucket.options()),
        }
    }
}

/// The store of a URL, as a config opens it.
fn opened(url: &str, options: &[(&'static str, String)]) -> Store {
    let options: BTreeMap<String, String> =
        options.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    Store::open(&StoreConfig { options, ..StoreConfig::plain("main", url) }).expect("the store opens")
}

fn layout(cluster: &str) -> Layout {
    Layout::new(&ClusterName::parse(cluster).expect("a cluster's name"))
}

fn id(number: u64) -> BackupId {
    BackupId::new(chrono::DateTime::from_timestamp(1_795_400_000, 0).expect("a time"), number)
}

/// A small object's name: the manifest of a backup with this number.
fn key(number: u64) -> ObjectKey {
    layout("prod").manifest(&id(number))
}

/// A large object's name.
fn blob(number: u64) -> ObjectKey {
    layout("prod").blob(&id(number))
}

fn run<F: Future<Output = ()>>(check: impl FnOnce(Stand) -> F, stand: impl FnOnce() -> Stand) {
    // The error says that another test did it first, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let stand = stand();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(check(stand));
}

/// The bucket that all checks of one server share: to make one takes longer than most checks.
static SEAWEEDFS: LazyLock<Bucket> = LazyLock::new(|| S3::shared().bucket());
static MOTO: LazyLock<Bucket> = LazyLock::new(|| Moto::shared().bucket());
static GCS: LazyLock<Bucket> = LazyLock::new(|| Gcs::shared().bucket());
static AZURITE: LazyLock<Bucket> = LazyLock::new(|| Azurite::shared().bucket());

macro_rules! against {
    ($store:ident, $stand:expr; $($module:ident::$check:ident)*) => {
        mod $store {
            use super::*;
            $(#[test]
            fn $check() {
                run($module::$check, || $stand);
            })*
        }
    };
}

macro_rules! conformance {
    ($($module:ident::$check:ident)*) => {
        against! { memory, Stand::memory(); $($module::$check)* }
        against! { folder, Stand::folder(); $($module::$check)* }
        against! { seaweedfs, Stand::bucket(&SEAWEEDFS); $($module::$check)* }
        against! { moto, Stand::bucket(&MOTO); $($module::$check)* }
        against! { gcs, Stand::bucket(&GCS); $($module::$check)* }
        against! { azurite, Stand::bucket(&AZURITE); $($module::$check)* }
    };
}

conformance! {
    checks::what_was_created_comes_back_and_its_name_is_taken_for_ever
    checks::an_object_over_the_cap_is_refused_unread
    checks::a_missing_object_is_told_from_a_present_one
    checks::a_deleted_object_is_gone_and_deleting_it_again_is_fine
    checks::ranges_are_exact_and_one_beyond_the_end_is_an_error
    checks::an_empty_store_lists_nothing_and_is_no_error
    checks::a_cluster_sees_nothing_of_its_neighbour_with_a_longer_name
    checks::odd_but_valid_names_come_back_as_they_were_given
    faults::a_missing_bucket_is_told_by_its_name
    faults::an_upload_is_seen_only_when_it_is_finished
    faults::a_dropped_upload_leaves_nothing
    faults::an_upload_of_nothing_is_an_empty_object
    many::an_upload_of_many_parts_comes_back_byte_for_byte
    many::a_list_of_more_than_a_page_is_whole_and_in_order
    many::of_several_creators_exactly_one_wins
}
