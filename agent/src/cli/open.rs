//! From flags or a config to a store that can be read.

use super::args::{Cli, StoreArgs};
use crate::catalog::{Catalog, Reader};
use crate::clock::SystemClock;
use crate::config::{self, ClusterName, Config, ProcessEnv, Role, StoreConfig};
use crate::error::{Error, Reason, Result};
use crate::keys::{self, Trust};
use crate::setup::{self, Access, Identity};
use crate::store::{Layout, Store};
use crate::summary::Yardstick;
use lifeboat_policy::id::{BackupId, ResolveError, resolve};
use lifeboat_policy::proof::Level;
use std::path::PathBuf;
use std::sync::Arc;
use zeroize::Zeroizing;

pub const CLOCK: SystemClock = SystemClock;

/// A store opened for a command, and what its backups are measured against.
pub struct Opened {
    pub access: Access,
    pub yardstick: Yardstick,
    pub catalog: Catalog,
    /// Where one was read.
    pub config: Option<Config>,
}

/// The config, which this command cannot do without.
pub fn config(cli: &Cli) -> Result<Config> {
    let path = config::find(cli.config.as_deref(), &ProcessEnv)?.ok_or_else(|| {
        let places = config::DEFAULT_PATHS.join(", ");
        Error::new(Reason::Config, format!("there is no config: looked for ${}, {places}", config::CONFIG_VAR))
            .hint("give --config FILE; the README has one to paste")
    })?;
    // Its warnings are for `check-config` and the agent's log, not for every answer.
    let (config, _warnings) = Config::load(&path)?;
    Ok(config)
}

/// Opens what the flags name, else what the config names, and reads its catalog. `unverified`: signatures were
/// consented away.
pub async fn open(cli: &Cli, args: &StoreArgs, unverified: bool) -> Result<Opened> {
    match &args.store {
        Some(url) => {
            let access = from_flags(url, args, unverified).await?;
            let yardstick = Yardstick::bare(access.required);
            read(access, yardstick, None, args).await
        }
        None => from_config(config(cli)?, args, unverified).await,
    }
}

/// Every cluster of the store, each with its own catalog.
pub async fn every(cli: &Cli, args: &StoreArgs) -> Result<Vec<Opened>> {
    let config = if args.store.is_none() { Some(config(cli)?) } else { None };
    let store = match (&args.store, config.as_ref().and_then(|config| config.stores.first())) {
        (Some(url), _) => Store::open(&store_from_flags(url, args)?)?,
        (None, Some(named)) => Store::open(named)?,
        (None, None) => return Err(Error::new(Reason::Config, "the config names no store")),
    };
    store.check().await?;
    let mut opened = Vec::new();
    // A folder that cannot be a cluster's is somebody else's and stays out of it.
    for cluster in store.folders().await?.iter().filter_map(|name| ClusterName::parse(name).ok()) {
        opened.push(match &config {
            Some(config) => from_config(Config { cluster, ..config.clone() }, args, false).await?,
            None => open(cli, &StoreArgs { cluster: Some(cluster.to_string()), ..args.clone() }, false).await?,
        });
    }
    Ok(opened)
}

async fn from_config(config: Config, args: &StoreArgs, unverified: bool) -> Result<Opened> {
    let mut access = Access::from_config(&config, &ProcessEnv)?;
    if unverified {
        access.reader = access.reader.by_consent();
    }
    let yardstick = Yardstick::from_config(&config, access.required);
    read(access, yardstick, Some(config), args).await
}

async fn read(mut access: Access, yardstick: Yardstick, config: Option<Config>, args: &StoreArgs) -> Result<Opened> {
    if let Some(identity) = &args.identity {
        access.identity = Some(identity_from(identity)?);
    }
    let catalog = access.catalog(&CLOCK).await?;
    Ok(Opened { access, yardstick, catalog, config })
}

