//! What the nodes of one restore agree on. The first node decides it and prints it as one word to paste; every other node
//! takes it whole, so that all come up as one cluster, with one content and one revision.

use super::RestorePlan;
use crate::digest::Digest;
use crate::error::{Error, Reason, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use etcdfile::MemberSpec;
use lifeboat_policy::id::BackupId;
use serde::{Deserialize, Serialize};

/// How a plan begins: what it is, and its version.
const PREFIX: &str = "lbp1:";
/// Of the SHA-256 at its end, which tells a plan that lost a letter on its way.
const SUM_BYTES: usize = 4;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreed {
    pub cluster: String,
    pub backup: BackupId,
    pub manifest_sha256: Digest,
    pub token: String,
    /// `None`: the revision goes on where the backup ended.
    pub bump: Option<u64>,
    members: Vec<Member>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Member {
    name: String,
    peer_urls: Vec<String>,
}

impl Agreed {
    pub fn new(cluster: &str, backup: &BackupId, manifest_sha256: Digest, plan: &RestorePlan) -> Agreed {
        let member = |spec: &MemberSpec| Member { name: spec.name.clone(), peer_urls: spec.peer_urls.clone() };
        Agreed {
            cluster: cluster.to_owned(),
            backup: backup.clone(),
            manifest_sha256,
            token: plan.token.clone(),
            bump: plan.target.bump,
            members: plan.members.iter().map(member).collect(),
        }
    }

    pub fn members(&self) -> Vec<MemberSpec> {
        let spec = |member: &Member| MemberSpec { name: member.name.clone(), peer_urls: member.peer_urls.clone() };
        self.members.iter().map(spec).collect()
    }

    /// One word: `lbp1:7f3a9c:` and the rest, which says all of it.
    pub fn to_text(&self) -> Result<String> {
        let mut bytes = serde_json::to_vec(self)
            .map_err(|source| Error::new(Reason::Internal, "the plan cannot be written").because(source))?;
        bytes.extend(sum(&bytes));
        Ok(format!("{PREFIX}{}:{}", self.backup.short(6), URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// Reads a plan that was pasted; blanks and line ends that a terminal or a chat put in are no part of it.
    pub fn parse(text: &str) -> Result<Agreed> {
        let unusable = |what: &str| {
            Error::new(Reason::Usage, format!("--plan: {what}")).hint(
                "copy the whole command again that the first node printed; a plan is one word and begins with lbp1:",
            )
        };
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let Some(rest) = text.strip_prefix(PREFIX) else {
            return Err(match text.strip_prefix("lbp").and_then(|rest| rest.split_once(':')) {
                Some((version, _)) => unusable(&format!("this is a plan of version {version:?}, and here is only 1"))
                    .hint("use the same lifeboat on every node"),
                None => unusable("this is no plan"),
            });
        };
        let cut = || unusable("the plan is not whole: letters are missing or changed");
        let (_, payload) = rest.split_once(':').ok_or_else(cut)?;
        let bytes = URL_SAFE_NO_PAD.decode(payload).map_err(|_| cut())?;
        let (json, found) = bytes.split_at_checked(bytes.len().saturating_sub(SUM_BYTES)).ok_or_else(cut)?;
        if found != sum(json) {
            return Err(cut());
        }
        serde_json::from_slice(json).map_err(|source| cut().because(source))
    }

    /// Whether the backup that was found is the one that was agreed on.
    pub fn check(&self, cluster: &str, manifest_sha256: Digest) -> Result<()> {
        if self.cluster != cluster {
            let text = format!("the plan is of the cluster {}, and this store's is {cluster}", self.cluster);
            return Err(Error::new(Reason::Usage, text).hint("give the store of the first node, or its --cluster"));
        }
        if self.manifest_sha256 != manifest_sha256 {
            let text = format!("backup {} here is not the one of the plan: its manifest differs", self.backup);
            return Err(Error::new(Reason::NotUsable, text)
                .hint("read from the store that the first node read from; nothing was changed"));
        }
        match self.members.is_empty() {
            true => Err(Error::new(Reason::Usage, "the plan names no member")),
            false => Ok(()),
        }
    }
}

fn sum(bytes: &[u8]) -> [u8; SUM_BYTES] {
    let digest = Digest::of(bytes);
    std::array::from_fn(|at| digest.bytes().get(at).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreed() -> Agreed {
        let member = |n: u8| Member { name: format!("cp-{n}"), peer_urls: vec![format!("https://10.0.0.1{n}:2380")] };
        Agreed {
            cluster: "prod-eu-1".to_owned(),
            backup: BackupId::new(chrono::DateTime::from_timestamp(1_790_000_000, 0).unwrap(), 0x7f3a_9c00_1122_3344),
            manifest_sha256: Digest::of(b"manifest"),
            token: "lifeboat-0123456789abcdef".to_owned(),
            bump: Some(1_000_000_000),
            members: (1..4).map(member).collect(),
        }
    }

    #[test]
    fn a_plan_survives_the_terminal_and_no_letter_of_it_can_change() {
        let plan = agreed();
        let text = plan.to_text().unwrap();
        assert!(text.starts_with("lbp1:7f3a9c:"), "{text}");
        assert_eq!(Agreed::parse(&text).unwrap(), plan);
        let wrapped: String = text.chars().flat_map(|c| [c, '\n']).collect();
        assert_eq!(Agreed::parse(&wrapped).unwrap(), plan);
        for at in "lbp1:7f3a9c:".len()..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(Agreed::parse(&changed).is_err(), "{at}");
            assert!(Agreed::parse(&text[..at]).is_err(), "{at}");
        }
    }

    #[test]
    fn what_is_no_plan_says_so() {
        let error = |text: &str| Agreed::parse(text).unwrap_err().message;
        assert_eq!(error("7f3a9c"), "--plan: this is no plan");
        assert!(error("lbp2:7f3a9c:AAAA").contains("version \"2\""));
        assert!(error("lbp1:7f3a9c").contains("not whole"));
        let mut other = agreed();
        other.cluster = "staging".to_owned();
        assert!(agreed().check("prod-eu-1", Digest::of(b"manifest")).is_ok());
        assert!(other.check("prod-eu-1", Digest::of(b"manifest")).is_err());
        let error = agreed().check("prod-eu-1", Digest::of(b"another")).unwrap_err();
        assert_eq!(error.reason, Reason::NotUsable);
    }
}
