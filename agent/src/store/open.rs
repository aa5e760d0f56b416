//! From a config's store to a client that is ready: URL, options, timeouts, retries.

use super::Store;
use crate::config::{Location, StoreConfig};
use crate::error::{Error, Reason, Result};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use std::sync::Arc;
use std::time::Duration;

/// Five tries within two minutes: longer waits belong to the caller's own deadline, not to one request.
const RETRIES: usize = 5;
const RETRY_FOR: Duration = Duration::from_secs(120);

impl Store {
    pub fn open(config: &StoreConfig) -> Result<Store> {
        let (name, url) = (config.name.clone(), config.url.clone());
        match config.location()? {
            Location::File(path) => {
                let (inner, prefix) = open_folder(&path, &url)?;
                Ok(Store { inner, name, url, prefix, folder: Some(path) })
            }
            Location::S3 { bucket, prefix } => {
                let (inner, prefix) = open_s3(&bucket, &prefix, config)?;
                Ok(Store { inner, name, url, prefix, folder: None })
            }
        }
    }
}

fn open_folder(path: &std::path::Path, url: &str) -> Result<(Arc<dyn ObjectStore>, Path)> {
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
    Ok((Arc::new(folder), Path::default()))
}

fn open_s3(bucket: &str, prefix: &str, config: &StoreConfig) -> Result<(Arc<dyn ObjectStore>, Path)> {
    let url = &config.url;
    let client = ClientOptions::new()
        .with_timeout(config.timeout)
        .with_connect_timeout(Duration::from_secs(5))
        .with_user_agent(http_agent());
    let retry = RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_FOR, ..RetryConfig::default() };
    let mut builder =
        AmazonS3Builder::from_env().with_client_options(client).with_retry(retry).with_bucket_name(bucket);
    for (name, value) in config.all_options()? {
        let key: AmazonS3ConfigKey = name.to_lowercase().parse().map_err(|_| {
            Error::new(Reason::Config, format!("unknown S3 option {name:?}"))
                .hint("`lifeboat check-config` names the nearest known option")
        })?;
        builder = builder.with_config(key, value);
    }
    let store = builder.build().map_err(|source| {
        Error::new(Reason::Config, format!("the S3 options of {url} do not fit together"))
            .hint("check region, endpoint and credentials; with http:// endpoints set allow_http: \"true\"")
            .because(source)
    })?;
    let prefix = Path::parse(prefix).map_err(|source| {
        Error::new(Reason::Config, format!("the prefix of {url} is not a valid object path")).because(source)
    })?;
    Ok((Arc::new(store), prefix))
}

fn http_agent() -> object_store::HeaderValue {
    object_store::HeaderValue::from_static(concat!("lifeboat/", env!("CARGO_PKG_VERSION")))
}
