//! From a config, or from a store's flags, to what every command works with: store, layout, trust, rules.

use crate::catalog::{Catalog, Reader};
use crate::clock::Clock;
use crate::config::{self, ClusterName, Config, Env, Role};
use crate::error::{Error, Reason, Result};
use crate::keys::{self, Identities, Recipients, Signer, Trust};
use crate::proof::binary::{self, EtcdBinary};
use crate::store::{Layout, Store};
use lifeboat_policy::proof::Level;
use lifeboat_policy::retention::Rules;
use std::path::PathBuf;
use std::time::Duration;

/// A cluster's part of a store, ready to be read.
pub struct Access {
    pub reader: Reader,
    /// The level at which a backup counts as proven.
    pub required: Level,
    pub grace: Duration,
    /// Where the identities are, if any were named.
    pub identity: Option<Identity>,
    /// Where notes of a stream check may go that outgrow their memory.
    pub notes_dir: PathBuf,
}

/// Where the keys that open backups come from.
#[derive(Clone)]
pub enum Identity {
    File(PathBuf),
    /// Read once, from standard input.
    Text(std::sync::Arc<zeroize::Zeroizing<String>>),
}

impl Identity {
    pub fn load(&self) -> Result<Identities> {
        match self {
            Identity::File(path) => Identities::from_file(path),
            Identity::Text(text) => Identities::parse(text, "standard input"),
        }
    }
}

impl Access {
    pub fn from_config(config: &Config, env: &dyn Env) -> Result<Access> {
        let store = config.stores.first().ok_or_else(|| Error::new(Reason::Config, "the config names no store"))?;
        let (required, _) = level(config, env)?;
        Ok(Access {
            reader: Reader::new(Store::open(store)?, Layout::new(&config.cluster), trust(config)?),
            required,
            grace: config.prune.grace,
            identity: config.keys.identity_file.clone().map(Identity::File),
            notes_dir: config.proof.scratch_dir.clone(),
        })
    }

    pub fn store(&self) -> &Store {
        self.reader.store()
    }

    pub fn layout(&self) -> &Layout {
        self.reader.layout()
    }

    /// The catalog as it is now; the store itself is asked first, so that a missing bucket is not an empty catalog.
    pub async fn catalog(&self, clock: &dyn Clock) -> Result<Catalog> {
        self.store().check().await?;
        self.reader.read(clock.now()).await
    }

    pub fn identities(&self) -> Result<Identities> {
        let identity = self.identity.as_ref().ok_or_else(|| {
            Error::new(Reason::KeyWrong, "no identity was given, so nothing can be opened")
                .hint("give --identity FILE (or `-` for standard input), or keys.identity_file in the config")
        })?;
        identity.load()
    }
}

/// Configured public keys, and those of the signing keys that are here.
pub fn trust(config: &Config) -> Result<Trust> {
    let mut trust = Trust::default();
    for (role, values) in &config.keys.trusted_keys {
        for value in values {
            trust.add(*role, keys::public_key(value)?);
        }
    }
    for (role, path) in &config.keys.signing_keys {
        trust.add(*role, Signer::from_file(path)?.public().clone());
    }
    match trust.shared() {
        None => Ok(trust),
        Some((key, one, other)) => Err(Error::new(
            Reason::Config,
            format!("the key {} stands for two roles, {} and {}", key.as_str(), one.name(), other.name()),
        )
        .hint("every role needs a key of its own: `lifeboat keygen --role ROLE --out DIR`")),
    }
}

/// The level that counts as proven, and the etcd servers found for it.
pub fn level(config: &Config, env: &dyn Env) -> Result<(Level, Vec<EtcdBinary>)> {
    match config.proof.level {
        Some(level) if level < Level::Booted => Ok((level, Vec::new())),
        asked => {
            let binaries = binary::find(&config.proof, env)?;
            if asked == Some(Level::Booted) && config.roles.contains(&Role::Prove) && binaries.is_empty() {
                return Err(Error::new(Reason::Config, "proof.level is booted, but there is no etcd to boot")
                    .hint("add one under proof.etcd, or put etcd on PATH"));
            }
            let found = if binaries.is_empty() { Level::Sound } else { Level::Booted };
            Ok((asked.unwrap_or(found), binaries))
        }
    }
}

/// The signing key of a role, which the config must name.
pub fn signer(config: &Config, role: Role) -> Result<Signer> {
    let path = config.keys.signing_keys.get(&role).ok_or_else(|| {
        Error::new(Reason::Config, format!("the config names no signing key for the role {}", role.name()))
            .hint(format!("add keys.signing_keys.{0}; `lifeboat keygen --role {0} --out DIR` makes one", role.name()))
    })?;
    Signer::from_file(path)
}

/// Everything that a backup needs beyond the store.
pub struct BackupKit {
    pub etcd: config::Etcd,
    pub recipients: Recipients,
    pub signer: Signer,
    pub limits: config::Limits,
    pub notes_dir: PathBuf,
    pub slot_seconds: Option<u64>,
}

impl BackupKit {
    pub fn from_config(config: &Config, clock: &dyn Clock) -> Result<BackupKit> {
        let etcd = config.etcd.clone().ok_or_else(|| {
            Error::new(Reason::Config, "the config has no etcd to back up").hint("add `etcd: kubeadm`, or endpoints")
        })?;
        let period = config.schedule.backup.as_ref().map(|cron| cron.period_near(clock.now()).as_secs());
        Ok(BackupKit {
            etcd,
            recipients: Recipients::load(&config.keys.recipients)?,
            signer: signer(config, Role::Backup)?,
            limits: config.limits,
            notes_dir: config.proof.scratch_dir.clone(),
            slot_seconds: period,
        })
    }
}

/// Retention as `policy` takes it.
pub fn rules(config: &Config) -> Rules {
    Rules {
        keep: config.keep.clone(),
        time_zone: config.time_zone,
        grace: config.prune.grace,
        min_age: config.prune.min_age,
        max_deletions: config.prune.max_deletions,
    }
}

/// The cluster to read where no config names one: the only one that is there.
pub async fn only_cluster(store: &Store) -> Result<ClusterName> {
    let names = store.folders().await?;
    match names.as_slice() {
        [only] => ClusterName::parse(only).map_err(|why| {
            Error::new(Reason::NoBackup, format!("the folder {only:?} in {} is no cluster's: {why}", store.url()))
        }),
        [] => Err(Error::new(Reason::NoBackup, format!("{} holds no backups", store.url()))
            .hint("check the URL and its prefix")),
        many => Err(Error::new(Reason::Usage, format!("{} holds several clusters: {}", store.url(), many.join(", ")))
            .hint("name one with --cluster")),
    }
}
