//! A restore that exchanges the data of this node's own etcd: stop, swap, start, wait. Every step is journalled before it is
//! begun, may be begun again, and can be taken back.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)
)]

mod flags;
mod gone;
mod health;
mod journal;
mod peers;
mod pod;
mod runtime;
mod steps;
mod swap;
mod unit;

use crate::error::{Error, Reason, Result};
use etcdfile::Line;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use flags::Server;
pub use journal::{Begun, Journal, Peer, Stage};
pub use peers::{Sight, look};
pub use steps::{Ended, Steps, Told};
pub use swap::Swap;

/// How often what is waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// What starts this node's etcd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    StaticPod { manifest: PathBuf },
    Unit { name: String },
}

impl How {
    /// What the person pointed at; else kubeadm's manifest, if this node has or had one; else the usual unit.
    pub async fn find(manifest: Option<&Path>, unit: Option<&str>) -> Result<How> {
        if let Some(name) = unit {
            return Ok(How::Unit { name: name.to_owned() });
        }
        let pointed_at = manifest.is_some();
        let manifest = manifest.unwrap_or(Path::new(pod::KUBEADM));
        let manifest = std::path::absolute(manifest).map_err(|source| Error::io("find", manifest.display(), source))?;
        let how = How::StaticPod { manifest: manifest.clone() };
        if manifest.exists() || how.parked().is_some_and(|parked| parked.exists()) {
            return Ok(how);
        }
        if !pointed_at && unit::read(unit::USUAL).await.is_ok() {
            return Ok(How::Unit { name: unit::USUAL.to_owned() });
        }
        Err(Error::new(Reason::Usage, format!("{} is not here: what starts etcd on this node?", manifest.display()))
            .hint(
                "put the manifest back if somebody moved it, or point at it: --static-pod FILE, or --unit etcd.service",
            ))
    }

    /// Where the manifest waits while etcd must not run: beside the folder that the kubelet watches, never in it.
    fn parked(&self) -> Option<PathBuf> {
        match self {
            How::StaticPod { manifest } => Some(beside(manifest).join(manifest.file_name()?)),
            How::Unit { .. } => None,
        }
    }

    /// How etcd is started here, from the manifest where it is now, or from the unit.
    pub async fn read(&self) -> Result<Here> {
        match self {
            How::StaticPod { manifest } => {
                let parked = self.parked().filter(|parked| parked.exists() && !manifest.exists());
                let pod = pod::read(parked.as_deref().unwrap_or(manifest))?;
                let journal_dir = beside(manifest);
                let line = pod.line();
                Ok(Here { owner: pod.owner, version: pod.version, line, server: pod.server, journal_dir })
            }
            How::Unit { name } => {
                let server = unit::read(name).await?;
                let journal_dir = unit::journal_dir(&server.data_dir);
                Ok(Here { owner: None, version: None, line: None, server, journal_dir })
            }
        }
    }

    /// As the plan calls it.
    pub fn describe(&self) -> String {
        match self {
            How::StaticPod { manifest } => format!("static pod, {}", manifest.display()),
            How::Unit { name } => format!("systemd unit {name}"),
        }
    }

    /// What is stopped here.
    pub fn stops(&self) -> &'static str {
        match self {
            How::StaticPod { .. } => "etcd and kube-apiserver here; workloads are not touched",
            How::Unit { .. } => "etcd here, nothing else",
        }
    }

    /// The flags that say it again on another node.
    pub fn words(&self) -> Vec<String> {
        match self {
            How::StaticPod { manifest } if manifest == Path::new(pod::KUBEADM) => Vec::new(),
            How::StaticPod { manifest } => vec!["--static-pod".to_owned(), manifest.display().to_string()],
            How::Unit { name } => vec!["--unit".to_owned(), name.clone()],
        }
    }
}

/// `/etc/kubernetes/lifeboat-restore` for `/etc/kubernetes/manifests/etcd.yaml`.
fn beside(manifest: &Path) -> PathBuf {
    manifest.parent().and_then(Path::parent).unwrap_or(Path::new("/")).join("lifeboat-restore")
}

/// This node's etcd.
#[derive(Clone, Debug)]
pub struct Here {
    pub server: Server,
    pub version: Option<String>,
    pub line: Option<Line>,
    pub journal_dir: PathBuf,
    /// As the manifest says.
    owner: Option<(u32, u32)>,
}

impl Here {
    /// How far the data here is beyond this revision, as far as it can be read: a later restore from the same backup must
    /// not begin at revisions that watchers of the one before have seen.
    pub fn ahead_of(&self, revision: i64) -> u64 {
        let path = self.server.data_dir.join("member/snap/db");
        let read = || -> Option<i64> {
            let file = std::fs::File::open(&path).ok()?;
            // Of a database in use a page may change under the reading; then it is not known, which is no harm.
            Some(etcdfile::Database::open(&file).ok()?.revision())
        };
        read().map_or(0, |here| u64::try_from(here.saturating_sub(revision)).unwrap_or(0))
    }
}

/// Gives what was built the owner of the old data dir, or the one that the manifest names, and the old one's mode.
pub fn own(journal: &Journal, here: &Here) -> Result<()> {
    let built = journal.swap.to_build(&journal.data_dir);
    let old = match std::fs::metadata(&journal.swap.live) {
        Ok(found) => Some(found),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => None,
        Err(source) => return Err(Error::io("look at", journal.swap.live.display(), source)),
    };
    if let Some((user, group)) = old.as_ref().map(|old| (old.uid(), old.gid())).or(here.owner) {
        chown(built, user, group)?;
    }
    if let Some(old) = old {
        let fresh = &journal.swap.fresh;
        std::fs::set_permissions(fresh, old.permissions())
            .map_err(|source| Error::io("set the mode of", fresh.display(), source))?;
    }
    Ok(())
}

fn chown(path: &Path, user: u32, group: u32) -> Result<()> {
    let failed = |source| Error::io("give an owner to", path.display(), source);
    std::os::unix::fs::lchown(path, Some(user), Some(group)).map_err(failed)?;
    if path.is_dir() {
        for entry in std::fs::read_dir(path).map_err(failed)? {
            chown(&entry.map_err(failed)?.path(), user, group)?;
        }
    }
    Ok(())
}

/// What a killed run had begun to build, and the journal says is ours.
pub fn clear(journal: &Journal) -> Result<()> {
    let built = journal.swap.to_build(&journal.data_dir);
    match std::fs::remove_dir_all(built) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", built.display(), source))
        }
        _ => Ok(()),
    }
}

/// Notes which of the two is the new one; from here on their names may change.
pub fn built(journal: &mut Journal) -> Result<()> {
    let fresh = &journal.swap.fresh;
    journal.swap.inode = swap::inode(fresh)?.ok_or_else(|| {
        Error::new(Reason::HostIo, format!("{} is gone: somebody moved what was just built", fresh.display()))
            .hint("run it again")
    })?;
    journal.stage = Stage::Stopping;
    Ok(())
}
