//! Object names, built from validated parts only: no string from outside becomes a path.

use crate::config::ClusterName;
use chrono::{DateTime, Utc};
use lifeboat_policy::id::BackupId;
use object_store::path::Path;
use std::fmt;

/// The name of one object below a store's prefix.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey(String);

impl ObjectKey {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The detached signature that stands beside a signed JSON object.
    pub fn signature(&self) -> ObjectKey {
        ObjectKey(format!("{}.minisig", self.0))
    }

    pub(super) fn below(&self, prefix: &Path) -> Path {
        self.0.split('/').fold(prefix.clone(), |path, part| path.join(part))
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of an object that `doctor` makes to try what a key may do: the only kind that is ever overwritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanaryKey(ObjectKey);

impl CanaryKey {
    pub fn object(&self) -> &ObjectKey {
        &self.0
    }
}

/// Where the objects of one cluster live: the layout of `agent/docs/objects.md`.
#[derive(Clone, Debug)]
pub struct Layout {
    cluster: ClusterName,
}

/// What a listed name is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Blob,
    Sums,
    Manifest,
    ManifestSignature,
    Verdict,
    VerdictSignature,
    Tombstone,
    TombstoneSignature,
    Hold,
    HoldSignature,
}

impl Layout {
    pub fn new(cluster: &ClusterName) -> Self {
        Layout { cluster: cluster.clone() }
    }

    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    fn key(&self, rest: fmt::Arguments<'_>) -> ObjectKey {
        ObjectKey(format!("{}/{rest}", self.cluster))
    }

    pub fn blob(&self, id: &BackupId) -> ObjectKey {
        self.key(format_args!("backups/{id}/db.zst.age"))
    }

    pub fn sums(&self, id: &BackupId) -> ObjectKey {
        self.key(format_args!("backups/{id}/db.zst.age.sums"))
    }

    pub fn manifest(&self, id: &BackupId) -> ObjectKey {
        self.key(format_args!("backups/{id}/manifest.json"))
    }

    pub fn verdict(&self, id: &BackupId, at: DateTime<Utc>, random: u32) -> ObjectKey {
        self.key(format_args!("proofs/{id}/{}-{random:08x}.json", stamp(at)))
    }

    pub fn tombstone(&self, id: &BackupId, at: DateTime<Utc>, random: u32) -> ObjectKey {
        self.key(format_args!("tombstones/{id}/{}-{random:08x}.json", stamp(at)))
    }

    pub fn hold(&self, id: &BackupId, at: DateTime<Utc>, random: u32) -> ObjectKey {
        self.key(format_args!("holds/{id}/{}-{random:08x}.json", stamp(at)))
    }

    /// The folder of a backup's holds, to be listed.
    pub fn holds(&self, id: &BackupId) -> String {
        format!("{}/holds/{id}", self.cluster)
    }

    /// The folder of a backup's tombstones, to be listed.
    pub fn tombstones(&self, id: &BackupId) -> String {
        format!("{}/tombstones/{id}", self.cluster)
    }

    pub fn ack(&self, at: DateTime<Utc>, random: u32) -> ObjectKey {
        self.key(format_args!("acks/{}-{random:08x}.json", stamp(at)))
    }

    /// Reads a listed name back as an acknowledgement's or, with `true`, its signature's. They belong to no backup.
    pub fn parse_ack(&self, name: &str) -> Option<(bool, ObjectKey)> {
        let file = name.strip_prefix(self.cluster.as_str())?.strip_prefix("/acks/")?;
        let signature = is_note(file, ".json.minisig");
        (signature || is_note(file, ".json")).then(|| (signature, ObjectKey(name.to_owned())))
    }

    /// The operator's list of keys number `n`; lists belong to no backup.
    pub fn trust_list(&self, n: u32) -> ObjectKey {
        self.key(format_args!("trust/{n}.json"))
    }

    /// Reads a listed name back as a trust list's or, with `true`, its signature's.
    pub fn parse_trust_list(&self, name: &str) -> Option<(bool, u32, ObjectKey)> {
        let file = name.strip_prefix(self.cluster.as_str())?.strip_prefix("/trust/")?;
        let (number, signature) = match file.strip_suffix(".json.minisig") {
            Some(number) => (number, true),
            None => (file.strip_suffix(".json")?, false),
        };
        let n: u32 = number.parse().ok()?;
        let key = ObjectKey(name.to_owned());
        // One name for each number: no sign, no leading zero.
        (n > 0 && n.to_string() == number).then_some((signature, n, key))
    }

    /// The folder of all canaries, to be listed.
    pub fn canaries(&self) -> String {
        format!("{}/doctor", self.cluster)
    }

    pub fn canary(&self, at: DateTime<Utc>, random: u32) -> CanaryKey {
        CanaryKey(self.key(format_args!("doctor/{}-{random:08x}", stamp(at))))
    }

    /// Reads a listed name back as a canary's. They belong to no backup, so readers of the catalog pass them by.
    pub fn parse_canary(&self, name: &str) -> Option<CanaryKey> {
        let file = name.strip_prefix(self.canaries().as_str())?.strip_prefix('/')?;
        is_note(file, "").then(|| CanaryKey(ObjectKey(name.to_owned())))
    }

