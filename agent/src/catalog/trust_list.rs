//! The operator's trust list: whose signatures count from when, and whose no more. Of several the highest number counts.
//!
//! It adds to the keys that the config or a flag names, and takes from them; which operator is believed it never says, since
//! whoever holds a stolen operator key could then keep the place.

mod next;

use super::manifest::{Binding, Parent, Signed};
use crate::config::Role;
use crate::keys::{PublicKey, Trust, TrustedKey};
use chrono::{DateTime, Utc};
use lifeboat_policy::id::BackupId;
use lifeboat_policy::trust::Validity;
use serde::{Deserialize, Serialize};

pub use next::{Change, Content, Lost, lost, next};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustList {
    #[serde(flatten)]
    pub binding: Binding,
    /// Also in its name: a higher one takes the place of all lower ones.
    pub n: u32,
    pub at: DateTime<Utc>,
    pub keys: Vec<ListedKey>,
    /// Manifests that the operator vouches for, whatever became of the key that signed them.
    #[serde(default)]
    pub manifests: Vec<Parent>,
    pub agent_version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedKey {
    pub role: Role,
    /// The public key's line, `RW...`.
    pub key: String,
    /// What a person calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Absent: since ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<DateTime<Utc>>,
    /// Absent: without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revoked>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    pub at: DateTime<Utc>,
    pub reason: String,
}

impl Signed for TrustList {
    const KIND: &'static str = "lifeboat/trust/v1";
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

impl ListedKey {
    fn validity(&self) -> Validity {
        Validity { from: self.from, until: self.until, revoked: self.revoked.as_ref().map(|revoked| revoked.at) }
    }
}

impl TrustList {
    /// What is wrong with a list that its operator signed all the same.
    pub fn check(&self, n: u32) -> Result<(), String> {
        if self.n != n {
            return Err(format!("it says that it is number {}", self.n));
        }
        for (at, listed) in self.keys.iter().enumerate() {
            if listed.role == Role::Operator {
                return Err("it names an operator key, which only a config or a flag can".to_owned());
            }
            if PublicKey::parse(&listed.key).is_err() {
                return Err(format!("its {} key number {} is no minisign public key", listed.role, at + 1));
            }
            if self.keys.iter().skip(at + 1).any(|other| other.key == listed.key) {
                return Err(format!("it names the key {} twice", listed.key));
            }
        }
        Ok(())
    }

    /// What counts with this list, where `local` is what the config or a flag names. A list key that is local under another
    /// role, such as the operator's own, gains nothing: the local role stands.
    pub fn applied_to(&self, local: &Trust) -> Trust {
        apply(&self.keys, &self.manifests, local)
    }
}

impl Content {
    /// The same of a list that is not written yet.
    pub fn applied_to(&self, local: &Trust) -> Trust {
        apply(&self.keys, &self.manifests, local)
    }
}

fn apply(keys: &[ListedKey], manifests: &[Parent], local: &Trust) -> Trust {
    let mut trust = local.clone();
    for listed in keys {
        let Ok(key) = PublicKey::parse(&listed.key) else { continue };
        let role = match local.find(&key) {
            Some(known) if known.role == Role::Operator => continue,
            Some(known) => known.role,
            None => listed.role,
        };
        let (id, validity) = (listed.id.clone(), listed.validity());
        trust.add_key(TrustedKey { role, key, id, validity, local: false, listed: true });
    }
    trust.vouch(manifests.iter().map(|manifest| manifest.manifest_sha256));
    trust
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn key() -> PublicKey {
        let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
        PublicKey::parse(&pair.pk.to_base64()).unwrap()
    }

    fn listed(role: Role, key: &PublicKey, revoked: bool) -> ListedKey {
        let revoked = revoked.then(|| Revoked { at: DateTime::default(), reason: "stolen".to_owned() });
        ListedKey { role, key: key.as_str().to_owned(), id: None, from: None, until: None, revoked }
    }

    fn list(keys: Vec<ListedKey>) -> TrustList {
        let binding =
            Binding { kind: String::new(), cluster: String::new(), path: String::new(), signer: Digest::of(b"") };
        let (n, at, agent_version) = (3, DateTime::default(), String::new());
        TrustList { binding, n, at, keys, manifests: Vec::new(), agent_version }
    }

    #[test]
    fn a_list_adds_and_revokes_and_leaves_the_operator_alone() {
        let [operator, old, new, prove] = [0; 4].map(|_| key());
        let mut local = Trust::default();
        local.add(Role::Operator, operator.clone());
        local.add(Role::Backup, old.clone());
        local.add(Role::Prove, prove.clone());
        let list = list(vec![
            listed(Role::Backup, &old, true),
            listed(Role::Backup, &new, false),
            listed(Role::Prune, &operator, true),
            // Under another role than the config says: it must not give one key the rights of two.
            listed(Role::Backup, &prove, false),
        ]);
        assert_eq!(list.check(3), Ok(()));
        let trust = list.applied_to(&local);
        let roles = [&operator, &old, &new, &prove].map(|key| trust.role_of(key));
        assert_eq!(roles, [Some(Role::Operator), None, Some(Role::Backup), Some(Role::Prove)]);
        assert_eq!(trust.shared(), None);
        assert!(trust.find(&old).unwrap().validity.revoked.is_some());
    }

    #[test]
    fn a_list_that_contradicts_itself_does_not_count() {
        let (one, other) = (key(), key());
        assert!(list(Vec::new()).check(4).unwrap_err().contains("number 3"));
        assert!(list(vec![listed(Role::Operator, &one, false)]).check(3).unwrap_err().contains("operator"));
        let twice = vec![listed(Role::Backup, &one, false), listed(Role::Prove, &one, false)];
        assert!(list(twice).check(3).unwrap_err().contains("twice"));
        let mut bad = listed(Role::Prove, &other, false);
        bad.key = "RWx".to_owned();
        assert!(list(vec![bad]).check(3).unwrap_err().contains("prove key number 1"));
    }
}
