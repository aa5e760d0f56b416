//! What a restore will do, decided before anything is touched.

use super::node;
use crate::catalog::manifest::Manifest;
use crate::error::{Error, Reason, Result};
use crate::fetch::SnapshotFile;
use crate::scratch;
use etcdfile::{Line, MemberSpec, line};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Added to the revision by default: more than any cluster writes between two backups, so watchers list afresh.
pub const DEFAULT_BUMP: u64 = 1_000_000_000;
/// Room for the pages that the new members need, the WAL and the snap file.
const SPARE_BYTES: u64 = 16 << 20;

/// Where the data dir goes and how it continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub dir: PathBuf,
    /// `None`: the revision goes on where the backup ended.
    pub bump: Option<u64>,
    /// Whether the database is written anew without free pages.
    pub compact_file: bool,
    /// The etcd that will start from it, where that is known.
    pub server: Option<Line>,
}

/// What a restore has to know of a backup before it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub revision: i64,
    pub db_bytes: u64,
    pub storage_version: Option<String>,
    pub cluster_version: Option<String>,
    /// Those that vote.
    pub members: Vec<MemberSpec>,
    /// By name: a restore leaves them out, because a cluster cannot begin with one.
    pub learners: Vec<String>,
}

impl Origin {
    /// As the signed manifest says.
    pub fn of_manifest(manifest: &Manifest) -> Origin {
        let all = manifest.etcd.members.iter().map(|m| (m.is_learner, m.name.clone(), m.peer_urls.clone()));
        let (members, learners) = split(all);
        Origin {
            revision: manifest.db.revision,
            db_bytes: manifest.db.bytes,
            storage_version: manifest.db.storage_version.clone(),
            cluster_version: manifest.db.cluster_version.clone(),
            members,
            learners,
        }
    }

    /// As a plain file says, from a few of its pages: whether it is sound shows when it is read.
    pub fn of_file(file: &SnapshotFile) -> Result<Origin> {
        let unusable = |source: etcdfile::DbError| {
            let reason = if matches!(source, etcdfile::DbError::Io { .. }) { Reason::HostIo } else { Reason::Damaged };
            Error::new(reason, format!("{} cannot be restored", file.path.display()))
                .on("read", file.path.display())
                .hint("`lifeboat inspect` says what it is and all that is wrong with it")
                .because(source)
        };
        let db = etcdfile::Database::open(&file.file).map_err(unusable)?;
        let versions = db.versions().map_err(unusable)?;
        let all = db.members().map_err(unusable)?.into_iter().map(|m| (m.is_learner, m.name, m.peer_urls));
        let (members, learners) = split(all);
        Ok(Origin {
            revision: db.revision(),
            db_bytes: file.bytes,
            storage_version: versions.storage,
            cluster_version: versions.cluster,
            members,
            learners,
        })
    }

    /// The oldest line of etcd from which on all start from this, where what is recorded says so.
    pub fn oldest_server(&self) -> Option<Line> {
        line::oldest(self.storage_version.as_deref(), self.cluster_version.as_deref())
    }
}

fn split(all: impl Iterator<Item = (bool, String, Vec<String>)>) -> (Vec<MemberSpec>, Vec<String>) {
    let (mut members, mut learners) = (Vec::new(), Vec::new());
    for (is_learner, name, peer_urls) in all {
        match is_learner {
            true => learners.push(if name.is_empty() { peer_urls.join(" ") } else { name }),
            false => members.push(MemberSpec { name, peer_urls }),
        }
    }
    // etcd lists them by id, which tells a person nothing.
    members.sort_by(|one: &MemberSpec, other| one.name.cmp(&other.name));
    (members, learners)
}

/// Who the members of the restored cluster are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Members {
    /// Those of the backup that vote. `name` says which of them is made here; without it this machine looks for itself.
    FromBackup { name: Option<String> },
    /// Those of another node's plan.
    Agreed { name: Option<String>, initial_cluster: Vec<MemberSpec> },
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
    /// Users and roles are not enforced in what is built: for a copy that nobody else can reach, and whose passwords are
    /// not known to who has to ask it.
    pub fn without_auth(mut self) -> Self {
        self.data.edits.disable_auth = true;
        self
    }

    /// The id of the cluster that begins with it; the same on all of its nodes.
    pub fn cluster_id(&self) -> u64 {
        self.data.cluster_id
    }

    /// The revision that the restored etcd begins with.
    pub fn first_revision(&self, origin: &Origin) -> i64 {
        let bump = self.target.bump.and_then(|bump| i64::try_from(bump).ok()).unwrap_or(0);
        origin.revision.saturating_add(bump)
    }
}

/// Decides a restore of one member, or says why it cannot be.
pub fn plan(origin: &Origin, target: Target, members: Members, token: String) -> Result<RestorePlan> {
    require_empty(&target.dir)?;
    if let Some(server) = target.server {
        let (storage, cluster) = (origin.storage_version.as_deref(), origin.cluster_version.as_deref());
        line::starts(server, storage, cluster).map_err(|refused| {
            Error::new(Reason::NotUsable, refused.to_string()).on("restore for", format!("etcd {server}")).hint(
                "nothing was changed; etcd goes back a version only by its own `etcdctl downgrade`, on a cluster that runs",
            )
        })?;
    }
    let copies = if target.compact_file { 2 } else { 1 };
    let needed_bytes = origin.db_bytes.saturating_mul(copies).saturating_add(SPARE_BYTES);
    let free_bytes = scratch::require_space(&target.dir, needed_bytes, "the restored data dir")?;
    let (name, members) = match members {
        Members::FromBackup { name } => (own_name(&origin.members, name)?, origin.members.clone()),
        Members::Agreed { name, initial_cluster } => (own_name(&initial_cluster, name)?, initial_cluster),
        Members::Given { name, initial_cluster } => (name, initial_cluster),
    };
    let data = etcdfile::datadir::plan(&name, &members, &token, target.bump).map_err(|source| {
        Error::new(Reason::Usage, "these members do not make a cluster")
            .hint("give --name and --initial-cluster NAME=URL as etcdutl takes them")
            .because(source)
    })?;
    Ok(RestorePlan { target, name, members, token, needed_bytes, free_bytes, data })
}

/// Which of the members is made here.
fn own_name(members: &[MemberSpec], name: Option<String>) -> Result<String> {
    let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
    match (members, name) {
        ([], _) => Err(Error::new(Reason::Usage, "the backup names no member")
            .hint("give --name and --initial-cluster NAME=URL for the member to restore")),
        (_, Some(name)) if names.contains(&name.as_str()) => Ok(name),
        (_, Some(name)) => {
            Err(Error::new(Reason::Usage, format!("--name {name}: the members are {}", names.join(", ")))
                .hint("name one of these, or give all members with --initial-cluster"))
        }
        ([only], None) => Ok(only.name.clone()),
        (_, None) => node::this_one(members).map(|found| found.name.clone()).ok_or_else(|| {
            let text = format!("which member is this machine? The members are {}", names.join(", "));
            Error::new(Reason::Usage, text).hint(
                "none of them has an address or the host name of this machine: say which one it is to be with --name; if \
                 addresses have changed, give all members with --initial-cluster",
            )
        }),
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
