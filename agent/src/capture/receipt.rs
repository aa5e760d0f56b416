//! Understanding a snapshot while it passes: trailer, page tree, revision. Used on the way in, and again on the way out.

use super::census::{Ask, Census, Counted};
use crate::digest::Digest;
use crate::error::{Error, Reason, Result};
use crate::scratch::Notes;
use etcdfile::{CheckError, Checked, Report, StreamCheck, Trailed, TrailerError, Verified};
use lifeboat_policy::proof::Level;
use std::path::Path;

/// Notes on records are kept in memory up to this many bytes, then in a scratch file.
const NOTES_BUDGET_BYTES: usize = 8 << 20;

/// Proof that a whole, sound snapshot passed: only `Observer::finish` makes one.
#[derive(Clone, Debug)]
pub struct CaptureReceipt {
    pub report: Report,
    pub counted: Counted,
    /// Database and trailer together.
    pub stream_bytes: u64,
    pub stream_sha256: Digest,
}

/// Watches the bytes of a snapshot, database and trailer, in any chunking; or of a database alone.
pub struct Observer {
    summing: Summing,
    understanding: Understanding,
}

/// What the bytes were, sound or not.
pub struct Verdict {
    pub checked: Checked<Notes>,
    pub trailer: Trailer,
    /// Empty where the database is not sound.
    pub counted: Counted,
}

/// Whether the bytes ended in their own digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trailer {
    /// They were not expected to.
    Absent,
    Matches(Verified),
    Broken(TrailerError),
}

impl Observer {
    /// `notes_dir` is where notes go that do not fit in memory; nothing is created there before that.
    pub fn new(notes_dir: &Path) -> Self {
        Observer { summing: Summing { trailed: Some(Trailed::new()) }, ..Observer::of_database(notes_dir) }
    }

    /// As `new`, for the bytes of a database file without the digest that a snapshot ends with.
    pub fn of_database(notes_dir: &Path) -> Self {
        Observer { summing: Summing { trailed: None }, understanding: Understanding::new(notes_dir, Ask::default()) }
    }

    /// Counts what is asked for, too. To be said before the first bytes.
    pub fn asking(mut self, notes_dir: &Path, ask: Ask) -> Self {
        self.understanding = Understanding::new(notes_dir, ask);
        self
    }

    /// Takes the next bytes and hands the database's own on to `emit`, without the trailer.
    pub fn push(&mut self, bytes: &[u8], mut emit: impl FnMut(&[u8]) -> std::io::Result<()>) -> Result<()> {
        let (mut noted, mut emitted) = (Ok(()), Ok(()));
        let understanding = &mut self.understanding;
        let mut take = |db: &[u8]| {
            noted = std::mem::replace(&mut noted, Ok(())).and_then(|()| understanding.feed(db));
            emitted = std::mem::replace(&mut emitted, Ok(())).and_then(|()| emit(db));
        };
        match &mut self.summing.trailed {
            Some(trailed) => trailed.push(bytes, take),
            None => take(bytes),
        }
        noted?;
        emitted.map_err(|source| Error::io("write", "the database", source))
    }

    /// The verdict on everything that passed. A stream that was cut, altered or unsound gives no receipt.
    pub fn finish(self) -> Result<CaptureReceipt> {
        self.finish_checked().map(|(receipt, _)| receipt)
    }

    /// As `finish`, and what was read stays ready for questions about HashKV.
    pub fn finish_checked(self) -> Result<(CaptureReceipt, Checked<Notes>)> {
        // These come from a member, and another one can be asked.
        let again = |error: Error| match error.reason {
            Reason::Damaged => {
                error.hint("the stream was cut or altered on its way; it is tried again with the next member or slot")
            }
            _ => error,
        };
        let verdict = self.verdict().map_err(again)?;
        let whole = !matches!(verdict.trailer, Trailer::Broken(_));
        let (receipt, checked) = verdict.receipted().map_err(|error| match whole {
            true => error.hint(
                "this member's own file is damaged: compare the members with `etcdctl endpoint hashkv`, then replace it",
            ),
            false => again(error),
        })?;
        Ok((receipt, checked))
    }

    /// What the bytes were. An error only where nothing can be said of them at all.
    pub fn verdict(self) -> Result<Verdict> {
        self.understanding.finish(self.summing.finish())
    }

    /// The two halves of the work, for two threads.
    pub fn halves(self) -> (Summing, Understanding) {
        (self.summing, self.understanding)
    }
}

/// The half that sums, and tells the database from its trailer.
pub struct Summing {
    /// None where the bytes are a database file, which carries no digest.
    trailed: Option<Trailed>,
}

/// A piece that was summed.
pub struct Summed {
    /// What had been held back of the piece before.
    held: Vec<u8>,
    piece: Vec<u8>,
    /// What of the piece is the database's for certain.
    sure: usize,
}

