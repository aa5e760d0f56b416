//! Member and cluster ids, derived as etcd derives them when a cluster is first made.

use sha1::{Digest, Sha1};

use crate::check::Member;
use crate::num::be_u64;

/// A voting member of the cluster that a restore makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMember {
    /// See [`member_id`].
    pub id: u64,
    /// The name in `--initial-cluster` and `--name`.
    pub name: String,
    /// Peer URLs, sorted.
    pub peer_urls: Vec<String>,
}

/// A member's JSON, in the field order of etcd's own encoder.
#[derive(serde::Serialize)]
struct MemberJson<'a> {
    id: u64,
    #[serde(rename = "peerURLs")]
    peer_urls: &'a [String],
    name: &'a str,
}

impl NewMember {
    /// Makes a member whose id follows from its peer URLs and the cluster token.
    pub fn new(name: &str, peer_urls: &[String], token: &str) -> Self {
        let mut peer_urls = peer_urls.to_vec();
        peer_urls.sort();
        NewMember { id: member_id(&peer_urls, token), name: name.to_owned(), peer_urls }
    }

    /// The id as etcd prints it and as its `members` bucket is keyed: lowercase hex without leading zeros.
    pub fn hex_id(&self) -> String {
        format!("{:x}", self.id)
    }

    /// The value in the `members` bucket, and the context of the member's first entry in the log.
    pub(crate) fn json(&self) -> Vec<u8> {
        let json = MemberJson { id: self.id, peer_urls: &self.peer_urls, name: &self.name };
        // Writing numbers and strings to memory has no way to fail.
        serde_json::to_vec(&json).unwrap_or_default()
    }
}

/// The id of a member: the first eight bytes of SHA-1 over its sorted peer URLs, end to end, and the cluster token.
///
/// The same URLs with the same token give the same id, so a restore with the old token makes members that old ones,
/// still running, would talk to. Use a fresh token.
pub fn member_id(peer_urls: &[String], token: &str) -> u64 {
    let mut sorted: Vec<&String> = peer_urls.iter().collect();
    sorted.sort();
    let mut hasher = Sha1::new();
    for url in sorted {
        hasher.update(url.as_bytes());
    }
    hasher.update(token.as_bytes());
    first_eight(&hasher.finalize())
}

/// The id of a cluster: the first eight bytes of SHA-1 over its members' ids, ascending, each as eight bytes.
pub fn cluster_id(ids: &[u64]) -> u64 {
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    let mut hasher = Sha1::new();
    for id in sorted {
        hasher.update(id.to_be_bytes());
    }
    first_eight(&hasher.finalize())
}

/// The token of a cluster whose `--initial-cluster-token` was not given, as kubeadm leaves it.
const DEFAULT_TOKEN: &str = "etcd-cluster";

/// The id of the cluster that these members belong to, where that follows from them.
///
/// A cluster keeps the id that it got from the members it began with, and its database does not record it. Those members
/// are known by their own ids, which follow from their URLs and the token, if the token was the default one; the ids of
/// members added later do not. Once a member was removed, nothing tells whether the cluster had begun with it.
pub fn bootstrap_cluster_id(members: &[Member], removed: u64) -> Option<u64> {
    let first = members.iter().filter(|member| member_id(&member.peer_urls, DEFAULT_TOKEN) == member.id);
    let ids: Vec<u64> = first.map(|member| member.id).collect();
    (removed == 0 && !ids.is_empty()).then(|| cluster_id(&ids))
}

fn first_eight(digest: &[u8]) -> u64 {
    // A SHA-1 digest has twenty bytes.
    be_u64(digest, 0).unwrap_or_default()
}
