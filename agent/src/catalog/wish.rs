//! What persons write into a store: holds and releases, and findings that they have seen and accept.

use super::manifest::{Binding, Signed};
use crate::config::Role;
use crate::digest::Digest;
use chrono::{DateTime, Utc};
use lifeboat_policy::hold::{HoldFact, Says};
use lifeboat_policy::id::BackupId;
use serde::{Deserialize, Serialize};

/// Keep this backup, or let it go again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hold {
    #[serde(flatten)]
    pub binding: Binding,
    pub id: BackupId,
    /// The manifest that is held, to the bit.
    pub manifest_sha256: Digest,
    pub at: DateTime<Utc>,
    pub action: HoldAction,
    /// Why, in a person's words; empty for a release.
    #[serde(default)]
    pub reason: String,
    /// Until when a hold counts; absent: until it is released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    pub agent_version: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldAction {
    Hold,
    Release,
}

impl Hold {
    pub fn fact(&self) -> HoldFact {
        let says = match self.action {
            HoldAction::Hold => Says::Hold { reason: self.reason.clone(), until: self.until },
            HoldAction::Release => Says::Release,
        };
        HoldFact { at: self.at, says }
    }
}

impl Signed for Hold {
    const KIND: &'static str = "lifeboat/hold/v1";
    const ROLES: &'static [Role] = &Role::ALL;
    fn at(&self) -> DateTime<Utc> {
        self.at
    }
    fn binding(&self) -> &Binding {
        &self.binding
    }
    fn id(&self) -> Option<&BackupId> {
        Some(&self.id)
    }

    /// Anybody trusted may make Lifeboat keep more; only the operator may make it keep less.
    fn may(&self, role: Role) -> bool {
        self.action == HoldAction::Hold || role == Role::Operator
    }

    fn dated(&self) -> Option<DateTime<Utc>> {
        Some(self.at)
    }
}

/// A finding that a person has seen and accepts: this very one, not its kind.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ack {
    #[serde(flatten)]
    pub binding: Binding,
    pub at: DateTime<Utc>,
    pub finding: About,
    /// The finding in the words that the person read.
    pub what: String,
    /// Why it is accepted.
    pub reason: String,
    pub agent_version: String,
}

/// What a finding is about: its kind, and the one thing that it speaks of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct About {
    pub kind: String,
    /// A backup with its manifest's digest, or an object's path.
    pub subject: String,
}

impl About {
    pub fn new(kind: &str, subject: impl Into<String>) -> About {
        About { kind: kind.to_owned(), subject: subject.into() }
    }

    /// What a person types to name it: the same on every host and every day.
    pub fn short(&self) -> String {
        let digest = Digest::of(format!("{}\n{}", self.kind, self.subject).as_bytes()).to_string();
        digest.chars().take(8).collect()
    }
}

impl Signed for Ack {
    const KIND: &'static str = "lifeboat/ack/v1";
    const ROLES: &'static [Role] = &[Role::Operator];
    fn at(&self) -> DateTime<Utc> {
        self.at
    }
    fn binding(&self) -> &Binding {
        &self.binding
    }
    fn id(&self) -> Option<&BackupId> {
        None
    }

    fn dated(&self) -> Option<DateTime<Utc>> {
        Some(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{catalog, trusted};
    use super::super::{Catalog, Trusted};
    use super::*;
    use crate::summary::{Finding, SHRUNK, Yardstick, summarize};
    use lifeboat_policy::proof::Level;

    fn ack(finding: About) -> Ack {
        let binding =
            Binding { kind: String::new(), cluster: String::new(), path: String::new(), signer: Digest::of(b"") };
        let (what, reason, agent_version) = (String::new(), "meant".to_owned(), String::new());
        Ack { binding, at: DateTime::default(), finding, what, reason, agent_version }
    }

    #[test]
    fn an_acknowledgement_takes_its_very_finding_and_no_other() {
        let [one, two] = [100, 200].map(|at| Trusted { present: false, ..trusted("a", "a", at, at, 1) });
        let acks = vec![ack(one.finding("missing")), ack(two.finding("diverged"))];
        let catalog = Catalog { acks, ..catalog(vec![two.clone(), one.clone()]) };
        let summary = summarize(&catalog, &Yardstick::bare(Level::Sound), None, DateTime::default());
        let about = |finding: &Finding| finding.about.clone();
        assert_eq!(summary.findings.iter().map(about).collect::<Vec<_>>(), [Some(two.finding("missing"))]);
        let accepted = summary.acknowledged.iter().map(|(finding, _)| about(finding)).collect::<Vec<_>>();
        assert_eq!(accepted, [Some(one.finding("missing"))]);
        assert_ne!(one.finding("missing").short(), two.finding("missing").short());
        assert_ne!(one.finding("missing").short(), one.finding("diverged").short());
    }

    #[test]
    fn a_collapse_is_acknowledged_for_one_manifest() {
        let entry = trusted("a", "a", 100, 100, 1);
        let finding = Finding::shrunk(&entry, "it lost most keys".to_owned());
        let acks = finding.about.clone().map(ack).into_iter().collect();
        let catalog = Catalog { acks, ..catalog(vec![entry.clone()]) };
        assert_eq!(catalog.acked(SHRUNK), [entry.id().clone()].into());
        assert_eq!(catalog.acked("missing"), [].into());
        // Another manifest under the same id is another matter.
        let other = Catalog { trusted: vec![Trusted { manifest_sha256: Digest::of(b"x"), ..entry }], ..catalog };
        assert_eq!(other.acked(SHRUNK), [].into());
    }
}