    /// Reads a listed name back. `None`: not one of ours, to be counted and never touched.
    pub fn parse(&self, name: &str) -> Option<(BackupId, Kind, ObjectKey)> {
        let rest = name.strip_prefix(self.cluster.as_str())?.strip_prefix('/')?;
        let mut parts = rest.split('/');
        let (folder, id, file) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let id = BackupId::parse(id).ok()?;
        let kind = match (folder, file) {
            ("backups", "db.zst.age") => Kind::Blob,
            ("backups", "db.zst.age.sums") => Kind::Sums,
            ("backups", "manifest.json") => Kind::Manifest,
            ("backups", "manifest.json.minisig") => Kind::ManifestSignature,
            ("proofs", file) if is_note(file, ".json") => Kind::Verdict,
            ("proofs", file) if is_note(file, ".json.minisig") => Kind::VerdictSignature,
            ("tombstones", file) if is_note(file, ".json") => Kind::Tombstone,
            ("tombstones", file) if is_note(file, ".json.minisig") => Kind::TombstoneSignature,
            ("holds", file) if is_note(file, ".json") => Kind::Hold,
            ("holds", file) if is_note(file, ".json.minisig") => Kind::HoldSignature,
            _ => return None,
        };
        Some((id, kind, ObjectKey(name.to_owned())))
    }
}

fn stamp(at: DateTime<Utc>) -> impl fmt::Display {
    at.format("%Y%m%dT%H%M%SZ")
}

/// `YYYYMMDDTHHMMSSZ-<8 hex>` and the ending.
fn is_note(file: &str, ending: &str) -> bool {
    let Some(name) = file.strip_suffix(ending) else {
        return false;
    };
    let Some((time, random)) = name.split_once('-') else {
        return false;
    };
    chrono::NaiveDateTime::parse_from_str(time, "%Y%m%dT%H%M%SZ").is_ok()
        && random.len() == 8
        && random.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_was_built_is_read_back_and_a_foreign_one_is_not() {
        let layout = Layout::new(&ClusterName::parse("prod-eu-1").unwrap());
        let at = DateTime::from_timestamp(1_795_400_000, 0).unwrap();
        let id = BackupId::new(at, 7);
        for (key, kind) in [
            (layout.blob(&id), Kind::Blob),
            (layout.sums(&id), Kind::Sums),
            (layout.manifest(&id), Kind::Manifest),
            (layout.manifest(&id).signature(), Kind::ManifestSignature),
            (layout.verdict(&id, at, 9), Kind::Verdict),
            (layout.tombstone(&id, at, 9).signature(), Kind::TombstoneSignature),
            (layout.hold(&id, at, 9), Kind::Hold),
            (layout.hold(&id, at, 9).signature(), Kind::HoldSignature),
        ] {
            assert_eq!(layout.parse(key.as_str()), Some((id.clone(), kind, key.clone())));
        }
        for foreign in
            ["prod-eu-1/backups/x/db.zst.age", "prod-eu-1/readme", "other/backups/a/manifest.json", "prod-eu-1"]
        {
            assert_eq!(layout.parse(foreign), None);
        }
        let deep = format!("{}/more", layout.blob(&id));
        assert_eq!(layout.parse(&deep), None);
    }

    #[test]
    fn an_acknowledgement_is_known_and_nothing_else_passes_for_one() {
        let layout = Layout::new(&ClusterName::parse("prod-eu-1").unwrap());
        let ack = layout.ack(DateTime::from_timestamp(1_795_400_000, 0).unwrap(), 7);
        assert_eq!(layout.parse_ack(ack.as_str()), Some((false, ack.clone())));
        assert_eq!(layout.parse_ack(ack.signature().as_str()), Some((true, ack.signature())));
        assert_eq!(layout.parse(ack.as_str()), None);
        for other in ["prod-eu-1/acks/readme.json", "prod-eu-1/acks/x/20261123T022640Z-00000007.json", "prod/acks/"] {
            assert_eq!(layout.parse_ack(other), None, "{other}");
        }
    }

    #[test]
    fn a_trust_list_has_one_name() {
        let layout = Layout::new(&ClusterName::parse("prod-eu-1").unwrap());
        let list = layout.trust_list(12);
        assert_eq!(layout.parse_trust_list(list.as_str()), Some((false, 12, list.clone())));
        assert_eq!(layout.parse_trust_list(list.signature().as_str()), Some((true, 12, list.signature())));
        assert_eq!(layout.parse(list.as_str()), None);
        for other in ["0.json", "01.json", "+1.json", "4294967296.json", "1.txt", "x/1.json", ".json"] {
            assert_eq!(layout.parse_trust_list(&format!("prod-eu-1/trust/{other}")), None, "{other}");
        }
    }

    #[test]
    fn a_canary_is_known_and_nothing_else_passes_for_one() {
        let layout = Layout::new(&ClusterName::parse("prod-eu-1").unwrap());
        let at = DateTime::from_timestamp(1_795_400_000, 0).unwrap();
        let canary = layout.canary(at, 7);
        assert_eq!(layout.parse_canary(canary.object().as_str()), Some(canary.clone()));
        assert_eq!(layout.parse(canary.object().as_str()), None);
        let id = BackupId::new(at, 7);
        let manifest = layout.manifest(&id);
        let deeper = format!("{}/x", canary.object());
        let beside = "prod-eu-1/doctors/20261123T022640Z-00000007";
        for other in [manifest.as_str(), &deeper, beside, "prod-eu-1/doctor/", "prod-eu-1/doctor/readme"] {
            assert_eq!(layout.parse_canary(other), None, "{other}");
        }
    }
}
