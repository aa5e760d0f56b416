//! A restore: which backup, where to, as which member, with whose consent.

use super::StoreArgs;
use chrono::{DateTime, Utc};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

#[derive(Args, Debug)]
#[group(id = "named", args = ["name", "in_place"], multiple = true)]
pub struct RestoreArgs {
    /// Which backup [default: the newest proven]
    pub backup: Option<String>,
    /// Where to build the data dir, absent or empty; without it only the plan is shown
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Exchange the data of this node's own etcd: stop it, swap, start it, wait until the cluster answers
    #[arg(long, conflicts_with = "data_dir")]
    pub in_place: bool,
    /// The manifest of etcd's static pod [default: kubeadm's, /etc/kubernetes/manifests/etcd.yaml]
    #[arg(long, value_name = "FILE", conflicts_with = "unit")]
    pub static_pod: Option<PathBuf>,
    /// The systemd unit that starts etcd on this node, such as etcd.service
    #[arg(long, value_name = "UNIT")]
    pub unit: Option<String>,
    /// The most to wait for the old etcd's end, for the other nodes, for a majority
    #[arg(long, value_name = "SPAN", default_value = "15m", value_parser = lifeboat_policy::span::parse)]
    pub wait: std::time::Duration,
    /// Take the last --in-place restore of this node back: the old data returns, the restored is kept aside
    #[arg(long, conflicts_with_all = ["backup", "data_dir", "at", "revision", "plan", "from", "in_place"])]
    pub undo: bool,
    /// The newest proven backup that was captured then or before
    #[arg(long, value_name = "TIME", value_parser = lifeboat_policy::moment::parse, conflicts_with = "backup")]
    pub at: Option<DateTime<Utc>>,
    /// The newest proven backup at this revision or before
    #[arg(long, value_name = "N", conflicts_with_all = ["backup", "at"])]
    pub revision: Option<i64>,
    /// The plan that the first node printed, lbp1:..., or a file that holds it
    #[arg(long, value_name = "FILE|lbp1:...")]
    #[arg(conflicts_with_all = ["backup", "at", "revision", "initial_cluster", "bump", "no_bump"])]
    pub plan: Option<String>,
    /// Not from a store: one backup's folder, as it was copied out of one; or a plain file, what `etcdctl snapshot save` wrote or
    /// a data dir's member/snap/db, with --data-dir
    #[arg(long, value_name = "PATH", conflicts_with_all = ["backup", "at", "revision", "store"])]
    pub from: Option<PathBuf>,
    #[command(flatten)]
    pub store: StoreArgs,
    /// Which member this machine is to be [default: the one with an address or the host name of this machine]
    #[arg(long)]
    pub name: Option<String>,
    /// The members, as etcdutl takes them: name=url,name=url [default: those of the backup]
    #[arg(long, value_name = "NAME=URL,...", requires = "named")]
    pub initial_cluster: Option<String>,
    /// The new cluster's token; the same on every member [default: a new one]
    #[arg(long, value_name = "TOKEN", conflicts_with = "plan")]
    pub initial_cluster_token: Option<String>,
    /// This member's peer URLs; must be those in --initial-cluster
    #[arg(long, value_name = "URL,...", requires = "initial_cluster")]
    pub initial_advertise_peer_urls: Option<String>,
    /// Continue at the backup's revision plus N, the history before it compacted [default: 1000000000, and in place more
    /// where the old data here is that far ahead]
    #[arg(long, value_name = "N")]
    pub bump: Option<u64>,
    /// Continue at the backup's own revision; old watchers may believe a stale world
    #[arg(long, conflicts_with = "bump")]
    pub no_bump: bool,
    /// Write the database anew without its free pages, as `etcdutl defrag` would
    #[arg(long)]
    pub compact_file: bool,
    /// The etcd that will start from it, such as 3.6: refused at once where that one would not
    #[arg(long, value_name = "VERSION")]
    pub etcd_version: Option<etcdfile::Line>,
    /// Consent, by name
    #[arg(long, value_enum)]
    pub allow: Vec<AllowWord>,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Print the plan and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

impl RestoreArgs {
    /// What is added to the revision, where the least that nobody has seen yet is `ahead` of it.
    pub fn bump(&self, ahead: u64) -> Option<u64> {
        let usual = crate::restore::DEFAULT_BUMP;
        let enough = if ahead < usual / 2 { usual } else { ahead.saturating_add(usual) };
        (!self.no_bump).then(|| self.bump.unwrap_or(enough))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AllowWord {
    Unproven,
    Diverged,
    Older,
    Late,
    Unverified,
}
