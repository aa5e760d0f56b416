//! Between the sealing thread and the uploads: a bounded hand-over, so that a slow store never holds etcd's stream open
//! beyond its share.
//!
//! Every reader has a place of its own in the sealed stream; a piece leaves memory once the slowest has taken it. While
//! the memory is full the writer waits, and with it the stream from etcd: that time is counted for each reader that is to
//! blame, and one that used up the patience is let go, or further pieces go to a nameless file of sealed bytes, or the run
//! fails by name. No more than the window is ever in memory here, whatever the readers do.

mod state;
#[cfg(test)]
mod tests;

use crate::clock::timer_now;
use crate::error::{Error, Reason, Result};
use crate::scratch;
use bytes::Bytes;
use state::{Fault, Next, Place, Spill, State};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Notify;

/// Sealed bytes are read back from the file in pieces of this size.
const FILE_PIECE_BYTES: usize = 256 << 10;

/// What the file leaves free on its file system, which others need too.
const RESERVE_BYTES: u64 = 64 << 20;

/// How much is written to the file between two looks at the free space.
const LOOK_EVERY_BYTES: u64 = 16 << 20;

/// How much may be held, for how long, and what then.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Sealed bytes in memory that not every reader has taken.
    pub window_bytes: usize,
    /// How long, all waiting together, a reader may hold up the stream from etcd.
    pub patience: Duration,
    pub overflow: Overflow,
    /// How many readers must stay for the run to be worth going on: the write quorum, at least 1.
    pub keep: usize,
}

/// What happens once the patience is used up.
#[derive(Clone, Debug)]
pub enum Overflow {
    /// Readers that hold up the others are let go while `keep` stay; with fewer the run fails.
    Fail,
    /// Further pieces go to a nameless file in `dir`. Where it is full, what holds for `Fail` holds again.
    File { dir: PathBuf, max_bytes: u64 },
}

/// The three ends of a hand-over.
pub struct Spool {
    pub writer: Writer,
    /// One a name, in their order.
    pub readers: Vec<Reader>,
    pub control: Control,
}

/// What a hand-over cost so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How long the stream from etcd was held up.
    pub waited: Duration,
    /// Sealed bytes that went to the file.
    pub spilled_bytes: u64,
    /// Of each reader: the bytes it is behind, or `None` where it is gone.
    pub behind: Vec<Option<u64>>,
}

impl Spool {
    /// A hand-over to the stores of these names. Called inside the runtime that the readers run on.
    pub fn new(names: &[String], limits: Limits) -> Spool {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(names, limits.window_bytes)),
            freed: Notify::new(),
            came: Notify::new(),
        });
        let reader = |index| Reader { shared: shared.clone(), index };
        Spool {
            readers: (0..names.len()).map(reader).collect(),
            control: Control { shared: shared.clone() },
            writer: Writer { shared, limits, runtime: Handle::current() },
        }
    }
}

struct Shared {
    state: Mutex<State>,
    /// A reader took something or went away.
    freed: Notify,
    /// The writer gave something or went away.
    came: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is whole before the lock is let go, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sealing side. Dropping it is the end of the pieces: whether they are all that there are, its owner must know.
pub struct Writer {
    shared: Arc<Shared>,
    limits: Limits,
    runtime: Handle,
}

impl Writer {
    /// Hands on one piece from a thread that may block. After an error every reader tells the cause itself.
    pub fn push_blocking(&mut self, piece: Bytes) -> Result<()> {
        self.runtime.clone().block_on(self.push(piece))
    }

    /// The same where time is tokio's. It writes to a file where it must, so it belongs on a thread that may block.
    pub async fn push(&mut self, piece: Bytes) -> Result<()> {
        if piece.is_empty() {
            return Ok(()); // a reader would take it for a piece that has not come yet
        }
        loop {
            let shared = self.shared.clone();
            let mut freed = std::pin::pin!(shared.freed.notified());
            freed.as_mut().enable(); // before the look, so that what happens after it is not missed
            let place = shared.lock().place(piece.len(), self.limits.patience);
            match place {
                Place::Nobody => return Err(Error::new(Reason::Internal, "every upload stopped")),
                Place::Failed(fault) => return Err(fault.error()),
                Place::Memory => {
                    shared.lock().append(piece);
                    shared.came.notify_waiters();
                    return Ok(());
                }
                Place::File(spill) => {
                    if self.spill(&spill, &piece) {
                        return Ok(());
                    }
                }
                Place::WaitAtEase => freed.await,
                Place::Wait(left, because_of) => {
                    let began = timer_now();
                    // Woken or out of patience, the next look decides.
                    let _ = tokio::time::timeout(left, freed).await;
                    shared.lock().held_up(&because_of, began.elapsed());
                }
                Place::Late => self.overflow(),
            }
        }
    }

