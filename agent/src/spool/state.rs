//! What is where: decided under one lock, carried out outside it.

use super::Report;
use crate::error::{Error, Reason};
use bytes::Bytes;
use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

/// An error that may have to be told to several.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    reason: Reason,
    pub message: String,
    hint: Option<String>,
}

impl Fault {
    pub fn of(error: &Error) -> Fault {
        Fault { reason: error.reason, message: error.to_string(), hint: error.hint.clone() }
    }

    pub fn error(&self) -> Error {
        let error = Error::new(self.reason, self.message.clone()).on("spool", "sealed bytes");
        match &self.hint {
            Some(hint) => error.hint(hint.clone()),
            None => error,
        }
    }
}

/// The file as the writer finds it.
pub(super) struct Spill {
    pub file: Arc<File>,
    pub bytes: u64,
}

/// Where the next piece goes.
pub(super) enum Place {
    Memory,
    File(Spill),
    /// Not yet: for so long at most, because of these readers.
    Wait(Duration, Vec<usize>),
    /// Not yet, and nobody is held up by it.
    WaitAtEase,
    /// A reader has used up the patience.
    Late,
    Nobody,
    Failed(Fault),
}

/// What a reader gets next.
pub(super) enum Next {
    Memory(Bytes),
    File { file: Arc<File>, at: u64, bytes: usize },
    Wait,
    End,
    Failed(Error),
}

struct Slot {
    name: String,
    /// How much of the stream it took; `None` where it is gone.
    taken: Option<u64>,
    /// How long the stream waited while this reader was one of those who held it up.
    to_blame: Duration,
    /// Why it was let go, until it has been told.
    why: Option<Error>,
}

/// A stretch of the stream that is in the file.
struct Filed {
    file: Arc<File>,
    /// The place in the stream where it begins.
    from: u64,
    bytes: u64,
}

pub(super) struct State {
    slots: Vec<Slot>,
    window_bytes: usize,
    /// Pieces and where they begin, in order; between two of them may lie what is in the file.
    memory: VecDeque<(u64, Bytes)>,
    held: usize,
    /// How much of the stream has come.
    end: u64,
    filed: Option<Filed>,
    /// Why the file takes no more.
    file_closed: Option<Fault>,
    failed: Option<Fault>,
    waited: Duration,
    pub closed: bool,
    pub source_ended: bool,
}

impl State {
    pub fn new(names: &[String], window_bytes: usize) -> State {
        let slot = |name: &String| Slot { name: name.clone(), taken: Some(0), to_blame: Duration::ZERO, why: None };
        State {
            slots: names.iter().map(slot).collect(),
            window_bytes,
            memory: VecDeque::new(),
            held: 0,
            end: 0,
            filed: None,
            file_closed: None,
            failed: None,
            waited: Duration::ZERO,
            closed: false,
            source_ended: false,
        }
    }

    pub fn place(&self, bytes: usize, patience: Duration) -> Place {
        if let Some(fault) = &self.failed {
            return Place::Failed(fault.clone());
        }
        if self.slots.iter().all(|slot| slot.taken.is_none()) {
            return Place::Nobody;
        }
        if let (Some(filed), None) = (&self.filed, &self.file_closed) {
            return Place::File(Spill { file: filed.file.clone(), bytes: filed.bytes });
        }
        // A piece larger than the window goes alone: it must go somewhere.
        if self.held == 0 || self.held.saturating_add(bytes) <= self.window_bytes {
            return Place::Memory;
        }
        if self.source_ended {
            return Place::WaitAtEase;
        }
        let laggards = self.laggards();
        let blame = laggards.iter().filter_map(|index| self.slots.get(*index)).map(|slot| slot.to_blame).max();
        match patience.saturating_sub(blame.unwrap_or_default()) {
            Duration::ZERO => Place::Late,
            left => Place::Wait(left, laggards),
        }
    }

    /// The stream was held up by these readers.
    pub fn held_up(&mut self, by: &[usize], time: Duration) {
        self.waited += time;
        for index in by {
            if let Some(slot) = self.slots.get_mut(*index) {
                slot.to_blame += time;
            }
        }
    }

    pub fn append(&mut self, piece: Bytes) {
        let bytes = piece.len();
        self.memory.push_back((self.end, piece));
        self.held += bytes;
        self.end += bytes as u64;
        self.free();
    }

    /// One file a run: where it was full or could not be made, a second one would be too.
    pub fn may_begin_file(&self) -> bool {
        self.filed.is_none() && self.file_closed.is_none()
    }

    pub fn begin_file(&mut self, file: File) {
        self.filed = Some(Filed { file: Arc::new(file), from: self.end, bytes: 0 });
    }

    pub fn close_file(&mut self, why: Fault) {
        tracing::warn!(why = why.message, "no more sealed bytes can wait in the scratch dir");
        self.file_closed = Some(why);
    }

