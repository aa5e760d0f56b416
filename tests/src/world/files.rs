//! What the tests do to files: list, copy, damage.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The names of all files in a folder, below `top`.
pub(super) fn collect(top: &Path, dir: &Path, into: &mut Vec<String>) {
    // A folder that another process has just removed holds nothing.
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(top, &path, into);
        } else {
            let below = path.strip_prefix(top).expect("it was found below");
            into.push(below.display().to_string());
        }
    }
}

/// Every file of a folder and what is in it, by its name below the folder.
pub fn all_of(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = Vec::new();
    collect(dir, dir, &mut names);
    // One that another process has just removed is not there.
    names.into_iter().filter_map(|name| Some((name.clone(), fs::read(dir.join(name)).ok()?))).collect()
}

/// Copies a folder with everything in it.
pub fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the folder is ours");
    for entry in fs::read_dir(from).expect("the folder is there") {
        let path = entry.expect("a folder of ours can be read").path();
        let target = to.join(path.file_name().expect("an entry has a name"));
        if path.is_dir() {
            copy_dir(&path, &target);
        } else {
            fs::copy(&path, &target).expect("a file of ours can be copied");
        }
    }
}

/// Turns one bit of one byte, counted from the start or, below zero, from the end.
pub fn flip(path: &Path, at: i64) {
    let mut bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let index = if at < 0 { bytes.len().checked_add_signed(at as isize) } else { usize::try_from(at).ok() };
    let byte = index.and_then(|index| bytes.get_mut(index)).expect("the file is that long");
    *byte ^= 1;
    fs::write(path, bytes).expect("the file is ours");
}
