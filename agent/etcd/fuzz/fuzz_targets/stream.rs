//! The stream check in any chunks, with any budget, with scratch space that may run out: it says what the check of the
//! whole file says, or that the scratch space failed. Then it answers the same to every question.

#![no_main]

use etcdfile::trailer::has_trailer;
use etcdfile::{CheckError, Checked, NoSpill, StreamCheck, check_file};
use etcdfile_fuzz::{Input, Scratch, damaged_database, within};

const BUDGET: usize = 1 << 20;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let budget = usize::from(input.short());
    let limit = match input.byte() % 4 {
        0 => usize::from(input.short()),
        _ => usize::MAX,
    };
    let chunks: Vec<usize> = (0..input.byte() % 8).map(|_| usize::from(input.short()) % 3000).collect();
    let bytes = damaged_database(&mut input);
    let memory = BUDGET + 64 * bytes.len();
    let whole = within(2 * memory, || feed(&bytes, &[], StreamCheck::new(NoSpill, BUDGET)));
    let parts = within(2 * memory, || feed(&bytes, &chunks, StreamCheck::new(Scratch::new(limit), budget)));
    match (whole, parts) {
        (Ok(whole), Ok(parts)) => {
            assert_eq!(whole.report(), parts.report());
            if !has_trailer(bytes.len() as u64) {
                let file = check_file(bytes.as_slice(), NoSpill, BUDGET).expect("it was read before");
                assert_eq!(whole.report(), &file);
            }
            ask(&whole, &parts, limit);
        }
        (Err(CheckError::NoMeta { db_bytes: one }), Err(CheckError::NoMeta { db_bytes: other })) => {
            assert_eq!(one, other);
        }
        (_, Err(CheckError::Spill(error))) => assert!(limit < usize::MAX, "{error}"),
        (Err(whole), _) => panic!("with room enough: {whole}"),
        (Ok(_), Err(parts)) => panic!("in parts: {parts}"),
    }
});

fn feed<S: etcdfile::Spill>(
    mut bytes: &[u8],
    chunks: &[usize],
    mut check: StreamCheck<S>,
) -> Result<Checked<S>, CheckError> {
    for size in chunks.iter().cycle().take(bytes.len()) {
        let (chunk, rest) = bytes.split_at((*size).min(bytes.len()));
        check.feed(chunk).map_err(CheckError::Spill)?;
        bytes = rest;
    }
    check.feed(bytes).map_err(CheckError::Spill)?;
    check.into_checked()
}

/// Every question near the database's own revisions.
fn ask(whole: &Checked<NoSpill>, parts: &Checked<Scratch>, limit: usize) {
    let report = whole.report();
    let near = |revision: i64| [revision.saturating_sub(1), revision, revision.saturating_add(1)];
    for revision in near(report.revision).into_iter().chain([0, 1, 5, i64::MAX]) {
        for compact in near(report.compact_revision).into_iter().chain([-1, 4, report.revision]) {
            let one = whole.hash_kv(revision, compact).expect("no scratch space is needed");
            match parts.hash_kv(revision, compact) {
                Ok(other) => assert_eq!(one, other, "at {revision}, compacted at {compact}"),
                Err(error) => assert!(limit < usize::MAX, "{error}"),
            }
        }
    }
    if report.sound() {
        let own = whole.hash_kv(report.revision, report.compact_revision).expect("no scratch space is needed");
        assert_eq!(own.ok(), report.hash_kv);
    }
}
