//! Logs, raw and nearly right: records with right sums and any content, then damaged. Reading is the same however it is
//! done, stops where it says, and takes no more memory than the log is long.

#![no_main]

use etcdfile::wal::{Wal, WalError, read, read_from, records};
use etcdfile_fuzz::{Input, within};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let mode = input.byte();
    if mode % 4 == 0 {
        look(input.0);
        return;
    }
    let mut log = build(&mut input);
    if mode % 4 > 1 {
        damage(&mut log, &mut input);
    }
    look(&log);
});

/// A log of the records that the input lists, each with its right sum.
fn build(input: &mut Input<'_>) -> Vec<u8> {
    let mut log = frame(4, 0, None);
    let metadata = [8, 1, 16, 2];
    let mut crc = crc32c::crc32c(&metadata);
    log.extend(frame(1, crc, Some(&metadata)));
    for _ in 0..input.byte() % 16 {
        let kind = input.byte() % 7;
        let len = usize::from(input.short()) % 1600;
        let data = input.take(len);
        if kind == 4 {
            log.extend(frame(4, crc, None));
            continue;
        }
        crc = crc32c::crc32c_append(crc, data);
        log.extend(frame(kind, crc, Some(data)));
    }
    log
}

fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n > 127 {
        out.push(n as u8 | 128);
        n >>= 7;
    }
    out.push(n as u8);
}

fn frame(kind: u8, crc: u32, data: Option<&[u8]>) -> Vec<u8> {
    let mut record = vec![8, kind, 16];
    varint(&mut record, crc.into());
    if let Some(data) = data {
        record.push(26);
        varint(&mut record, data.len() as u64);
        record.extend(data);
    }
    let pad = record.len().wrapping_neg() % 8;
    let mark = if pad == 0 { 0 } else { (0x80 | pad as u64) << 56 };
    [&(record.len() as u64 | mark).to_le_bytes()[..], &record, &vec![0; pad]].concat()
}

fn damage(log: &mut Vec<u8>, input: &mut Input<'_>) {
    for _ in 0..8 {
        if input.is_empty() {
            break;
        }
        let at = input.place(log.len());
        match input.byte() % 4 {
            0 => log[at] = input.byte(),
            1 => log.truncate(at.max(1)),
            2 => log.iter_mut().skip(at).take(512).for_each(|byte| *byte = 0),
            _ => log.extend(std::iter::repeat_n(input.byte(), usize::from(input.byte()))),
        }
    }
}

fn look(log: &[u8]) {
    let read = within(32 * log.len() + 4096, || read(log));
    step(log, &read);
    let wal = match read {
        Ok(wal) => wal,
        Err(WalError::Crc { offset, expected, actual }) => {
            assert!(offset < log.len() && expected != actual);
            return;
        }
        Err(WalError::Length { offset, .. } | WalError::Undecodable { offset, .. } | WalError::Kind { offset, .. }) => {
            assert!(offset < log.len());
            return;
        }
        Err(WalError::OtherMember { offset }) => return assert!(offset < log.len()),
        Err(WalError::NoMetadata { end }) => return assert!(end <= log.len()),
    };
    assert!(wal.end <= log.len() && wal.end.is_multiple_of(8));
    assert!(!wal.torn || wal.end < log.len());
    // What was read, alone or with zeros behind it, reads the same; so does it after a sum that nobody knows.
    let whole = Wal { torn: false, ..wal };
    assert_eq!(etcdfile::wal::read(&log[..whole.end]).as_ref(), Ok(&whole));
    let padded = [&log[..whole.end], &[0; 64]].concat();
    assert_eq!(etcdfile::wal::read(&padded).as_ref(), Ok(&whole));
    assert_eq!(read_from(0, &log[..whole.end]).as_ref(), Ok(&whole));
}

/// One by one, the records are those read at once.
fn step(log: &[u8], read: &Result<Wal<'_>, WalError>) {
    let mut steps = records(0, log);
    let mut before = 0;
    let mut failed = None;
    while let Some(record) = steps.next() {
        match record {
            Ok(_) => assert!(steps.end() > before),
            Err(error) => failed = Some(error),
        }
        before = steps.end();
    }
    assert!(steps.next().is_none(), "nothing comes after the end");
    match (read, failed) {
        (Ok(wal), None) => assert_eq!((wal.end, wal.torn, wal.crc), (steps.end(), steps.torn(), steps.crc())),
        (Err(WalError::OtherMember { .. } | WalError::NoMetadata { .. }), _) => {}
        (Err(error), Some(failed)) => assert_eq!(*error, failed),
        (read, failed) => panic!("{read:?}, but one by one {failed:?}"),
    }
}
