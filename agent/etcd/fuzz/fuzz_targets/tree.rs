//! Whole files: a sound database damaged as the input says, and the input itself. The verdict must not depend on how
//! much memory it had, and a file nobody touched is sound.

#![no_main]

use etcdfile::{CheckError, NoSpill, Report, check_file};
use etcdfile_fuzz::{Input, Scratch, damaged_database, is_untouched, within};

const BUDGET: usize = 1 << 20;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let bytes = if input.byte() % 8 == 0 { input.0.to_vec() } else { damaged_database(&mut input) };
    let Some(report) = check(&bytes) else { return };
    sane(&report, &bytes);
});

fn check(bytes: &[u8]) -> Option<Report> {
    // The file is read through a buffer of its own size, a megabyte at most; a note on a page may be twice as large.
    let memory = BUDGET + 64 * bytes.len() + (1 << 20);
    let roomy = within(memory, || check_file(bytes, NoSpill, BUDGET));
    let tight = within(memory, || check_file(bytes, Scratch::new(16 * bytes.len() + 4096), 0));
    match (roomy, tight) {
        (Ok(roomy), Ok(tight)) => {
            assert_eq!(roomy, tight);
            Some(roomy)
        }
        (Err(CheckError::NoMeta { .. }), Err(CheckError::NoMeta { .. })) => None,
        (roomy, tight) => panic!("{roomy:?}, but with little memory {tight:?}"),
    }
}

fn sane(report: &Report, bytes: &[u8]) {
    let len = bytes.len() as u64;
    assert!(report.findings.len() <= 102, "{}", report.findings.len());
    assert!(report.sound() == report.findings.is_empty());
    assert!(!is_untouched(bytes) || report.sound(), "{:?}", report.findings);
    // Damage at every second byte still leaves no more keys than bytes.
    assert!(report.keys <= report.records && report.records <= len);
    assert!(report.leases <= len && report.alarms <= len && report.members.len() as u64 <= len);
    for finding in &report.findings {
        assert!(!finding.what.is_empty() && finding.what.len() < 4096, "{finding:?}");
        assert!(finding.offset.is_none_or(|_| finding.page.is_some()));
    }
    if !report.sound() {
        assert_eq!(report.hash_kv, None);
        return;
    }
    assert!(report.db_bytes <= len);
    let hash = report.hash_kv.expect("a sound database has a hash");
    assert_eq!((hash.revision, hash.compact_revision), (report.revision, report.compact_revision));
}
