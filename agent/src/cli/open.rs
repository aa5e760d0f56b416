//! From flags or a config to a store that can be read.

use super::args::{Cli, IdentityArgs, StoreArgs};
use super::output::Output;
use super::passphrase;
use crate::catalog::{Catalog, Trusted};
use crate::clock::SystemClock;
use crate::config::{self, ClusterName, Config, ProcessEnv, Role, StoreConfig};
use crate::error::{Error, Reason, Result};
use crate::holdings::{Held, Holdings};
use crate::keys::{self, Trust, locked};
use crate::setup::{self, Access, Identity, Place};
use crate::store::{Layout, Store};
use crate::summary::Yardstick;
use lifeboat_policy::id::{BackupId, ResolveError, resolve};
use lifeboat_policy::proof::Level;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use zeroize::Zeroizing;

pub const CLOCK: SystemClock = SystemClock;

/// The stores opened for a command, and what their backups are measured against.
pub struct Opened {
    pub access: Access,
    pub yardstick: Yardstick,
    pub holdings: Holdings,
    /// Where one was read.
    pub config: Option<Config>,
}

impl Opened {
    /// What all readable stores hold together.
    pub fn catalog(&self) -> &Catalog {
        &self.holdings.merged
    }

    pub fn cluster(&self) -> &str {
        self.holdings.merged.cluster.as_str()
    }

    /// Each store as JSON: where it is, and why it could not be read.
    pub fn stores(&self) -> Value {
        let store = |held: &Held| {
            let error = held.catalog.as_ref().err();
            let error = error.map(|error| json!({ "reason": error.reason.name(), "message": error.to_string() }));
            json!({ "name": held.name, "url": held.url, "error": error })
        };
        Value::from(self.holdings.stores.iter().map(store).collect::<Vec<_>>())
    }

