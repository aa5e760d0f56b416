//! Restore: from a chosen backup to a data dir that etcd starts from. Built aside, checked, synced, renamed; never over anything.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)
)]

mod agreed;
mod compact;
mod copy;
mod node;
mod plan;
mod reading;

use crate::capture::{Ask, Counted};
use crate::catalog::Trusted;
use crate::clock::Laps;
use crate::digest::Digest;
use crate::error::{Error, Reason, Result};
use crate::fetch::{self, SnapshotFile};
use crate::keys::Identities;
use crate::store::{Layout, Store};
use etcdfile::{Committed, Report, RewriteError, rewrite};
use lifeboat_policy::proof::Level;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use agreed::Agreed;
pub use plan::{DEFAULT_BUMP, Members, Origin, RestorePlan, Target, plan, require_empty};
pub use reading::database;

/// The next step where a stored one is damaged.
const ANOTHER_BACKUP: &str = "use another backup: `lifeboat list`";
/// Stands in a `.partial` dir while it is built, so that a later run knows whose it is.
const MARKER: &str = ".lifeboat-partial";

/// What is to be learnt on the way, beside the restore itself.
#[derive(Clone, Debug, Default)]
pub struct Asking {
    pub ask: Ask,
    /// Told when the backup was `stored`, `opened` and `sound`.
    pub laps: Arc<Laps>,
    /// Whether whatever else runs on this host goes first.
    pub quietly: bool,
}

/// What was built.
#[derive(Debug)]
pub struct Built {
    pub report: Report,
    pub counted: Counted,
    pub committed: Committed,
    pub dir: PathBuf,
}

/// What stands in the dir aside, not yet in place.
struct Written {
    report: Report,
    counted: Counted,
    /// Of the whole snapshot, where it carried its own digest.
    sha256: Option<Digest>,
    committed: Committed,
}

/// Builds the planned data dir and puts it in place. After any crash the target is whole or not there.
pub async fn build(
    store: &Store,
    layout: &Layout,
    entry: &Trusted,
    identities: Identities,
    plan: RestorePlan,
    asking: &Asking,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Built> {
    let partial = begin(&plan.target.dir)?;
    let (dir, planned, asked) = (partial.clone(), plan.clone(), asking.clone());
    let sink = move |plaintext: &mut dyn Read| write(plaintext, true, &dir, &planned, &asked);
    let told = |done: u64| {
        if done >= entry.manifest.sealed.bytes {
            asking.laps.lap("stored");
        }
        progress(done);
    };
    let opened = fetch::opened(store, layout, entry, identities, sink, asking.quietly, &told).await;
    let signed = opened.and_then(|written| as_signed(written.sha256, entry).map(|()| written));
    let signed = signed.map_err(|error| advised(error, ANOTHER_BACKUP));
    put_in_place(partial, plan, signed).await
}

/// As `build`, from a plain file that nobody signed. `progress` is told how many bytes of the file have been read, and ends
/// the reading with an error of its own.
pub async fn build_from_file(
    file: SnapshotFile,
    plan: RestorePlan,
    asking: Asking,
    progress: impl Fn(u64) -> std::io::Result<()> + Sync + Send + 'static,
) -> Result<Built> {
    let partial = begin(&plan.target.dir)?;
    let (dir, planned) = (partial.clone(), plan.clone());
    let reading = tokio::task::spawn_blocking(move || {
        let mut plaintext = file.plaintext(None, &progress)?;
        write(&mut *plaintext, file.has_trailer(), &dir, &planned, &asking)
    });
    let written = reading.await.map_err(stopped)?;
    let written = written
        .map_err(|error| advised(error, "`lifeboat inspect FILE` names all that is wrong with it; use another copy"));
    put_in_place(partial, plan, written).await
}

async fn put_in_place(partial: PathBuf, plan: RestorePlan, written: Result<Written>) -> Result<Built> {
    let Written { report, counted, committed, .. } = match written {
        Ok(written) => written,
        Err(error) => {
            discard(&partial)?;
            return Err(error);
        }
    };
    tokio::task::spawn_blocking(move || {
        finish(&partial, &plan.target.dir).map(|()| Built { report, counted, committed, dir: plan.target.dir })
    })
    .await
    .map_err(stopped)?
}

/// That what was opened is what the manifest signed.
fn as_signed(sha256: Option<Digest>, entry: &Trusted) -> Result<()> {
    match sha256 == Some(entry.manifest.plaintext.sha256) {
        true => Ok(()),
        false => {
            Err(Error::new(Reason::Damaged, "the opened database is not the one the manifest signed").at(Level::Opened))
        }
    }
}

/// The next step where damage has none yet: what to do about it depends on where the bytes came from.
fn advised(error: Error, hint: &str) -> Error {
    if error.reason == Reason::Damaged && error.hint.is_none() { error.hint(hint) } else { error }
}

fn stopped(source: tokio::task::JoinError) -> Error {
    Error::new(Reason::Internal, "the restore stopped").because(source)
}

/// The dir that is built aside: made anew, after a killed run's own remains were removed.
fn begin(target: &Path) -> Result<PathBuf> {
    let partial = plan::partial(target)?;
    if partial.exists() {
        if !partial.join(MARKER).exists() {
            return Err(Error::new(Reason::TargetNotEmpty, format!("{} exists and is not ours", partial.display()))
                .hint("move it away; lifeboat builds there before it puts the data dir in place"));
        }
        discard(&partial)?;
    }
    make_dir(&partial, 0o700)?;
    File::create(partial.join(MARKER)).map_err(|source| Error::io("create", partial.display(), source))?;
    Ok(partial)
}

fn discard(partial: &Path) -> Result<()> {
    std::fs::remove_dir_all(partial).map_err(|source| Error::io("remove", partial.display(), source))
}

fn make_dir(path: &Path, mode: u32) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(|source| Error::io("create", path.display(), source))
}

