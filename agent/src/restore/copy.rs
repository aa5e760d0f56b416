//! From the plaintext into the database file, checked on the way: one thread reads and decompresses, one sums, one
//! understands, one writes.

use super::Asking;
use crate::capture::{Counted, Observer, Summed, Summing, Understanding};
use crate::digest::Digest;
use crate::error::{Error, Reason, Result};
use etcdfile::{Report, WriteAt as _};
use lifeboat_policy::proof::Level;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Pieces read from the plaintext at a time.
const PIECE_BYTES: usize = 256 << 10;
/// Pieces between two threads, so that all of them run at the same time.
const PIECES_AHEAD: usize = 4;
/// As many as can be under way at once: then all of them are used again and again.
const SPARE_PIECES: usize = 3 * PIECES_AHEAD + 4;

/// What passed.
pub(super) struct Copied {
    pub report: Report,
    pub counted: Counted,
    /// Of the whole snapshot, where it carries its own digest.
    pub sha256: Option<Digest>,
}

/// Writes the database into `db`, and gives what it is.
pub(super) fn copy(
    plaintext: &mut dyn Read,
    has_trailer: bool,
    notes_dir: &Path,
    db: &File,
    asking: &Asking,
) -> Result<Copied> {
    let observer = if has_trailer { Observer::new(notes_dir) } else { Observer::of_database(notes_dir) };
    let observer = observer.asking(notes_dir, asking.ask.clone());
    let (mut summing, understanding) = observer.halves();
    let (to_sum, pieces) = sync_channel::<Vec<u8>>(PIECES_AHEAD);
    let (to_understand, summed) = sync_channel::<Summed>(PIECES_AHEAD);
    let (to_write, understood) = sync_channel::<Summed>(PIECES_AHEAD);
    let (give_back, spare) = sync_channel::<Vec<u8>>(SPARE_PIECES);
    let ended = |_| Error::new(Reason::Internal, "a thread of the restore stopped");
    std::thread::scope(|scope| {
        let summer = scope.spawn(move || {
            sum(&mut summing, pieces, &to_understand);
            summing
        });
        let understander = scope.spawn(move || understand(understanding, summed, &to_write));
        let writer = scope.spawn(move || write(understood, &give_back, db));
        let read = pump(plaintext, &to_sum, &spare);
        drop(to_sum);
        let summing = summer.join().map_err(ended)?;
        let understanding = understander.join().map_err(ended)?;
        let written = writer.join().map_err(ended)?;
        // Whoever failed hung up on the one before; a reader that failed explains those that saw too little.
        read.and(written)?;
        asking.laps.lap("opened");
        let understanding = understanding?;
        // What is written goes to the disk while what was noted is walked through.
        let syncing = scope.spawn(|| db.sync_data());
        let verdict = understanding.finish(summing.finish());
        let synced = syncing.join().map_err(ended)?;
        let verdict = verdict?;
        let counted = verdict.counted.clone();
        let (checked, verified) = verdict.sound()?;
        asking.laps.lap("sound");
        synced.map_err(|source| Error::io("sync", "the database", source))?;
        let sha256 = verified.map(|verified| Digest::from_bytes(verified.stream_sha256));
        Ok(Copied { report: checked.into_report(), counted, sha256 })
    })
}

fn pump(plaintext: &mut dyn Read, to_sum: &SyncSender<Vec<u8>>, spare: &Receiver<Vec<u8>>) -> Result<()> {
    loop {
        let mut piece = spare.try_recv().unwrap_or_default();
        piece.resize(PIECE_BYTES, 0);
        let read = fill(plaintext, &mut piece).map_err(|source| {
            Error::new(Reason::Damaged, "the backup cannot be read, decrypted or decompressed to its end")
                .because(source)
                .at(Level::Opened)
        })?;
        piece.truncate(read);
        // The others hang up only when one of them failed, and its own error is the one to show.
        if piece.is_empty() || to_sum.send(piece).is_err() {
            return Ok(());
        }
    }
}

/// Reads until the buffer is full or nothing comes any more.
fn fill(plaintext: &mut dyn Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match plaintext.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn sum(summing: &mut Summing, pieces: Receiver<Vec<u8>>, to_understand: &SyncSender<Summed>) {
    for piece in pieces {
        // Whoever hung up tells why itself.
        if to_understand.send(summing.take(piece)).is_err() {
            return;
        }
    }
}

fn understand(
    mut understanding: Understanding,
    summed: Receiver<Summed>,
    to_write: &SyncSender<Summed>,
) -> Result<Understanding> {
    for piece in summed {
        for bytes in piece.database() {
            understanding.feed(bytes)?;
        }
        if to_write.send(piece).is_err() {
            break;
        }
    }
    Ok(understanding)
}

fn write(understood: Receiver<Summed>, give_back: &SyncSender<Vec<u8>>, db: &File) -> Result<()> {
    let mut at = 0u64;
    for piece in understood {
        for bytes in piece.database() {
            db.write_all_at(bytes, at).map_err(|source| Error::io("write", "the database", source))?;
            at = at.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        }
        // One that is not wanted back is one too many.
        drop(give_back.try_send(piece.into_buffer()));
    }
    Ok(())
}
