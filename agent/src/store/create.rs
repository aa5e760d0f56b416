//! Small objects that must not be there yet, and what it means when the store does not say whether they are now.

use super::{ObjectKey, Store, retry};
use crate::error::{Error, Reason, Result};
use bytes::Bytes;
use object_store::{ObjectStore as _, PutMode, PutOptions};

/// Whose bytes stand under a name.
enum Holder {
    Nobody,
    Us,
    Another,
}

impl Store {
    /// Writes a small object that must not be there yet.
    ///
    /// A store may apply a request and then answer that it failed, or answer nothing; object_store tries again and meets
    /// its own object. So after every answer that leaves it open the object is read: our own bytes are a success,
    /// others' are a conflict, and where nothing stands it is tried again. What cannot be read is told as it failed.
    pub async fn create(&self, key: &ObjectKey, bytes: Bytes) -> Result<()> {
        self.count("create");
        self.require_folder()?;
        let mut number = 0;
        loop {
            let Err(error) = self.put(key, bytes.clone()).await else { return Ok(()) };
            if error.reason != Reason::StoreConflict && !retry::is_passing(error.reason) {
                return Err(error);
            }
            match self.holder(key, &bytes).await {
                Ok(Holder::Us) => return Ok(()),
                Ok(Holder::Another) => return Err(self.held_by_another(key, error)),
                Ok(Holder::Nobody) if number < retry::TRIES => {}
                Ok(Holder::Nobody) => return Err(error),
                Err(unknown) => {
                    tracing::debug!(%key, %unknown, "whether it was written cannot be told");
                    return Err(error);
                }
            }
            number += 1;
            retry::wait(number).await;
        }
    }

    async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<()> {
        self.pay(bytes.len() as u64).await;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = self.inner().put_opts(&key.below(&self.prefix), bytes.into(), options).await;
        put.map(drop).map_err(|source| self.failed("create", key.as_str(), source))
    }

    async fn holder(&self, key: &ObjectKey, ours: &Bytes) -> Result<Holder> {
        // One byte more than ours is enough to be another's.
        match self.read_if_there(key, ours.len() as u64 + 1).await {
            Ok(None) => Ok(Holder::Nobody),
            Ok(Some(found)) if found == *ours => Ok(Holder::Us),
            Ok(Some(_)) => Ok(Holder::Another),
            Err(error) if error.reason == Reason::Damaged => Ok(Holder::Another),
            Err(error) => Err(error),
        }
    }

    fn held_by_another(&self, key: &ObjectKey, error: Error) -> Error {
        if error.reason == Reason::StoreConflict {
            return error;
        }
        Error::new(Reason::StoreConflict, format!("{key} exists already in {}", self.url()))
            .on("create", key)
            .hint("another writer holds that name; nothing was overwritten")
            .because(error)
    }
}
