//! Logs and `.snap` files: what the crate writes reads back, what etcd's own tools write reads the same, and damage has
//! a name.

// The helpers serve other files as well.
#[allow(dead_code)]
#[path = "support/etcd.rs"]
mod etcd;
#[allow(dead_code)]
#[path = "support/gateway.rs"]
mod gateway;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use etcd::{Server, VERSIONS, free_url, tool};
use etcdfile::wal::{ConfState, EntryKind, HardState, Mark, Record, WalError};
use etcdfile::{MemberSpec, NewMember, datadir, snap, wal};

const TOKEN: &str = "etcd-cluster";

/// The ids of these two members and of their cluster, as real etcd derived them.
const M1: u64 = 0x6467_4cd1_7a49_4f9e;
const M2: u64 = 0x4dc2_c157_4eeb_8792;
const CLUSTER: u64 = 0x5928_5982_eb6a_922b;

fn specs() -> Vec<MemberSpec> {
    let spec = |name: &str, port: u16| MemberSpec {
        name: name.to_owned(),
        peer_urls: vec![format!("http://127.0.0.1:{port}")],
    };
    vec![spec("m1", 24001), spec("m2", 24011)]
}

fn members() -> Vec<NewMember> {
    specs().iter().map(|spec| NewMember::new(&spec.name, &spec.peer_urls, TOKEN)).collect()
}

fn ours() -> Vec<u8> {
    wal::first_segment(M1, CLUSTER, &members())
}

/// A log's entries, in one line each: term, index, kind, data.
fn entries(log: &wal::Wal<'_>) -> Vec<(u64, u64, EntryKind, Vec<u8>)> {
    log.entries.iter().map(|entry| (entry.term, entry.index, entry.kind, entry.data.to_vec())).collect()
}

fn voters(ids: &[u64]) -> ConfState {
    ConfState { voters: ids.to_vec(), ..ConfState::default() }
}

