//! `--from DIR`: one backup's folder by itself, as somebody copied it out of a store.

use crate::cli::args::StoreArgs;
use crate::error::{Error, Reason, Result};
use crate::scratch;
use lifeboat_policy::id::BackupId;
use serde::Deserialize;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};

/// What a manifest calls itself; it is read in full, with its signature, once it is found in a store.
#[derive(Deserialize)]
struct Names {
    cluster: String,
    id: BackupId,
}

/// The folder with the path that it had in its store, so that all that reads a store reads it.
pub(super) struct Folder {
    names: Names,
    root: PathBuf,
}

impl Folder {
    pub fn open(dir: &Path) -> Result<Folder> {
        let manifest = dir.join("manifest.json");
        let bytes = std::fs::read(&manifest).map_err(|source| {
            Error::io("read", manifest.display(), source)
                .hint("--from takes one backup's folder, with its manifest.json, or a snapshot file; a whole store: --store file:///DIR")
        })?;
        let names: Names = serde_json::from_slice(&bytes).map_err(|source| {
            Error::new(Reason::Damaged, format!("{} is no manifest of a backup", manifest.display()))
                .hint("copy the backup's folder again, with all that is in it")
                .because(source)
        })?;
        let failed = |source| Error::io("make a folder in", std::env::temp_dir().display(), source);
        let name = format!("lifeboat-from-{}-{:016x}", std::process::id(), scratch::random_u64()?);
        let folder = Folder { names, root: std::env::temp_dir().join(name) };
        let backups = folder.root.join(&folder.names.cluster).join("backups");
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&backups).map_err(failed)?;
        let dir = std::path::absolute(dir).map_err(failed)?;
        symlink(dir, backups.join(folder.names.id.to_string())).map_err(failed)?;
        Ok(folder)
    }

    pub fn id(&self) -> String {
        self.names.id.to_string()
    }

    /// The flags that read it.
    pub fn store(&self, given: &StoreArgs) -> StoreArgs {
        StoreArgs {
            store: Some(format!("file://{}", self.root.display())),
            cluster: Some(self.names.cluster.clone()),
            ..given.clone()
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.root) {
            tracing::debug!(%error, root = %self.root.display(), "left behind");
        }
    }
}
