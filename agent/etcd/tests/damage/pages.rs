//! Whole pages, pointers and claims.

use std::fs;

use sha2::{Digest, Sha256};

use etcdfile::{NoSpill, Report, check_file};

use super::anatomy::{Part, number};
use super::{Noticed, Sound, notice, real, varied};

fn swap_all(sound: &Sound) -> usize {
    let page_bytes = sound.map.page_bytes;
    let mut found = 0;
    for high in 1..sound.pages() {
        for low in 0..high {
            let mut bytes = sound.bytes.clone();
            bytes[low * page_bytes..][..page_bytes].copy_from_slice(sound.page(high));
            bytes[high * page_bytes..][..page_bytes].copy_from_slice(sound.page(low));
            let noticed = notice(&sound.report, &bytes);
            let nothing_moved = sound.agrees(low, sound.page(high)) && sound.agrees(high, sound.page(low));
            let fits = match noticed {
                Noticed::Found => !nothing_moved,
                // The inner pages of a large value have no headers of their own.
                Noticed::Hash => !nothing_moved,
                Noticed::Report => false,
                Noticed::Nothing => nothing_moved,
            };
            assert!(fits, "pages {low} and {high}: {noticed:?}");
            found += usize::from(noticed == Noticed::Found);
        }
    }
    found
}

#[test]
fn any_two_swapped_pages_are_noticed() {
    for freelist in [false, true] {
        let sound = Sound::new(varied(0, freelist));
        assert!(swap_all(&sound) > 300);
    }
    swap_all(&Sound::new(real("3.6-emptied")));
}

#[test]
fn any_page_in_the_place_of_another_is_noticed() {
    let sound = Sound::new(varied(0, false));
    let page_bytes = sound.map.page_bytes;
    for to in 0..sound.pages() {
        for from in (0..sound.pages()).filter(|from| sound.page(*from) != sound.page(to)) {
            let mut bytes = sound.bytes.clone();
            bytes[to * page_bytes..][..page_bytes].copy_from_slice(sound.page(from));
            let noticed = notice(&sound.report, &bytes);
            let fits = match noticed {
                Noticed::Found | Noticed::Hash => !sound.agrees(to, sound.page(from)),
                Noticed::Report => false,
                Noticed::Nothing => sound.agrees(to, sound.page(from)),
            };
            assert!(fits, "page {from} over page {to}: {noticed:?}");
        }
    }
}

/// Whether this is the database as it was a few commits before, with the same keys: a commit overwrites no page of the
/// one before it, so an older root may still lead to pages that are all there.
fn is_earlier(sound: &Sound, bytes: &[u8]) -> bool {
    let report = check_file(bytes, NoSpill, 1 << 20).unwrap();
    let Report { consistent_index, free_bytes, status_hash, .. } = sound.report;
    let as_now = Report { consistent_index, free_bytes, status_hash, ..report.clone() };
    report.consistent_index < consistent_index && as_now == sound.report
}

/// Splices two databases at every page, under a valid digest; gives how often it was found.
fn splice_all(one: &Sound, other: &Sound) -> usize {
    let page_bytes = one.map.page_bytes;
    let mut found = 0;
    for at in 1..one.pages().max(other.pages()) {
        let head = &one.bytes[..(at * page_bytes).min(one.bytes.len())];
        let tail = &other.bytes[(at * page_bytes).min(other.bytes.len())..];
        let spliced = [head, tail].concat();
        let digest = Sha256::digest(&spliced);
        let trailed = [spliced.as_slice(), &digest].concat();
        let (as_one, as_other) = (notice(&one.report, &trailed), notice(&other.report, &trailed));
        let whole = as_one == Noticed::Nothing || as_other == Noticed::Nothing || is_earlier(other, &trailed);
        // What is neither of the two databases has findings, or says something that neither says.
        let differs = |noticed: Noticed| matches!(noticed, Noticed::Hash | Noticed::Report);
        let mixed = differs(as_one) && differs(as_other);
        assert!(whole || mixed || as_one == Noticed::Found, "at page {at}: {as_one:?}, {as_other:?}");
        found += usize::from(as_one == Noticed::Found);
    }
    found
}