/// What every restore of the two members must say, in whatever spelling.
fn is_the_log_of_m1(log: &wal::Wal<'_>, names_voters: bool) {
    assert_eq!((log.node_id, log.cluster_id), (M1, CLUSTER));
    let conf_state = names_voters.then(|| voters(&[M2, M1]));
    let first = Mark { index: 0, term: 0, conf_state: None };
    assert_eq!(log.snapshots, [first, Mark { index: 2, term: 1, conf_state }]);
    assert_eq!(log.hard_state, Some(HardState { term: 1, vote: M2, commit: 2 }));
    let places: Vec<_> = log.entries.iter().map(|entry| (entry.term, entry.index, entry.kind)).collect();
    assert_eq!(places, [(1, 1, EntryKind::ConfChange), (1, 2, EntryKind::ConfChange)]);
    for (entry, name) in log.entries.iter().zip(["m2", "m1"]) {
        let context = String::from_utf8_lossy(entry.data);
        assert!(context.contains(&format!("\"name\":\"{name}\"")), "{context}");
    }
    assert!(!log.torn);
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn the_bytes_of_a_real_restore_are_reproduced_and_read() {
    let bytes = ours();
    assert_eq!(bytes.len(), 400);
    assert_eq!(bytes[..24], unhex("040000000000008408041000000000001e00000000000082"));
    let mut offsets = vec![];
    let mut records = wal::records(0, &bytes);
    loop {
        let at = records.end();
        let Some(record) = records.next() else { break };
        record.unwrap();
        offsets.push((at, records.crc()));
    }
    let told = [
        (0, 0),
        (16, 0x5615_0d90),
        (56, 0x2c85_9c12),
        (80, 0xb273_dc6d),
        (200, 0xb8a4_7785),
        (320, 0x0c08_204b),
        (352, 0xf683_381c),
    ];
    assert_eq!(offsets, told);
    let log = wal::read(&bytes).unwrap();
    is_the_log_of_m1(&log, true);
    assert_eq!((log.end, log.crc), (400, 0xf683_381c));
    let change = unhex("0800100018928faef7f4aab0e14d224c");
    let json = br#"{"id":5603253467132692370,"peerURLs":["http://127.0.0.1:24011"],"name":"m2"}"#;
    assert_eq!(log.entries[0].data, [&change[..], json].concat());
}

#[test]
fn what_is_written_reads_back() {
    for count in [1usize, 2, 3, 7] {
        let specs: Vec<MemberSpec> = (0..count)
            .map(|n| MemberSpec {
                name: format!("m{n}"),
                peer_urls: vec![format!("http://10.0.0.{n}:2380"), format!("http://10.1.0.{n}:2380")],
            })
            .collect();
        for spec in &specs {
            let plan = datadir::plan(&spec.name, &specs, "token", None).unwrap();
            let file =
                |part: &str| &plan.files.iter().find(|file| file.path.to_str().unwrap().contains(part)).unwrap().bytes;
            let mut ids: Vec<u64> = plan.edits.members.iter().map(|member| member.id).collect();
            ids.sort();
            let n = count as u64;

            let log = wal::read(file(".wal")).unwrap();
            assert_eq!((log.node_id, log.cluster_id), (plan.member_id, plan.cluster_id));
            assert_eq!(log.snapshots[1], Mark { index: n, term: 1, conf_state: Some(voters(&ids)) });
            assert_eq!(log.hard_state, Some(HardState { term: 1, vote: ids[0], commit: n }));
            assert_eq!(log.entries.iter().map(|entry| entry.index).collect::<Vec<_>>(), (1..=n).collect::<Vec<_>>());
            assert_eq!((log.end, log.torn), (file(".wal").len(), false));

            let read = snap::read(file(".snap")).unwrap();
            assert_eq!((read.index, read.term, &read.conf_state), (n, 1, &voters(&ids)));
            let mut told: Vec<_> =
                plan.edits.members.iter().map(|member| (member.id, member.peer_urls.clone())).collect();
            told.sort();
            let listed: Vec<_> = read.members.iter().map(|member| (member.id, member.peer_urls.clone())).collect();
            assert_eq!(listed, told);
            assert!(read.members.iter().all(|member| !member.is_learner && member.name.is_empty()));
        }
    }
}

#[test]
fn zeros_behind_the_log_change_nothing() {
    let bytes = ours();
    for zeros in [8, 16, 1000, 100_000] {
        let padded = [&bytes[..], &vec![0; zeros]].concat();
        assert_eq!(wal::read(&padded), wal::read(&bytes), "{zeros}");
    }
}

#[test]
fn a_log_cut_off_anywhere_is_torn_and_keeps_its_whole_records() {
    let bytes = ours();
    let ends = [0, 16, 56, 80, 200, 320, 352, 400];
    for cut in 0..bytes.len() {
        let end = *ends.iter().rev().find(|end| **end <= cut).unwrap();
        match wal::read(&bytes[..cut]) {
            Ok(log) => {
                assert_eq!((log.end, log.torn), (end, !ends.contains(&cut)), "{cut}");
                assert_eq!(log.entries.len(), ends[4..6].iter().filter(|end| **end <= cut).count(), "{cut}");
            }
            Err(error) => assert_eq!((error, cut < 56), (WalError::NoMetadata { end }, true), "{cut}"),
        }
    }
}

#[test]
fn any_flipped_bit_is_named_or_lies_where_nothing_reads() {
    let bytes = ours();
    let whole = wal::read(&bytes).unwrap();
    let starts = [0usize, 16, 56, 80, 200, 320, 352];
    // Each record's padding: it says nothing, and etcd does not look at it either.
    let padding = |at: usize| {
        [12..16, 54..56, 78..80, 198..200, 318..320, 351..352, 398..400].iter().any(|part| part.contains(&at))
    };
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let start = *starts.iter().rev().find(|start| **start <= bit / 8).unwrap();
        match wal::read(&damaged) {
            Ok(log) if padding(bit / 8) => assert_eq!(log, whole, "bit {bit}"),
            // The sum does not cover a record's type: some read as another, and say something else then.
            Ok(log) if bit / 8 == start + 9 => assert_ne!(log, whole, "bit {bit}"),
            // A length that leads past the end cannot be told from a record cut off, nor zero from the log's end.
            Ok(log) => assert_eq!((log.torn, log.end), (true, start), "bit {bit}"),
            Err(WalError::NoMetadata { end }) => assert!(end == start || bit / 8 == start + 9, "bit {bit}"),
            Err(
                WalError::Crc { offset, .. }
                | WalError::Length { offset, .. }
                | WalError::Undecodable { offset, .. }
                | WalError::Kind { offset, .. }
                | WalError::OtherMember { offset },
            ) => assert!(offset == start || bit / 8 < 16, "bit {bit} of the record at {start}: {offset}"),
        }
    }
}