    /// Tells people which of several stores could not be read: an answer without them must not look whole.
    fn warn(self, output: &Output) -> Opened {
        for (_, held, error) in self.holdings.unreadable() {
            output.remark(&format!("WARNING: store {} cannot be read: {error}\n", held.name));
        }
        self
    }
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

/// Opens what the flags name, else what the config names, and reads it. `unverified`: signatures were consented away.
pub async fn open(cli: &Cli, args: &StoreArgs, unverified: bool, output: &Output) -> Result<Opened> {
    let identity = identity_from(&args.identity)?;
    let told = !args.trust.is_empty();
    let args = &recovered(cli, args, identity.as_ref(), output)?;
    let opened = match url(args) {
        Some(url) => from_flags(url, args, unverified).await,
        None => from_config(narrowed(config(cli)?, args)?, unverified).await,
    };
    let mut opened = opened?.warn(output);
    // A recovery key names the operator alone: without a list, or anything else of the operator's, nobody is believed by it.
    let nobody = opened.catalog().trust_list.is_none() && opened.catalog().trusted.is_empty();
    if nobody && !told && !unverified && url(args).is_some() {
        return Err(no_trust());
    }
    opened.access.identity = identity.or(opened.access.identity);
    Ok(opened)
}

/// The flags, and where there is neither a config nor `--store`, what the recovery key's comments say instead. Whom to
/// believe is asked of them too where no flag says it: never of the store alone.
fn recovered(cli: &Cli, args: &StoreArgs, identity: Option<&Identity>, output: &Output) -> Result<StoreArgs> {
    let mut args = args.clone();
    let no_config = args.store.is_none() && config::find(cli.config.as_deref(), &ProcessEnv)?.is_none();
    let no_trust = url(&args).is_some() && args.trust.is_empty();
    let Some(identity) = identity.filter(|_| no_config || no_trust) else { return Ok(args) };
    let comments = identity.comments()?;
    if no_config && let Some(store) = comments.store {
        output.remark(&format!("The recovery key names {store}\n"));
        (args.store, args.cluster) = (Some(store), comments.cluster);
    }
    if url(&args).is_some() && args.trust.is_empty() {
        args.trust.extend(comments.operator.map(|key| format!("operator={}", key.as_str())));
    }
    Ok(args)
}

/// `--store` is a URL, or the name of one of the config's stores.
fn url(args: &StoreArgs) -> Option<&String> {
    args.store.as_ref().filter(|store| store.contains("://"))
}

/// The config with only the store that `--store NAME` names.
fn narrowed(mut config: Config, args: &StoreArgs) -> Result<Config> {
    if let Some(name) = &args.store {
        let known: Vec<&str> = config.stores.iter().map(|store| store.name.as_str()).collect();
        if !known.contains(&name.as_str()) {
            return Err(Error::new(Reason::Usage, format!("--store {name:?} is no URL, and no store of the config"))
                .hint(format!("give a URL like s3://bucket/prefix, or one of: {}", known.join(", "))));
        }
        config.stores.retain(|store| store.name == *name);
        config.write_quorum = 1;
    }
    let of_a_url = args.cluster.is_some() || args.store_ca.is_some();
    if of_a_url || !args.trust.is_empty() || !args.store_options.is_empty() {
        return Err(Error::new(
            Reason::Usage,
            "--cluster, --trust, --store-option and --store-ca go with a --store URL",
        )
        .hint("a store that the config names has them there"));
    }
    Ok(config)
}

/// One cluster of `every`: ready to be used, or why not.
pub struct OneOfAll {
    pub cluster: ClusterName,
    pub opened: Result<Opened>,
}

/// Every cluster that any of the stores holds, each read for itself: what is wrong in one folder stays there.
pub async fn every(cli: &Cli, args: &StoreArgs, output: &Output) -> Result<Vec<OneOfAll>> {
    let config = if url(args).is_none() { Some(narrowed(config(cli)?, args)?) } else { None };
    let stores = match (url(args), &config) {
        (Some(url), _) => vec![store_from_flags(url, args)?],
        (None, Some(config)) => config.stores.clone(),
        (None, None) => Vec::new(),
    };
    let mut clusters = BTreeSet::new();
    let mut failed = Vec::new();
    for store in &stores {
        let found = async { setup::clusters(&Store::open(store)?).await };
        match found.await {
            Ok(found) => clusters.extend(found),
            Err(error) => failed.push((&store.name, error)),
        }
    }
    if failed.len() == stores.len()
        && let Some((_, error)) = failed.pop()
    {
        return Err(error);
    }
    for (name, error) in failed {
        output.remark(&format!("WARNING: store {name} cannot be read: {error}\n"));
    }
    let mut all = Vec::new();
    for cluster in clusters {
        let opened = match (url(args), &config) {
            (None, Some(config)) => from_config(Config { cluster: cluster.clone(), ..config.clone() }, false).await,
            (Some(url), _) => {
                from_flags(url, &StoreArgs { cluster: Some(cluster.to_string()), ..args.clone() }, false).await
            }
            (None, None) => continue,
        };
        all.push(OneOfAll { cluster, opened });
    }
    Ok(all)
}

async fn from_config(config: Config, unverified: bool) -> Result<Opened> {
    let mut access = Access::from_config(&config, &ProcessEnv)?;
    if unverified {
        access = access.by_consent();
    }
    let yardstick = Yardstick::from_config(&config, access.required);
    read(access, yardstick, Some(config)).await
}

async fn read(access: Access, yardstick: Yardstick, config: Option<Config>) -> Result<Opened> {
    let holdings = access.holdings(&CLOCK).await?;
    Ok(Opened { access, yardstick, holdings, config })
}

async fn from_flags(url: &str, args: &StoreArgs, unverified: bool) -> Result<Opened> {
    let trust = match (unverified, trust(&args.trust)?) {
        (true, _) => Trust::by_consent(),
        (false, trust) if trust.is_empty() => return Err(no_trust()),
        (false, trust) => trust,
    };
    let config = store_from_flags(url, args)?;
    let store = Store::open(&config)?;
    store.check().await?;
    let cluster = match &args.cluster {
        Some(name) => cluster_name(name)?,
        None => setup::only_cluster(&store).await?,
    };
    let access = Access::of_place(Place::new(config, Layout::new(&cluster), trust, None));
    let yardstick = Yardstick::bare(access.required);
    read(access, yardstick, None).await
}

fn store_from_flags(url: &str, args: &StoreArgs) -> Result<StoreConfig> {
    let store = StoreConfig::from_options(url, &options(&args.store_options)?)?;
    Ok(StoreConfig { ca_file: args.store_ca.clone(), ..store })
}

pub fn cluster_name(name: &str) -> Result<ClusterName> {
    ClusterName::parse(name).map_err(|why| Error::new(Reason::Usage, format!("--cluster: {why}")))
}

pub fn no_trust() -> Error {
    Error::new(Reason::NoTrust, "no key was given to believe these backups by")
        .hint(
            "your identity opens them, but anyone who knows your public recipient can make a file that it opens. Ways out: \
             --trust backup=KEY --trust prove=KEY with the public keys from `lifeboat keygen` (they are in the config of \
             any agent, and in its rescue kit); the last one: --allow unverified",
        )
}

pub fn options(pairs: &[String]) -> Result<Vec<(String, String)>> {
    let split = |pair: &String| match pair.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(Error::new(Reason::Usage, format!("--store-option {pair:?} is not K=V"))),
    };
    pairs.iter().map(split).collect()
}

