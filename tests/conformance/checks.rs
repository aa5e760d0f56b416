//! Small objects: created, read, listed, deleted.

use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use lifeboat::error::Reason;
use lifeboat::store::Found;

use super::{Stand, id, key, layout};

pub(super) async fn what_was_created_comes_back_and_its_name_is_taken_for_ever(Stand { store, .. }: Stand) {
    for (number, first) in ["", "first"].into_iter().enumerate() {
        let key = key(number as u64);
        store.create(&key, first.into()).await.expect("the name is free");
        store.create(&key, first.into()).await.expect("a retry that meets its own bytes is a success");
        for other in ["other", "a longer one than the first"] {
            let error = store.create(&key, other.into()).await.expect_err("others' bytes are a conflict");
            assert_eq!(error.reason, Reason::StoreConflict, "{error}");
            assert!(error.hint.is_some_and(|hint| hint.contains("nothing was overwritten")), "{}", error.message);
        }
        assert_eq!(store.read(&key, 100).await.expect("it is there"), first);
    }
}

pub(super) async fn an_object_over_the_cap_is_refused_unread(Stand { store, .. }: Stand) {
    store.create(&key(1), Bytes::from(vec![7; 1000])).await.expect("the name is free");
    assert_eq!(store.read(&key(1), 1000).await.expect("it fits").len(), 1000);
    let error = store.read(&key(1), 999).await.expect_err("it does not fit");
    assert_eq!(error.reason, Reason::Damaged, "{error}");
}

pub(super) async fn a_missing_object_is_told_from_a_present_one(Stand { store, .. }: Stand) {
    store.create(&key(1), "here".into()).await.expect("the name is free");
    let found = store.head(&key(1)).await.expect("it can be asked").expect("it is there");
    assert_eq!((found.name.as_str(), found.bytes), (key(1).as_str(), 4));
    let age = Utc::now() - found.modified;
    assert!(age > TimeDelta::seconds(-5) && age < TimeDelta::minutes(5), "written {age} ago");

    assert_eq!(store.head(&key(2)).await.expect("it can be asked"), None);
    assert_eq!(store.read_if_there(&key(2), 10).await.expect("it can be asked"), None);
    for error in [store.read(&key(2), 10).await.err(), store.read_range(&key(2), 0..1).await.err()] {
        let error = error.expect("it is not there");
        assert_eq!(error.reason, Reason::ObjectMissing, "{error}");
    }
}

pub(super) async fn a_deleted_object_is_gone_and_deleting_it_again_is_fine(Stand { store, .. }: Stand) {
    for number in [1, 2] {
        store.create(&key(number), "here".into()).await.expect("the name is free");
    }
    for _ in 0..2 {
        store.delete(&key(1)).await.expect("it may be deleted");
        assert_eq!(store.head(&key(1)).await.expect("it can be asked"), None);
        let left: Vec<String> =
            store.list("prod").await.expect("it lists").into_iter().map(|found| found.name).collect();
        assert_eq!(left, [key(2).as_str()]);
    }
    store.delete(&key(3)).await.expect("one that never was is gone as well");
}

pub(super) async fn ranges_are_exact_and_one_beyond_the_end_is_an_error(Stand { store, .. }: Stand) {
    let whole: Vec<u8> = (0..=255).collect();
    store.create(&key(1), whole.clone().into()).await.expect("the name is free");
    for range in [0..1, 0..256, 100..101, 255..256] {
        let wanted = &whole[range.start as usize..range.end as usize];
        assert_eq!(store.read_range(&key(1), range).await.expect("it is within"), wanted);
    }
    let error = store.read_range(&key(1), 250..257).await.expect_err("a byte is missing");
    assert_eq!(error.reason, Reason::Damaged, "{error}");
    store.read_range(&key(1), 300..310).await.expect_err("all of it is missing");
}

pub(super) async fn an_empty_store_lists_nothing_and_is_no_error(Stand { store, .. }: Stand) {
    store.check().await.expect("it is there, and empty");
    assert_eq!(store.list("prod").await.expect("it lists"), []);
    assert_eq!(store.folders().await.expect("it lists"), Vec::<String>::new());
    store.create(&key(1), "here".into()).await.expect("the name is free");
    store.check().await.expect("it is there");
}

pub(super) async fn a_cluster_sees_nothing_of_its_neighbour_with_a_longer_name(Stand { store, .. }: Stand) {
    let clusters = ["prod", "prod-eu", "prod.eu", "prod0", "p"];
    for cluster in clusters {
        store.create(&layout(cluster).manifest(&id(1)), cluster.into()).await.expect("the name is free");
    }
    for cluster in clusters {
        let listed = store.list(cluster).await.expect("it lists");
        let names: Vec<&str> = listed.iter().map(|found| found.name.as_str()).collect();
        assert_eq!(names, [layout(cluster).manifest(&id(1)).as_str()]);
    }
    assert_eq!(store.folders().await.expect("it lists"), ["p", "prod", "prod-eu", "prod.eu", "prod0"]);
    assert_eq!(store.list("pro").await.expect("it lists"), []);
}

pub(super) async fn odd_but_valid_names_come_back_as_they_were_given(stand: Stand) {
    let long = format!("a{}z", ".-".repeat(30));
    for (number, prefix) in ["Team_7", "a=b/UPPER/x-y.z+~(w)", "deep/er/and/deep/er"].into_iter().enumerate() {
        let store = stand.below(&format!("odd-{number}/{prefix}"));
        let cluster = format!("{number}.{}", &long[..60]).trim_end_matches(['.', '-']).to_owned();
        let key = layout(&cluster).verdict(&id(u64::MAX), chrono::DateTime::UNIX_EPOCH, u32::MAX);
        store.create(&key, "odd".into()).await.expect("the name is free");
        assert_eq!(store.read(&key, 10).await.expect("it is there"), "odd");
        let Found { name, bytes, .. } = store.head(&key).await.expect("it can be asked").expect("it is there");
        assert_eq!((name.as_str(), bytes), (key.as_str(), 3));
        let listed = store.list(&cluster).await.expect("it lists");
        assert_eq!(listed.iter().map(|found| found.name.as_str()).collect::<Vec<_>>(), [key.as_str()]);
        assert!(store.folders().await.expect("it lists").contains(&cluster));
        store.delete(&key).await.expect("it may be deleted");
        assert_eq!(store.list(&cluster).await.expect("it lists"), []);
    }
}
