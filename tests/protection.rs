//! What protects a bucket's objects, and what protects the way to them: locks, encryption, authorities, rotations.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use lifeboat::config::{ClusterName, Lock, LockMode, StoreConfig};
use lifeboat::error::Reason;
use lifeboat::store::{Layout, Store, Versioning, sweep_leftovers};
use lifeboat_policy::id::BackupId;
use lifeboat_tests::bucket::Bucket;
use lifeboat_tests::gcs::Gcs;
use lifeboat_tests::pki::{Pki, Validity};
use lifeboat_tests::s3::{Moto, READER, S3, ask, uploads};
use serde_json::json;

fn run(test: impl Future<Output = ()>) {
    // The error says that another test did it first, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(test);
}

fn config(bucket: &Bucket) -> StoreConfig {
    let options: BTreeMap<String, String> =
        bucket.options().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    StoreConfig { options, ..StoreConfig::plain("main", format!("{}/etcd", bucket.url())) }
}

fn layout(cluster: &str) -> Layout {
    Layout::new(&ClusterName::parse(cluster).expect("a cluster's name"))
}

fn id(number: u64) -> BackupId {
    BackupId::new(DateTime::from_timestamp(1_795_400_000, 0).expect("a time"), number)
}

/// A bucket that was made with object lock, and perhaps a default of so many days.
fn locked_bucket(name: &str, days: Option<u32>) -> Bucket {
    let bucket = Bucket { name: name.to_owned(), ..S3::shared().bucket() };
    ask(&bucket, "client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)", &[]);
    if let Some(days) = days {
        let rule = format!("{{'DefaultRetention': {{'Mode': 'GOVERNANCE', 'Days': {days}}}}}");
        let lock = format!("{{'ObjectLockEnabled': 'Enabled', 'Rule': {rule}}}");
        let code = format!("client.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration={lock})");
        ask(&bucket, &code, &[]);
    }
    bucket
}

/// Writes one small object and one of two parts, and gives both names as the bucket has them.
async fn write(store: &Store) -> [String; 2] {
    let layout = layout("prod");
    let (small, large) = (layout.manifest(&id(1)), layout.blob(&id(1)));
    store.create(&small, Bytes::from_static(b"{}")).await.expect("a small object is taken");
    let mut upload = store.upload(&large).await.expect("an upload begins");
    for _ in 0..6 {
        upload.write(Bytes::from(vec![7; 1 << 20])).await.expect("a part is taken");
    }
    upload.finish().await.expect("the upload ends");
    assert_eq!(store.read(&small, 10).await.expect("it is there"), Bytes::from_static(b"{}"));
    assert_eq!(store.read_range(&large, 0..4).await.expect("it is there"), Bytes::from_static(&[7; 4]));
    [small, large].map(|key| format!("etcd/{key}"))
}

/// Mode and days from now of an object's own retention.
fn lock_of(bucket: &Bucket, key: &str) -> (String, i64) {
    let head = ask(bucket, "client.head_object(Bucket=bucket, Key=rest[0])", &[key]);
    let mode = head["ObjectLockMode"].as_str().unwrap_or("none").to_owned();
    let until = head["ObjectLockRetainUntilDate"].as_str().map(|until| until.parse::<DateTime<Utc>>().expect("a time"));
    (mode, until.map_or(0, |until| ((until - now()).num_minutes() + 60) / 1440))
}

#[allow(clippy::disallowed_methods)] // tests have a clock of their own
fn now() -> DateTime<Utc> {
    Utc::now()
}

#[test]
fn every_object_is_locked_and_its_version_cannot_be_deleted() {
    let bucket = locked_bucket("locked-by-policy", None);
    run(async {
        let lock = Some(Lock { mode: LockMode::Compliance, days: 3 });
        let store = Store::open(&StoreConfig { lock, ..config(&bucket) }).expect("the store opens");
        assert_eq!(store.versioning().await.expect("it may be asked"), Some(Versioning::On));
        let lock = store.object_lock().await.expect("it may be asked").expect("S3 can tell");
        assert_eq!(lock.expect("made with it").default, None);
        for key in write(&store).await {
            assert_eq!(lock_of(&bucket, &key), ("COMPLIANCE".to_owned(), 3), "{key}");
            let code = "client.list_object_versions(Bucket=bucket, Prefix=rest[0])['Versions'][0]";
            let version = ask(&bucket, code, &[&key])["VersionId"].as_str().expect("a version").to_owned();
            let code =
                "client.delete_objects(Bucket=bucket, Delete={'Objects': [{'Key': rest[0], 'VersionId': rest[1]}]})";
            let said = ask(&bucket, code, &[&key, &version]);
            assert!(said["Errors"][0]["Code"].is_string(), "{key} was deleted: {said:#}");
        }
    });
}

