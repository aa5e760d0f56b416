//! Keys: who signs what (minisign), who may open what (age). Secrets come from files and show themselves nowhere.

pub mod generate;
pub mod locked;
mod recovery;
mod trust;
pub mod validity;

use crate::config::NamedKey;
use crate::digest::Digest;
use crate::error::{Error, Reason, Result};
use chrono::{DateTime, Utc};
use lifeboat_policy::trust::{Validity, usable};
use std::fmt;
use std::path::Path;
use zeroize::Zeroizing;

pub use recovery::Comments;
pub use trust::{Distrust, Trust, TrustedKey, Verified};

/// Signs objects for one role.
pub struct Signer {
    secret: minisign::SecretKey,
    public: PublicKey,
}

/// A minisign public key as its base64 line, `RW...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(String);

impl PublicKey {
    /// Takes the bare base64 line or the text of a `.pub` file.
    pub fn parse(text: &str) -> Result<Self> {
        let line = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
        match minisign_verify::PublicKey::from_base64(line) {
            Ok(_) => Ok(PublicKey(line.to_owned())),
            Err(source) => Err(Error::new(Reason::Config, "not a minisign public key")
                .hint("expected a line like RWQ..., or the path of a .pub file written by `lifeboat keygen`")
                .because(source)),
        }
    }

    /// What signed objects name as `signer`: the SHA-256 of the base64 line, so `printf %s RW... | sha256sum` gives it too.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Reads a whole secret file, and leaves no copy behind.
pub(crate) fn read_secret(what: &'static str, path: &Path) -> Result<Zeroizing<String>> {
    let bytes = read_secret_bytes(what, path)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(Error::new(Reason::Config, format!("{what} {} is no text", path.display()))
            .hint("correct the path: secrets here are files of a few lines")),
    }
}

/// The same as bytes: a locked identity need not be text.
pub(crate) fn read_secret_bytes(what: &'static str, path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Zeroizing::new(bytes)),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::new(Reason::Config, format!("{what} {} does not exist", path.display()))
                .hint("make one with `lifeboat keygen --role ROLE --out DIR`, or correct the path in the config"))
        }
        Err(source) => Err(Error::io("read", path.display(), source)),
    }
}

impl Signer {
    pub fn from_file(path: &Path) -> Result<Self> {
        let text = read_secret("signing key", path)?;
        Self::parse(&text).map_err(|error| {
            Error::new(Reason::Config, format!("{} is not a usable signing key", path.display()))
                .hint("expected a minisign secret key without password, as `lifeboat keygen` writes it")
                .because(error)
        })
    }

    fn parse(text: &str) -> Result<Self, minisign::PError> {
        let secret = minisign::SecretKeyBox::from_string(text)?.into_unencrypted_secret_key()?;
        let public = minisign::PublicKey::from_secret_key(&secret)?;
        Ok(Signer { secret, public: PublicKey(public.to_base64()) })
    }

    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// A detached, prehashed signature that stock `minisign -V` verifies. The trusted comment carries the object's own path.
    pub fn sign(&self, bytes: &[u8], path: &str) -> Result<String> {
        let signature = minisign::sign(None, &self.secret, bytes, Some(path), Some("signature by lifeboat"))
            .map_err(|source| Error::new(Reason::Internal, format!("cannot sign {path}")).because(source))?;
        Ok(signature.into_string())
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.public.as_str())
    }
}

/// Who can open what is sealed: at least one.
#[derive(Clone)]
pub struct Recipients(Vec<Recipient>);

#[derive(Clone)]
struct Recipient {
    key: age::x25519::Recipient,
    id: Option<String>,
    validity: Validity,
}

impl Recipient {
    fn bare(key: age::x25519::Recipient) -> Recipient {
        Recipient { key, id: None, validity: Validity::default() }
    }

    fn name(&self) -> String {
        named(&self.key.to_string(), self.id.as_deref())
    }
}

/// A key as people see it: with the name that they gave it.
pub(crate) fn named(key: &str, id: Option<&str>) -> String {
    id.map_or_else(|| key.to_owned(), |id| format!("{key} ({id})"))
}

