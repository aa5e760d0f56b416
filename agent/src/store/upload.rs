//! One large object on its way into the store, in parts, with bounded memory.

use super::{ObjectKey, Store};
use crate::error::{Error, Reason, Result};
use bytes::Bytes;
use object_store::{MultipartUpload, PutPayload};
use std::sync::LazyLock;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

/// S3 takes parts of at least 5 MiB and at most 10,000 of them: 48 GiB, six times the largest etcd.
const PART_BYTES: usize = 5 << 20;
/// Parts on their way at a time.
const PARTS_IN_FLIGHT: usize = 2;

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
    /// Taken by `finish` and by the abort, so that neither happens twice.
    inner: Option<Box<dyn MultipartUpload>>,
    store: Store,
    key: ObjectKey,
    part: Vec<Bytes>,
    part_bytes: usize,
    in_flight: JoinSet<object_store::Result<()>>,
}

impl Upload {
    pub(super) fn new(inner: Box<dyn MultipartUpload>, store: Store, key: ObjectKey) -> Self {
        Upload { inner: Some(inner), store, key, part: Vec::new(), part_bytes: 0, in_flight: JoinSet::new() }
    }

    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.part_bytes += bytes.len();
        self.part.push(bytes);
        if self.part_bytes >= PART_BYTES {
            self.send_part().await?;
        }
        Ok(())
    }

    async fn send_part(&mut self) -> Result<()> {
        while self.in_flight.len() >= PARTS_IN_FLIGHT {
            self.join_one().await?;
        }
        let payload: PutPayload = std::mem::take(&mut self.part).into_iter().collect();
        self.part_bytes = 0;
        let Some(inner) = self.inner.as_mut() else {
            return Err(Error::new(Reason::Internal, "a part was sent after the upload's end"));
        };
        self.in_flight.spawn(inner.put_part(payload));
        Ok(())
    }

    async fn join_one(&mut self) -> Result<()> {
        match self.in_flight.join_next().await {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(source))) => Err(self.store.failed("upload", self.key.as_str(), source)),
            Some(Err(stopped)) => {
                Err(Error::new(Reason::Internal, format!("a part of {} was lost", self.key)).because(stopped))
            }
        }
    }

    /// Makes the object visible, whole.
    pub async fn finish(mut self) -> Result<()> {
        if self.part_bytes > 0 {
            self.send_part().await?;
        }
        while !self.in_flight.is_empty() {
            self.join_one().await?;
        }
        let Some(inner) = self.inner.as_mut() else {
            return Err(Error::new(Reason::Internal, "an upload ended twice"));
        };
        match inner.complete().await {
            Ok(_) => {
                self.inner = None;
                Ok(())
            }
            Err(source) => Err(self.store.failed("upload", self.key.as_str(), source)),
        }
    }
}

impl Drop for Upload {
    /// An upload that did not finish leaves no paid parts behind, as far as the store answers.
    fn drop(&mut self) {
        self.in_flight.abort_all();
        let (Some(mut inner), Ok(runtime)) = (self.inner.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        let key = self.key.clone();
        let abort = async move {
            if let Err(error) = inner.abort().await {
                tracing::warn!(%key, %error, "an unfinished upload could not be aborted; a lifecycle rule of the bucket will");
            }
        };
        ABORTS.spawn_on(abort, &runtime);
    }
}