#[test]
fn the_buckets_own_longer_default_stays_and_a_shorter_one_is_outdone() {
    let bucket = locked_bucket("locked-by-default", Some(5));
    run(async {
        let with = |days| StoreConfig { lock: Some(Lock { mode: LockMode::Governance, days }), ..config(&bucket) };
        let shorter = Store::open(&with(2)).expect("the store opens");
        let default = shorter.object_lock().await.expect("it may be asked").flatten().and_then(|lock| lock.default);
        assert_eq!(default.expect("it has one").days, 5);
        for key in write(&shorter).await {
            assert_eq!(lock_of(&bucket, &key), ("GOVERNANCE".to_owned(), 5), "{key}");
        }
        let longer = Store::open(&with(9)).expect("the store opens");
        let key = layout("prod").manifest(&id(2));
        longer.create(&key, Bytes::from_static(b"{}")).await.expect("it is taken");
        assert_eq!(lock_of(&bucket, &format!("etcd/{key}")), ("GOVERNANCE".to_owned(), 9));
    });
}

#[test]
fn without_a_lock_in_the_config_nothing_is_locked() {
    let bucket = locked_bucket("not-locked", None);
    run(async {
        let store = Store::open(&config(&bucket)).expect("the store opens");
        for key in write(&store).await {
            assert_eq!(lock_of(&bucket, &key), ("none".to_owned(), 0), "{key}");
        }
    });
}

#[test]
fn a_bucket_without_object_lock_says_so_and_refuses_a_lock_by_name() {
    let bucket = S3::shared().bucket();
    run(async {
        let store = Store::open(&config(&bucket)).expect("the store opens");
        assert_eq!(store.versioning().await.expect("it may be asked"), Some(Versioning::Off));
        assert_eq!(store.object_lock().await.expect("it may be asked"), Some(None));
        let lock = Some(Lock { mode: LockMode::Governance, days: 1 });
        let store = Store::open(&StoreConfig { lock, ..config(&bucket) }).expect("the store opens");
        let refused = store.create(&layout("prod").manifest(&id(3)), Bytes::from_static(b"{}")).await;
        let error = refused.expect_err("a plain bucket takes no locks");
        assert_eq!(error.reason, Reason::Config, "{error}");
        assert!(error.hint.expect("a next step").contains("made without object lock"));
    });
}

#[test]
fn what_a_crash_left_is_swept_when_it_is_old_and_ours_and_nothing_else() {
    let bucket = S3::shared().bucket();
    run(async {
        let store = Store::open(&config(&bucket)).expect("the store opens");
        let (ours, neighbour) = (layout("prod").blob(&id(1)), layout("prod-2").blob(&id(1)));
        for key in [format!("etcd/{ours}"), format!("etcd/{neighbour}"), format!("other/{ours}"), "etcd/x".to_owned()] {
            ask(&bucket, "client.create_multipart_upload(Bucket=bucket, Key=rest[0])", &[&key]);
        }
        let later = now() + chrono::Duration::hours(2);
        let all = store.leftovers(later).await.expect("they can be listed").expect("S3 can tell");
        assert_eq!(all.len(), 3, "{all:?}");
        let hour = Duration::from_secs(3600);
        let young = sweep_leftovers(&store, &layout("prod"), now(), hour).await.expect("it sweeps");
        assert_eq!((young.aborted, uploads(&bucket, "").0), (0, 4));
        let swept = sweep_leftovers(&store, &layout("prod"), later, hour).await.expect("it sweeps");
        assert_eq!((swept.aborted, swept.refused, uploads(&bucket, "").0), (1, 0, 3));
        let left = store.leftovers(later).await.expect("they can be listed").expect("S3 can tell");
        assert!(left.iter().all(|leftover| leftover.name != ours.as_str()), "{left:?}");
        for gone in &all {
            store.abort_leftover(gone).await.expect("one that is gone already is fine");
        }
        assert_eq!(uploads(&bucket, "").0, 1);
    });
}

