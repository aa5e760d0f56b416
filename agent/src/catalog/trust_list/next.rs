//! What the next trust list says, and what would count no more with it. Nothing is written here.

use super::{ListedKey, Revoked, TrustList};
use crate::catalog::manifest::Parent;
use crate::catalog::signed::Kind;
use crate::catalog::{Catalog, Trusted};
use crate::config::Role;
use crate::digest::Digest;
use crate::keys::{PublicKey, Trust};
use chrono::{DateTime, Utc};
use lifeboat_policy::id::BackupId;
use lifeboat_policy::trust::{Validity, Vouched, counts};
use std::collections::BTreeMap;

/// What the operator wants.
#[derive(Clone, Debug)]
pub enum Change {
    Trust { role: Role, key: PublicKey },
    Revoke { role: Role, key: PublicKey, reason: String },
    Vouch(Parent),
}

/// A list without its number and signature.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    pub keys: Vec<ListedKey>,
    pub manifests: Vec<Parent>,
}

/// The next list: the one that counts, or where there is none every key that is trusted here, with these changes.
pub fn next(
    current: Option<&TrustList>,
    local: &Trust,
    changes: &[Change],
    now: DateTime<Utc>,
) -> Result<Content, String> {
    let mut content = match current {
        Some(list) => Content { keys: list.keys.clone(), manifests: list.manifests.clone() },
        None => Content {
            keys: local.keys().iter().filter(|key| key.role != Role::Operator).map(listed).collect(),
            manifests: Vec::new(),
        },
    };
    for change in changes {
        match change {
            Change::Trust { role, key } => trust(&mut content, local, *role, key, current.map(|_| now))?,
            Change::Revoke { role, key, reason } => revoke(&mut content, *role, key, reason, now)?,
            Change::Vouch(parent) if !content.manifests.contains(parent) => content.manifests.push(parent.clone()),
            Change::Vouch(_) => {}
        }
    }
    Ok(content)
}

fn listed(known: &crate::keys::TrustedKey) -> ListedKey {
    let (role, key) = (known.role, known.key.as_str().to_owned());
    let Validity { from, until, .. } = known.validity;
    ListedKey { role, key, id: known.id.clone(), from, until, revoked: None }
}

fn trust(
    content: &mut Content,
    local: &Trust,
    role: Role,
    key: &PublicKey,
    from: Option<DateTime<Utc>>,
) -> Result<(), String> {
    if role == Role::Operator {
        return Err(
            "an operator key is trusted by configs and flags only: a stolen one could otherwise keep its place"
                .to_owned(),
        );
    }
    if let Some(known) = local.find(key).filter(|known| known.role != role) {
        return Err(format!("this key is the {}'s: one key under two roles has the rights of both", known.role));
    }
    match content.keys.iter().find(|listed| listed.key == key.as_str()) {
        Some(listed) if listed.revoked.is_some() => Err("this key was revoked, for good: make a new one".to_owned()),
        Some(listed) if listed.role != role => Err(format!("this key is listed for {} already", listed.role)),
        Some(_) => Ok(()),
        None => {
            // A key of a first list may have signed for long; one that is added later has not.
            content.keys.push(ListedKey {
                role,
                key: key.as_str().to_owned(),
                id: None,
                from,
                until: None,
                revoked: None,
            });
            Ok(())
        }
    }
}

fn revoke(content: &mut Content, role: Role, key: &PublicKey, reason: &str, at: DateTime<Utc>) -> Result<(), String> {
    if role == Role::Operator {
        return Err("an operator key cannot be revoked by a list that it signs: take it out of every config".to_owned());
    }
    let revoked = Some(Revoked { at, reason: reason.to_owned() });
    match content.keys.iter_mut().find(|listed| listed.key == key.as_str()) {
        Some(listed) if listed.revoked.is_some() => return Err("this key is revoked already".to_owned()),
        Some(listed) => listed.revoked = revoked,
        None => content.keys.push(ListedKey {
            role,
            key: key.as_str().to_owned(),
            id: None,
            from: None,
            until: None,
            revoked,
        }),
    }
    Ok(())
}

