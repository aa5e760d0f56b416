//! A narrow view of `object_store`: create, upload, read, list, head, delete. Nothing of a backup is ever overwritten.

mod canary;
mod fault;
pub mod key;
mod open;
mod source;
mod upload;

use crate::error::{Error, Reason, Result};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use source::Source;

pub use key::{CanaryKey, Kind, Layout, ObjectKey};
pub use upload::{Upload, settle};

/// How many ranges of one object are read at a time: enough to hide a store's latency, small enough for a pod's memory.
const READ_AHEAD: usize = 2;

/// How much of a folder's object is read at a time.
const FOLDER_PIECE_BYTES: usize = 256 << 10;

/// One place that keeps backups, seen through its prefix.
#[derive(Clone)]
pub struct Store {
    source: Source,
    name: String,
    url: String,
    prefix: Path,
    /// Of a folder store: the folder, which is never made here.
    folder: Option<PathBuf>,
}

/// What a listing says of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The name below the prefix.
    pub name: String,
    pub bytes: u64,
    pub modified: DateTime<Utc>,
    /// The store's own version mark, where it has one.
    pub e_tag: Option<String>,
}

impl Store {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As the operator wrote it; it never holds a secret.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn failed(&self, operation: &'static str, object: &str, source: object_store::Error) -> Error {
        let error = fault::classify(operation, object, &self.url, source);
        metrics::counter!("lifeboat_store_request_failures_total", "store" => self.name.clone(),
            "operation" => operation, "reason" => error.reason.name())
        .increment(1);
        error
    }

    /// What talks to the store now; credentials that changed are in use from the next call on.
    fn inner(&self) -> Arc<dyn ObjectStore> {
        self.source.client().objects
    }

    fn count(&self, operation: &'static str) {
        metrics::counter!("lifeboat_store_requests_total", "store" => self.name.clone(), "operation" => operation)
            .increment(1);
    }

    /// Fails where the bucket or folder is missing or may not be listed, which reads alone would hide as "not found".
    pub async fn check(&self) -> Result<()> {
        self.count("list");
        self.require_folder()?;
        match self.inner().list(Some(&self.prefix)).next().await {
            Some(Err(source)) => Err(self.failed("list", &self.url, source)),
            Some(Ok(_)) | None => Ok(()),
        }
    }

