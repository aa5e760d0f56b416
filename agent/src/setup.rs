//! From a config, or from a store's flags, to what every command works with: store, layout, trust, rules.

use crate::catalog::{Catalog, Reader};
use crate::clock::Clock;
use crate::config::{self, ClusterName, Config, Env, Finding, NamedKey, ProveWhen, Role, StoreConfig};
use crate::error::{Error, Reason, Result};
use crate::holdings::{Held, Holdings};
use crate::keys::{self, Comments, Identities, Recipients, Signer, Trust, TrustedKey};
use crate::proof::binary::{self, EtcdBinary};
use crate::scratch;
use crate::store::{Layout, Store};
use chrono::{DateTime, Utc};
use lifeboat_policy::proof::{self, Level};
use lifeboat_policy::retention::Rules;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A cluster's part of each of its stores, ready to be read.
pub struct Access {
    /// At least one.
    places: Vec<Place>,
    layout: Layout,
    /// In how many stores a backup must stand to count as taken.
    pub write_quorum: usize,
    /// The level at which a backup counts as proven.
    pub required: Level,
    pub grace: Duration,
    /// Where the identities are, if any were named.
    pub identity: Option<Identity>,
    /// Where notes of a stream check may go that outgrow their memory.
    pub notes_dir: PathBuf,
}

/// The cluster's part of one store. It is opened when it is first needed and again after it could not be: a folder that
/// comes back, or credentials that are repaired, need no restart.
pub struct Place {
    config: StoreConfig,
    layout: Layout,
    trust: Trust,
    /// What this store keeps; `None` where no config is at hand.
    pub rules: Option<Rules>,
    reader: Mutex<Option<Arc<Reader>>>,
}

impl Place {
    pub fn new(config: StoreConfig, layout: Layout, trust: Trust, rules: Option<Rules>) -> Place {
        Place { config, layout, trust, rules, reader: Mutex::default() }
    }

    pub fn name(&self) -> &str {
        &self.config.name
    }

    pub fn url(&self) -> &str {
        &self.config.url
    }

    pub fn reader(&self) -> Result<Arc<Reader>> {
        // A panic elsewhere leaves none or a whole one: it is put in by one assignment.
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reader) = &*reader {
            return Ok(reader.clone());
        }
        let opened = Arc::new(Reader::new(Store::open(&self.config)?, self.layout.clone(), self.trust.clone()));
        *reader = Some(opened.clone());
        Ok(opened)
    }

    pub fn store(&self) -> Result<Store> {
        Ok(self.reader()?.store().clone())
    }

    /// The catalog as it is now; the store itself is asked first, so that a missing bucket is not an empty catalog.
    pub async fn catalog(&self, clock: &dyn Clock) -> Result<Catalog> {
        let reader = self.reader()?;
        reader.store().check().await?;
        reader.read(clock.now()).await
    }
}

/// How a prover with this config goes about it. Its sample is a draw of its own.
pub fn proof_rules(config: &Config, required: Level) -> Result<proof::Rules> {
    let random = || scratch::random_u32().map_err(|source| Error::io("draw", "a sample", source)).map(u64::from);
    Ok(proof::Rules {
        required,
        every: matches!(config.schedule.prove, ProveWhen::AfterBackup),
        reread: config.proof.reread,
        sample_percent: config.proof.sample_percent,
        seed: random()? << 32 | random()?,
    })
}

/// Where the keys that open backups come from.
#[derive(Clone)]
pub enum Identity {
    File(PathBuf),
    /// Read once: from standard input, or from under a passphrase. `source` names it in errors.
    Text {
        text: Arc<zeroize::Zeroizing<String>>,
        source: String,
    },
}

impl Identity {
    pub fn load(&self) -> Result<Identities> {
        match self {
            Identity::File(path) => Identities::from_file(path),
            Identity::Text { text, source } => Identities::parse(text, source),
        }
    }
}

impl Identity {
    /// What it says of itself, where it is a recovery key.
    pub fn comments(&self) -> Result<Comments> {
        match self {
            Identity::File(path) => Ok(Comments::of(&keys::read_secret("identity file", path)?)),
            Identity::Text { text, .. } => Ok(Comments::of(text)),
        }
    }
}

impl Access {
    pub fn from_config(config: &Config, env: &dyn Env) -> Result<Access> {
        if config.stores.is_empty() {
            return Err(Error::new(Reason::Config, "the config names no store"));
        }
        let (required, _) = level(config, env)?;
        let (layout, trust) = (Layout::new(&config.cluster), trust(config)?);
        let place =
            |store: &StoreConfig| Place::new(store.clone(), layout.clone(), trust.clone(), Some(rules(config, store)));
        let places: Vec<Place> = config.stores.iter().map(place).collect();
        // What is wrong in the config stays wrong; of several stores any may be away for a while.
        let mut failed: Vec<Error> = places.iter().filter_map(|place| place.reader().err()).collect();
        let fatal = failed.iter().position(|error| error.reason == Reason::Config);
        if let Some(at) = fatal.or((failed.len() == 1 && places.len() == 1).then_some(0)) {
            return Err(failed.swap_remove(at));
        }
        Ok(Access {
            places,
            layout,
            write_quorum: config.write_quorum,
            required,
            grace: config.prune.grace,
            identity: config.keys.identity_file.clone().map(Identity::File),
            notes_dir: config.proof.scratch_dir.clone(),
        })
    }

