//! The client behind a store, built anew when a file that it was made from has changed: a rotation needs no restart.

use super::open::{self, Client, environment_prefix};
use crate::config::{self, Provider, StoreConfig};
use crate::error::Result;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Options whose value is a file of credentials that object_store reads only once. The token files of workload
/// identity are not among them: it reads those again at every renewal.
const READ_ONCE: &[&str] = &[
    "google_service_account",
    "google_service_account_path",
    "service_account",
    "service_account_path",
    "google_application_credentials",
    "application_credentials",
];

/// Where the client comes from.
#[derive(Clone)]
pub(super) struct Source(Arc<Inner>);

enum Inner {
    /// Made from nothing that could change.
    Fixed(Client),
    Bucket(Box<Bucket>),
}

struct Bucket {
    config: StoreConfig,
    provider: Provider,
    built: Mutex<Built>,
}

/// A client, and the files that it was made from as they were then.
struct Built {
    client: Client,
    files: Vec<(PathBuf, Option<Look>)>,
}

/// What shows that a file is another one. A mounted Secret is swapped by a link, so its inode changes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Look {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Source {
    pub fn fixed(client: Client) -> Source {
        Source(Arc::new(Inner::Fixed(client)))
    }

    pub fn of_bucket(config: &StoreConfig, provider: Provider) -> Result<Source> {
        // Looked at before they are read: a change in between is then seen as one.
        let files = look(files(config, provider)?);
        let client = open::bucket(config, provider)?;
        let built = Mutex::new(Built { client, files });
        Ok(Source(Arc::new(Inner::Bucket(Box::new(Bucket { config: config.clone(), provider, built })))))
    }

    /// The client to use now.
    pub fn client(&self) -> Client {
        let (config, provider, built) = match &*self.0 {
            Inner::Fixed(client) => return client.clone(),
            Inner::Bucket(bucket) => (&bucket.config, bucket.provider, &bucket.built),
        };
        // A panic elsewhere leaves a whole client: it is replaced in one assignment.
        let mut built = built.lock().unwrap_or_else(PoisonError::into_inner);
        let now = look(built.files.iter().map(|(path, _)| path.clone()).collect());
        if now != built.files {
            match files(config, provider).map(look).and_then(|files| Ok((files, open::bucket(config, provider)?))) {
                Ok((files, client)) => {
                    tracing::info!(store = config.name, "credentials or certificates changed and were read anew");
                    *built = Built { client, files };
                }
                // Half written, or gone for a moment: the old ones go on, and the next request looks again.
                Err(error) => {
                    tracing::warn!(store = config.name, %error, "credentials changed and cannot be read; the old ones stay in use");
                }
            }
        }
        built.client.clone()
    }
}

/// The files that a client is made from and that nobody else reads again.
fn files(store: &StoreConfig, provider: Provider) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = store.options_file.iter().chain(&store.ca_file).cloned().collect();
    let named = |name: &str, value: &str| READ_ONCE.contains(&name).then(|| PathBuf::from(value));
    if provider == Provider::Gcs {
        files.extend(store.all_options()?.iter().filter_map(|(name, value)| named(&name.to_lowercase(), value)));
        let environment = config::variables_beginning(environment_prefix(provider));
        files.extend(environment.iter().filter_map(|(name, value)| named(name, value)));
    }
    Ok(files)
}

fn look(files: Vec<PathBuf>) -> Vec<(PathBuf, Option<Look>)> {
    let at = |path: &PathBuf| {
        let found = std::fs::metadata(path).ok()?;
        let modified = (found.mtime(), found.mtime_nsec());
        Some(Look { device: found.dev(), inode: found.ino(), bytes: found.len(), modified })
    };
    files.into_iter().map(|path| (path.clone(), at(&path))).collect()
}
