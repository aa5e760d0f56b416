//! Whose signatures count: the keys that the config or a flag names, and what the operator's trust list adds and revokes.

use super::PublicKey;
use crate::config::Role;
use crate::digest::Digest;
use chrono::{DateTime, Utc};
use lifeboat_policy::trust::{Refusal, Validity, Vouched, counts};
use std::collections::{BTreeMap, BTreeSet};

/// Why a signed object does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    #[error("no {0} key is trusted here")]
    NoKey(&'static str),
    #[error("it has no signature")]
    NoSignature,
    #[error("its signature is malformed")]
    BadSignature,
    #[error("no trusted {0} key signed it")]
    WrongKey(&'static str),
    #[error("the {0} key signed it, which may not say that")]
    NotAllowed(&'static str),
    #[error("the {role} key that signed it was revoked, {}, and nobody vouched for it before", day(.at))]
    Revoked { role: &'static str, signer: Digest, at: DateTime<Utc> },
    #[error("the {role} key that signed it is valid {what}, and it is dated otherwise")]
    OutsideValidity { role: &'static str, signer: Digest, what: String },
    #[error("it is dated {0}, which is in the future")]
    FromTheFuture(String),
    #[error("it is not what its name says: {0}")]
    Unbound(String),
    #[error("it cannot be read: {0}")]
    Unreadable(String),
}

fn day(at: &DateTime<Utc>) -> impl std::fmt::Display {
    at.format("%Y-%m-%d %H:%M UTC")
}

impl Distrust {
    /// The known key that signed it, where that is why it does not count.
    pub fn signer(&self) -> Option<Digest> {
        match self {
            Distrust::Revoked { signer, .. } | Distrust::OutsideValidity { signer, .. } => Some(*signer),
            _ => None,
        }
    }

    /// Whether it follows from a key that was revoked after this was written: no news, since the operator decided it.
    pub fn is_settled(&self, stored: DateTime<Utc>) -> bool {
        matches!(self, Distrust::Revoked { at, .. } if stored <= *at)
    }
}

/// A key that counts, or counted once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedKey {
    pub role: Role,
    pub key: PublicKey,
    /// What a person calls it.
    pub id: Option<String>,
    pub validity: Validity,
    /// Whether the config, a flag or a signing key here names it; else only the operator's list does.
    pub local: bool,
    /// Whether the operator's list names it.
    pub listed: bool,
}

impl TrustedKey {
    /// One that the config or a flag names, for ever.
    pub fn local(role: Role, key: PublicKey) -> TrustedKey {
        TrustedKey { role, key, id: None, validity: Validity::default(), local: true, listed: false }
    }
}

/// The public keys that count, by role.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    keys: Vec<TrustedKey>,
    /// Manifests that the operator's list vouches for.
    vouched: BTreeSet<Digest>,
    /// The earliest trusted verdict on each manifest.
    proven: BTreeMap<Digest, DateTime<Utc>>,
    /// A person consented to believing unsigned objects, for one command.
    anyone: bool,
}

/// Whose signature was found on some bytes.
#[derive(Clone, Copy, Debug)]
pub struct Verified<'a> {
    pub key: &'a TrustedKey,
    pub signer: Digest,
}

impl Trust {
    /// Believes whatever is well formed: only behind `--allow unverified`.
    pub fn by_consent() -> Trust {
        Trust { anyone: true, ..Trust::default() }
    }

    pub fn is_by_consent(&self) -> bool {
        self.anyone
    }

    pub fn add(&mut self, role: Role, key: PublicKey) {
        self.add_key(TrustedKey::local(role, key));
    }

    /// Adds a key; of one that is known already under this role the narrower validity counts.
    pub fn add_key(&mut self, new: TrustedKey) {
        let Some(known) = self.keys.iter_mut().find(|known| known.role == new.role && known.key == new.key) else {
            self.keys.push(new);
            return;
        };
        known.validity = Validity {
            from: known.validity.from.max(new.validity.from),
            until: [known.validity.until, new.validity.until].into_iter().flatten().min(),
            revoked: [known.validity.revoked, new.validity.revoked].into_iter().flatten().min(),
        };
        known.id = known.id.take().or(new.id);
        known.local |= new.local;
        known.listed |= new.listed;
    }

    /// Manifests that count whoever signed them, since the operator says so.
    pub fn vouch(&mut self, manifests: impl IntoIterator<Item = Digest>) {
        self.vouched.extend(manifests);
    }

    /// Whether the operator's list vouches for this manifest.
    pub fn vouches_for(&self, manifest: Digest) -> bool {
        self.vouched.contains(&manifest)
    }

    /// The earliest trusted verdict on each manifest.
    pub fn prove(&mut self, proven: BTreeMap<Digest, DateTime<Utc>>) {
        self.proven = proven;
    }

    pub fn keys(&self) -> &[TrustedKey] {
        &self.keys
    }

    /// A key that stands under two roles: it would let one role speak for another.
    pub fn shared(&self) -> Option<(&PublicKey, Role, Role)> {
        self.keys.iter().enumerate().find_map(|(at, one)| {
            let other = self.keys.iter().skip(at + 1).find(|other| other.key == one.key)?;
            Some((&one.key, one.role, other.role))
        })
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether anything that this role signed could count here.
    pub fn has(&self, role: Role) -> bool {
        self.keys.iter().any(|known| known.role == role)
    }

    /// The role that a key is trusted for; a revoked one speaks for none.
    pub fn role_of(&self, key: &PublicKey) -> Option<Role> {
        self.find(key).filter(|known| known.validity.revoked.is_none()).map(|known| known.role)
    }

    pub fn find(&self, key: &PublicKey) -> Option<&TrustedKey> {
        self.keys.iter().find(|known| known.key == *key)
    }

    /// The known key of that role that signed exactly these bytes, whether or not it still counts.
    pub fn verify(&self, role: Role, bytes: &[u8], signature: &str) -> Result<Verified<'_>, Distrust> {
        if !self.has(role) {
            return Err(Distrust::NoKey(role.name()));
        }
        if signature.lines().count() != 4 {
            return Err(Distrust::BadSignature);
        }
        let decoded = minisign_verify::Signature::decode(signature).map_err(|_| Distrust::BadSignature)?;
        self.keys
            .iter()
            .filter(|known| known.role == role)
            .find(|known| {
                minisign_verify::PublicKey::from_base64(known.key.as_str())
                    .is_ok_and(|key| key.verify(bytes, &decoded, false).is_ok())
            })
            .map(|key| Verified { key, signer: key.key.fingerprint() })
            .ok_or(Distrust::WrongKey(role.name()))
    }

    /// Whether an object of this digest and date counts that a known key signed. Only a manifest `outlives` its key.
    pub fn counts(
        &self,
        by: &Verified<'_>,
        sha256: Digest,
        dated: DateTime<Utc>,
        outlives: bool,
    ) -> Result<(), Distrust> {
        let vouched = outlives.then(|| Vouched {
            verdict_at: self.proven.get(&sha256).copied(),
            by_operator: self.vouched.contains(&sha256),
        });
        let (role, signer) = (by.key.role.name(), by.signer);
        counts(&by.key.validity, dated, vouched).map_err(|why| match why {
            Refusal::Revoked(at) => Distrust::Revoked { role, signer, at },
            Refusal::Before(from) => Distrust::OutsideValidity { role, signer, what: format!("from {}", day(&from)) },
            Refusal::After(until) => Distrust::OutsideValidity { role, signer, what: format!("until {}", day(&until)) },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Signer;
    use super::*;

    fn signer() -> Signer {
        let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
        Signer::parse(&pair.sk.to_box(None).unwrap().into_string()).unwrap()
    }

    #[test]
    fn only_a_trusted_key_of_the_right_role_counts() {
        let (ours, theirs) = (signer(), signer());
        let mut trust = Trust::default();
        trust.add(Role::Backup, ours.public().clone());
        let verified = |role, bytes: &[u8], signature: &str| trust.verify(role, bytes, signature).map(|by| by.signer);
        let signature = ours.sign(b"bytes", "a/b").unwrap();
        assert_eq!(verified(Role::Backup, b"bytes", &signature), Ok(ours.public().fingerprint()));
        assert_eq!(verified(Role::Prove, b"bytes", &signature), Err(Distrust::NoKey("prove")));
        assert_eq!(verified(Role::Backup, b"other", &signature), Err(Distrust::WrongKey("backup")));
        let foreign = theirs.sign(b"bytes", "a/b").unwrap();
        assert_eq!(verified(Role::Backup, b"bytes", &foreign), Err(Distrust::WrongKey("backup")));
        assert_eq!(verified(Role::Backup, b"bytes", &format!("{signature}\nx")), Err(Distrust::BadSignature));
    }

    #[test]
    fn a_key_that_is_named_twice_has_the_narrower_validity() {
        let key = signer().public().clone();
        let at = |hour: i64| DateTime::from_timestamp(hour * 3600, 0);
        let of = |from, until, revoked| TrustedKey {
            validity: Validity { from, until, revoked },
            ..TrustedKey::local(Role::Backup, key.clone())
        };
        let mut trust = Trust::default();
        for validity in [of(at(1), at(9), None), of(at(2), None, None), of(None, at(8), at(7)), of(None, None, None)] {
            trust.add_key(validity);
        }
        assert_eq!(trust.keys(), [of(at(2), at(8), at(7))]);
        assert_eq!(trust.role_of(&key), None, "a revoked key speaks for no role");
    }
}
