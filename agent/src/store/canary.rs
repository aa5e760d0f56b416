//! What `doctor` tries on its own canary and nobody may do to anything else.

use super::{CanaryKey, Store};
use crate::error::Result;
use bytes::Bytes;
use object_store::ObjectStoreExt as _;

impl Store {
    /// Writes over a canary, as anybody could who holds this store's key. The version's name where the store gave one:
    /// then it keeps what stood there before.
    pub async fn overwrite(&self, key: &CanaryKey, bytes: Bytes) -> Result<Option<String>> {
        self.count("overwrite");
        self.require_folder()?;
        let key = key.object();
        let done = self.inner().put(&key.below(&self.prefix), bytes.into()).await;
        let version = done.map_err(|source| self.failed("overwrite", key.as_str(), source))?.version;
        // `null` is what S3 calls the one version of a bucket whose versioning was switched off again.
        Ok(version.filter(|version| version != "null"))
    }
}