/// What counts now and would count no more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    pub backups: Vec<BackupId>,
    /// Verdicts, tombstones, holds: how many.
    pub notes: BTreeMap<Kind, usize>,
}

/// What of this catalog would count no more if `trust` decided.
pub fn lost(catalog: &Catalog, trust: &Trust) -> Lost {
    let validity = |signer: Digest| {
        let known = trust.keys().iter().find(|known| known.key.fingerprint() == signer);
        known.map(|known| known.validity).unwrap_or_default()
    };
    let counts_still = |entry: &&Trusted| {
        let good = entry.verdicts.iter().filter(|verdict| validity(verdict.binding.signer).revoked.is_none());
        let vouched = Vouched {
            verdict_at: good.map(|verdict| verdict.at).min(),
            by_operator: trust.vouches_for(entry.manifest_sha256),
        };
        counts(&validity(entry.manifest.binding.signer), entry.manifest.finished_at, Some(vouched)).is_ok()
    };
    let mut lost = Lost {
        backups: catalog.trusted.iter().filter(|entry| !counts_still(entry)).map(|entry| entry.id().clone()).collect(),
        notes: BTreeMap::new(),
    };
    for signature in &catalog.signatures {
        let revoked = signature.signer.is_some_and(|signer| validity(signer).revoked.is_some());
        if revoked && signature.why.is_none() && signature.kind != Kind::Manifest {
            *lost.notes.entry(signature.kind).or_default() += 1;
        }
    }
    lost
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> PublicKey {
        let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
        PublicKey::parse(&pair.pk.to_base64()).unwrap()
    }

    fn at(hour: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(hour * 3600, 0).unwrap()
    }

    #[test]
    fn the_first_list_takes_every_local_key_and_a_later_one_only_what_is_asked() {
        let [operator, backup, prove, new] = [0; 4].map(|_| key());
        let mut local = Trust::default();
        for (role, key) in [(Role::Operator, &operator), (Role::Backup, &backup), (Role::Prove, &prove)] {
            local.add(role, key.clone());
        }
        let change = [Change::Trust { role: Role::Backup, key: new.clone() }];
        let first = next(None, &local, &change, at(5)).unwrap();
        let named =
            |content: &Content| content.keys.iter().map(|listed| (listed.key.clone(), listed.from)).collect::<Vec<_>>();
        let text = |key: &PublicKey| key.as_str().to_owned();
        assert_eq!(named(&first), [(text(&backup), None), (text(&prove), None), (text(&new), None)]);
        let binding = crate::catalog::sample::trusted("a", "a", 1, 1, 1).manifest.binding;
        let list = TrustList {
            binding,
            n: 1,
            at: at(5),
            keys: first.keys,
            manifests: Vec::new(),
            agent_version: String::new(),
        };
        let another = key();
        let changes = [
            Change::Trust { role: Role::Prune, key: another.clone() },
            Change::Revoke { role: Role::Backup, key: backup.clone(), reason: "stolen".to_owned() },
        ];
        let second = next(Some(&list), &Trust::default(), &changes, at(6)).unwrap();
        assert_eq!(second.keys.last().unwrap().from, Some(at(6)));
        assert_eq!(second.keys[0].revoked.as_ref().map(|revoked| revoked.at), Some(at(6)));
        let list = TrustList { keys: second.keys, ..list };
        for (change, why) in [
            (Change::Trust { role: Role::Backup, key: backup.clone() }, "revoked, for good"),
            (Change::Revoke { role: Role::Backup, key: backup.clone(), reason: String::new() }, "revoked already"),
            (Change::Trust { role: Role::Prune, key: prove.clone() }, "two roles"),
            (Change::Trust { role: Role::Prune, key: new.clone() }, "listed for backup"),
            (Change::Trust { role: Role::Operator, key: new.clone() }, "operator key"),
            (Change::Revoke { role: Role::Operator, key: operator.clone(), reason: String::new() }, "operator key"),
        ] {
            let error = next(Some(&list), &local, &[change], at(7)).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
