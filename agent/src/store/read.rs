//! Reading large objects: several ranges at a time, each gone on with where it was cut, each checked before it is used.

use super::{ObjectKey, Store, retry};
use crate::error::{Error, Reason, Result};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use object_store::{GetOptions, GetRange, GetResult, ObjectStoreExt as _};
use std::ops::Range;
use tokio_util::task::AbortOnDropHandle;

/// How many ranges of one object are on their way at a time, checking included. Of the 4 MiB of a backup's chunks that is
/// 16 MiB: enough for a fast line with a slow answer, small enough for a pod's memory. `tests/bench --only stores`: with three
/// a line of 40 ms carries a quarter less, with five a whole restore comes to the 64 MiB that it should stay below.
const READ_AHEAD: usize = 4;
/// A folder answers at once.
const FOLDER_READ_AHEAD: usize = 2;

/// How much of a folder's object is read at a time.
const FOLDER_PIECE_BYTES: usize = 256 << 10;

impl Store {
    /// The whole body of an answer; what was cut from it is asked for as a range.
    pub(super) async fn read_body(&self, key: &ObjectKey, answer: GetResult) -> Result<Bytes> {
        let size = answer.meta.size;
        let mut got = BytesMut::with_capacity(usize::try_from(size).unwrap_or_default());
        let mut body = answer.into_stream();
        while let Some(piece) = body.next().await {
            match piece {
                Ok(piece) => got.extend_from_slice(&piece),
                Err(source) => {
                    let error = self.failed("read", key.as_str(), source);
                    tracing::debug!(%key, %error, got = got.len(), size, "an answer was cut; it is gone on with");
                    break;
                }
            }
        }
        let came = got.len() as u64;
        if came > size {
            return Err(too_many(key));
        }
        if came < size {
            got.extend_from_slice(&self.read_range(key, came..size).await?);
        }
        Ok(got.freeze())
    }

