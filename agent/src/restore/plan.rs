//! What a restore will do, decided before anything is touched.

use crate::catalog::manifest::Manifest;
use crate::error::{Error, Reason, Result};
use crate::scratch;
use etcdfile::MemberSpec;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Added to the revision by default: more than any cluster writes between two backups, so watchers list afresh.
pub const DEFAULT_BUMP: u64 = 1_000_000_000;
/// Room for the pages that the new members need, the WAL and the snap file.
const SPARE_BYTES: u64 = 16 << 20;

/// Where the data dir goes and how its revision continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub dir: PathBuf,
    /// `None`: the revision goes on where the backup ended.
    pub bump: Option<u64>,
}

/// Who the members of the restored cluster are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Members {
    /// Those of the backup, where it knows exactly one.
    FromBackup,
    /// As on etcdutl's command line.
    Given { name: String, initial_cluster: Vec<MemberSpec> },
}

/// Everything that is decided: the same plan always builds the same data dir.
#[derive(Clone, Debug)]
pub struct RestorePlan {
    pub target: Target,
    pub name: String,
    pub members: Vec<MemberSpec>,
    pub token: String,
    pub needed_bytes: u64,
    pub free_bytes: u64,
    pub(super) data: etcdfile::Plan,
}

impl RestorePlan {
    /// The revision that the restored etcd begins with.
    pub fn first_revision(&self, manifest: &Manifest) -> i64 {
        let bump = self.target.bump.and_then(|bump| i64::try_from(bump).ok()).unwrap_or(0);
        manifest.db.revision.saturating_add(bump)
    }
}

/// Decides a restore of one member, or says why it cannot be.
pub fn plan(manifest: &Manifest, target: Target, members: Members, token: String) -> Result<RestorePlan> {
    require_empty(&target.dir)?;
    let needed_bytes = manifest.db.bytes.saturating_add(SPARE_BYTES);
    let free_bytes = scratch::require_space(&target.dir, needed_bytes, "the restored data dir")?;
    let (name, members) = match members {
        Members::FromBackup => from_backup(manifest)?,
        Members::Given { name, initial_cluster } => (name, initial_cluster),
    };
    let data = etcdfile::datadir::plan(&name, &members, &token, target.bump).map_err(|source| {
        Error::new(Reason::Usage, "these members do not make a cluster")
            .hint("give --name and --initial-cluster NAME=URL as etcdutl takes them")
            .because(source)
    })?;
    Ok(RestorePlan { target, name, members, token, needed_bytes, free_bytes, data })
}

fn from_backup(manifest: &Manifest) -> Result<(String, Vec<MemberSpec>)> {
    let members: Vec<MemberSpec> = manifest
        .etcd
        .members
        .iter()
        .map(|member| MemberSpec { name: member.name.clone(), peer_urls: member.peer_urls.clone() })
        .collect();
    match members.as_slice() {
        [only] => Ok((only.name.clone(), members)),
        [] => Err(Error::new(Reason::Usage, "the backup names no member")
            .hint("give --name and --initial-cluster NAME=URL for the member to restore")),
        many => {
            let names: Vec<&str> = many.iter().map(|member| member.name.as_str()).collect();
            Err(Error::new(Reason::Usage, format!("the backup knows {} members: {}", many.len(), names.join(", "))).hint(
                "this version builds one node's data dir at a time: give --name for this node, the same --initial-cluster \
                 and --initial-cluster-token on every node, and the same BACKUP",
            ))
        }
    }
}

/// The target may be absent or an empty dir; anything else stays as it is.
pub fn require_empty(dir: &Path) -> Result<()> {
    let refused = |what: &str| {
        Error::new(Reason::TargetNotEmpty, format!("{} {what}", dir.display()))
            .on("restore into", dir.display())
            .hint("stop etcd, move the old data dir aside (do not delete it yet), and run this again")
    };
    match std::fs::read_dir(dir) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(refused("is not empty: nothing was changed")),
        },
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) if source.kind() == std::io::ErrorKind::NotADirectory => Err(refused("is not a directory")),
        Err(source) => Err(Error::io("look into", dir.display(), source)),
    }
}

/// `<dir>.partial`, beside the target.
pub(super) fn partial(target: &Path) -> Result<PathBuf> {
    let Some(name) = target.file_name() else {
        return Err(Error::new(Reason::Usage, format!("{} cannot be a data dir", target.display())));
    };
    let mut partial = OsString::from(name);
    partial.push(".partial");
    Ok(target.with_file_name(partial))
}
