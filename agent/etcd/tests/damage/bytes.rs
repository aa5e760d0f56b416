//! Single bytes, and lengths.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::anatomy::Part;
use super::{Noticed, Sound, notice, outside, real, varied};

/// Flips bits of a byte, and holds the outcome against the byte's use.
fn flip(sound: &Sound, bytes: &mut [u8], at: usize, bits: u8) -> Noticed {
    bytes[at] ^= bits;
    let noticed = notice(&sound.report, bytes);
    let part = sound.map.parts[at];
    let fits = match part {
        Part::Free | Part::Slack | Part::Sequence => noticed == Noticed::Nothing,
        Part::Meta | Part::Structure | Part::BranchKey => noticed == Noticed::Found,
        // A page's predecessor, replaced by a later commit and not yet overwritten, is as whole as the page.
        Part::Pointer => noticed != Noticed::Nothing,
        // HashKV at the newest revision leaves out what was alive at the compaction only; the hash over everything does not.
        Part::Record => noticed != Noticed::Nothing,
        // The marks of compactions stand in HashKV's answer.
        Part::Shown => noticed != Noticed::Nothing,
        // No page can tell whether a password, a lease's term or a bucket's name was another one before: the hash can.
        Part::Name | Part::Other => matches!(noticed, Noticed::Found | Noticed::Report),
    };
    bytes[at] ^= bits;
    let page = at / sound.map.page_bytes;
    assert!(fits, "byte {} of page {page}, {part:?}, bits {bits:#x}: {noticed:?}", at % sound.map.page_bytes);
    noticed
}

/// Flips one bit, or all, of every so many bytes, and gives how often what was noticed where.
fn flip_all(db: Vec<u8>, step: usize, bits: usize) -> BTreeMap<(Part, &'static str), u32> {
    let sound = Sound::new(db);
    let mut bytes = sound.bytes.clone();
    let mut outcomes = BTreeMap::new();
    for at in (0..bytes.len()).step_by(step) {
        for round in 0..bits {
            // Another bit for each byte, so that all bits have their turn.
            let bit = 1 << ((at / step + round) % 8);
            let how = match flip(&sound, &mut bytes, at, bit) {
                Noticed::Found => "found",
                Noticed::Hash => "hash",
                Noticed::Report => "report",
                Noticed::Nothing => "nothing",
            };
            *outcomes.entry((sound.map.parts[at], how)).or_default() += 1;
        }
    }
    outcomes
}

#[test]
fn every_flipped_byte_of_a_small_database_is_noticed_or_was_of_no_use() {
    for freelist in [false, true] {
        let outcomes = flip_all(varied(0, freelist), 1, if outside::full() { 8 } else { 1 });
        let parts = [Part::Free, Part::Slack, Part::Meta, Part::Structure, Part::Pointer, Part::Sequence];
        for part in parts.into_iter().chain([Part::BranchKey, Part::Name, Part::Record, Part::Shown, Part::Other]) {
            assert!(outcomes.keys().any(|(had, _)| *had == part), "no byte is {part:?}");
        }
        assert!(outcomes[&(Part::Record, "hash")] > 1000);
        // No page here has a predecessor.
        assert!(outcomes.keys().all(|(part, how)| *part != Part::Pointer || *how == "found"));
    }
}

#[test]
fn flipped_bytes_of_real_databases_are_noticed_or_were_of_no_use() {
    // Primes, so that the bytes looked at wander through the pages.
    let step = if outside::full() { 7 } else { 127 };
    for name in ["3.4-compacted", "3.7-uncompacted", "3.6-16k"] {
        let outcomes = flip_all(real(name), step, 1);
        assert!(outcomes.values().sum::<u32>() > 500);
    }
}

/// Bytes that become another given value, where flipping one bit would be too tame.
#[test]
fn every_byte_set_to_nothing_or_to_all_ones_is_noticed_or_was_of_no_use() {
    let sound = Sound::new(varied(0, true));
    let mut bytes = sound.bytes.clone();
    for at in (0..bytes.len()).step_by(if outside::full() { 1 } else { 3 }) {
        for value in [0, 0xff] {
            if bytes[at] != value {
                let bits = bytes[at] ^ value;
                flip(&sound, &mut bytes, at, bits);
            }
        }
    }
}

#[test]
fn every_truncation_is_found() {
    let sound = Sound::new(varied(0, false));
    for len in 0..sound.bytes.len() {
        assert_eq!(notice(&sound.report, &sound.bytes[..len]), Noticed::Found, "{len} bytes");
    }
}

#[test]
fn every_truncation_of_real_databases_at_sectors_is_found_even_under_a_digest_of_its_own() {
    let sound = Sound::new(real("3.5-compacted"));
    for edge in (0..=sound.bytes.len()).step_by(512) {
        for len in [edge.saturating_sub(1), edge, edge + 1].into_iter().filter(|len| *len < sound.bytes.len()) {
            assert_eq!(notice(&sound.report, &sound.bytes[..len]), Noticed::Found, "{len} bytes");
        }
        if edge < sound.bytes.len() {
            let cut = &sound.bytes[..edge];
            let trailed = [cut, &Sha256::digest(cut)].concat();
            assert_eq!(notice(&sound.report, &trailed), Noticed::Found, "{edge} bytes and their digest");
        }
    }
}