    /// One place that flags named, measured by nothing but what its objects say.
    pub fn of_place(place: Place) -> Access {
        Access {
            layout: place.layout.clone(),
            places: vec![place],
            write_quorum: 1,
            required: Level::Sound,
            grace: Duration::ZERO,
            identity: None,
            notes_dir: std::env::temp_dir(),
        }
    }

    /// Believes whatever is well formed: a person consented to it, for one command.
    pub fn by_consent(mut self) -> Access {
        let by_consent = |place: Place| Place { trust: Trust::by_consent(), reader: Mutex::default(), ..place };
        self.places = self.places.into_iter().map(by_consent).collect();
        self
    }

    /// Every store, in the order of the config.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// The store at this place in the config; `Holder::at` and its like count the same way.
    pub fn place(&self, at: usize) -> Result<&Place> {
        self.places.get(at).ok_or_else(|| Error::new(Reason::Internal, format!("there is no store {at}")))
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Where the backups are, for a person: one URL or several.
    pub fn urls(&self) -> String {
        let urls: Vec<&str> = self.places.iter().map(Place::url).collect();
        urls.join(", ")
    }

    /// Reads all stores at once; fails only where none could be read.
    pub async fn holdings(&self, clock: &dyn Clock) -> Result<Holdings> {
        let mut catalogs = futures::future::join_all(self.places.iter().map(|place| place.catalog(clock))).await;
        // A key that is revoked in one store is revoked in all.
        let lists = catalogs.iter().flatten().filter_map(|catalog| catalog.trust_list.clone());
        if let Some(latest) = lists.max_by_key(|list| list.n) {
            for (place, catalog) in self.places.iter().zip(&mut catalogs) {
                let behind = |found: &Catalog| found.trust_list.as_ref().is_none_or(|list| list.n < latest.n);
                if catalog.as_ref().is_ok_and(behind) {
                    place.reader()?.adopt(&latest);
                    *catalog = place.catalog(clock).await;
                }
            }
        }
        let held = |(place, catalog): (&Place, Result<Catalog>)| Held {
            name: place.name().to_owned(),
            url: place.url().to_owned(),
            rules: place.rules.clone(),
            catalog,
        };
        Holdings::new(self.places.iter().zip(catalogs).map(held).collect(), self.required)
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
        for NamedKey { key, id, validity } in values {
            let local = TrustedKey::local(*role, keys::public_key(key)?);
            trust.add_key(TrustedKey { id: id.clone(), validity: *validity, ..local });
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

/// What is to be said of the validity of the config's keys at `now`. What cannot be read has an error of its own.
pub fn validity(config: &Config, source: &str, now: DateTime<Utc>) -> Vec<Finding> {
    let recipients = Recipients::load(&config.keys.recipients).ok();
    let Ok(trust) = trust(config) else { return Vec::new() };
    keys::validity::judge(source, recipients.as_ref(), &trust, config.roles.contains(&Role::Backup), now)
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

/// How long an upload without a manifest is left alone: never less than a run may take.
pub fn orphan_grace(config: &Config) -> Duration {
    config.prune.grace.max(config.limits.backup)
}

/// Everything that a backup needs beyond the store.
pub struct BackupKit {
    pub etcd: config::Etcd,
    pub recipients: Recipients,
    pub signer: Signer,
    pub limits: config::Limits,
    pub notes_dir: PathBuf,
    /// Where sealed bytes may wait for a slow store, and how many.
    pub scratch_dir: PathBuf,
    pub scratch_max_bytes: u64,
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
            scratch_dir: config.proof.scratch_dir.clone(),
            scratch_max_bytes: config.proof.scratch_max_bytes,
            slot_seconds: period,
        })
    }
}

/// Retention in one store, as `policy` takes it.
pub fn rules(config: &Config, store: &StoreConfig) -> Rules {
    Rules {
        keep: config.keep_in(store).cloned(),
        time_zone: config.time_zone,
        grace: config.prune.grace,
        min_age: config.prune.min_age,
        max_deletions: config.prune.max_deletions,
        freeze_if_shrunk: config.prune.freeze_if_shrunk,
    }
}

/// The clusters that a store holds, by the names of its folders. A folder that cannot be a cluster's is somebody else's.
pub async fn clusters(store: &Store) -> Result<Vec<ClusterName>> {
    store.check().await?;
    Ok(store.folders().await?.iter().filter_map(|name| ClusterName::parse(name).ok()).collect())
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