async fn from_flags(url: &str, args: &StoreArgs, unverified: bool) -> Result<Access> {
    let trust = match (unverified, trust(&args.trust)?) {
        (true, _) => Trust::by_consent(),
        (false, trust) if trust.is_empty() => return Err(no_trust()),
        (false, trust) => trust,
    };
    let store = Store::open(&store_from_flags(url, args)?)?;
    store.check().await?;
    let cluster = match &args.cluster {
        Some(name) => ClusterName::parse(name).map_err(|why| Error::new(Reason::Usage, format!("--cluster: {why}")))?,
        None => setup::only_cluster(&store).await?,
    };
    Ok(Access {
        reader: Reader::new(store, Layout::new(&cluster), trust),
        required: Level::Sound,
        grace: std::time::Duration::ZERO,
        identity: None,
        notes_dir: std::env::temp_dir(),
    })
}

fn store_from_flags(url: &str, args: &StoreArgs) -> Result<StoreConfig> {
    let store = StoreConfig::from_options(url, &options(&args.store_options)?)?;
    Ok(StoreConfig { ca_file: args.store_ca.clone(), ..store })
}

fn no_trust() -> Error {
    Error::new(Reason::NoTrust, "no key was given to believe these backups by")
        .hint(
            "your identity opens them, but anyone who knows your public recipient can make a file that it opens. Ways out: \
             --trust backup=KEY --trust prove=KEY with the public keys from `lifeboat keygen` (they are in the config of \
             any agent, and in its rescue kit); the last one: --allow unverified",
        )
}

fn options(pairs: &[String]) -> Result<Vec<(String, String)>> {
    let split = |pair: &String| match pair.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(Error::new(Reason::Usage, format!("--store-option {pair:?} is not K=V"))),
    };
    pairs.iter().map(split).collect()
}

fn trust(values: &[String]) -> Result<Trust> {
    let mut trust = Trust::default();
    for value in values {
        let (role, key) = match value.split_once('=') {
            Some((role, key)) if role.bytes().all(|b| b.is_ascii_lowercase()) => (role, key),
            _ => ("operator", value.as_str()), // base64 may end with `=`, but its letters are mixed
        };
        let role = Role::ALL.into_iter().find(|known| known.name() == role).ok_or_else(|| {
            Error::new(Reason::Usage, format!("--trust {value:?}: {role:?} is no role"))
                .hint("roles are backup, prove, prune, operator")
        })?;
        trust.add(role, keys::public_key(key)?);
    }
    Ok(trust)
}

/// The identity that a flag names: a file, or `-` for standard input.
pub fn identity_from(value: &str) -> Result<Identity> {
    if value != "-" {
        return Ok(Identity::File(PathBuf::from(value)));
    }
    let mut text = Zeroizing::new(String::new());
    std::io::Read::read_to_string(&mut std::io::stdin().lock(), &mut text)
        .map_err(|source| Error::io("read", "standard input", source))?;
    Ok(Identity::Text(Arc::new(text)))
}

/// What a person calls a backup: an id, a start of one, `latest`, `latest-proven`.
pub fn find(catalog: &Catalog, required: Level, text: &str) -> Result<BackupId> {
    let none = |what: &str| {
        Error::new(Reason::NoBackup, format!("{} holds {what}", catalog.cluster))
            .hint("`lifeboat list` shows what there is")
    };
    match text {
        "latest" => catalog.newest().map(|entry| entry.id().clone()).ok_or_else(|| none("no trusted backup")),
        "latest-proven" => {
            catalog.newest_proven(required).map(|entry| entry.id().clone()).ok_or_else(|| none("no proven backup"))
        }
        text => {
            let ids =
                catalog.trusted.iter().map(|entry| entry.id()).chain(catalog.untrusted.iter().map(|entry| &entry.id));
            resolve(text, ids).cloned().map_err(|why| match why {
                ResolveError::Ambiguous { .. } => Error::new(Reason::Usage, why.to_string()),
                _ => none(&format!("no backup {text:?}")),
            })
        }
    }
}
