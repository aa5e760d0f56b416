//! Leaf and branch pages, raw and nearly right: what reads well must write the same.

#![no_main]

use etcdfile::fuzzing::{branch_items, branch_steps, build_branches, build_leaf, header, leaf_items, leaf_steps};
use etcdfile_fuzz::{Input, within};

/// Bytes before the elements, and of each element.
const STEP: usize = 16;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let count = input.short() % 300;
    match input.byte() % 4 {
        0 => look(input.0, count),
        1 => look(&leaf_of(&mut input), count),
        2 => {
            let page = branch_of(&mut input);
            look(&page, u16::from_le_bytes([page[10], page[11]]));
        }
        _ => {
            let page = leaf_of(&mut input);
            look(&page, u16::from_le_bytes([page[10], page[11]]));
        }
    }
});

/// A leaf of the items that the input lists, damaged as its rest says.
fn leaf_of(input: &mut Input<'_>) -> Vec<u8> {
    let mut items = vec![];
    for _ in 0..input.byte() % 20 {
        let flags = u32::from(input.byte() % 2);
        let key = usize::from(input.byte() % 40) + 1;
        let value = usize::from(input.short() % 600);
        items.push((flags, input.take(key), input.take(value)));
    }
    items.retain(|(_, key, _)| !key.is_empty());
    let page = build_leaf(512, &items).expect("a small leaf");
    let (read, _) = leaf_items(&page, items.len() as u16).expect("what was just written");
    assert_eq!(read, items);
    damage(page, input)
}

fn branch_of(input: &mut Input<'_>) -> Vec<u8> {
    let mut children = vec![];
    for _ in 0..input.byte() % 20 {
        let key = usize::from(input.byte() % 40) + 1;
        let child = input.value();
        children.push((input.take(key), child));
    }
    children.retain(|(key, _)| !key.is_empty());
    let pages = build_branches(512, &children).expect("a small branch");
    let mut read = vec![];
    for page in &pages {
        let count = u16::from_le_bytes([page[10], page[11]]);
        assert!(pages.len() == 1 || count > 1, "a branch has two children or more");
        read.extend(branch_items(page, count).expect("what was just written").0);
    }
    assert_eq!(read, children);
    damage(pages.into_iter().next().expect("one page"), input)
}

fn damage(mut page: Vec<u8>, input: &mut Input<'_>) -> Vec<u8> {
    for _ in 0..8 {
        if input.is_empty() {
            break;
        }
        let at = input.place(page.len());
        page[at] = input.byte();
    }
    page
}

fn look(page: &[u8], count: u16) {
    within(64 * page.len() + (64 << 10), || {
        if let Some((_, same)) = header(page) {
            assert!(same);
        }
        leaf(page, count);
        branch(page, count);
    });
}

fn leaf(page: &[u8], count: u16) {
    assert!(leaf_steps(page, count) <= usize::from(count));
    let Some((items, used)) = leaf_items(page, count) else { return };
    assert_eq!(items.len(), usize::from(count));
    let data: usize = items.iter().map(|(_, key, value)| key.len() + value.len()).sum();
    assert_eq!(used, STEP + STEP * items.len() + data);
    if count == 0 {
        return;
    }
    assert!(used <= page.len());
    let written = build_leaf(512, &items).expect("as large as what was read");
    assert_eq!(written[STEP..used], page[STEP..used]);
}

fn branch(page: &[u8], count: u16) {
    assert!(branch_steps(page, count) <= usize::from(count));
    let Some((items, used)) = branch_items(page, count) else { return };
    assert_eq!(items.len(), usize::from(count));
    let data: usize = items.iter().map(|(key, _)| key.len()).sum();
    assert_eq!(used, STEP + STEP * items.len() + data);
    let pages = build_branches(used.next_multiple_of(512), &items).expect("as large as what was read");
    if count > 0 {
        assert!(used <= page.len());
        assert_eq!((pages.len(), &pages[0][STEP..used]), (1, &page[STEP..used]));
    }
}
