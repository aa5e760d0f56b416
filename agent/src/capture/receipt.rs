//! Understanding a snapshot while it passes: trailer, page tree, revision. Used on the way in, and again on the way out.

use crate::digest::Digest;
use crate::error::{Error, Reason, Result};
use crate::scratch::Notes;
use etcdfile::{Checked, Report, StreamCheck, Trailed};
use std::path::Path;

/// Notes on records are kept in memory up to this many bytes, then in a scratch file.
const NOTES_BUDGET_BYTES: usize = 8 << 20;

/// Proof that a whole, sound snapshot passed: only `Observer::finish` makes one.
#[derive(Clone, Debug)]
pub struct CaptureReceipt {
    pub report: Report,
    /// Database and trailer together.
    pub stream_bytes: u64,
    pub stream_sha256: Digest,
}

/// Watches the bytes of a snapshot, database and trailer, in any chunking.
pub struct Observer {
    trailed: Trailed,
    check: StreamCheck<Notes>,
}

impl Observer {
    /// `notes_dir` is where notes go that do not fit in memory; nothing is created there before that.
    pub fn new(notes_dir: &Path) -> Self {
        Observer { trailed: Trailed::new(), check: StreamCheck::new(Notes::new(notes_dir), NOTES_BUDGET_BYTES) }
    }

    /// Takes the next bytes and hands the database's own on to `emit`, without the trailer.
    pub fn push(&mut self, bytes: &[u8], mut emit: impl FnMut(&[u8]) -> std::io::Result<()>) -> Result<()> {
        let (mut noted, mut emitted) = (Ok(()), Ok(()));
        let check = &mut self.check;
        self.trailed.push(bytes, |db| {
            noted = std::mem::replace(&mut noted, Ok(())).and_then(|()| check.feed(db));
            emitted = std::mem::replace(&mut emitted, Ok(())).and_then(|()| emit(db));
        });
        noted.map_err(|source| Error::io("keep notes on", "the snapshot", source))?;
        emitted.map_err(|source| Error::io("write", "the database", source))
    }

    /// The verdict on everything that passed. A stream that was cut, altered or unsound gives no receipt.
    pub fn finish(self) -> Result<CaptureReceipt> {
        self.finish_checked().map(|(receipt, _)| receipt)
    }

    /// As `finish`, and what was read stays ready for questions about HashKV.
    pub fn finish_checked(self) -> Result<(CaptureReceipt, Checked<Notes>)> {
        let damaged = |what: String| Error::new(Reason::Damaged, what).on("check", "the snapshot");
        let verified = self.trailed.finish().map_err(|source| {
            damaged("the snapshot is not what etcd sent".to_owned())
                .hint("the stream was cut or altered on its way; it is tried again with the next member or slot")
                .because(source)
        })?;
        let checked = self
            .check
            .into_checked()
            .map_err(|source| damaged("the snapshot's pages cannot be read".to_owned()).because(source))?;
        if !checked.report().sound() {
            return Err(unsound(checked.report()));
        }
        let receipt = CaptureReceipt {
            report: checked.report().clone(),
            stream_bytes: verified.db_bytes + etcdfile::trailer::TRAILER_BYTES as u64,
            stream_sha256: Digest::from_bytes(verified.stream_sha256),
        };
        Ok((receipt, checked))
    }
}

fn unsound(report: &Report) -> Error {
    let first: Vec<String> = report.findings.iter().take(3).map(|finding| finding.what.clone()).collect();
    let text = format!("the database is not sound, {} findings: {}", report.findings.len(), first.join("; "));
    Error::new(Reason::Damaged, text)
        .on("check", "the snapshot")
        .hint("this member's own file is damaged: compare the members with `etcdctl endpoint hashkv`, then replace it")
}
