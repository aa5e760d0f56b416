//! `--compact-file`: the restored database written anew without its free pages, as `etcdutl defrag` would.

use super::create;
use crate::error::{Error, Reason, Result};
use crate::scratch::Notes;
use etcdfile::{BuildError, Committed, CompactError, Report, build, check_file};
use std::fs::File;
use std::path::Path;

/// What a check may keep in memory before it goes on in a scratch file.
const NOTES_BUDGET_BYTES: usize = 8 << 20;

/// Replaces the file at `path`, which is open as `db`, by a compact one with the same content; gives its size.
pub(super) fn rewrite(db: &File, path: &Path, notes_dir: &Path, committed: &Committed) -> Result<u64> {
    let aside = path.with_extension("compact");
    let new = create(&aside, 0o600)?;
    let built = build::compact(db, &new).map_err(|source| match source {
        CompactError::Write(BuildError::Io { source, .. }) => Error::io("write", aside.display(), source),
        other => Error::new(Reason::HostIo, "the database could not be written anew")
            .on("compact", path.display())
            .because(other),
    })?;
    new.sync_all().map_err(|source| Error::io("sync", aside.display(), source))?;
    let (before, after) = (check(db, path, notes_dir)?, check(&new, &aside, notes_dir)?);
    // The hash goes over every bucket, so whatever was lost or changed on the way shows.
    let content = |report: &Report| (report.revision, report.records, report.keys, report.hash_kv, report.status_hash);
    if !after.sound() || content(&before) != content(&after) || after.revision != committed.revision {
        let text = format!("the database written anew is not the one it was made from: {}", aside.display());
        return Err(Error::new(Reason::Internal, text).hint("restore without --compact-file, and please report this"));
    }
    std::fs::rename(&aside, path).map_err(|source| Error::io("rename to", path.display(), source))?;
    Ok(built.db_bytes)
}

fn check(db: &File, path: &Path, notes_dir: &Path) -> Result<Report> {
    check_file(db, Notes::new(notes_dir), NOTES_BUDGET_BYTES).map_err(|source| {
        Error::new(Reason::HostIo, format!("{} cannot be checked", path.display()))
            .on("check", path.display())
            .because(source)
    })
}