/// `[ROLE=]KEY`; base64 may end with `=`, but its letters are mixed.
pub fn role_and_key(text: &str) -> (Option<&str>, &str) {
    match text.split_once('=') {
        Some((role, key)) if role.bytes().all(|b| b.is_ascii_lowercase()) => (Some(role), key),
        _ => (None, text),
    }
}

pub fn trust(values: &[String]) -> Result<Trust> {
    let mut trust = Trust::default();
    for value in values {
        let (role, key) = role_and_key(value);
        let role = role.unwrap_or(Role::Operator.name());
        let role = Role::ALL.into_iter().find(|known| known.name() == role).ok_or_else(|| {
            Error::new(Reason::Usage, format!("--trust {value:?}: {role:?} is no role"))
                .hint("roles are backup, prove, prune, operator")
        })?;
        trust.add(role, keys::public_key(key)?);
    }
    Ok(trust)
}

/// The identity that a flag names: a file, or `-` for standard input. One under a passphrase is opened here, once.
pub fn identity_from(args: &IdentityArgs) -> Result<Option<Identity>> {
    let Some(value) = args.identity.as_deref() else { return Ok(None) };
    let mut bytes = Zeroizing::new(Vec::new());
    let source = if value == "-" { "standard input" } else { value };
    if value == "-" {
        std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes)
            .map_err(|error| Error::io("read", source, error))?;
    } else {
        let path = PathBuf::from(value);
        bytes = keys::read_secret_bytes("identity file", &path)?;
        if !locked::is_locked(&bytes) {
            return Ok(Some(Identity::File(path)));
        }
    }
    let text = match (locked::is_locked(&bytes), std::str::from_utf8(&bytes)) {
        (true, _) => passphrase::unlock(&bytes, source, args.passphrase_file.as_deref())?,
        (false, Ok(text)) => Zeroizing::new(text.to_owned()),
        (false, Err(_)) => {
            return Err(Error::new(Reason::KeyWrong, format!("{source} is no age identity: it is no text"))
                .hint("expected one or more lines AGE-SECRET-KEY-1..., or such a file under a passphrase"));
        }
    };
    Ok(Some(Identity::Text { text: Arc::new(text), source: source.to_owned() }))
}

/// The backup as a trusted key signed it.
pub fn trusted<'a>(catalog: &'a Catalog, id: &BackupId) -> Result<&'a Trusted> {
    catalog.find(id).ok_or_else(|| {
        Error::new(Reason::Unsigned, format!("backup {id} is not signed by a trusted key"))
            .hint("`lifeboat list` says why it does not count")
    })
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