    pub fn spilled(&mut self, bytes: usize) {
        if let Some(filed) = &mut self.filed {
            filed.bytes += bytes as u64;
            self.end += bytes as u64;
        }
    }

    /// Why this reader gets nothing more, if so.
    pub fn lost(&mut self, reader: usize) -> Option<Error> {
        let gone = || Error::new(Reason::Internal, "this upload was given up before");
        let Some(slot) = self.slots.get_mut(reader) else { return Some(gone()) };
        if slot.taken.is_none() {
            return Some(slot.why.take().unwrap_or_else(gone));
        }
        self.failed.as_ref().map(Fault::error)
    }

    pub fn next(&mut self, reader: usize, most: usize) -> Next {
        if let Some(error) = self.lost(reader) {
            return Next::Failed(error);
        }
        let taken = self.slots.get(reader).and_then(|slot| slot.taken).unwrap_or(self.end);
        if taken == self.end {
            return if self.closed { Next::End } else { Next::Wait };
        }
        if let Some(Filed { file, from, bytes }) = &self.filed
            && (*from..from + bytes).contains(&taken)
        {
            let left = usize::try_from(from + bytes - taken).unwrap_or(usize::MAX);
            return Next::File { file: file.clone(), at: taken - from, bytes: left.min(most) };
        }
        let index = self.memory.partition_point(|(begin, _)| *begin < taken);
        match self.memory.get(index) {
            Some((begin, piece)) if *begin == taken => Next::Memory(piece.clone()),
            _ => Next::Failed(Error::new(Reason::Internal, format!("sealed bytes from {taken} on are gone"))),
        }
    }

    pub fn advance(&mut self, reader: usize, bytes: usize) {
        if let Some(taken) = self.slots.get_mut(reader).and_then(|slot| slot.taken.as_mut()) {
            *taken += bytes as u64;
        }
        self.free();
    }

    pub fn remove(&mut self, reader: usize, why: Option<Error>) {
        if let Some(slot) = self.slots.get_mut(reader)
            && slot.taken.take().is_some()
        {
            slot.why = why;
        }
        self.free();
    }

    /// Lets go of what every reader has taken.
    fn free(&mut self) {
        let slowest = self.slots.iter().filter_map(|slot| slot.taken).min().unwrap_or(u64::MAX);
        while let Some((begin, piece)) = self.memory.front() {
            if begin + piece.len() as u64 > slowest {
                break;
            }
            self.held -= piece.len();
            self.memory.pop_front();
        }
    }

    /// Those who have yet to take the oldest piece: without them there would be room.
    fn laggards(&self) -> Vec<usize> {
        let oldest = self.memory.front().map_or(self.end, |(begin, _)| *begin);
        let behind = |slot: &Slot| slot.taken.is_some_and(|taken| taken <= oldest);
        self.slots.iter().enumerate().filter(|(_, slot)| behind(slot)).map(|(index, _)| index).collect()
    }

    /// The laggards that used up the patience: one that was held up itself a moment ago is not among them.
    fn too_slow(&self, patience: Duration) -> Vec<usize> {
        let late = |index: &usize| self.slots.get(*index).is_some_and(|slot| slot.to_blame >= patience);
        self.laggards().into_iter().filter(late).collect()
    }

    /// What to say of those who used up the patience.
    pub fn verdict(&self, patience: Duration) -> Fault {
        let slots: Vec<&Slot> = self.too_slow(patience).into_iter().filter_map(|index| self.slots.get(index)).collect();
        let names = slots.iter().map(|slot| slot.name.as_str()).collect::<Vec<_>>().join(", ");
        let waited = slots.iter().map(|slot| slot.to_blame).max().unwrap_or_default().as_secs();
        let message = format!("store {names} was too slow: it held up etcd's stream for {waited} s");
        match &self.file_closed {
            None => Fault {
                reason: Reason::StoreTimeout,
                message,
                hint: Some("find what slows the store, or set limits.slow_store: spool, or raise limits.stream".into()),
            },
            Some(closed) => Fault { message: format!("{message}, and {}", closed.message), ..closed.clone() },
        }
    }

    /// Goes on without those who used up the patience where `keep` others stay; else all is over.
    pub fn let_go(&mut self, patience: Duration, keep: usize) {
        let (slow, fault) = (self.too_slow(patience), self.verdict(patience));
        let there = self.slots.iter().filter(|slot| slot.taken.is_some()).count();
        if there.saturating_sub(slow.len()) < keep.max(1) {
            self.failed = Some(fault);
            return;
        }
        tracing::warn!(why = fault.message, "the backup goes on without it");
        for index in slow {
            self.remove(index, Some(fault.error()));
        }
    }

    pub fn report(&self) -> Report {
        Report {
            waited: self.waited,
            spilled_bytes: self.filed.as_ref().map_or(0, |filed| filed.bytes),
            behind: self.slots.iter().map(|slot| slot.taken.map(|taken| self.end - taken)).collect(),
        }
    }

    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.held
    }
}
