//! One large object on its way into the store, in parts, with bounded memory.

use super::parts::{LARGEST_OBJECT, Parts};
use super::{ObjectKey, Store, retry};
use crate::error::{Error, Reason, Result};
use bytes::Bytes;
use object_store::{MultipartUpload, PutMultipartOptions, PutPayload};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

/// Parts on their way at a time. With the one that fills, four of at most 11 MiB are in memory; of 5 MiB each where the
/// object is no longer than 24 GiB, or than was announced.
const PARTS_IN_FLIGHT: usize = 3;

/// Aborts under way. They begin in `drop`, which cannot wait, so the process does before it ends.
static ABORTS: LazyLock<TaskTracker> = LazyLock::new(TaskTracker::new);
/// Longer than a store that answers needs; one that does not has a lifecycle rule.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);

/// Waits for the aborts of unfinished uploads: the last thing a process does.
pub async fn settle() {
    ABORTS.close();
    if tokio::time::timeout(SETTLE_WITHIN, ABORTS.wait()).await.is_err() {
        tracing::warn!(
            "the store did not confirm that an unfinished upload was dropped; a lifecycle rule of the bucket will"
        );
    }
}

/// Nothing is visible in the store until `finish`; dropping it aborts.
pub struct Upload {
    /// Begun with the first part, taken by `finish` and by the abort, so that neither happens twice.
    inner: Option<Box<dyn MultipartUpload>>,
    store: Store,
    key: ObjectKey,
    parts: Parts,
    part: Vec<Bytes>,
    part_bytes: u64,
    in_flight: JoinSet<object_store::Result<()>>,
}

impl Store {
    /// Begins a large object; it exists only once `Upload::finish` returned.
    pub async fn upload(&self, key: &ObjectKey) -> Result<Upload> {
        self.begin_upload(key, None)
    }

    /// The same where one knows about how long it will be: up to 64 GiB fit anyway, and the parts are alike then.
    pub async fn upload_expecting(&self, key: &ObjectKey, bytes: u64) -> Result<Upload> {
        self.begin_upload(key, Some(bytes))
    }

    fn begin_upload(&self, key: &ObjectKey, expected: Option<u64>) -> Result<Upload> {
        self.count("upload");
        self.require_folder()?;
        Ok(Upload {
            inner: None,
            store: self.clone(),
            key: key.clone(),
            parts: Parts::new(expected),
            part: Vec::new(),
            part_bytes: 0,
            in_flight: JoinSet::new(),
        })
    }
}

impl Upload {
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        while !bytes.is_empty() {
            let room = self.parts.next_bytes().saturating_sub(self.part_bytes);
            let taken = bytes.split_to(usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len()));
            self.part_bytes += taken.len() as u64;
            self.part.push(taken);
            if self.part_bytes >= self.parts.next_bytes() {
                self.send_part().await?;
            }
        }
        Ok(())
    }

    async fn send_part(&mut self) -> Result<()> {
        while self.in_flight.len() >= PARTS_IN_FLIGHT {
            self.join_one().await?;
        }
        let payload: PutPayload = std::mem::take(&mut self.part).into_iter().collect();
        let bytes = std::mem::take(&mut self.part_bytes);
        if !self.parts.sent(bytes) {
            let text = format!("{} is longer than {LARGEST_OBJECT} bytes, the most that a store takes", self.key);
            return Err(Error::new(Reason::Budget, text).on("upload", &self.key));
        }
        if self.inner.is_none() {
            self.inner = Some(self.begin().await?);
        }
        let Some(inner) = self.inner.as_mut() else {
            return Err(Error::new(Reason::Internal, "a part was sent after the upload's end"));
        };
        let (sending, store) = (inner.put_part(payload), self.store.clone());
        self.in_flight.spawn(async move {
            store.pay(bytes).await;
            sending.await
        });
        Ok(())
    }

    /// Asks the store for an upload in parts. Whoever asked may be gone when it answers, and only the answer holds the name
    /// that it can be aborted by: so the question outlives the asker.
    async fn begin(&mut self) -> Result<Box<dyn MultipartUpload>> {
        let (tell, told) = oneshot::channel();
        let (objects, key, path) = (self.store.inner(), self.key.clone(), self.key.below(&self.store.prefix));
        ABORTS.spawn(async move {
            let options = PutMultipartOptions::default().with_retry_policy(Arc::new(retry::Parts));
            let begun = objects.put_multipart_opts(&path, options).await;
            if let Err(Ok(unwanted)) = tell.send(begun) {
                abort(unwanted, &key).await;
            }
        });
        let stopped = |stopped| Error::new(Reason::Internal, "the beginning of an upload was lost").because(stopped);
        told.await.map_err(stopped)?.map_err(|source| self.failed(source))
    }

    async fn join_one(&mut self) -> Result<()> {
        match self.in_flight.join_next().await {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(source))) => Err(self.failed(source)),
            Some(Err(stopped)) => {
                Err(Error::new(Reason::Internal, format!("a part of {} was lost", self.key)).because(stopped))
            }
        }
    }

    fn failed(&self, source: object_store::Error) -> Error {
        self.store.failed("upload", self.key.as_str(), source)
    }

    /// Makes the object visible, whole.
    ///
    /// Less than a part goes as one create-only request. A store has no such thing for an upload in parts: names are
    /// unique, and that nobody holds this one is looked up before.
    pub async fn finish(mut self) -> Result<()> {
        if self.inner.is_none() {
            let whole: Vec<Bytes> = std::mem::take(&mut self.part);
            return self.store.create(&self.key, Bytes::from(whole.concat())).await;
        }
        if self.part_bytes > 0 {
            self.send_part().await?;
        }
        while !self.in_flight.is_empty() {
            self.join_one().await?;
        }
        if self.store.head(&self.key).await?.is_some() {
            let text = format!("{} exists already in {}", self.key, self.store.url());
            return Err(Error::new(Reason::StoreConflict, text)
                .on("upload", &self.key)
                .hint("another writer holds that name; nothing was overwritten"));
        }
        let Some(inner) = self.inner.as_mut() else {
            return Err(Error::new(Reason::Internal, "an upload ended twice"));
        };
        match inner.complete().await {
            Ok(_) => {
                self.inner = None;
                Ok(())
            }
            Err(source) => {
                let error = self.failed(source);
                self.seen_after(error).await
            }
        }
    }

    /// The answer may have been lost on its way: an object of this name and length is ours, and it is read back anyhow.
    async fn seen_after(&mut self, error: Error) -> Result<()> {
        match self.store.head(&self.key).await {
            Ok(Some(found)) if found.bytes == self.parts.sent_bytes() => {
                tracing::info!(key = %self.key, %error, "the upload's end failed, but the object is there");
                self.inner = None;
                Ok(())
            }
            // The first error is the cause; a second one of looking would hide it.
            Ok(_) | Err(_) => Err(error),
        }
    }
}

impl Drop for Upload {
    /// An upload that did not finish leaves no paid parts behind, as far as the store answers.
    fn drop(&mut self) {
        self.in_flight.abort_all();
        let (Some(inner), Ok(runtime)) = (self.inner.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        let key = self.key.clone();
        ABORTS.spawn_on(async move { abort(inner, &key).await }, &runtime);
    }
}

async fn abort(mut upload: Box<dyn MultipartUpload>, key: &ObjectKey) {
    if let Err(error) = upload.abort().await {
        tracing::warn!(%key, %error, "an unfinished upload could not be aborted; a lifecycle rule of the bucket will");
    }
}
