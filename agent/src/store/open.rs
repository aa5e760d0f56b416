//! From a config's store to a client that is ready: URL, options, certificates, timeouts, retries.

use super::Store;
use super::pace::Pace;
use super::source::Source;
use crate::config::{self, Location, Provider, ReadBack, StoreConfig};
use crate::error::{Error, Reason, Result};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{Certificate, ClientConfigKey, ClientOptions, ObjectStore, RetryConfig};
use std::sync::Arc;
use std::time::Duration;

/// Five tries within two minutes: longer waits belong to the caller's own deadline, not to one request.
const RETRIES: usize = 5;
const RETRY_FOR: Duration = Duration::from_secs(120);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// What talks to a store.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub objects: Arc<dyn ObjectStore>,
}

impl Store {
    pub fn open(config: &StoreConfig) -> Result<Store> {
        let url = config.url.clone();
        let (source, prefix, folder, provider) = match config.location()? {
            Location::File(path) => {
                let source = Source::fixed(Client { objects: open_folder(&path, &url)? });
                (source, Path::default(), Some(path), None)
            }
            Location::Bucket { provider, prefix } => {
                let prefix = Path::parse(prefix).map_err(|source| {
                    Error::new(Reason::Config, format!("the prefix of {url} is not a valid object path"))
                        .because(source)
                })?;
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
            verifies_uploads: provider == Some(Provider::S3) && sends_checksums(config)?,
        })
    }

    /// A store over a client that exists already: how a test puts a fault, or a store in memory, under everything else.
    pub fn over(name: &str, url: &str, objects: Arc<dyn ObjectStore>) -> Store {
        let source = Source::fixed(Client { objects });
        Store {
            source,
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
    if !path.is_dir() {
        // Never made here: an unmounted volume would silently become a folder on the root disk.
        let text = format!("the store's folder {} does not exist", path.display());
        return Err(Error::new(Reason::StoreBucketMissing, text)
            .on("open", url)
            .hint("mount it or create it, then try again"));
    }
    let folder = LocalFileSystem::new_with_prefix(path)
        .map_err(|source| super::fault::classify("open", url, url, source))?
        .with_fsync(true);
    Ok(Arc::new(folder))
}

/// The three builders have the same calls and no trait for them. Settings of the environment first, then those of the
/// config, so that what is written wins.
macro_rules! configured {
    ($builder:ident, $config:expr, $options:expr, $client:expr, $retry:expr) => {{
        let mut builder = $builder::from_env().with_client_options($client).with_retry($retry).with_url(&$config.url);
        for (name, value) in $options {
            let key = name.to_lowercase().parse().map_err(|_| unknown(name))?;
            builder = builder.with_config(key, value);
        }
        builder
    }};
}

/// A client for a bucket, from the files as they are now.
pub(super) fn bucket(config: &StoreConfig, provider: Provider) -> Result<Client> {
    let options = config.all_options()?;
    let client = client_options(config, provider)?;
    let retry = RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_FOR, ..RetryConfig::default() };
    let unfit = |source| unfit(config, provider, source);
    Ok(match provider {
        Provider::S3 => {
            let store = configured!(AmazonS3Builder, config, &options, client, retry).build().map_err(unfit)?;
            Client { objects: Arc::new(store) }
        }
        Provider::Gcs => {
            let store =
                configured!(GoogleCloudStorageBuilder, config, &options, client, retry).build().map_err(unfit)?;
            Client { objects: Arc::new(store) }
        }
        Provider::Azure => {
            let store = configured!(MicrosoftAzureBuilder, config, &options, client, retry).build().map_err(unfit)?;
            Client { objects: Arc::new(store) }
        }
    })
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
    let begins = environment_prefix(provider);
    let mut options = ClientOptions::new();
    for (name, value) in config::variables_beginning(begins) {
        if let Ok(key) = name.parse::<ClientConfigKey>() {
            options = options.with_config(key, value);
        }
    }
    options = options.with_timeout(store.timeout).with_connect_timeout(CONNECT_WITHIN).with_user_agent(http_agent());
    let Some(path) = &store.ca_file else {
        return Ok(options);
    };
    let pem = std::fs::read(path).map_err(|source| Error::io("read", path.display(), source))?;
    let certificates = Certificate::from_pem_bundle(&pem).map_err(|source| {
        Error::new(Reason::Config, format!("ca_file {} holds no certificates that can be read", path.display()))
            .on("read", path.display())
            .hint("it is PEM text: -----BEGIN CERTIFICATE----- and so on")
            .because(source)
    })?;
    if certificates.is_empty() {
        let text = format!("ca_file {} holds no certificate", path.display());
        return Err(Error::new(Reason::Config, text).hint("it is PEM text: -----BEGIN CERTIFICATE----- and so on"));
    }
    Ok(certificates.into_iter().fold(options, ClientOptions::with_root_certificate))
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
