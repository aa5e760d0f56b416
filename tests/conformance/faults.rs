//! What is not there, and what was not finished.

use bytes::Bytes;
use lifeboat::error::{Error, Reason};
use lifeboat::store::settle;
use lifeboat_tests::bucket::Kind;
use lifeboat_tests::gcs::Gcs;
use lifeboat_tests::s3;

use super::{Place, Stand, blob, key, opened};

pub(super) async fn a_missing_bucket_is_told_by_its_name(stand: Stand) {
    let store = match stand.place {
        // What is in memory is always there.
        Place::Memory(_) => return stand.store.check().await.expect("it is there"),
        Place::Folder(dir) => {
            dir.close().expect("the folder is ours");
            stand.store
        }
        Place::Bucket(bucket) => opened(&bucket.url().replace("backups-", "never-made-"), &bucket.options()),
    };
    for (operation, error) in [
        ("check", store.check().await.err()),
        ("list", store.list("prod").await.err()),
        ("folders", store.folders().await.err()),
    ] {
        named(operation, &error.unwrap_or_else(|| panic!("{operation} finds nothing amiss")));
    }
    // Azure refuses only the first part.
    let upload = async {
        let mut upload = store.upload(&blob(1)).await?;
        upload.write("sealed".into()).await?;
        upload.finish().await
    };
    match upload.await {
        Err(error) => named("upload", &error),
        Ok(()) => store.check().await.expect("SeaweedFS makes the bucket then"),
    }
    match store.create(&key(1), "here".into()).await {
        Err(error) => named("create", &error),
        Ok(()) => store.check().await.expect("SeaweedFS makes the bucket then"),
    }
}

fn named(operation: &str, error: &Error) {
    assert_eq!(error.reason, Reason::StoreBucketMissing, "{operation}: {error}");
    assert!(error.hint.is_some(), "{operation}: {error}");
}

pub(super) async fn an_upload_is_seen_only_when_it_is_finished(Stand { store, .. }: Stand) {
    let mut upload = store.upload(&blob(1)).await.expect("it begins");
    for _ in 0..12 {
        upload.write(Bytes::from(vec![7; 1 << 20])).await.expect("it takes more");
        assert_eq!(store.list("prod").await.expect("it lists"), []);
        assert_eq!(store.head(&blob(1)).await.expect("it can be asked"), None);
    }
    upload.finish().await.expect("it ends");
    let listed = store.list("prod").await.expect("it lists");
    assert_eq!(
        listed.iter().map(|found| (found.name.as_str(), found.bytes)).collect::<Vec<_>>(),
        [(blob(1).as_str(), 12 << 20)]
    );
}

pub(super) async fn a_dropped_upload_leaves_nothing(Stand { store, place }: Stand) {
    for written in [0, 1, 6, 11] {
        let mut upload = store.upload(&blob(written)).await.expect("it begins");
        for _ in 0..written {
            upload.write(Bytes::from(vec![7; 1 << 20])).await.expect("it takes more");
        }
        drop(upload);
    }
    settle().await;
    assert_eq!(store.list("prod").await.expect("it lists"), []);
    match place {
        Place::Folder(dir) => {
            let left = std::fs::read_dir(dir.path().join("prod/backups")).map_or(0, |backups| {
                backups.flatten().filter_map(|backup| std::fs::read_dir(backup.path()).ok()).flatten().count()
            });
            assert_eq!(left, 0, "no staged file is left");
        }
        Place::Bucket(bucket) if bucket.kind == Kind::Gcs => assert_eq!(Gcs::shared().uploads(&bucket), 0),
        Place::Bucket(bucket) if bucket.kind == Kind::S3 => {
            let below = store.url().rsplit('/').next().expect("a prefix");
            assert_eq!(s3::uploads(&bucket, &format!("{below}/")).0, 0);
        }
        // Azure has no call for it: blocks that no list names expire after a week.
        Place::Bucket(_) | Place::Memory(_) => {}
    }
}

pub(super) async fn an_upload_of_nothing_is_an_empty_object(Stand { store, .. }: Stand) {
    store.upload(&blob(1)).await.expect("it begins").finish().await.expect("it ends");
    let found = store.head(&blob(1)).await.expect("it can be asked").expect("it is there");
    assert_eq!(found.bytes, 0);
    assert_eq!(store.read(&blob(1), 10).await.expect("it is there"), "");
    assert_eq!(store.list("prod").await.expect("it lists").len(), 1);
}