impl Summing {
    pub fn take(&mut self, piece: Vec<u8>) -> Summed {
        match &mut self.trailed {
            Some(trailed) => {
                let (held, sure) = trailed.take(&piece);
                Summed { held, piece, sure }
            }
            None => Summed { held: Vec::new(), sure: piece.len(), piece },
        }
    }

    pub fn finish(self) -> Trailer {
        match self.trailed.map(Trailed::finish) {
            None => Trailer::Absent,
            Some(Ok(verified)) => Trailer::Matches(verified),
            Some(Err(error)) => Trailer::Broken(error),
        }
    }
}

impl Summed {
    /// The next bytes of the database.
    pub fn database(&self) -> [&[u8]; 2] {
        [&self.held, &self.piece[..self.sure]]
    }

    /// The piece's memory, to be used again.
    pub fn into_buffer(self) -> Vec<u8> {
        self.piece
    }
}

/// The half that understands.
pub struct Understanding {
    check: StreamCheck<Notes>,
    census: Census,
}

impl Understanding {
    fn new(notes_dir: &Path, ask: Ask) -> Understanding {
        let census = Census::new(ask);
        let check = StreamCheck::classifying(Notes::new(notes_dir), NOTES_BUDGET_BYTES, census.classifier());
        Understanding { check, census }
    }

    pub fn feed(&mut self, database: &[u8]) -> Result<()> {
        self.check.feed(database).map_err(|source| Error::io("keep notes on", "the snapshot", source))
    }

    pub fn finish(self, trailer: Trailer) -> Result<Verdict> {
        match self.check.into_checked() {
            Ok(mut checked) => {
                match &trailer {
                    Trailer::Absent => {}
                    Trailer::Matches(_) => checked.hold_to_snapshot(None),
                    Trailer::Broken(error) => checked.hold_to_snapshot(Some(error)),
                }
                let counted = match checked.report().sound() {
                    true => self.census.counted(&checked.keys_by_class().map_err(unreadable_notes)?),
                    false => Counted::default(),
                };
                Ok(Verdict { checked, trailer, counted })
            }
            // Bytes that are no database for want of their end are told by the end.
            Err(CheckError::NoMeta { .. }) if matches!(trailer, Trailer::Broken(_)) => Err(cut(trailer)),
            Err(error) => Err(unreadable_notes(error)),
        }
    }
}

impl Trailer {
    /// The digest that matched, where there was to be one.
    pub fn verified(self) -> Result<Verified> {
        match self {
            Trailer::Matches(verified) => Ok(verified),
            Trailer::Absent => Err(Error::new(Reason::Internal, "a database alone gives no receipt")),
            Trailer::Broken(source) => Err(cut(Trailer::Broken(source))),
        }
    }
}

impl Verdict {
    /// Proof that a whole, sound snapshot passed.
    pub fn receipt(self) -> Result<CaptureReceipt> {
        self.receipted().map(|(receipt, _)| receipt)
    }

    fn receipted(self) -> Result<(CaptureReceipt, Checked<Notes>)> {
        let counted = self.counted.clone();
        let (checked, verified) = self.sound()?;
        let verified = verified.ok_or_else(|| Error::new(Reason::Internal, "a database alone gives no receipt"))?;
        let receipt = CaptureReceipt {
            report: checked.report().clone(),
            counted,
            stream_bytes: verified.db_bytes + etcdfile::trailer::TRAILER_BYTES as u64,
            stream_sha256: Digest::from_bytes(verified.stream_sha256),
        };
        Ok((receipt, checked))
    }

    /// The checked database and its digest, or the reason why it is not to be used.
    pub fn sound(self) -> Result<(Checked<Notes>, Option<Verified>)> {
        let verified = match self.trailer {
            Trailer::Absent => None,
            Trailer::Matches(verified) => Some(verified),
            broken => return Err(cut(broken)),
        };
        if !self.checked.report().sound() {
            return Err(unsound(self.checked.report()));
        }
        Ok((self.checked, verified))
    }
}

fn damaged(what: String) -> Error {
    Error::new(Reason::Damaged, what).on("check", "the snapshot")
}

fn unreadable_notes(error: CheckError) -> Error {
    match error {
        CheckError::Spill(source) => Error::io("keep notes on", "the snapshot", source),
        other => damaged("the snapshot's pages cannot be read".to_owned()).because(other).at(Level::Sound),
    }
}

fn cut(trailer: Trailer) -> Error {
    let error = damaged("the snapshot is not what etcd sent".to_owned()).at(Level::Opened);
    match trailer {
        Trailer::Broken(source) => error.because(source),
        Trailer::Absent | Trailer::Matches(_) => error,
    }
}

fn unsound(report: &Report) -> Error {
    let first: Vec<String> = report.findings.iter().take(3).map(ToString::to_string).collect();
    let count = report.findings.len();
    let findings = if count == 1 { "finding" } else { "findings" };
    let text = format!("the database is not sound, {count} {findings}: {}", first.join("; "));
    damaged(text).at(Level::Sound)
}