#[test]
fn rotated_credentials_are_used_without_a_restart_and_half_written_ones_are_not() {
    let bucket = S3::shared().bucket();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = dir.path().join("options.yaml");
    let keys = |access: &str, secret: &str| {
        std::fs::write(&file, format!("access_key_id: {access}\nsecret_access_key: {secret}\n")).expect("ours");
    };
    let mut config = config(&bucket);
    let taken = |config: &mut StoreConfig, name| config.options.remove(name).expect("the harness gives it");
    let admin = (taken(&mut config, "access_key_id"), taken(&mut config, "secret_access_key"));
    keys(&admin.0, &admin.1);
    config.options_file = Some(file.clone());
    run(async {
        let store = Store::open(&config).expect("the store opens");
        let key = |number| layout("prod").manifest(&id(number));
        store.create(&key(1), Bytes::from_static(b"{}")).await.expect("the first may write");
        std::fs::write(&file, "access_key_id: [half").expect("ours");
        store.create(&key(2), Bytes::from_static(b"{}")).await.expect("the old ones stay in use");
        keys(READER.0, READER.1);
        store.read(&key(1), 10).await.expect("the second may read");
        let error = store.create(&key(3), Bytes::from_static(b"{}")).await.expect_err("the second may not write");
        assert_eq!(error.reason, Reason::StoreDenied, "{error}");
        keys("nobody", "canary");
        let error = store.read(&key(1), 10).await.expect_err("nobody knows this one");
        assert_eq!(error.reason, Reason::StoreDenied, "{error}");
        assert!(!format!("{error} {:?}", error.hint).contains("canary"));
        keys(&admin.0, &admin.1);
        store.create(&key(3), Bytes::from_static(b"{}")).await.expect("the first is back");
    });
}

#[test]
fn a_private_authority_is_believed_only_where_it_is_named() {
    let (pki, other) = (Pki::new(), Pki::new());
    let (server, endpoint) = S3::start_with_tls(&pki.server(Validity::Now));
    let bucket = server.bucket().through(endpoint);
    run(async {
        let with = |ca_file: Option<PathBuf>| Store::open(&StoreConfig { ca_file, ..config(&bucket) });
        with(Some(pki.ca_file())).expect("the store opens").check().await.expect("its authority is named");
        for ca_file in [None, Some(other.ca_file())] {
            let error = with(ca_file).expect("the store opens").check().await.expect_err("nobody knows the authority");
            assert_eq!(error.reason, Reason::StoreTls, "{error}");
            assert!(error.hint.as_ref().expect("a next step").contains("ca_file"), "{error}");
        }
    });
}

#[test]
fn objects_are_encrypted_at_rest_by_the_stores_key_or_by_ours() {
    let (seaweed, moto) = (S3::shared().bucket(), Moto::shared().bucket());
    run(async {
        let with = |bucket: &Bucket, prefix: &str, options: &[(&str, &str)]| {
            let mut config = config(bucket);
            config.url = format!("{}/{prefix}", bucket.url());
            config.options.extend(options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
            Store::open(&config).expect("the store opens")
        };
        let key = layout("prod").manifest(&id(1));
        for (kind, kms) in [("AES256", None), ("aws:kms", Some("key-1"))] {
            let mut options = vec![("server_side_encryption", kind)];
            options.extend(kms.map(|id| ("sse_kms_key_id", id)));
            let prefix = kind.replace(':', "-");
            let store = with(&moto, &prefix, &options);
            store.create(&key, Bytes::from_static(b"{}")).await.expect("it is taken");
            let head = ask(&moto, "client.head_object(Bucket=bucket, Key=rest[0])", &[&format!("{prefix}/{key}")]);
            assert_eq!(head["ServerSideEncryption"], json!(kind));
            assert_eq!(store.read(&key, 10).await.expect("it is there"), Bytes::from_static(b"{}"));
        }

        let ours = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="; // 32 bytes
        let sse = [("server_side_encryption", "sse-c"), ("sse_customer_key_base64", ours)];
        let store = with(&seaweed, "ours", &sse);
        let blob = layout("prod").blob(&id(1));
        let mut upload = store.upload(&blob).await.expect("an upload begins");
        upload.write(Bytes::from(vec![3; 6 << 20])).await.expect("a part is taken");
        upload.finish().await.expect("the upload ends");
        assert_eq!(store.read_range(&blob, 10..14).await.expect("our key opens it"), Bytes::from_static(&[3; 4]));
        assert_eq!(store.head(&blob).await.expect("our key opens it").map(|found| found.bytes), Some(6 << 20));
        let without = with(&seaweed, "ours", &[]).read_range(&blob, 10..14).await;
        without.expect_err("without the key nobody reads it");
    });
}

#[test]
fn a_lifecycle_that_drops_unfinished_uploads_is_told_where_google_is_asked() {
    let bucket = Gcs::shared().bucket();
    run(async {
        let store = Store::open(&config(&bucket)).expect("the store opens");
        assert_eq!(store.drops_unfinished_uploads().await.expect("it may be asked"), Some(false));
        Gcs::shared().drop_unfinished_uploads(&bucket);
        assert_eq!(store.drops_unfinished_uploads().await.expect("it may be asked"), Some(true));
        let store = Store::open(&config(&S3::shared().bucket())).expect("the store opens");
        assert_eq!(store.drops_unfinished_uploads().await.expect("nobody is asked"), None);
    });
}
