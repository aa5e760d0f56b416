//! A narrow view of `object_store`: create, upload, read, list, head, delete. Nothing of a backup is ever overwritten.

mod canary;
mod create;
mod fault;
mod gcs;
pub mod key;
mod leftovers;
mod lock;
mod open;
mod pace;
mod parts;
mod read;
mod retry;
mod s3;
mod source;
#[cfg(test)]
mod tests;
mod upload;

use crate::config::ReadBack;
use crate::error::{Error, Reason, Result};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use std::path::PathBuf;
use std::sync::Arc;

use pace::Pace;
use source::Source;

pub use key::{CanaryKey, Kind, Layout, ObjectKey};
pub use leftovers::{LEFTOVER_GRACE, Leftover, Swept, sweep_leftovers};
pub use s3::{ObjectLock, Retention, Versioning};
pub use upload::{Upload, settle};

/// One place that keeps backups, seen through its prefix.
#[derive(Clone)]
pub struct Store {
    source: Source,
    name: String,
    url: String,
    prefix: Path,
    /// Of a folder store: the folder, which is never made here.
    folder: Option<PathBuf>,
    /// The bandwidth limit that all clones share.
    pace: Option<Arc<Pace>>,
    read_back: ReadBack,
    /// Whether the store sums what it receives and refuses what differs from what we say.
    verifies_uploads: bool,
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

/// What became of an object that was to be removed.
#[derive(Debug)]
pub enum Removal {
    Gone,
    /// The store keeps it until its lock ends.
    Locked(Error),
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
        self.counted(operation, fault::classify(operation, object, &self.url, source))
    }

    fn counted(&self, operation: &'static str, error: Error) -> Error {
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

    /// Waits until these bytes may pass.
    async fn pay(&self, bytes: u64) {
        if let Some(pace) = &self.pace {
            pace.pay(bytes).await;
        }
    }

    /// Whether what was uploaded is believed only once all of it was read back: unless the operator asked for `head` and
    /// the store sums every part as it arrives, which S3 does where a checksum is sent. GCS and Azure are sent none.
    pub fn reads_back_all(&self) -> bool {
        self.read_back == ReadBack::Full || !self.verifies_uploads
    }

    /// Fails where the bucket or folder is missing or may not be listed, which reads alone would hide as "not found".
    /// Only the top is looked at: what is wrong in one cluster's folder stays there.
    pub async fn check(&self) -> Result<()> {
        self.require_folder()?;
        self.folders().await.map(drop)
    }

    /// A volume that was unmounted under a running agent must not silently become a folder on the root disk.
    fn require_folder(&self) -> Result<()> {
        self.folder.as_deref().map_or(Ok(()), |folder| require_folder(folder, &self.url))
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
        self.pay(answer.meta.size).await;
        self.read_body(key, answer).await
    }

    /// Like `read`, but an absent object is `None`: for names that a listing gave and that may have gone since.
    pub async fn read_if_there(&self, key: &ObjectKey, cap: u64) -> Result<Option<Bytes>> {
        match self.read(key, cap).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.reason == Reason::ObjectMissing => Ok(None),
            Err(error) => Err(error),
        }
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

    /// Removes one of our objects, unless it is locked, which is no failure. Only `prune` calls this, with keys that a plan
    /// or an orphan named. One that is gone already is fine.
    pub async fn remove(&self, key: &ObjectKey) -> Result<Removal> {
        self.count("delete");
        match self.inner().delete(&key.below(&self.prefix)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(Removal::Gone),
            Err(source) if fault::is_locked(&source) => {
                Ok(Removal::Locked(fault::classify("delete", key.as_str(), &self.url, source)))
            }
            Err(source) => Err(self.failed("delete", key.as_str(), source)),
        }
    }

    /// Removes one of our objects: `doctor` does, to try what it may. One that is gone already is fine.
    pub async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.count("delete");
        match self.inner().delete(&key.below(&self.prefix)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(self.failed("delete", key.as_str(), source)),
        }
    }

    fn found(&self, meta: object_store::ObjectMeta) -> Option<Found> {
        let name = self.name_of(&meta.location)?;
        Some(Found { name, bytes: meta.size, modified: meta.last_modified, e_tag: meta.e_tag })
    }

    /// The name below the prefix; `None` of what does not lie there.
    fn name_of(&self, path: &Path) -> Option<String> {
        let below: Vec<_> = path.prefix_match(&self.prefix)?.map(|part| part.as_ref().to_owned()).collect();
        Some(below.join("/"))
    }
}

fn require_folder(folder: &std::path::Path, url: &str) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    // Never made here: an unmounted volume would silently become a folder on the root disk.
    let text = format!("the store's folder {} does not exist", folder.display());
    Err(Error::new(Reason::StoreBucketMissing, text).on("open", url).hint("mount it or create it, then try again"))
}
