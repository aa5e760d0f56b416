//! Builds a snapshot file too large to fill an etcd for: `make_db objects DB_BYTES FILE` or `make_db small RECORDS FILE`.
//! For `tests/bench`.
//!
//! `objects` are those of `fill`, with the same updates; `small` are records of 100 bytes, four of ten of them updates. The
//! file ends in its digest, as what `etcdctl snapshot save` writes does.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};

use etcdfile::{BucketWriter, BuildError, BulkWriter};
use lifeboat_tests::objects::{self, PUTS};
use sha2::{Digest as _, Sha256};

const PAGE_BYTES: u32 = 4096;
/// What a page and an item take before their content.
const PAGE_HEADER: u64 = 16;
const ELEMENT: u64 = 16;

/// Buckets that etcd makes and that are empty here.
const EMPTY: [&str; 8] = ["alarm", "auth", "authRoles", "authUsers", "cluster", "lease", "members", "members_removed"];

type Failed = Box<dyn std::error::Error>;

fn main() -> Result<(), Failed> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, amount, path] = arguments.as_slice() else {
        return Err("usage: make_db objects DB_BYTES FILE | make_db small RECORDS FILE".into());
    };
    let amount: u64 = amount.parse()?;
    let file = File::options().read(true).write(true).create_new(true).open(path)?;
    let mut writer = BulkWriter::new(&file, PAGE_BYTES)?;
    for name in EMPTY {
        writer.bucket(name.as_bytes())?.finish()?;
    }
    let mut meta = writer.bucket(b"meta")?;
    meta.push(b"consistent_index", &7u64.to_be_bytes())?;
    meta.push(b"term", &2u64.to_be_bytes())?;
    meta.finish()?;
    let mut records =
        Records { bucket: writer.bucket(b"key")?, count: 0, pages: 0, used: PAGE_HEADER, value: Vec::new() };
    match kind.as_str() {
        "objects" => objects(&mut records, amount)?,
        "small" => small(&mut records, amount)?,
        other => return Err(format!("{other} is neither objects nor small").into()),
    }
    let count = records.count;
    records.bucket.finish()?;
    let built = writer.finish()?;
    append_digest(&file, built.db_bytes)?;
    println!("{} bytes, {count} records", built.db_bytes);
    Ok(())
}

/// Transactions of [`PUTS`] puts, until their pages fill so many bytes.
fn objects(records: &mut Records<'_, '_>, bytes: u64) -> Result<(), BuildError> {
    let revision = |put: u64| 2 + put / PUTS;
    for put in 0.. {
        if records.pages * u64::from(PAGE_BYTES) >= bytes && put % PUTS == 0 {
            break;
        }
        let object = objects::object(put);
        let at = At {
            main: revision(put),
            sub: put % PUTS,
            create: revision(object),
            version: 1 + u64::from(object != put),
        };
        records.put(at, objects::key(object).as_bytes(), objects::value(put).as_bytes())?;
    }
    Ok(())
}

/// One put a revision. Of ten puts, the last four write the first four keys again.
fn small(records: &mut Records<'_, '_>, count: u64) -> Result<(), BuildError> {
    for put in 0..count {
        let (round, place) = (put / 10, put % 10);
        let (key, first) = if place < 6 { (round * 6 + place, put) } else { (round * 6 + place - 6, put - 6) };
        let at = At { main: 2 + put, sub: 0, create: 2 + first, version: 1 + u64::from(first != put) };
        let value: [u8; 8] = put.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
        let value: String = value.iter().chain(&value).map(|byte| format!("{byte:02x}")).collect();
        records.put(at, format!("/registry/leases/node-{key:012x}").as_bytes(), value.as_bytes())?;
    }
    Ok(())
}

/// Where a put stands in the history.
struct At {
    main: u64,
    sub: u64,
    create: u64,
    version: u64,
}

/// The `key` bucket, as far as it is written.
struct Records<'w, 'a> {
    bucket: BucketWriter<'w, 'a, File>,
    count: u64,
    /// The pages that are full, and what is in the next one, each with its header.
    pages: u64,
    used: u64,
    value: Vec<u8>,
}

impl Records<'_, '_> {
    fn put(&mut self, at: At, key: &[u8], value: &[u8]) -> Result<(), BuildError> {
        let mut stored_key = [b'_'; 17];
        stored_key[..8].copy_from_slice(&at.main.to_be_bytes());
        stored_key[9..].copy_from_slice(&at.sub.to_be_bytes());
        self.value.clear();
        bytes(&mut self.value, 1, key);
        number(&mut self.value, 2, at.create);
        number(&mut self.value, 3, at.main);
        number(&mut self.value, 4, at.version);
        bytes(&mut self.value, 5, value);
        self.count += 1;
        let item = ELEMENT + stored_key.len() as u64 + self.value.len() as u64;
        if self.used + item > PAGE_BYTES.into() {
            self.pages += self.used.div_ceil(PAGE_BYTES.into());
            self.used = PAGE_HEADER;
        }
        self.used += item;
        self.bucket.push(&stored_key, &self.value)
    }
}

fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n > 127 {
        out.push(n as u8 | 128);
        n >>= 7;
    }
    out.push(n as u8);
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn append_digest(mut file: &File, db_bytes: u64) -> Result<(), Failed> {
    file.set_len(db_bytes)?;
    file.rewind()?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; 1 << 20];
    loop {
        match file.read(&mut chunk)? {
            0 => break,
            read => hasher.update(&chunk[..read]),
        }
    }
    file.write_all(&hasher.finalize())?;
    file.sync_all()?;
    Ok(())
}