/// One frame, as etcd writes it.
fn frame(record: &[u8]) -> Vec<u8> {
    let pad = record.len().wrapping_neg() % 8;
    let mark = if pad == 0 { 0 } else { (0x80 | pad as u64) << 56 };
    [&(record.len() as u64 | mark).to_le_bytes()[..], record, &vec![0; pad]].concat()
}

/// An entry of 2000 bytes of data, as a record of the log that ends with the sum `crc`.
fn long_entry(crc: u32) -> Vec<u8> {
    let entry = [&unhex("08001002180322d00f")[..], &[b'x'; 2000]].concat();
    let crc = crc32c::crc32c_append(crc, &entry);
    let mut record = vec![8, 2, 16];
    varint(&mut record, crc.into());
    record.push(0x1a);
    varint(&mut record, entry.len() as u64);
    record.extend(entry);
    frame(&record)
}

fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n > 127 {
        out.push(n as u8 | 128);
        n >>= 7;
    }
    out.push(n as u8);
}

#[test]
fn sectors_that_never_reached_the_disk_are_a_torn_tail_and_others_are_damage() {
    let bytes = ours();
    let end = bytes.len();
    let whole = [&bytes[..], &long_entry(0xf683_381c)].concat();
    let log = wal::read(&whole).unwrap();
    assert_eq!((log.entries.len(), log.entries[2].data, log.torn), (3, &[b'x'; 2000][..], false));

    for sector in [512..1024, 1024..1536, 1536..2048, 2048..whole.len()] {
        let mut torn = whole.clone();
        torn[sector].fill(0);
        let log = wal::read(&torn).unwrap();
        assert_eq!((log.end, log.torn, log.entries.len()), (end, true, 2));
    }
    let mut damaged = whole.clone();
    damaged[600..1000].fill(0);
    assert!(matches!(wal::read(&damaged), Err(WalError::Crc { offset: 400, .. })));
}

#[test]
fn a_segment_is_held_against_the_one_before_it() {
    let first = ours();
    let before = wal::read(&first).unwrap();
    let mut begin = vec![8, 4, 16];
    varint(&mut begin, before.crc.into());
    let metadata = &first[24..54];
    let data = &metadata[metadata.len() - 20..];
    let crc = crc32c::crc32c_append(before.crc, data);
    let mut second = vec![8, 1, 16];
    varint(&mut second, crc.into());
    second.extend([0x1a, 20]);
    second.extend(data);
    let next = [frame(&begin), frame(&second), long_entry(crc)].concat();

    let log = wal::read_from(before.crc, &next).unwrap();
    assert_eq!((log.node_id, log.cluster_id, log.entries.len()), (M1, CLUSTER, 1));
    assert_eq!(wal::read(&next).unwrap(), log);
    let other = wal::read_from(before.crc ^ 1, &next);
    assert_eq!(other, Err(WalError::Crc { offset: 0, expected: before.crc, actual: before.crc ^ 1 }));
}

#[test]
fn a_snap_file_that_is_cut_off_or_changed_is_refused() {
    let (_, bytes) = snap::first(&members());
    let whole = snap::read(&bytes).unwrap();
    for cut in 0..bytes.len() {
        assert!(snap::read(&bytes[..cut]).is_err(), "{cut}");
    }
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_ne!(snap::read(&damaged).ok().as_ref(), Some(&whole), "bit {bit}");
    }
}