impl Recipients {
    /// From the config's values: `age1...` itself, or a file with one a line (`#` comments allowed).
    pub fn load(values: &[NamedKey]) -> Result<Self> {
        let mut recipients = Vec::new();
        for NamedKey { key: value, id, validity } in values {
            let mut add = |text: &str, from: &str| {
                let (key, id) = (parse_recipient(text, from)?, id.clone());
                recipients.push(Recipient { key, id, validity: *validity });
                Ok::<_, Error>(())
            };
            if value.starts_with("age1") {
                add(value, "the config")?;
                continue;
            }
            let text = std::fs::read_to_string(value).map_err(|source| Error::io("read", value, source))?;
            for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
                add(line, value)?;
            }
        }
        Self::some(recipients)
    }

    /// Without names and without end.
    pub fn new(recipients: Vec<age::x25519::Recipient>) -> Result<Self> {
        Self::some(recipients.into_iter().map(Recipient::bare).collect())
    }

    fn some(recipients: Vec<Recipient>) -> Result<Self> {
        if recipients.is_empty() {
            return Err(Error::new(Reason::Config, "no recipient: nobody could open the backup")
                .hint("put at least one age1... key under keys.recipients; `lifeboat keygen` makes one"));
        }
        Ok(Recipients(recipients))
    }

    /// Those that may be sealed for at `now`.
    pub fn at(&self, now: DateTime<Utc>) -> Result<Self> {
        let mut refused = Vec::new();
        let usable = self.0.iter().filter(|recipient| match usable(&recipient.validity, now) {
            Ok(()) => true,
            Err(why) => {
                refused.push(format!("{} {}", recipient.name(), validity::words(why)));
                false
            }
        });
        let usable: Vec<Recipient> = usable.cloned().collect();
        if usable.is_empty() {
            let text = format!("no recipient may be sealed for now: {}", refused.join("; "));
            return Err(Error::new(Reason::Config, text).hint(
                "add one that is valid under keys.recipients, or move its `until`; `lifeboat keygen` makes one",
            ));
        }
        Ok(Recipients(usable))
    }

    pub fn as_dyn(&self) -> impl Iterator<Item = &dyn age::Recipient> {
        self.0.iter().map(|recipient| &recipient.key as &dyn age::Recipient)
    }

    /// Each recipient's digest, as manifests name it, and its text with its name.
    pub fn named(&self) -> impl Iterator<Item = (Digest, String)> {
        self.0.iter().map(|recipient| (Digest::of(recipient.key.to_string().as_bytes()), recipient.name()))
    }

    /// Each recipient's text with its name, and when it may be sealed for.
    pub fn names_and_validity(&self) -> impl Iterator<Item = (String, &Validity)> {
        self.0.iter().map(|recipient| (recipient.name(), &recipient.validity))
    }

    /// SHA-256 of each recipient's text: says which key opens a backup without telling the key that seals.
    pub fn fingerprints(&self) -> Vec<Digest> {
        self.0.iter().map(|recipient| Digest::of(recipient.key.to_string().as_bytes())).collect()
    }
}

fn parse_recipient(text: &str, from: &str) -> Result<age::x25519::Recipient> {
    text.parse().map_err(|why: &str| {
        Error::new(Reason::Config, format!("recipient {text:?} in {from} is not an age X25519 recipient: {why}"))
            .hint("expected age1 and 58 more characters")
    })
}

/// Keys that open backups; several are allowed, any one is enough.
pub struct Identities {
    keys: Vec<Box<dyn age::Identity + Send + Sync>>,
    source: String,
}

impl Identities {
    pub fn from_file(path: &Path) -> Result<Self> {
        if locked::is_locked(&read_secret_bytes("identity file", path)?) {
            let text =
                format!("the identity {} is under a passphrase, and here is nobody to ask for it", path.display());
            return Err(Error::new(Reason::KeyWrong, text).hint(
                "agents need one without: the prover's own, `lifeboat keygen --role prove`; the recovery identity stays offline, \
                 and --identity FILE asks for its passphrase",
            ));
        }
        let text = read_secret("identity file", path)?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Takes the text of an age identity file; `source` names it in errors.
    pub fn parse(text: &str, source: &str) -> Result<Self> {
        let wrong = |why: String| {
            Error::new(Reason::KeyWrong, format!("{source} is not an age identity file: {why}"))
                .hint("expected one or more lines AGE-SECRET-KEY-1...; a public key (age1...) cannot open anything")
        };
        let file = age::IdentityFile::from_buffer(text.as_bytes()).map_err(|error| wrong(error.to_string()))?;
        let keys = file.into_identities().map_err(|error| wrong(error.to_string()))?;
        if keys.is_empty() {
            return Err(wrong("it holds no key".to_owned()));
        }
        Ok(Identities { keys, source: source.to_owned() })
    }

    pub fn as_dyn(&self) -> impl Iterator<Item = &dyn age::Identity> {
        self.keys.iter().map(|key| &**key as &dyn age::Identity)
    }

    pub fn source(&self) -> &str {
        &self.source
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identities({} from {})", self.keys.len(), self.source)
    }
}

/// A public key as the config or the command line gives it: the key itself, or a file that holds it.
pub fn public_key(value: &str) -> Result<PublicKey> {
    // Half of all keys have a `/` in them, as paths do: what is a key by its bytes is no path.
    match PublicKey::parse(value) {
        Ok(key) => return Ok(key),
        Err(error) if value.starts_with("RW") && !value.contains('/') => return Err(error),
        Err(_) => {}
    }
    let text = std::fs::read_to_string(value).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::new(Reason::Config, format!("there is no public key at {value}"))
            .hint("give the .pub file that `lifeboat keygen` wrote, or the key itself, RW..."),
        _ => Error::io("read", value, source),
    })?;
    PublicKey::parse(&text).map_err(|error| Error::new(Reason::Config, format!("{value}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipient_given_as_an_identity_is_told_apart() {
        let error = Identities::parse("age1xyz", "id.txt").unwrap_err();
        assert_eq!(error.reason, Reason::KeyWrong);
        assert!(error.message.contains("id.txt"), "{}", error.message);
    }

    #[test]
    fn a_public_key_with_a_slash_in_it_is_no_path() {
        let line = "RWQhY/3A4QhHnmN+sBacqVdHm37pyw/3ja7xMkL+kTUV9Ydd6RrP39HG";
        assert_eq!(public_key(line).unwrap().as_str(), line);
        assert!(public_key("RWQhY/3A4QhH").unwrap_err().message.contains("there is no public key at"));
    }

    #[test]
    fn sealing_for_nobody_is_refused() {
        assert_eq!(Recipients::load(&[]).err().map(|e| e.reason), Some(Reason::Config));
    }
}
