//! What stands in the store without a manifest: an upload under way, or what a crash left of one, or of a deletion.

use super::manifest::Tombstone;
use crate::store::{Found, ObjectKey};
use chrono::{DateTime, Utc};
use lifeboat_policy::id::BackupId;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    pub id: BackupId,
    /// Its objects in the order of their deletion.
    pub objects: Vec<ObjectKey>,
    pub bytes: u64,
    /// The store's time of the newest of them.
    pub modified: DateTime<Utc>,
    /// When its manifest was first looked for and not found, or its backup was marked: the later of both clocks. Only a look
    /// after all of its objects were there counts, so that one that is being written again is not taken for one left behind.
    pub seen: Option<DateTime<Utc>>,
    /// Others name it as a backup, and nobody signed its deletion: its manifest was lost or taken away. What is left of it
    /// is worth keeping, and is never swept.
    pub lost: bool,
}

impl Orphan {
    /// From its listed objects, in the order of their deletion, and its trusted tombstones. `None` without any object.
    pub(super) fn new(
        id: BackupId,
        objects: Vec<(ObjectKey, Found)>,
        tombstones: &[(Tombstone, DateTime<Utc>)],
    ) -> Option<Orphan> {
        let modified = objects.iter().map(|(_, found)| found.modified).max()?;
        let looks = tombstones.iter().map(|(tombstone, stored)| tombstone.at.max(*stored));
        Some(Orphan {
            seen: looks.filter(|look| *look >= modified).min(),
            bytes: objects.iter().map(|(_, found)| found.bytes).fold(0, u64::saturating_add),
            objects: objects.into_iter().map(|(key, _)| key).collect(),
            modified,
            lost: false,
            id,
        })
    }

    /// Whether it has stood for `grace` by its own claim and by the store's clock: what is younger may still be written.
    pub fn is_old(&self, grace: Duration, now: DateTime<Utc>) -> bool {
        !self.lost && [self.id.captured_at(), self.modified].into_iter().all(|at| now >= at + grace)
    }

    /// Whether it may go, if its manifest is still not there.
    pub fn is_due(&self, grace: Duration, now: DateTime<Utc>) -> bool {
        !self.lost && self.is_old(grace, now) && self.seen.is_some_and(|seen| now >= seen + grace)
    }
}

#[cfg(test)]
mod tests {
    use super::super::manifest::Binding;
    use super::*;
    use crate::config::ClusterName;
    use crate::digest::Digest;
    use crate::store::Layout;

    const GRACE: Duration = Duration::from_secs(100);

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_400_000 + seconds, 0).unwrap()
    }

    fn tombstone(claimed: i64, stored: i64) -> (Tombstone, DateTime<Utc>) {
        let binding =
            Binding { kind: String::new(), cluster: String::new(), path: String::new(), signer: Digest::of(b"") };
        let (id, reason, agent_version) = (BackupId::new(at(0), 7), String::new(), String::new());
        let tombstone =
            Tombstone { binding, id, manifest_sha256: None, at: at(claimed), reason, asked: false, agent_version };
        (tombstone, at(stored))
    }

    fn orphan(modified: i64, tombstones: &[(Tombstone, DateTime<Utc>)]) -> Orphan {
        let id = BackupId::new(at(0), 7);
        let key = Layout::new(&ClusterName::parse("prod").unwrap()).blob(&id);
        let found = Found { name: key.to_string(), bytes: 9, modified: at(modified), e_tag: None };
        Orphan::new(id, vec![(key, found)], tombstones).unwrap()
    }

    #[test]
    fn an_orphan_goes_a_grace_after_it_was_first_seen_and_never_young_by_either_clock() {
        assert!(!orphan(5, &[]).is_due(GRACE, at(9_000)), "it was never looked for");
        assert!(!orphan(5, &[tombstone(10, 10)]).is_due(GRACE, at(109)));
        assert!(orphan(5, &[tombstone(10, 10)]).is_due(GRACE, at(110)));
        // The store's clock may only delay.
        assert!(!orphan(5, &[tombstone(10, 50)]).is_due(GRACE, at(149)));
        assert!(orphan(5, &[tombstone(50, 10)]).is_due(GRACE, at(150)));
        assert!(!orphan(5, &[]).is_old(GRACE, at(104)) && orphan(5, &[]).is_old(GRACE, at(105)));
    }

    #[test]
    fn a_look_from_before_it_was_written_again_does_not_count() {
        assert!(!orphan(200, &[tombstone(10, 10)]).is_due(GRACE, at(9_000)));
        assert!(orphan(200, &[tombstone(10, 10), tombstone(210, 210)]).is_due(GRACE, at(310)));
    }
}
