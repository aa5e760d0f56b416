//! Databases opened for questions, copied compactly, and given new members. Of a sound one everything that is said must
//! agree with the check, and what is made from it is sound. Of any other, each answer is one or an error.

#![no_main]

use std::ops::ControlFlow;

use etcdfile::{Database, Edits, NewMember, NoSpill, Report, check_file, compact, rewrite};
use etcdfile_fuzz::{Input, Memory, damaged_database, within};

const BUDGET: usize = 1 << 20;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let bump = match input.byte() % 4 {
        0 => None,
        1 => Some(input.value()),
        _ => Some(1000),
    };
    let bytes = damaged_database(&mut input);
    // What is written again is as large as what it was made from, each of its pages a little larger; and pages are of
    // 64 KiB at most, some of which are held.
    within(2 * BUDGET + 64 * bytes.len() + (4 << 20), || {
        let report = check(&bytes).filter(Report::sound);
        ask(&bytes, report.as_ref());
        copy(&bytes, report.as_ref());
        if let Some(report) = report {
            commit(&bytes, &report, bump);
        }
    });
});

/// What the check says of the bytes as a database; a digest behind them would not belong to it.
fn check(bytes: &[u8]) -> Option<Report> {
    let mut check = etcdfile::StreamCheck::new(NoSpill, BUDGET);
    check.feed(bytes).expect("no scratch space is needed");
    check.finish().ok()
}

fn ask(bytes: &[u8], sound: Option<&Report>) {
    let database = match Database::open(bytes) {
        Ok(database) => database,
        Err(error) => {
            assert!(sound.is_none(), "{error}");
            return;
        }
    };
    let (revision, compacted) = (database.revision(), database.compact_revision());
    let (mut records, mut deletions, mut before) = (0, 0, vec![]);
    let walked = database.for_each_record::<()>(0..=i64::MAX, |record| {
        assert!(record.stored_key > &before[..]);
        before = record.stored_key.to_vec();
        records += 1;
        deletions += u64::from(record.tombstone);
        ControlFlow::Continue(())
    });
    let index = database.index(revision, b"");
    let answers: Vec<_> = match &index {
        Ok(index) => {
            index.entries.iter().map(|entry| (database.value(entry), database.get(&entry.key, revision))).collect()
        }
        Err(_) => vec![],
    };
    let (leases, members) = (database.leases(), database.members());
    let hash = database.hash_kv(revision, compacted);
    let Some(report) = sound else { return };
    walked.expect("a sound database can be walked");
    assert_eq!((revision, compacted), (report.revision, report.compact_revision));
    assert_eq!((records, deletions), (report.records, report.tombstones));
    assert_eq!(index.expect("a sound database has keys").entries.len() as u64, report.keys);
    for (value, got) in answers {
        let value = value.expect("every entry of the index has a value");
        assert_eq!(got.expect("every key can be asked for"), Some(value));
    }
    assert_eq!(leases.expect("a sound database has leases").len() as u64, report.leases);
    assert_eq!(members.expect("a sound database has members"), report.members);
    assert_eq!(hash.expect("a sound database has a hash").ok(), report.hash_kv);
}

fn copy(bytes: &[u8], sound: Option<&Report>) {
    let sink = Memory::default();
    let made = compact(bytes, &sink);
    let Some(report) = sound else { return };
    let made = made.expect("a sound database can be copied");
    let bytes = sink.0.into_inner();
    assert_eq!(made.db_bytes, bytes.len() as u64);
    let copy = check(&bytes).expect("a copy is a database");
    assert_eq!(copy.findings, []);
    assert_eq!(copy.free_bytes, 0);
    let facts =
        |report: &Report| (report.revision, report.records, report.keys, report.hash_kv, report.members.clone());
    assert_eq!(facts(&copy), facts(report));
}

fn commit(bytes: &[u8], report: &Report, bump: Option<u64>) {
    let file = Memory(bytes.to_vec().into());
    let members = vec![NewMember::new("m1", &["http://10.0.0.9:2380".to_owned()], "token")];
    let edits = Edits { members, consistent_index: 1, term: 1, bump, disable_auth: true };
    let committed = match rewrite::commit(&file, report, &edits) {
        Ok(committed) => committed,
        Err(rewrite::RewriteError::Bump { .. }) => return,
        Err(error) => panic!("{error}"),
    };
    let len = usize::try_from(committed.db_bytes).expect("it is in memory");
    let after = check_file(&file.0.borrow()[..len], NoSpill, BUDGET).expect("what was committed is a database");
    assert_eq!(after.findings, []);
    assert_eq!(after.revision, committed.revision);
    assert_eq!((after.members.len(), after.alarms), (1, 0));
    assert_eq!(after.records, report.records + u64::from(bump.is_some()));
}
