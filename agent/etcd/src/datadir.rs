//! The files of a fresh data dir, described and not written: the caller creates, syncs and renames them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::identity::{NewMember, cluster_id};
use crate::num::wide;
use crate::rewrite::Edits;
use crate::{snap, wal};

/// One member of the cluster to restore, as `--initial-cluster` would name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberSpec {
    /// The member's `--name`.
    pub name: String,
    /// Its peer URLs, in any order.
    pub peer_urls: Vec<String>,
}

/// A directory to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedDir {
    /// Relative to the data dir; empty for the data dir itself.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
}

/// A file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedFile {
    /// Relative to the data dir.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
    /// All of its content.
    pub bytes: Vec<u8>,
}

/// A fresh data dir for one member, but for the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Directories, parents first.
    pub dirs: Vec<PlannedDir>,
    /// Files other than the database.
    pub files: Vec<PlannedFile>,
    /// Where the database goes, relative to the data dir; mode 0600.
    pub db: PathBuf,
    /// The id of the member that will start here.
    pub member_id: u64,
    /// The id of the new cluster.
    pub cluster_id: u64,
    /// What [`crate::rewrite::commit`] must change in the database so that it fits these files.
    pub edits: Edits,
}

/// Why no data dir can be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// `me` is not in the list.
    #[error("member {name} is not among the members to restore ({known}); name one of these")]
    UnknownMember {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// Two members share a name.
    #[error("two members are called {name}; every member needs its own name")]
    SameName {
        /// The name in question.
        name: String,
    },
    /// A peer URL is used twice, or by two members.
    #[error("peer URL {url} is given twice; every member needs its own peer URLs")]
    SameUrl {
        /// The URL in question.
        url: String,
    },
    /// Something that etcd would not take as a peer URL.
    #[error("peer URL {url} of member {name} {flaw}; write it like https://10.0.0.1:2380")]
    BadUrl {
        /// The member in question.
        name: String,
        /// The URL in question.
        url: String,
        /// What is wrong with it.
        flaw: &'static str,
    },
    /// A member without a peer URL.
    #[error("member {name} has no peer URL; give at least one, such as https://10.0.0.1:2380")]
    NoUrl {
        /// The member in question.
        name: String,
    },
}

/// Plans the data dir of `me`, one of `members`, in a new cluster named by `token`.
///
/// Every member must be planned from the same list and token, and restored from the same backup; only `me` differs.
pub fn plan(me: &str, members: &[MemberSpec], token: &str, bump: Option<u64>) -> Result<Plan, PlanError> {
    check_specs(members)?;
    let members: Vec<NewMember> =
        members.iter().map(|member| NewMember::new(&member.name, &member.peer_urls, token)).collect();
    let Some(mine) = members.iter().find(|member| member.name == me) else {
        let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
        return Err(PlanError::UnknownMember { name: me.to_owned(), known: names.join(", ") });
    };
    let member_id = mine.id;
    let ids: Vec<u64> = members.iter().map(|member| member.id).collect();
    let cluster_id = cluster_id(&ids);
    let (snap_name, snap_bytes) = snap::first(&members);
    let wal_bytes = wal::first_segment(member_id, cluster_id, &members);
    let consistent_index = wide(members.len());
    Ok(Plan {
        dirs: ["", "member", "member/snap", "member/wal"]
            .map(|path| PlannedDir { path: PathBuf::from(path), mode: 0o700 })
            .to_vec(),
        files: vec![
            file("member/snap", &snap_name, 0o600, snap_bytes),
            file("member/wal", wal::FIRST_NAME, 0o600, wal_bytes),
        ],
        db: PathBuf::from("member/snap/db"),
        member_id,
        cluster_id,
        edits: Edits { members, consistent_index, term: wal::FIRST_TERM, bump, disable_auth: false },
    })
}

fn check_specs(members: &[MemberSpec]) -> Result<(), PlanError> {
    let mut names = BTreeSet::new();
    let mut urls = BTreeSet::new();
    for member in members {
        if !names.insert(&member.name) {
            return Err(PlanError::SameName { name: member.name.clone() });
        }
        if member.peer_urls.is_empty() {
            return Err(PlanError::NoUrl { name: member.name.clone() });
        }
        for url in &member.peer_urls {
            if let Some(flaw) = url_flaw(url) {
                return Err(PlanError::BadUrl { name: member.name.clone(), url: url.clone(), flaw });
            }
            if !urls.insert(url) {
                return Err(PlanError::SameUrl { url: url.clone() });
            }
        }
    }
    Ok(())
}

/// What etcd itself would not take: http and https need a host and a port and nothing behind them.
fn url_flaw(url: &str) -> Option<&'static str> {
    let Some((scheme, rest)) = url.split_once("://") else { return Some("has no scheme") };
    match scheme {
        "http" | "https" => {}
        "unix" | "unixs" => return rest.is_empty().then_some("names no socket"),
        _ => return Some("has another scheme than http, https, unix or unixs"),
    }
    if rest.contains(['/', '?', '#']) {
        return Some("has something behind its port");
    }
    let Some((host, port)) = rest.rsplit_once(':') else { return Some("has no port") };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Some("has no port from 1 to 65535");
    }
    let bad_host = host.is_empty() || host.contains(char::is_whitespace) || host.contains('@');
    (bad_host || host.contains(':') != bracketed).then_some("has no host")
}

fn file(dir: &str, name: &str, mode: u32, bytes: Vec<u8>) -> PlannedFile {
    PlannedFile { path: PathBuf::from(dir).join(name), mode, bytes }
}
