//! `.snap` files: raw, data of any kind under its right sum, and any v2 store in a file that is otherwise right.

#![no_main]

use etcdfile::snap::{SnapError, read};
use etcdfile_fuzz::{Input, within};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    match input.byte() % 4 {
        0 => look(input.0),
        1 => look(&file(input.0)),
        2 => {
            let metadata = usize::from(input.byte());
            let metadata = input.take(metadata);
            look(&file(&[message(1, input.0), message(2, metadata)].concat()));
        }
        _ => {
            let metadata = [8, 1, 16, 7, 24, 3];
            look(&file(&[message(1, &members(&mut input)), message(2, &metadata)].concat()));
        }
    }
});

fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n > 127 {
        out.push(n as u8 | 128);
        n >>= 7;
    }
    out.push(n as u8);
}

fn message(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    varint(&mut out, content.len() as u64);
    out.extend(content);
    out
}

fn file(data: &[u8]) -> Vec<u8> {
    let mut out = vec![8];
    varint(&mut out, crc32c::crc32c(data).into());
    out.extend(message(2, data));
    out
}

/// A store of members, whose parts the input fills.
fn members(input: &mut Input<'_>) -> Vec<u8> {
    let mut members = serde_json::Map::new();
    for _ in 0..input.byte() % 5 {
        let id = format!("{:x}", input.value());
        let len = usize::from(input.byte() % 64);
        let text = String::from_utf8_lossy(input.take(len)).into_owned();
        let value = match input.byte() % 3 {
            0 => text.clone(),
            1 => serde_json::json!({ "peerURLs": [text] }).to_string(),
            _ => serde_json::json!({ "peerURLs": null, "isLearner": true }).to_string(),
        };
        let leaf = serde_json::json!({ "Value": value });
        let own = serde_json::json!({ "Value": serde_json::json!({ "name": text }).to_string() });
        let node = match input.byte() % 3 {
            0 => serde_json::json!({ "Children": { "raftAttributes": leaf } }),
            1 => serde_json::json!({ "Children": { "raftAttributes": leaf, "attributes": own } }),
            _ => serde_json::json!({ "Children": null }),
        };
        members.insert(id, node);
    }
    let cluster = serde_json::json!({ "Children": { "members": { "Children": members } } });
    serde_json::json!({ "Root": { "Children": { "0": cluster } } }).to_string().into_bytes()
}

fn look(bytes: &[u8]) {
    let first = within(64 * bytes.len() + 4096, || read(bytes));
    match &first {
        Ok(snap) => {
            assert!(snap.members.windows(2).all(|pair| pair[0].id <= pair[1].id));
            assert!(snap.store.len() < bytes.len());
            assert!(!snap.store.is_empty() || snap.members.is_empty());
        }
        Err(SnapError::Crc { expected, actual }) => assert_ne!(expected, actual),
        Err(SnapError::Store { why }) => assert!(!why.is_empty()),
        Err(SnapError::Undecodable { .. } | SnapError::Empty) => {}
    }
    assert_eq!(read(bytes), first);
}