    /// A volume that was unmounted under a running agent must not silently become a folder on the root disk.
    fn require_folder(&self) -> Result<()> {
        match &self.folder {
            Some(folder) if !folder.is_dir() => {
                let text = format!("the store's folder {} does not exist", folder.display());
                Err(Error::new(Reason::StoreBucketMissing, text)
                    .on("open", &self.url)
                    .hint("mount it or create it, then try again"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Writes a small object that must not be there yet. A retry that meets its own bytes is a success, others' are a conflict.
    pub async fn create(&self, key: &ObjectKey, bytes: Bytes) -> Result<()> {
        self.count("create");
        let path = key.below(&self.prefix);
        self.require_folder()?;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.inner().put_opts(&path, bytes.clone().into(), options).await {
            Ok(_) => Ok(()),
            Err(source @ (object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. })) => {
                if self.read(key, bytes.len() as u64 + 1).await? == bytes {
                    return Ok(());
                }
                Err(self.failed("create", key.as_str(), source))
            }
            Err(source) => Err(self.failed("create", key.as_str(), source)),
        }
    }

    /// Begins a large object; it exists only once `Upload::finish` returned.
    pub async fn upload(&self, key: &ObjectKey) -> Result<Upload> {
        self.count("upload");
        self.require_folder()?;
        let started = self.inner().put_multipart(&key.below(&self.prefix)).await;
        started
            .map(|inner| Upload::new(inner, self.clone(), key.clone()))
            .map_err(|source| self.failed("upload", key.as_str(), source))
    }

    /// Reads a small object whole; one over `cap` bytes is refused before it is read.
    pub async fn read(&self, key: &ObjectKey, cap: u64) -> Result<Bytes> {
        self.count("read");
        let fail = |source| self.failed("read", key.as_str(), source);
        let answer = self.inner().get(&key.below(&self.prefix)).await.map_err(fail)?;
        if answer.meta.size > cap {
            let found = answer.meta.size;
            return Err(Error::new(Reason::Damaged, format!("{key} has {found} bytes, more than the {cap} allowed"))
                .on("read", key)
                .hint("it was not written by lifeboat, or it was replaced; see `lifeboat list --state untrusted`"));
        }
        answer.bytes().await.map_err(fail)
    }

    /// Like `read`, but an absent object is `None`: for names that a listing gave and that may have gone since.
    pub async fn read_if_there(&self, key: &ObjectKey, cap: u64) -> Result<Option<Bytes>> {
        match self.read(key, cap).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.reason == Reason::ObjectMissing => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub async fn read_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        self.count("read_range");
        let wanted = range.end.saturating_sub(range.start);
        let bytes = self
            .inner()
            .get_range(&key.below(&self.prefix), range)
            .await
            .map_err(|source| self.failed("read", key.as_str(), source))?;
        if bytes.len() as u64 != wanted {
            let text = format!("{key} is truncated: {} bytes came where {wanted} were asked for", bytes.len());
            return Err(Error::new(Reason::Damaged, text).on("read", key));
        }
        Ok(bytes)
    }

    /// An object of `size` bytes in order, `chunk` bytes at a time, a few ranges read ahead.
    pub fn read_chunks<'a>(
        &'a self,
        key: &'a ObjectKey,
        size: u64,
        chunk: usize,
    ) -> impl Stream<Item = Result<Bytes>> + use<'a> {
        futures::stream::iter((0..size).step_by(chunk))
            .map(move |start| self.read_chunk(key, start..(start + chunk as u64).min(size)))
            .buffered(READ_AHEAD)
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

    /// Size and store time of an object, or `None` on the store's own "not found".
    pub async fn head(&self, key: &ObjectKey) -> Result<Option<Found>> {
        self.count("head");
        match self.inner().head(&key.below(&self.prefix)).await {
            Ok(meta) => Ok(self.found(meta)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(self.failed("head", key.as_str(), source)),
        }
    }

    /// Everything below a folder of the prefix, in the order of names.
    pub async fn list(&self, folder: &str) -> Result<Vec<Found>> {
        self.count("list");
        self.require_folder()?;
        let path =
            folder.split('/').filter(|part| !part.is_empty()).fold(self.prefix.clone(), |path, part| path.join(part));
        let listed: Vec<_> = self
            .inner()
            .list(Some(&path))
            .try_filter_map(|meta| futures::future::ready(Ok(self.found(meta))))
            .try_collect()
            .await
            .map_err(|source| self.failed("list", folder, source))?;
        let mut listed = listed;
        listed.sort_by(|a, b| a.name.cmp(&b.name)); // a local folder lists in any order
        Ok(listed)
    }

    /// The first folders below the prefix: the names of the clusters that are kept here.
    pub async fn folders(&self) -> Result<Vec<String>> {
        self.count("list");
        self.require_folder()?;
        let prefix = Some(&self.prefix).filter(|prefix| !prefix.as_ref().is_empty());
        let listed = self.inner().list_with_delimiter(prefix).await;
        let listed = listed.map_err(|source| self.failed("list", &self.url, source))?;
        let mut names: Vec<String> =
            listed.common_prefixes.iter().filter_map(|path| path.filename().map(str::to_owned)).collect();
        names.sort();
        Ok(names)
    }

    /// Removes one of our objects. Only `prune` calls this, with keys that a plan named, and `doctor`, with its
    /// own canaries. One that is gone already is fine.
    pub async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.count("delete");
        match self.inner().delete(&key.below(&self.prefix)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(self.failed("delete", key.as_str(), source)),
        }
    }

    fn found(&self, meta: object_store::ObjectMeta) -> Option<Found> {
        let below = meta.location.prefix_match(&self.prefix)?;
        let parts: Vec<_> = below.map(|part| part.as_ref().to_owned()).collect();
        Some(Found { name: parts.join("/"), bytes: meta.size, modified: meta.last_modified, e_tag: meta.e_tag })
    }
}
