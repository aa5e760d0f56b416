//! A backup's database to be read and not restored: fetched, opened and checked as for a restore, nothing rewritten.

use super::{ANOTHER_BACKUP, Asking, advised, as_signed, copy};
use crate::catalog::Trusted;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fetch;
use crate::keys::Identities;
use crate::scratch;
use crate::store::{Layout, Store};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The database in a file without a name below `dir`, which is gone with the process.
pub async fn database(
    store: &Store,
    layout: &Layout,
    entry: &Trusted,
    identities: Identities,
    dir: &Path,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<File> {
    scratch::require_space(dir, entry.manifest.db.bytes, "the opened backup (TMPDIR names another place)")?;
    let dir = dir.to_path_buf();
    let sink = move |plaintext: &mut dyn Read| write(plaintext, &dir);
    let opened = fetch::opened(store, layout, entry, identities, sink, false, progress).await;
    let file = opened.and_then(|(file, sha256)| as_signed(sha256, entry).map(|()| file));
    file.map_err(|error| advised(error, ANOTHER_BACKUP))
}

fn write(plaintext: &mut dyn Read, dir: &Path) -> Result<(File, Option<Digest>)> {
    let file = scratch::nameless(dir, "read").map_err(|source| Error::io("create a file in", dir.display(), source))?;
    let copied = copy::copy(plaintext, true, dir, &file, &Asking::default())?;
    file.set_len(copied.report.db_bytes).map_err(|source| Error::io("cut a file in", dir.display(), source))?;
    Ok((file, copied.sha256))
}
