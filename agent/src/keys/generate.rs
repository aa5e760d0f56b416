//! Making keys: one signing key a role, age identities for those who open backups. Nothing that exists is overwritten.

use super::{Comments, PublicKey, locked};
use crate::error::{Error, Reason, Result};
use age::secrecy::{ExposeSecret as _, SecretString};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// What keys can be made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum KeyRole {
    Backup,
    Prove,
    Prune,
    Operator,
    Recovery,
    /// Everything that one host needs which plays every role.
    All,
}

/// A file that was made, and what a person must know of it.
#[derive(Clone, Debug)]
pub struct Made {
    pub path: PathBuf,
    pub what: &'static str,
    pub keep: &'static str,
}

/// All files of one call, and the config lines that use them.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    pub files: Vec<Made>,
    pub config: Vec<String>,
}

/// A file that is to be made; secrets are wiped from memory afterwards.
struct Planned {
    name: &'static str,
    text: Zeroizing<String>,
    mode: u32,
    what: &'static str,
    keep: &'static str,
}

const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// Makes the keys of a role in `dir`, all of them or, where one exists already, none. The comments go into the
/// recovery key, so that it says itself what it opens; an operator's key that is made in the same call goes there too. With
/// a passphrase all of the recovery key is locked by it.
pub fn generate(role: KeyRole, dir: &Path, comments: Comments, passphrase: Option<&SecretString>) -> Result<Keys> {
    let mut planned = Vec::new();
    let mut config = Vec::new();
    let wants = |one: KeyRole| role == one || role == KeyRole::All;
    let at = |name: &str| dir.join(name).display().to_string();
    for (one, secret, public) in SIGNING {
        if wants(one) {
            signing_pair(secret, public, &mut planned)?;
            config.push(config_line(one, &at(secret), &at(public)));
        }
    }
    if wants(KeyRole::Prove) {
        identity(&PROOF_IDENTITY, "", None, &mut planned)?;
        config.push(format!("keys.recipients: add {}", at(PROOF_IDENTITY.public)));
        config.push(format!("keys.identity_file: {}", at(PROOF_IDENTITY.secret)));
    }
    if wants(KeyRole::Recovery) {
        let operator = planned.iter().find(|file| file.name == "operator.sign.pub").map(|file| file.text.clone());
        let operator = match operator {
            Some(made) => Some(PublicKey::parse(&made)?),
            None => comments.operator.clone(),
        };
        identity(&RECOVERY_IDENTITY, &Comments { operator, ..comments }.text(), passphrase, &mut planned)?;
        config.push(format!("keys.recipients: add {}", at(RECOVERY_IDENTITY.public)));
    }
    write_all(dir, &planned)?;
    let files =
        planned.iter().map(|file| Made { path: dir.join(file.name), what: file.what, keep: file.keep }).collect();
    Ok(Keys { files, config })
}

const SIGNING: [(KeyRole, &str, &str); 4] = [
    (KeyRole::Backup, "backup.sign.key", "backup.sign.pub"),
    (KeyRole::Prove, "prove.sign.key", "prove.sign.pub"),
    (KeyRole::Prune, "prune.sign.key", "prune.sign.pub"),
    (KeyRole::Operator, "operator.sign.key", "operator.sign.pub"),
];

fn config_line(role: KeyRole, secret: &str, public: &str) -> String {
    let name = match role {
        KeyRole::Backup => "backup",
        KeyRole::Prove => "prove",
        KeyRole::Prune => "prune",
        KeyRole::Operator | KeyRole::Recovery | KeyRole::All => {
            return format!("keys.trusted_keys.operator: [{public}]");
        }
    };
    format!("keys.signing_keys.{name}: {secret}   (elsewhere: keys.trusted_keys.{name}: [{public}])")
}

