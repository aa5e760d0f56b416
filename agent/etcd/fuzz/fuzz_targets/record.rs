//! Revision keys and records: what is read writes the same, and what is written reads the same.

#![no_main]

use etcdfile::fuzzing::{Record, encode_revision, flaw, record, revision};
use etcdfile_fuzz::{Input, within};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    within(1 << 16, || {
        let mut input = Input(data);
        let len = usize::from(input.byte() % 20);
        let key = input.take(len);
        keys(key);
        order(&mut input);
        let raw = record(input.0);
        assert_eq!(record(input.0), raw);
        if let Some(raw) = raw {
            assert!(raw.key.len() <= input.0.len());
        }
        flaw(key, input.0);
        records(&mut input);
    });
});

fn keys(key: &[u8]) {
    if let Some(((main, sub, tombstone), written)) = revision(key) {
        assert_eq!(written, key);
        assert_eq!(encode_revision(main, sub, tombstone), key);
        assert_eq!(key.len(), 17 + usize::from(tombstone));
        assert!(main >= 0);
    }
}

/// Keys sort as revisions do.
fn order(input: &mut Input<'_>) {
    let mut one = || {
        let main = i64::try_from(input.value() >> 1).expect("63 bits");
        let sub = u32::try_from(input.value() & 0x7fff_ffff).expect("31 bits");
        (main, sub, input.byte() % 2 == 1)
    };
    let (one, other) = (one(), one());
    let write = |(main, sub, tombstone)| encode_revision(main, sub, tombstone);
    assert_eq!(write(one).cmp(&write(other)), one.cmp(&other));
    assert_eq!(revision(&write(one)).map(|(parts, _)| parts), Some(one));
}

fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n > 127 {
        out.push(n as u8 | 128);
        n >>= 7;
    }
    out.push(n as u8);
}

/// A record as etcd writes it: fields in order, none that are zero.
fn records(input: &mut Input<'_>) {
    let mut number = || i64::from_le_bytes(input.value().to_le_bytes());
    let (create, modified, version, lease) = (number(), number(), number(), number());
    let len = usize::from(input.byte());
    let key = input.take(len);
    let value = input.0;
    let mut out = vec![];
    bytes(&mut out, 10, key);
    for (tag, n) in [(16, create), (24, modified), (32, version)] {
        int(&mut out, tag, n);
    }
    bytes(&mut out, 42, value);
    int(&mut out, 48, lease);
    let expected = Record { key, create, modified, version, lease, value };
    assert_eq!(record(&out), Some(expected));
    let right = modified >= 0 && (1..=modified).contains(&create) && version >= 1 && !key.is_empty();
    let at = encode_revision(modified.max(0), 0, false);
    assert_eq!(flaw(&at, &out).is_none(), right || out.is_empty());
    let deleted = encode_revision(modified.max(0), 0, true);
    let bare = create == 0 && modified == 0 && version == 0 && lease == 0 && value.is_empty();
    assert_eq!(flaw(&deleted, &out).is_none(), bare && !key.is_empty());
    // Cut off anywhere it is another record or none, never a panic.
    for cut in 0..out.len().min(64) {
        record(&out[..cut]);
    }
}

fn bytes(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    if !content.is_empty() {
        out.push(tag);
        varint(out, content.len() as u64);
        out.extend(content);
    }
}

fn int(out: &mut Vec<u8>, tag: u8, n: i64) {
    if n != 0 {
        out.push(tag);
        varint(out, u64::from_le_bytes(n.to_le_bytes()));
    }
}