#[test]
fn two_databases_spliced_under_one_valid_digest_are_noticed() {
    let (one, other) = (Sound::new(varied(0, false)), Sound::new(varied(32, false)));
    assert_eq!(one.map.parts.len(), other.map.parts.len());
    // Of one shape, page by page: only the values tell them apart.
    splice_all(&one, &other);
    for line in ["3.4", "3.5", "3.6", "3.7"] {
        let stage = |name: &str| Sound::new(real(&format!("{line}-{name}")));
        let (early, late, last) = (stage("uncompacted"), stage("compacted"), stage("emptied"));
        let pairs = [(&early, &late), (&late, &early), (&late, &last), (&last, &late)];
        let found: usize = pairs.iter().map(|(one, other)| splice_all(one, other)).sum();
        assert!(found > 10, "{found}");
    }
}

/// Puts a number into a field, and expects a finding unless it was there before, or the field is as good as content.
fn set_field(sound: &Sound, bytes: &mut [u8], at: usize, len: usize, value: u64) {
    let field = at..at + len;
    let before = sound.bytes[field.clone()].to_vec();
    let new = &value.to_le_bytes()[..len];
    bytes[field.clone()].copy_from_slice(new);
    let noticed = notice(&sound.report, bytes);
    let is_content = !matches!(sound.map.parts[at], Part::Structure | Part::Pointer | Part::BranchKey);
    let fits = match noticed {
        Noticed::Found => new != before,
        Noticed::Nothing => new == before || is_content,
        Noticed::Hash | Noticed::Report => is_content,
    };
    let (page, place) = (at / sound.map.page_bytes, at % sound.map.page_bytes);
    assert!(fits, "page {page}, {value:#x} in {len} bytes at {place}: {noticed:?}");
    bytes[field].copy_from_slice(&before);
}

#[test]
fn branches_that_lead_anywhere_else_or_in_circles_are_found() {
    let sound = Sound::new(varied(0, false));
    let mut bytes = sound.bytes.clone();
    let mut pointers = 0;
    for at in &sound.map.pages {
        if number(&bytes, at + 8, 2) != 1 {
            continue;
        }
        for element in (at + 16..).step_by(16).take(number(&bytes, at + 10, 2)) {
            let places = (0..sound.pages() as u64 + 2).chain([u64::MAX, 1 << 63, 1 << 32]);
            places.for_each(|page| set_field(&sound, &mut bytes, element + 8, 8, page));
            pointers += 1;
        }
    }
    assert!(pointers > 8, "{pointers}");
}

#[test]
fn claims_of_pages_and_items_that_are_not_so_are_found_and_cost_no_memory() {
    for sound in [Sound::new(varied(0, false)), Sound::new(real("3.7-compacted"))] {
        let mut bytes = sound.bytes.clone();
        let page_bytes = sound.map.page_bytes as u64;
        let sizes = [0, 1, 15, 17, page_bytes - 1, page_bytes, page_bytes * 3, 1 << 16, u64::from(u32::MAX), 1 << 31];
        for at in &sound.map.pages {
            for id in [0, 1, u64::MAX, number(&bytes, *at, 8) as u64 + 1] {
                set_field(&sound, &mut bytes, *at, 8, id);
            }
            (0..=16).map(|bit| 1 << bit >> 1).for_each(|flags| set_field(&sound, &mut bytes, at + 8, 2, flags));
            [0, 1, 2, 0x7fff, 0xfffe, 0xffff].iter().for_each(|n| set_field(&sound, &mut bytes, at + 10, 2, *n));
            let pages = sound.pages() as u64;
            for overflow in [0, 1, 2, pages - 3, pages, 1 << 20, (1 << 31) - 1, (1 << 32) - 1] {
                set_field(&sound, &mut bytes, at + 12, 4, overflow);
            }
            let elements = number(&bytes, at + 10, 2).min(5);
            let fields = if number(&bytes, at + 8, 2) == 1 { 2 } else { 4 };
            for field in (at + 16..).step_by(16).take(elements).flat_map(|at| (at..).step_by(4).take(fields)) {
                sizes.iter().for_each(|size| set_field(&sound, &mut bytes, field, 4, *size));
            }
        }
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim().trim_end_matches(" kB");
    assert!(peak.parse::<u64>().unwrap() < 200_000, "{peak} kB");
}
