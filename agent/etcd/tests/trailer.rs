//! The trailer, and the parts of a data dir, against bytes that etcd's own tools wrote.

use etcdfile::{MemberSpec, NewMember, PlanError, Trailed, TrailerError, datadir, identity, snap, wal};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

fn split(bytes: &[u8], chunk: usize) -> (Vec<u8>, Result<etcdfile::Verified, TrailerError>) {
    let mut trailed = Trailed::new();
    let mut out = vec![];
    for chunk in bytes.chunks(chunk) {
        trailed.push(chunk, |bytes| out.extend_from_slice(bytes));
    }
    (out, trailed.finish())
}

fn snapshot(db_bytes: usize) -> Vec<u8> {
    let db: Vec<u8> = (0..db_bytes).map(|n| (n % 251) as u8).collect();
    let digest = Sha256::digest(&db);
    [&db[..], &digest].concat()
}

#[test]
fn a_snapshot_is_split_into_database_and_digest() {
    let whole = snapshot(8192);
    for chunk in [1, 7, 32, 33, 4096, 10_000] {
        let (db, verified) = split(&whole, chunk);
        let verified = verified.unwrap();
        assert_eq!(db, whole[..8192]);
        assert_eq!((verified.db_bytes, &verified.sha256[..]), (8192, &whole[8192..]));
        assert_eq!(verified.stream_sha256[..], Sha256::digest(&whole)[..]);
    }
}

#[test]
fn what_is_not_a_whole_snapshot_says_why() {
    let whole = snapshot(4096);
    assert_eq!(split(&whole[..20], 5).1, Err(TrailerError::TooShort { bytes: 20 }));
    assert_eq!(split(&[], 5).1, Err(TrailerError::TooShort { bytes: 0 }));
    assert_eq!(split(&whole[..32], 5).1, Err(TrailerError::TooShort { bytes: 32 }));
    assert_eq!(split(&whole[..4096], 4096).1, Err(TrailerError::NotWholePages { bytes: 4096 }));
    assert!(matches!(split(&whole[512..], 999).1, Err(TrailerError::Differs { .. })));
}

proptest! {
    #[test]
    fn any_chunking_splits_alike(cuts in proptest::collection::vec(0usize..90, 1..200), pages in 1usize..6) {
        let whole = snapshot(pages * 512);
        let mut trailed = Trailed::new();
        let (mut out, mut rest) = (vec![], whole.as_slice());
        for cut in cuts.iter().chain([&9999]) {
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            let mut emits = 0;
            trailed.push(now, |bytes| {
                emits += 1;
                out.extend_from_slice(bytes);
            });
            prop_assert!(emits <= 2);
            rest = later;
        }
        prop_assert_eq!(&out, &whole[..pages * 512]);
        prop_assert!(trailed.finish().is_ok());
    }
}

fn two() -> Vec<NewMember> {
    [("m1", "http://127.0.0.1:24001"), ("m2", "http://127.0.0.1:24011")]
        .map(|(name, url)| NewMember::new(name, &[url.to_owned()], "etcd-cluster"))
        .to_vec()
}