/// Writes database, WAL and snap below `dir`; the database is checked on its way and then given its new members.
fn write(
    plaintext: &mut dyn Read,
    has_trailer: bool,
    dir: &Path,
    plan: &RestorePlan,
    asking: &Asking,
) -> Result<Written> {
    let data = &plan.data;
    for planned in &data.dirs {
        make_dir(&dir.join(&planned.path), planned.mode)?;
    }
    let path = dir.join(&data.db);
    let db = create(&path, 0o600)?;
    let copy::Copied { report, counted, sha256 } = copy::copy(plaintext, has_trailer, dir, &db, asking)?;
    let committed = rewrite::commit(&db, &report, &data.edits).map_err(|source| match source {
        RewriteError::Io { doing, source, .. } => Error::io(doing, path.display(), source),
        other => Error::new(Reason::Damaged, "the database could not be given its new members")
            .on("rewrite", path.display())
            .because(other)
            .at(Level::Booted),
    })?;
    // A file that a server had open goes on behind its last page; nothing there is of use to anybody.
    db.set_len(committed.db_bytes).map_err(|source| Error::io("cut", path.display(), source))?;
    let db_bytes = match plan.target.compact_file {
        true => compact::rewrite(&db, &path, dir, &committed)?,
        false => {
            db.sync_all().map_err(|source| Error::io("sync", path.display(), source))?;
            committed.db_bytes
        }
    };
    for planned in &data.files {
        let path = dir.join(&planned.path);
        let file = create(&path, planned.mode)?;
        etcdfile::WriteAt::write_all_at(&file, &planned.bytes, 0)
            .and_then(|()| file.sync_all())
            .map_err(|source| Error::io("write", path.display(), source))?;
    }
    for planned in data.dirs.iter().rev() {
        sync_dir(&dir.join(&planned.path))?;
    }
    Ok(Written { report, counted, sha256, committed: Committed { db_bytes, ..committed } })
}

fn create(path: &Path, mode: u32) -> Result<File> {
    let opened = OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path);
    opened.map_err(|source| Error::io("create", path.display(), source))
}

/// Puts the finished dir in place: one rename, between synced parents.
fn finish(partial: &Path, target: &Path) -> Result<()> {
    let marker = partial.join(MARKER);
    std::fs::remove_file(&marker).map_err(|source| Error::io("remove", marker.display(), source))?;
    sync_dir(partial)?;
    std::fs::rename(partial, target).map_err(|source| {
        Error::io("rename to", target.display(), source).hint(format!(
            "the finished data dir is {}; a target that is a mount point cannot be renamed over",
            partial.display()
        ))
    })?;
    match target.parent() {
        Some(parent) => sync_dir(if parent.as_os_str().is_empty() { Path::new(".") } else { parent }),
        None => Ok(()),
    }
}

pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    let opened = File::open(path).and_then(|dir| dir.sync_all());
    opened.map_err(|source| Error::io("sync", path.display(), source))
}
