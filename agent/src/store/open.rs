//! From a config's store to a client that is ready: URL, options, certificates, timeouts, retries.

use super::Store;
use super::gcs::{self, Gcs};
use super::lock::Locking;
use super::pace::Pace;
use super::s3::{Keeping, S3};
use super::source::Source;
use crate::config::{self, Location, Provider, ReadBack, StoreConfig};
use crate::error::{Error, Reason, Result};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{Certificate, ClientConfigKey, ClientOptions, ObjectStore, RetryConfig};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Five tries within two minutes: longer waits belong to the caller's own deadline, not to one request.
const RETRIES: usize = 5;
const RETRY_FOR: Duration = Duration::from_secs(120);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// What talks to a store. Beside the common view S3 and Google have one of their own, for what object_store has
/// no call for.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub objects: Arc<dyn ObjectStore>,
    pub s3: Option<S3>,
    pub gcs: Option<Gcs>,
}

impl Client {
    /// One that has nothing beside the common view.
    fn common(objects: Arc<dyn ObjectStore>) -> Client {
        Client { objects, s3: None, gcs: None }
    }
}

impl Store {
    pub fn open(config: &StoreConfig) -> Result<Store> {
        let url = config.url.clone();
        let (source, prefix, folder, provider) = match config.location()? {
            Location::File(path) => {
                let source = Source::fixed(Client::common(open_folder(&path, &url)?));
                (source, Path::default(), Some(path), None)
            }
            Location::Bucket { provider, prefix } => {
                (Source::of_bucket(config, provider)?, prefix, None, Some(provider))
            }
        };
        Ok(Store {
            source,
            name: config.name.clone(),
            url,
            prefix,
            folder,
            pace: config.bandwidth.map(|limit| Arc::new(Pace::new(limit))),
            read_back: config.read_back,
            verifies_uploads: provider == Some(Provider::S3) && (config.lock.is_some() || sends_checksums(config)?),
        })
    }

    /// A store over a client that exists already: how a test puts a fault, or a store in memory, under everything else.
    pub fn over(name: &str, url: &str, objects: Arc<dyn ObjectStore>) -> Store {
        Store {
            source: Source::fixed(Client::common(objects)),
            name: name.to_owned(),
            url: url.to_owned(),
            prefix: Path::default(),
            folder: None,
            pace: None,
            read_back: ReadBack::Full,
            verifies_uploads: false,
        }
    }
}

/// Whether S3 is sent a checksum of every part, which it holds against what arrived before it answers.
fn sends_checksums(config: &StoreConfig) -> Result<bool> {
    let mut builder = AmazonS3Builder::from_env();
    for (name, value) in config.all_options()? {
        let key = name.to_lowercase().parse().map_err(|_| unknown(&name))?;
        builder = builder.with_config(key, value);
    }
    Ok(builder.get_config_value(&AmazonS3ConfigKey::Checksum).is_some())
}

fn open_folder(path: &std::path::Path, url: &str) -> Result<Arc<dyn ObjectStore>> {
    super::require_folder(path, url)?;
    let folder = LocalFileSystem::new_with_prefix(path)
        .map_err(|source| super::fault::classify("open", url, url, source))?
        .with_fsync(true);
    Ok(Arc::new(folder))
}

/// The three builders have the same calls and no trait for them. Settings of the environment first, then those of the
/// config, so that what is written wins.
macro_rules! configured {
    ($builder:ident, $config:expr, $options:expr, $client:expr) => {{
        let retry = RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_FOR, ..RetryConfig::default() };
        let mut builder = $builder::from_env().with_client_options($client).with_retry(retry).with_url(&$config.url);
        for (name, value) in $options {
            let key = name.to_lowercase().parse().map_err(|_| unknown(name))?;
            builder = builder.with_config(key, value);
        }
        builder
    }};
}

/// A client for a bucket with these options, which are all that its files say now.
pub(super) fn bucket(config: &StoreConfig, provider: Provider, options: &BTreeMap<String, String>) -> Result<Client> {
    let client = client_options(config, provider)?;
    let built = match provider {
        Provider::S3 => s3_bucket(config, configured!(AmazonS3Builder, config, options, client)),
        Provider::Gcs => gcs_bucket(config, configured!(GoogleCloudStorageBuilder, config, options, client)),
        Provider::Azure => configured!(MicrosoftAzureBuilder, config, options, client)
            .build()
            .map(|store| Client::common(Arc::new(store))),
    };
    built.map_err(|source| unfit(config, provider, source))
}