    /// Nobody waits any longer: a file is begun, laggards are let go, or the run ends.
    fn overflow(&self) {
        let (mut state, patience) = (self.shared.lock(), self.limits.patience);
        if let (Overflow::File { dir, .. }, true) = (&self.limits.overflow, state.may_begin_file()) {
            match open_file(dir) {
                Ok(file) => {
                    let why = state.verdict(patience).message;
                    tracing::warn!(why, dir = %dir.display(), "sealed bytes wait in the scratch dir");
                    state.begin_file(file);
                }
                Err(error) => state.close_file(Fault::of(&error)),
            }
            return;
        }
        state.let_go(patience, self.limits.keep);
        drop(state);
        self.shared.came.notify_waiters();
    }

    /// Whether the piece is in the file; if not, the file takes no more.
    fn spill(&self, spill: &Spill, piece: &Bytes) -> bool {
        let Overflow::File { dir, max_bytes } = &self.limits.overflow else { return false };
        let written = room_in_file(dir, *max_bytes, spill.bytes, piece.len()).and_then(|()| {
            let write = spill.file.write_all_at(piece, spill.bytes);
            write.map_err(|source| Error::io("write to a spool file in", dir.display(), source))
        });
        let mut state = self.shared.lock();
        match &written {
            Ok(()) => state.spilled(piece.len()),
            Err(error) => state.close_file(Fault::of(error)),
        }
        drop(state);
        self.shared.came.notify_waiters();
        written.is_ok()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.came.notify_waiters();
    }
}

fn open_file(dir: &Path) -> Result<std::fs::File> {
    scratch::require_space(dir, RESERVE_BYTES, "waiting for a slow store")?;
    scratch::nameless(dir, "spool").map_err(|source| Error::io("make a spool file in", dir.display(), source))
}

/// Fails where the file may not or cannot grow by `more`.
fn room_in_file(dir: &Path, max_bytes: u64, has: u64, more: usize) -> Result<()> {
    let after = has.saturating_add(more as u64);
    if after > max_bytes {
        let text = format!("sealed bytes that wait for a slow store would take more than {max_bytes} bytes");
        return Err(Error::new(Reason::Budget, text)
            .on("spool", dir.display())
            .hint("allow more scratch space, or find out why the store is that slow"));
    }
    if has / LOOK_EVERY_BYTES != after / LOOK_EVERY_BYTES || has == 0 {
        scratch::require_space(dir, RESERVE_BYTES + LOOK_EVERY_BYTES, "waiting for a slow store")?;
    }
    Ok(())
}

/// One store's side. Dropping it lets the others go on without it.
pub struct Reader {
    shared: Arc<Shared>,
    index: usize,
}

impl Reader {
    /// The next sealed bytes, or `None` at their end. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let mut came = std::pin::pin!(self.shared.came.notified());
            came.as_mut().enable(); // before the look, so that what comes after it is not missed
            let next = self.shared.lock().next(self.index, FILE_PIECE_BYTES);
            let piece = match next {
                Next::End => return Ok(None),
                Next::Failed(error) => return Err(error),
                Next::Wait => {
                    came.await;
                    continue;
                }
                Next::Memory(piece) => piece,
                Next::File { file, at, bytes } => read_file(file, at, bytes).await?,
            };
            self.shared.lock().advance(self.index, piece.len());
            self.shared.freed.notify_waiters();
            return Ok(Some(piece));
        }
    }

    /// Returns only once the others go on without this reader, with the reason: whoever is busy with a piece learns it
    /// before that piece is done. Dropping the future loses nothing.
    pub async fn let_go(&self) -> Error {
        loop {
            let mut came = std::pin::pin!(self.shared.came.notified());
            came.as_mut().enable(); // before the look, so that what comes after it is not missed
            if let Some(error) = self.shared.lock().lost(self.index) {
                return error;
            }
            came.await;
        }
    }
}

async fn read_file(file: Arc<std::fs::File>, at: u64, bytes: usize) -> Result<Bytes> {
    let read = tokio::task::spawn_blocking(move || {
        let mut piece = vec![0; bytes];
        file.read_exact_at(&mut piece, at).map(|()| Bytes::from(piece))
    });
    let read = read.await.map_err(|stopped| Error::new(Reason::Internal, "a reading stopped").because(stopped))?;
    read.map_err(|source| Error::io("read back from", "a spool file", source))
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.lock().remove(self.index, None);
        self.shared.freed.notify_waiters();
    }
}

/// The owner's side: what both ends do not know of each other.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

impl Control {
    /// etcd's stream has ended: from now on nobody is held up by a reader, however slow it is.
    pub fn source_ended(&self) {
        self.shared.lock().source_ended = true;
        self.shared.freed.notify_waiters();
    }

    /// Goes on without this reader; it is told why. A reader that is gone already stays as it is.
    pub fn let_go(&self, reader: usize, why: Error) {
        self.shared.lock().remove(reader, Some(why));
        self.shared.freed.notify_waiters();
        self.shared.came.notify_waiters();
    }

    pub fn report(&self) -> Report {
        self.shared.lock().report()
    }
}