/// The one file in a folder whose name ends so, and the first 100,000 bytes of it; behind those there must be zeros.
fn head(dir: &Path, end: &str) -> (String, Vec<u8>) {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let found: Vec<String> = names.filter(|name| name.ends_with(end)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    let mut bytes = vec![];
    fs::File::open(dir.join(&found[0])).unwrap().read_to_end(&mut bytes).unwrap();
    let rest = bytes.split_off(bytes.len().min(100_000));
    assert!(rest.iter().all(|byte| *byte == 0));
    (found[0].clone(), bytes)
}

#[test]
fn what_etcds_own_restores_write_is_read_and_is_what_we_write() {
    let dir = tempfile::tempdir().unwrap();
    let peer = free_url();
    let server = Server::start("3.5", "source", &dir.path().join("source"), &peer);
    server.ctl(&["put", "a", "b"]);
    let saved = dir.path().join("saved.db");
    server.save(&saved);
    for version in VERSIONS {
        for me in ["m1", "m2"] {
            let to = dir.path().join(format!("{version}-{me}"));
            let port = if me == "m1" { 24001 } else { 24011 };
            let out = Command::new(tool(version, "etcdutl"))
                .env("ETCDCTL_API", "3")
                .args(["snapshot", "restore"])
                .arg(&saved)
                .arg("--data-dir")
                .arg(&to)
                .args(["--name", me, "--initial-cluster", "m1=http://127.0.0.1:24001,m2=http://127.0.0.1:24011"])
                .args(["--initial-advertise-peer-urls", &format!("http://127.0.0.1:{port}")])
                .output()
                .unwrap();
            assert!(out.status.success(), "{version}: {out:?}");
            compare(version, me, &to);
        }
    }
}

/// Holds what a version's own tool wrote against what is planned here for the same member.
fn compare(version: &str, me: &str, dir: &Path) {
    let plan = datadir::plan(me, &specs(), TOKEN, None).unwrap();
    let file = |part: &str| plan.files.iter().find(|file| file.path.to_str().unwrap().contains(part)).unwrap();

    let (name, theirs) = head(&dir.join("member/wal"), ".wal");
    let ours = file(".wal");
    assert_eq!(ours.path, Path::new("member/wal").join(name));
    let log = wal::read(&theirs).unwrap();
    if me == "m1" {
        is_the_log_of_m1(&log, version != "3.4");
    }
    let mine = wal::read(&ours.bytes).unwrap();
    if version == "3.5" || version == "3.6" {
        // Their file is zeros from here on: space for more.
        assert_eq!(theirs[..log.end], ours.bytes[..], "{version}");
        assert_eq!(log, mine);
    } else if version == "3.4" {
        assert_eq!(entries(&log), entries(&mine));
    }
    assert_eq!((log.node_id, log.cluster_id, log.hard_state), (mine.node_id, mine.cluster_id, mine.hard_state));

    let (name, theirs) = head(&dir.join("member/snap"), ".snap");
    let ours = file(".snap");
    assert_eq!(ours.path, Path::new("member/snap").join(name));
    let (theirs, ours) = (snap::read(&theirs).unwrap(), snap::read(&ours.bytes).unwrap());
    // The stores differ: theirs also holds statistics and a queue of events.
    assert_eq!((theirs.index, theirs.term), (ours.index, ours.term), "{version}");
    assert_eq!((theirs.conf_state, theirs.members), (ours.conf_state, ours.members), "{version}");
}

#[test]
fn the_log_of_a_running_member_reads() {
    for version in VERSIONS {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("member");
        let peer = free_url();
        let server = Server::start(version, "m1", &data, &peer);
        (0..20).for_each(|n| {
            server.ctl(&["put", &format!("key-{n}"), &"v".repeat(n * 100)]);
        });
        drop(server);
        let (_, bytes) = head(&data.join("member/wal"), ".wal");
        let log = wal::read(&bytes).unwrap();
        let me = NewMember::new("m1", &[peer], TOKEN);
        assert_eq!((log.node_id, log.torn), (me.id, false));
        let indexes: Vec<u64> = log.entries.iter().map(|entry| entry.index).collect();
        assert_eq!(indexes, (1..=indexes.len() as u64).collect::<Vec<_>>());
        assert_eq!(log.entries[0].kind, EntryKind::ConfChange);
        let puts =
            |n: usize| log.entries.iter().filter(|entry| holds(entry.data, format!("key-{n}").as_bytes())).count();
        assert!((0..20).all(|n| puts(n) > 0));
        assert!(log.hard_state.unwrap().commit as usize >= log.entries.len() - 1);
        let states = wal::records(0, &bytes).filter(|record| matches!(record, Ok(Record::HardState(_)))).count();
        assert!(states > 1);
    }
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