/// Without a signature there is no view of S3's own: it answers such questions to nobody.
fn s3_bucket(config: &StoreConfig, builder: AmazonS3Builder) -> object_store::Result<Client> {
    let is_set = |key| builder.get_config_value(&key);
    let anonymous = is_set(AmazonS3ConfigKey::SkipSignature).is_some_and(|value| value == "true");
    let has_checksum = is_set(AmazonS3ConfigKey::Checksum).is_some();
    let connector = Keeping::new(config.lock.map(|lock| Locking::new(lock, anonymous)));
    let mut builder = builder.with_http_connector(connector.clone());
    if config.lock.is_some() && !has_checksum {
        builder = builder.with_checksum_algorithm(Checksum::SHA256); // S3 takes no lock without one
    }
    let store = Arc::new(builder.build()?);
    if let Some(locking) = &connector.locking {
        locking.of(&store);
    }
    let http = connector.kept().filter(|_| !anonymous);
    let s3 = http.map(|http| S3 { store: store.clone(), http });
    Ok(Client { objects: store, s3, gcs: None })
}

fn gcs_bucket(config: &StoreConfig, builder: GoogleCloudStorageBuilder) -> object_store::Result<Client> {
    let (base, connector) = (gcs::base(&builder), Keeping::default());
    let store = Arc::new(builder.with_http_connector(connector.clone()).build()?);
    let gcs = connector.kept().and_then(|http| Gcs::new(store.clone(), http, &base, config));
    Ok(Client { objects: store, s3: None, gcs })
}

fn unknown(name: &str) -> Error {
    Error::new(Reason::Config, format!("unknown store option {name:?}"))
        .hint("`lifeboat check-config` names the nearest known option")
}

fn unfit(config: &StoreConfig, provider: Provider, source: object_store::Error) -> Error {
    let hint = match provider {
        Provider::S3 => "check region, endpoint and credentials; with http:// endpoints set allow_http: \"true\"",
        Provider::Gcs => "check service_account or application_credentials: each names a key file that can be read",
        Provider::Azure => "check account_name and the credentials; with http:// endpoints set allow_http: \"true\"",
    };
    Error::new(Reason::Config, format!("the {provider} options of {} do not fit together", config.url))
        .on("open", &config.url)
        .hint(hint)
        .because(source)
}

/// The builders' own reading of the environment is lost when client options are given, so it is done here.
fn client_options(store: &StoreConfig, provider: Provider) -> Result<ClientOptions> {
    let mut options = ClientOptions::new();
    for (name, value) in config::variables_beginning(environment_prefix(provider)) {
        if let Ok(key) = name.parse::<ClientConfigKey>() {
            options = options.with_config(key, value);
        }
    }
    options = options.with_timeout(store.timeout).with_connect_timeout(CONNECT_WITHIN).with_user_agent(http_agent());
    match &store.ca_file {
        Some(path) => Ok(certificates(path)?.into_iter().fold(options, ClientOptions::with_root_certificate)),
        None => Ok(options),
    }
}

fn certificates(path: &std::path::Path) -> Result<Vec<Certificate>> {
    let none = |what: &str| {
        Error::new(Reason::Config, format!("ca_file {} holds no {what}", path.display()))
            .on("read", path.display())
            .hint("it is PEM text: -----BEGIN CERTIFICATE----- and so on")
    };
    let pem = std::fs::read(path).map_err(|source| {
        Error::new(Reason::Config, format!("cannot read ca_file {}", path.display()))
            .on("read", path.display())
            .hint("it is the PEM file of the store's CA, which the user that runs lifeboat must be able to read")
            .because(source)
    })?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if certificates.is_empty() => Err(none("certificate")),
        Ok(certificates) => Ok(certificates),
        Err(source) => Err(none("certificates that can be read").because(source)),
    }
}

/// How the environment variables of a provider begin.
pub(super) fn environment_prefix(provider: Provider) -> &'static str {
    match provider {
        Provider::S3 => "AWS_",
        Provider::Gcs => "GOOGLE_",
        Provider::Azure => "AZURE_",
    }
}

fn http_agent() -> object_store::HeaderValue {
    object_store::HeaderValue::from_static(concat!("lifeboat/", env!("CARGO_PKG_VERSION")))
}
