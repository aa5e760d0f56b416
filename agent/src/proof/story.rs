//! What a proof found, step by step, as its verdict tells it.

use crate::capture::{Ask, Counted, EncryptionKey};
use crate::catalog::manifest::{Hash, Learnt, Manifest, Step};
use crate::clock::Laps;
use crate::error::{Error, Reason, Result};
use crate::glob::Glob;
use etcdfile::{HashKv, Report};
use lifeboat_policy::proof::Level;

/// The levels that are reached while a backup streams, as laps and steps name them.
const STREAMED: [Level; 3] = [Level::Stored, Level::Opened, Level::Sound];

/// What the steps so far found.
#[derive(Debug, Default)]
pub(super) struct Story {
    pub steps: Vec<Step>,
    pub etcd_version: Option<String>,
    pub learnt: Learnt,
}

impl Story {
    pub fn add(&mut self, name: &str, took_seconds: f64, found: String) {
        self.steps.push(Step { name: name.to_owned(), took_seconds, found });
    }

    /// The levels below `end` that one pass over the backup reached, each with its share of the time: they overlap, and each
    /// lasts from the end of the one before it to its own.
    pub fn streamed(&mut self, laps: &Laps, end: Level, manifest: &Manifest, sound: Option<&Report>) {
        let mut before = 0.0;
        for level in STREAMED.into_iter().filter(|level| *level < end) {
            let Some(at) = laps.at(level.as_str()) else { continue };
            let found = match level {
                Level::Stored => format!("{} bytes, digests equal the signed ones", manifest.sealed.bytes),
                Level::Opened => format!("{} bytes, trailer and digest hold", manifest.plaintext.bytes),
                Level::Sound | Level::Booted => sound.map_or("page tree sound".to_owned(), describe),
            };
            self.add(level.as_str(), (at - before).max(0.0), found);
            before = at.max(before);
        }
    }

    /// Takes in what was counted, and holds it against the manifest, the backup before and the config.
    pub fn counted(
        &mut self,
        counted: Counted,
        manifest: &Manifest,
        before: Option<&Manifest>,
        expect: &[Glob],
    ) -> Result<()> {
        let failed = |text: String| Err(Error::new(Reason::ProofFailed, text).at(Level::Sound));
        if manifest.encryption_at_rest.as_ref().is_some_and(|signed| *signed != counted.encryption) {
            let signed = names(manifest.encryption_at_rest.as_deref().unwrap_or_default());
            let found = names(&counted.encryption);
            return failed(format!("its values need the encryption keys [{found}], the manifest says [{signed}]"));
        }
        let missing: Vec<String> = expect
            .iter()
            .zip(&counted.expected)
            .filter(|(_, keys)| **keys == 0)
            .map(|(glob, _)| format!("\"{glob}\""))
            .collect();
        self.learnt.warnings.extend(new_key(&counted.encryption, before));
        self.learnt.encryption_at_rest = Some(counted.encryption);
        self.learnt.key_counts = counted.kinds;
        if !missing.is_empty() {
            return failed(format!("proof.expect: the backup has no key {}", missing.join(", ")));
        }
        Ok(())
    }
}

/// What is counted of a backup that is proven.
pub(super) fn ask(expect: &[Glob]) -> Ask {
    Ask { kinds: true, expect: expect.to_vec() }
}

/// `"key2" (aescbc), "key1" (aescbc)`.
pub fn names(keys: &[EncryptionKey]) -> String {
    let named = |key: &EncryptionKey| format!("\"{}\" ({})", key.name, key.provider);
    keys.iter().map(named).collect::<Vec<_>>().join(", ")
}

/// Keys that the backup before did not need: somebody has to keep them from now on.
fn new_key(keys: &[EncryptionKey], before: Option<&Manifest>) -> Option<String> {
    let known = before?.encryption_at_rest.as_ref()?;
    let is_new =
        |key: &&EncryptionKey| !known.iter().any(|other| (&other.provider, &other.name) == (&key.provider, &key.name));
    let new: Vec<EncryptionKey> = keys.iter().filter(is_new).cloned().collect();
    (!new.is_empty()).then(|| {
        format!(
            "a restore now also needs the encryption key {}, which the backup before did not: keep it where a restore finds it",
            names(&new)
        )
    })
}

fn describe(report: &Report) -> String {
    let hash = report.hash_kv.as_ref().map_or(String::new(), |hash| format!(", HashKV {}", hash.hash));
    format!("page tree sound, {} keys at revision {}{hash}", report.keys, report.revision)
}

/// As manifests write it.
pub(super) fn hash(hash: &HashKv) -> Hash {
    Hash { hash: hash.hash, revision: hash.revision, compact_revision: hash.compact_revision }
}

/// The database is the one that the manifest describes.
pub(super) fn compare(manifest: &Manifest, report: &Report) -> Result<()> {
    let db = &manifest.db;
    let hash = report.hash_kv.as_ref().map(hash);
    let pairs = [
        ("revision", report.revision.to_string(), db.revision.to_string()),
        ("compact revision", report.compact_revision.to_string(), db.compact_revision.to_string()),
        ("keys", report.keys.to_string(), db.keys.to_string()),
        ("records", report.records.to_string(), db.records.to_string()),
        ("HashKV", format!("{hash:?}"), format!("{:?}", db.hash_kv)),
    ];
    for (what, found, wanted) in pairs {
        if found != wanted {
            let text = format!("{what} is {found}, the manifest says {wanted}");
            return Err(Error::new(Reason::ProofFailed, text).at(Level::Sound));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::sample::trusted;

    fn key(provider: &str, name: &str, values: u64) -> EncryptionKey {
        EncryptionKey { provider: provider.to_owned(), version: "v1".to_owned(), name: name.to_owned(), values }
    }

    #[test]
    fn a_new_encryption_key_is_warned_of_once_and_a_missing_expectation_is_named() {
        let mut before = trusted("c", "c", 100, 5, 1).manifest;
        let now = trusted("c", "c", 200, 6, 1).manifest;
        let both = vec![key("aescbc", "key1", 3), key("aescbc", "key2", 1)];
        let counted = |expected| Counted { encryption: both.clone(), kinds: Vec::new(), expected };
        let told = |before: Option<&Manifest>| {
            let mut story = Story::default();
            story.counted(counted(Vec::new()), &now, before, &[]).unwrap();
            story.learnt.warnings
        };
        assert!(told(None).is_empty() && told(Some(&before)).is_empty(), "an older agent did not look");
        before.encryption_at_rest = Some(vec![key("aescbc", "key1", 9)]);
        let [warning] = told(Some(&before)).try_into().unwrap();
        assert!(warning.contains("\"key2\" (aescbc)") && !warning.contains("key1"), "{warning}");
        before.encryption_at_rest = Some(both.clone());
        assert!(told(Some(&before)).is_empty());

        let globs = ["/a", "/b/*"].map(|text| Glob::parse(text).unwrap());
        let error = Story::default().counted(counted(vec![1, 0]), &now, None, &globs).unwrap_err();
        assert_eq!((error.reason, error.level), (Reason::ProofFailed, Some(Level::Sound)));
        assert!(error.message.contains("no key \"/b/*\"") && !error.message.contains("\"/a\""), "{}", error.message);
        let mut signed = now.clone();
        signed.encryption_at_rest = Some(Vec::new());
        assert!(Story::default().counted(counted(Vec::new()), &signed, None, &[]).is_err());
    }
}
