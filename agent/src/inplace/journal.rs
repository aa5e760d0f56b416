//! What has been done on this node, on disk before and after each step: a run that was cut short goes on, or goes back.

use super::How;
use super::swap::Swap;
use crate::error::{Error, Reason, Result};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

const FILE: &str = "journal.json";
const VERSION: u32 = 1;

/// What is being done; each may be begun again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The new data dir is written beside the old one; etcd still runs.
    Building,
    Stopping,
    Swapping,
    /// The data is in place; etcd starts once no peer runs the other world.
    Starting,
    /// etcd was told to start.
    Waiting,
    Done,
}

impl Stage {
    pub fn name(self) -> &'static str {
        match self {
            Stage::Building => "build",
            Stage::Stopping => "stop",
            Stage::Swapping => "swap",
            Stage::Starting => "start",
            Stage::Waiting => "health",
            Stage::Done => "done",
        }
    }
}

/// Another member, as the restored cluster knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    pub name: String,
    pub urls: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    version: u32,
    pub began: DateTime<Utc>,
    /// What a person calls what is restored: cluster and time.
    pub subject: String,
    pub cluster: String,
    pub backup: String,
    /// The plan that all nodes share.
    pub plan: String,
    pub how: How,
    pub name: String,
    pub data_dir: PathBuf,
    pub swap: Swap,
    /// Of the restored cluster, as etcd prints it.
    pub cluster_id: String,
    /// What the restored cluster begins with.
    pub first_revision: i64,
    pub peers: Vec<Peer>,
    /// What is left for a person when it is done.
    pub next: Vec<String>,
    pub undoing: bool,
    pub stage: Stage,
}

/// What a journal begins with.
pub struct Begun<'a> {
    pub subject: &'a str,
    pub cluster: &'a str,
    pub backup: &'a str,
    pub plan: &'a str,
    pub name: &'a str,
    pub cluster_id: u64,
    pub first_revision: i64,
    pub peers: Vec<Peer>,
    pub swap: Swap,
}

impl Journal {
    pub fn begin(how: &How, data_dir: &Path, begun: Begun<'_>, now: DateTime<Utc>) -> Journal {
        Journal {
            version: VERSION,
            began: now,
            subject: begun.subject.to_owned(),
            cluster: begun.cluster.to_owned(),
            backup: begun.backup.to_owned(),
            plan: begun.plan.to_owned(),
            how: how.clone(),
            name: begun.name.to_owned(),
            data_dir: data_dir.to_path_buf(),
            swap: begun.swap,
            cluster_id: format!("{:x}", begun.cluster_id),
            first_revision: begun.first_revision,
            peers: begun.peers,
            next: Vec::new(),
            undoing: false,
            stage: Stage::Building,
        }
    }

    /// The last one of this node, finished or not.
    pub fn read(dir: &Path) -> Result<Option<Journal>> {
        let path = dir.join(FILE);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::io("read", path.display(), source)),
        };
        let journal: Journal = serde_json::from_slice(&bytes).map_err(|source| {
            Error::new(Reason::Damaged, format!("{} is no journal of a restore", path.display()))
                .hint("it says what was moved where: read it, and compare with what lies beside the data dir")
                .because(source)
        })?;
        match journal.version {
            VERSION => Ok(Some(journal)),
            other => Err(Error::new(Reason::NotUsable, format!("{} is of version {other}", path.display()))
                .hint("go on with the lifeboat that began it")),
        }
    }

    /// Keeps every other restore and undoing of this node out, as long as the file is open.
    pub fn lock(dir: &Path) -> Result<File> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|source| Error::io("create", dir.display(), source))?;
        let path = dir.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(|source| Error::io("open", path.display(), source))?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(file),
            Err(_) => Err(Error::new(Reason::TargetNotEmpty, "another restore of this node is running")
                .on("lock", path.display())
                .hint(
                    "wait for it, or end it: the same command then goes on where it stood; this one changed nothing",
                )),
        }
    }

    pub fn save(&self, dir: &Path) -> Result<()> {
        let (path, new) = (dir.join(FILE), dir.join(format!("{FILE}.new")));
        let text = serde_json::to_vec_pretty(self)
            .map_err(|source| Error::new(Reason::Internal, "the journal cannot be written").because(source))?;
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&new)?;
            file.write_all(&text)?;
            file.sync_all()?;
            std::fs::rename(&new, &path)?;
            File::open(dir)?.sync_all()
        };
        write().map_err(|source| Error::io("write", path.display(), source))
    }

    /// Keeps it under a name of its own, so that the next restore begins anew.
    pub fn archive(&self, dir: &Path) -> Result<()> {
        let word = if self.undoing { "undone" } else { "restored" };
        let name = format!("{word}-{}.json", self.began.format("%Y%m%dT%H%M%SZ"));
        let path = dir.join(FILE);
        std::fs::rename(&path, dir.join(name)).map_err(|source| Error::io("rename", path.display(), source))
    }
}
