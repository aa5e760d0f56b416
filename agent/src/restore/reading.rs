//! A backup's database to be read and not restored: fetched, opened and checked as for a restore, nothing rewritten.

use super::{Asking, advised, copy};
use crate::catalog::Trusted;
use crate::error::{Error, Reason, Result};
use crate::fetch;
use crate::keys::Identities;
use crate::scratch;
use crate::store::{Layout, Store};
use std::fs::File;
use std::io::Read;
use std::path::Path;

const DAMAGED: &str = "use another backup: `lifeboat list`";

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
    let (file, sha256) = opened.map_err(|error| advised(error, DAMAGED))?;
    match sha256 == Some(entry.manifest.plaintext.sha256) {
        true => Ok(file),
        false => {
            Err(Error::new(Reason::Damaged, "the opened database is not the one the manifest signed").hint(DAMAGED))
        }
    }
}

fn write(plaintext: &mut dyn Read, dir: &Path) -> Result<(File, Option<crate::digest::Digest>)> {
    let file = scratch::nameless(dir, "read").map_err(|source| Error::io("create a file in", dir.display(), source))?;
    let copied = copy::copy(plaintext, true, dir, &file, &Asking::default())?;
    file.set_len(copied.report.db_bytes).map_err(|source| Error::io("cut a file in", dir.display(), source))?;
    Ok((file, copied.sha256))
}