fn signing_pair(secret: &'static str, public: &'static str, planned: &mut Vec<Planned>) -> Result<()> {
    let failed = |source: minisign::PError| Error::new(Reason::Internal, "cannot make a signing key").because(source);
    let pair = minisign::KeyPair::generate_unencrypted_keypair().map_err(failed)?;
    let secret_text = pair.sk.to_box(Some("lifeboat signing key")).map_err(failed)?.into_string();
    let public_text = pair.pk.to_box().map_err(failed)?.into_string();
    planned.push(Planned {
        name: secret,
        text: Zeroizing::new(secret_text),
        mode: SECRET,
        what: "signs for this role",
        keep: "only where this role runs; no other role may hold it",
    });
    planned.push(Planned {
        name: public,
        text: Zeroizing::new(public_text),
        mode: PUBLIC,
        what: "verifies what that key signed",
        keep: "everywhere; it is public",
    });
    Ok(())
}

struct IdentityFiles {
    secret: &'static str,
    public: &'static str,
    keep: &'static str,
}

const PROOF_IDENTITY: IdentityFiles = IdentityFiles {
    secret: "prove.key",
    public: "prove.pub",
    keep: "only with the prover; the backup role must never hold it",
};
const RECOVERY_IDENTITY: IdentityFiles = IdentityFiles {
    secret: "recovery.key",
    public: "recovery.pub",
    keep: "offline, twice, away from the cluster; no agent may ever hold it",
};

fn identity(
    files: &IdentityFiles,
    comments: &str,
    passphrase: Option<&SecretString>,
    planned: &mut Vec<Planned>,
) -> Result<()> {
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public().to_string();
    let secret = identity.to_string();
    let text = Zeroizing::new(format!("{comments}# public key: {recipient}\n{}\n", secret.expose_secret()));
    planned.push(Planned {
        name: files.secret,
        text: match passphrase {
            Some(passphrase) => locked::lock(&text, passphrase)?,
            None => text,
        },
        mode: SECRET,
        what: "opens backups",
        keep: files.keep,
    });
    planned.push(Planned {
        name: files.public,
        text: Zeroizing::new(format!("{recipient}\n")),
        mode: PUBLIC,
        what: "seals backups for that key",
        keep: "with every agent that backs up",
    });
    Ok(())
}

fn write_all(dir: &Path, planned: &[Planned]) -> Result<()> {
    std::fs::create_dir_all(dir).map_err(|source| Error::io("create", dir.display(), source))?;
    if let Some(there) = planned.iter().map(|file| dir.join(file.name)).find(|path| path.exists()) {
        return Err(Error::new(
            Reason::TargetNotEmpty,
            format!("{} exists and is never overwritten", there.display()),
        )
        .hint(
            "give another --out DIR; a key that was replaced could no longer open or verify what it sealed or signed",
        ));
    }
    for file in planned {
        let path = dir.join(file.name);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(file.mode)
            .open(&path)
            .and_then(|mut made| made.write_all(file.text.as_bytes()).and_then(|()| made.sync_all()))
            .map_err(|source| Error::io("write", path.display(), source))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NamedKey;
    use crate::keys::{Identities, Recipients, Signer};
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn generated_keys_are_usable_private_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let comments = Comments { cluster: Some("prod".to_owned()), ..Comments::default() };
        let keys = generate(KeyRole::All, dir.path(), comments, None).unwrap();
        assert_eq!(keys.files.len(), 12);
        for role in ["backup", "prove", "prune", "operator"] {
            let signer = Signer::from_file(&dir.path().join(format!("{role}.sign.key"))).unwrap();
            let public =
                crate::keys::public_key(&dir.path().join(format!("{role}.sign.pub")).display().to_string()).unwrap();
            assert_eq!(signer.public(), &public);
        }
        for name in ["prove", "recovery"] {
            let secret = dir.path().join(format!("{name}.key"));
            assert_eq!(std::fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
            assert!(Identities::from_file(&secret).is_ok());
            let public = dir.path().join(format!("{name}.pub")).display().to_string();
            assert!(Recipients::load(&[NamedKey::bare(public)]).is_ok());
        }
        let recovery = std::fs::read_to_string(dir.path().join("recovery.key")).unwrap();
        assert!(recovery.contains("# lifeboat-cluster: prod") && recovery.contains("# lifeboat-operator: RW"));
        let again = generate(KeyRole::Recovery, dir.path(), Comments::default(), None).unwrap_err();
        assert_eq!(again.reason, Reason::TargetNotEmpty);
    }
}