#[test]
fn ids_are_those_that_etcd_derives() {
    let members = two();
    assert_eq!((members[0].hex_id().as_str(), members[1].hex_id().as_str()), ("64674cd17a494f9e", "4dc2c1574eeb8792"));
    assert_eq!(identity::cluster_id(&[members[0].id, members[1].id]), 0x59285982eb6a922b);
    let several = ["http://b:1".to_owned(), "http://a:1".to_owned()];
    assert_eq!(identity::member_id(&several, "t"), NewMember::new("x", &several, "t").id);
    assert_eq!(NewMember::new("x", &several, "t").peer_urls, ["http://a:1", "http://b:1"]);
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn the_first_log_segment_is_what_etcdutl_writes() {
    let members = two();
    let log = wal::first_segment(members[0].id, 0x59285982eb6a922b, &members);
    assert_eq!(log.len(), 400);
    assert_eq!(log[..24], hex("040000000000008408041000000000001e00000000000082"));
    let crcs = [
        (16, 0x56150d90u32),
        (56, 0x2c859c12),
        (80, 0xb273dc6d),
        (200, 0xb8a47785),
        (320, 0x0c08204b),
        (352, 0xf683381c),
    ];
    for (at, crc) in crcs {
        let mut tag = vec![0x10];
        let mut rest = crc;
        while rest > 127 {
            tag.push(rest as u8 | 128);
            rest >>= 7;
        }
        tag.push(rest as u8);
        assert_eq!(log[at + 10..at + 10 + tag.len()], tag, "record at {at}");
    }
    let holds = |data: &str| log.windows(data.len() / 2).any(|window| window == hex(data));
    assert!(holds("089e9fa5d2979ad3b36410aba4aadbaeb0969459"));
    assert!(holds("080110011801225c0800100018928faef7f4aab0e14d224c7b"));
    assert!(holds("080110928faef7f4aab0e14d1802"));
    assert!(holds("080210011a1608928faef7f4aab0e14d089e9fa5d2979ad3b3642800"));
    let json = br#"{"id":5603253467132692370,"peerURLs":["http://127.0.0.1:24011"],"name":"m2"}"#;
    assert!(log.windows(json.len()).any(|window| window == json));
}

#[test]
fn the_snap_file_is_named_by_term_and_index_and_carries_its_sum() {
    let (name, bytes) = snap::first(&two());
    assert_eq!(name, "0000000000000001-0000000000000002.snap");
    assert_eq!(bytes[0], 0x08);
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains(r#""Path":"/0/members/64674cd17a494f9e/raftAttributes""#));
    assert!(text.contains(r#"{\"peerURLs\":[\"http://127.0.0.1:24001\"]}"#));
}

#[test]
fn a_plan_describes_the_whole_data_dir() {
    let spec = |name: &str, url: &str| MemberSpec { name: name.to_owned(), peer_urls: vec![url.to_owned()] };
    let specs = [spec("m1", "http://127.0.0.1:24001"), spec("m2", "http://127.0.0.1:24011")];
    let plan = datadir::plan("m2", &specs, "etcd-cluster", Some(5)).unwrap();
    assert_eq!((plan.member_id, plan.cluster_id), (0x4dc2c1574eeb8792, 0x59285982eb6a922b));
    let dirs: Vec<_> = plan.dirs.iter().map(|dir| (dir.path.to_str().unwrap(), dir.mode)).collect();
    assert_eq!(dirs, [("", 0o700), ("member", 0o700), ("member/snap", 0o700), ("member/wal", 0o700)]);
    let files: Vec<_> = plan.files.iter().map(|file| file.path.to_str().unwrap()).collect();
    let wal = "member/wal/0000000000000000-0000000000000000.wal";
    assert_eq!(files, ["member/snap/0000000000000001-0000000000000002.snap", wal]);
    assert_eq!((plan.edits.consistent_index, plan.edits.term, plan.edits.bump), (2, 1, Some(5)));

    let error = |me: &str, specs: &[MemberSpec]| datadir::plan(me, specs, "t", None).unwrap_err();
    assert!(error("m3", &specs).to_string().contains("m3 is not among the members to restore (m1, m2)"));
    assert!(matches!(error("m1", &[specs[0].clone(), spec("m1", "http://b:1")]), PlanError::SameName { .. }));
    assert!(matches!(
        error("m1", &[specs[0].clone(), spec("m2", "http://127.0.0.1:24001")]),
        PlanError::SameUrl { .. }
    ));
    let bare = MemberSpec { name: "m2".to_owned(), peer_urls: vec![] };
    assert!(matches!(error("m1", &[specs[0].clone(), bare]), PlanError::NoUrl { .. }));
}

#[test]
fn a_peer_url_that_etcd_would_not_take_is_refused_with_its_flaw() {
    let plan = |url: &str| {
        datadir::plan("m", &[MemberSpec { name: "m".to_owned(), peer_urls: vec![url.to_owned()] }], "t", None)
    };
    for good in ["https://10.0.0.1:2380", "http://cp-1.example:2380", "http://[::1]:2380", "unix://m.sock:1"] {
        assert!(plan(good).is_ok(), "{good}");
    }
    for (bad, flaw) in [
        ("10.0.0.1:2380", "no scheme"),
        ("ftp://10.0.0.1:2380", "another scheme"),
        ("https://10.0.0.1", "no port"),
        ("https://10.0.0.1:port", "no port from 1"),
        ("https://10.0.0.1:0", "no port from 1"),
        ("https://10.0.0.1:2380/", "behind its port"),
        ("https://:2380", "no host"),
        ("https://::1:2380", "no host"),
        ("https://a b:2380", "no host"),
        ("unix://", "names no socket"),
    ] {
        let error = plan(bad).unwrap_err().to_string();
        assert!(error.contains(bad) && error.contains(flaw), "{error}");
    }
}