    /// Exactly these bytes. A line that is cut is gone on with where it stopped.
    pub async fn read_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        self.count("read_range");
        let wanted = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        self.pay(wanted as u64).await;
        if self.folder.is_some() {
            let read = self.inner().get_range(&key.below(&self.prefix), range).await;
            let bytes = read.map_err(|source| self.failed("read", key.as_str(), source))?;
            return if bytes.len() == wanted { Ok(bytes) } else { Err(truncated(key, bytes.len(), wanted)) };
        }
        let mut got = BytesMut::with_capacity(wanted);
        let (mut in_vain, mut tries) = (0, 0);
        while got.len() < wanted {
            let before = got.len();
            let from = range.start + before as u64;
            let Err(error) = self.read_on(key, from..range.end, &mut got).await else { continue };
            in_vain = if got.len() > before { 0 } else { in_vain + 1 };
            tries += 1;
            if in_vain > retry::TRIES || tries > retry::TRIES_THAT_GOT_ON || !retry::is_passing(error.reason) {
                return Err(error);
            }
            tracing::debug!(%key, %error, got = got.len(), wanted, "a range was cut; it is gone on with");
            retry::wait(in_vain.max(1)).await;
        }
        Ok(got.freeze())
    }

    /// One request for what is missing of a range. What came before it failed stays in `got`.
    async fn read_on(&self, key: &ObjectKey, range: Range<u64>, got: &mut BytesMut) -> Result<()> {
        let fail = |source| self.failed("read", key.as_str(), source);
        let missing = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let (start, end) = (got.len(), range.end);
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let answer = self.inner().get_opts(&key.below(&self.prefix), options).await.map_err(fail)?;
        if answer.meta.size < end {
            let there = missing.saturating_sub(usize::try_from(end - answer.meta.size).unwrap_or(usize::MAX));
            return Err(truncated(key, start + there, start + missing));
        }
        let mut body = answer.into_stream();
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(fail)?;
            let room = start + missing - got.len();
            if piece.len() > room {
                return Err(too_many(key));
            }
            got.extend_from_slice(&piece);
        }
        if got.len() < start + missing {
            let text = format!("{key}: the answer ended {} bytes early", start + missing - got.len());
            return Err(Error::new(Reason::StoreUnreachable, text)
                .on("read", key)
                .hint("the store, or something between, cuts its answers; look at its log and the network"));
        }
        Ok(())
    }

    /// An object of `size` bytes in order, `chunk` bytes at a time, a few ranges on their way at a time.
    pub fn read_chunks<'a>(
        &'a self,
        key: &'a ObjectKey,
        size: u64,
        chunk: usize,
    ) -> impl Stream<Item = Result<Bytes>> + use<'a> {
        self.read_checked(key, size, chunk, |_, _| true)
    }

    /// The same, each chunk held against `is_good`, with its number, on a thread of its own. A chunk that is not is asked
    /// for once more before the object is called damaged: something between may have spoilt it.
    pub fn read_checked<'a, F>(
        &'a self,
        key: &'a ObjectKey,
        size: u64,
        chunk: usize,
        is_good: F,
    ) -> impl Stream<Item = Result<Bytes>> + use<'a, F>
    where
        F: Fn(usize, &[u8]) -> bool + Clone + Send + Sync + 'static,
    {
        let in_folder = self.folder.is_some();
        let ahead = if in_folder { FOLDER_READ_AHEAD } else { READ_AHEAD };
        let read = move |(index, start): (usize, u64)| {
            let range = start..(start + chunk as u64).min(size);
            let (store, key, is_good) = (self.clone(), key.clone(), is_good.clone());
            let reading = async move { store.read_good(&key, index, range, is_good).await };
            async move {
                if in_folder {
                    return reading.await;
                }
                // Tasks of their own get on while the chunk before is being used.
                let task = AbortOnDropHandle::new(tokio::spawn(reading));
                task.await.map_err(|stopped| Error::new(Reason::Internal, "a read stopped").because(stopped))?
            }
        };
        futures::stream::iter((0..size).step_by(chunk).enumerate()).map(read).buffered(ahead)
    }

    async fn read_good<F>(&self, key: &ObjectKey, index: usize, range: Range<u64>, is_good: F) -> Result<Bytes>
    where
        F: Fn(usize, &[u8]) -> bool + Clone + Send + Sync + 'static,
    {
        for again in [false, true] {
            let chunk = self.read_chunk(key, range.clone()).await?;
            let is_good = is_good.clone();
            let checked = tokio::task::spawn_blocking(move || (is_good(index, &chunk), chunk)).await;
            let (good, chunk) =
                checked.map_err(|stopped| Error::new(Reason::Internal, "a check stopped").because(stopped))?;
            if good {
                return Ok(chunk);
            }
            if !again {
                tracing::warn!(%key, from = range.start, to = range.end, "these bytes came damaged; they are read again");
            }
        }
        let text = format!(
            "{key} is damaged between bytes {} and {}: its digest differs, and did so when it was read again",
            range.start, range.end
        );
        Err(Error::new(Reason::Damaged, text).on("read", key))
    }

    /// One range from a bucket; from a folder a few small ones. A folder is read on whichever thread is idle, and each
    /// thread's heap keeps what it once held: small blocks keep that small.
    async fn read_chunk(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        if self.folder.is_none() {
            return self.read_range(key, range).await;
        }
        let mut chunk = Vec::with_capacity(range.end.saturating_sub(range.start) as usize);
        for start in range.clone().step_by(FOLDER_PIECE_BYTES) {
            let end = (start + FOLDER_PIECE_BYTES as u64).min(range.end);
            chunk.extend_from_slice(&self.read_range(key, start..end).await?);
        }
        Ok(Bytes::from(chunk))
    }
}

fn too_many(key: &ObjectKey) -> Error {
    Error::new(Reason::Damaged, format!("{key}: the store sent more bytes than it was asked for")).on("read", key)
}

fn truncated(key: &ObjectKey, came: usize, wanted: usize) -> Error {
    let text = format!("{key} is truncated: {came} bytes came where {wanted} were asked for");
    Error::new(Reason::Damaged, text).on("read", key)
}
