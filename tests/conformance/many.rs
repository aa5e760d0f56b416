//! Many parts, many objects, many writers.

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use lifeboat::error::Reason;

use super::{Stand, blob, key};

/// Bytes that follow from their place and repeat nowhere near it.
fn bytes(range: std::ops::Range<u64>) -> Vec<u8> {
    range.map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

pub(super) async fn an_upload_of_many_parts_comes_back_byte_for_byte(Stand { store, .. }: Stand) {
    const BYTES: u64 = (27 << 20) + 4321;
    let mut upload = store.upload(&blob(1)).await.expect("it begins");
    // No piece is as long as another, nor a whole fraction of a part.
    let (mut at, mut piece) = (0, 100_001);
    while at < BYTES {
        let end = (at + piece).min(BYTES);
        upload.write(bytes(at..end).into()).await.expect("it takes more");
        (at, piece) = (end, piece + 77_777);
    }
    upload.finish().await.expect("it ends");
    let found = store.head(&blob(1)).await.expect("it can be asked").expect("it is there");
    assert_eq!(found.bytes, BYTES);
    for chunk in [4 << 20, (1 << 20) + 1, 64 << 20] {
        let key = blob(1);
        let mut chunks = std::pin::pin!(store.read_chunks(&key, BYTES, chunk));
        let mut at = 0;
        while let Some(read) = chunks.next().await {
            let read: Bytes = read.expect("it can be read");
            let end = at + read.len() as u64;
            assert!(read.len() == chunk || end == BYTES, "{} bytes at {at}", read.len());
            assert!(read == bytes(at..end), "bytes {at} to {end} in chunks of {chunk} are others");
            at = end;
        }
        assert_eq!(at, BYTES);
    }
}

pub(super) async fn a_list_of_more_than_a_page_is_whole_and_in_order(Stand { store, .. }: Stand) {
    const OBJECTS: u64 = 1100;
    let create = |number: u64| {
        let store = store.clone();
        // Not in the order of names.
        async move { store.create(&key(number * 7919 % OBJECTS), number.to_string().into()).await }
    };
    futures::stream::iter((0..OBJECTS).map(create))
        .buffer_unordered(16)
        .try_collect::<Vec<()>>()
        .await
        .expect("every name is free");
    let listed = store.list("prod").await.expect("it lists");
    let wanted: Vec<String> = (0..OBJECTS).map(|number| key(number).to_string()).collect();
    assert_eq!(listed.into_iter().map(|found| found.name).collect::<Vec<_>>(), wanted);
    assert_eq!(store.folders().await.expect("it lists"), ["prod"]);
}

pub(super) async fn of_several_creators_exactly_one_wins(Stand { store, .. }: Stand) {
    for round in 0..5 {
        let creators = (0..4).map(|creator| {
            let store = store.clone();
            tokio::spawn(async move { (creator, store.create(&key(round), format!("by {creator}").into()).await) })
        });
        let mut winners = Vec::new();
        for created in futures::future::join_all(creators).await {
            match created.expect("it did not panic") {
                (creator, Ok(())) => winners.push(creator),
                (_, Err(error)) => assert_eq!(error.reason, Reason::StoreConflict, "{error}"),
            }
        }
        assert_eq!(winners.len(), 1, "round {round}: won by {winners:?}");
        let there = store.read(&key(round), 100).await.expect("it is there");
        assert_eq!(there, format!("by {}", winners[0]));
    }
}
