//! Writing and reading signed objects: signature first, then the object; verify first, then believe.

use super::manifest::{Binding, Signed};
use crate::config::Role;
use crate::digest::Digest;
use crate::error::{Error, Reason, Result};
use crate::keys::{Distrust, Signer, Trust, Verified};
use crate::store::{Layout, ObjectKey, Store};
use bytes::Bytes;

/// The largest signed JSON that is read.
pub const JSON_CAP: u64 = 1 << 20;
/// The largest signature that is read.
pub const SIGNATURE_CAP: u64 = 4 << 10;

/// What an object of kind `S` at `key` must say of itself.
pub fn binding<S: Signed>(layout: &Layout, key: &ObjectKey, signer: &Signer) -> Binding {
    Binding {
        kind: S::KIND.to_owned(),
        cluster: layout.cluster().to_string(),
        path: key.to_string(),
        signer: signer.public().fingerprint(),
    }
}

/// An object and its signature, ready to be stored.
#[derive(Clone)]
pub struct Prepared {
    pub key: ObjectKey,
    pub json: Bytes,
    pub signature: Bytes,
    pub sha256: Digest,
}

pub fn prepare<S: Signed>(object: &S, key: &ObjectKey, signer: &Signer) -> Result<Prepared> {
    assert_eq!(object.binding().path, key.as_str(), "a signed object names its own place");
    let mut json = serde_json::to_vec_pretty(object)
        .map_err(|source| Error::new(Reason::Internal, format!("cannot write {key} as JSON")).because(source))?;
    json.push(b'\n');
    let signature = signer.sign(&json, key.as_str())?;
    let sha256 = Digest::of(&json);
    Ok(Prepared { key: key.clone(), json: json.into(), signature: signature.into(), sha256 })
}

impl Prepared {
    /// The object appears only after its signature, so a listed one can always be checked.
    pub async fn store(self, store: &Store) -> Result<Digest> {
        store.create(&self.key.signature(), self.signature).await?;
        store.create(&self.key, self.json).await?;
        Ok(self.sha256)
    }
}

impl Prepared {
    /// The same, and read back: for what a person is told that it holds from now on.
    pub async fn store_and_check(self, store: &Store) -> Result<Digest> {
        let (key, json, signature) = (self.key.clone(), self.json.clone(), self.signature.clone());
        let stored = self.store(store).await?;
        for (key, sent, cap) in [(key.signature(), signature, SIGNATURE_CAP), (key, json, JSON_CAP)] {
            if store.read(&key, cap).await? != sent {
                return Err(Error::new(Reason::Damaged, format!("{key} is not what was written"))
                    .on("read back", &key)
                    .hint("it counts for nothing and does no harm; do the same again"));
            }
        }
        Ok(stored)
    }
}

/// Believes bytes only when a trusted key of the kind's own role signed them, for this cluster and this very place.
pub fn open<S: Signed>(
    trust: &Trust,
    layout: &Layout,
    key: &ObjectKey,
    json: &[u8],
    signature: Option<&[u8]>,
) -> Result<(S, Digest), Distrust> {
    let by = match trust.is_by_consent() {
        true => None,
        false => Some(signer(trust, S::ROLES, json, signature)?),
    };
    let object: S = serde_json::from_slice(json).map_err(|error| Distrust::Unreadable(error.to_string()))?;
    let binding = object.binding();
    let wrong = [
        ("kind", binding.kind.as_str(), S::KIND),
        ("cluster", binding.cluster.as_str(), layout.cluster().as_str()),
        ("path", binding.path.as_str(), key.as_str()),
    ];
    for (what, found, wanted) in wrong {
        if found != wanted {
            return Err(Distrust::Unbound(format!("its {what} is {found:?}, not {wanted:?}")));
        }
    }
    let sha256 = Digest::of(json);
    if let Some(by) = by {
        if binding.signer != by.signer {
            return Err(Distrust::Unbound("it names another signer than the key that signed it".to_owned()));
        }
        if !object.may(by.key.role) {
            return Err(Distrust::NotAllowed(by.key.role.name()));
        }
        trust.counts(&by, sha256, object.at(), S::OUTLIVES_ITS_KEY)?;
    }
    if let Some(id) = object.id().filter(|id| !key.as_str().contains(id.as_str())) {
        return Err(Distrust::Unbound(format!("it speaks of backup {id}")));
    }
    Ok((object, sha256))
}

/// The key that signed these bytes, if it is a known one of these roles.
fn signer<'a>(
    trust: &'a Trust,
    roles: &[Role],
    json: &[u8],
    signature: Option<&[u8]>,
) -> Result<Verified<'a>, Distrust> {
    let signature = signature.ok_or(Distrust::NoSignature)?;
    let signature = std::str::from_utf8(signature).map_err(|_| Distrust::BadSignature)?;
    let mut why: Option<Distrust> = None;
    for role in roles {
        match trust.verify(*role, json, signature) {
            Ok(by) => return Ok(by),
            // What the first role with keys here found says more than that another has none.
            Err(found) if why.as_ref().is_none_or(|why| matches!(why, Distrust::NoKey(_))) => {
                why = match (why, found) {
                    (Some(first), Distrust::NoKey(_)) => Some(first),
                    (_, found) => Some(found),
                };
            }
            Err(_) => {}
        }
    }
    Err(why.unwrap_or(Distrust::NoSignature))
}
