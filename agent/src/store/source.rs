//! The client behind a store, built anew when a file that it was made from has changed: a rotation needs no restart.

use super::open::{self, Client, environment_prefix};
use crate::config::{self, Provider, StoreConfig, StoreOption};
use crate::error::Result;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Options whose value is a file of credentials that object_store reads only once. The token files of workload
/// identity are not among them: it reads those again at every renewal.
const READ_ONCE: &[&str] = &["google_service_account", "google_application_credentials"];

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
    files: Files,
    /// What they looked like when they could not be read: told once, not at every request.
    unreadable: Option<Files>,
}

type Files = Vec<(PathBuf, Option<Look>)>;

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
        let built = Mutex::new(Built::new(config, provider)?);
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
            match Built::new(config, provider) {
                Ok(anew) => {
                    tracing::info!(store = config.name, "credentials or certificates changed and were read anew");
                    *built = anew;
                }
                // Half written, or gone for a moment: the old ones go on, and the next request looks again.
                Err(error) if built.unreadable.as_ref() != Some(&now) => {
                    tracing::warn!(store = config.name, %error, "credentials changed and cannot be read; the old ones stay in use");
                    built.unreadable = Some(now);
                }
                Err(_) => {}
            }
        }
        built.client.clone()
    }
}

impl Built {
    /// Every file is looked at before it is read: a change in between is then seen as one.
    fn new(config: &StoreConfig, provider: Provider) -> Result<Built> {
        let mut files = look(config.options_file.iter().chain(&config.ca_file).cloned().collect());
        let options = config.all_options()?;
        files.extend(look(read_once(&options, provider)));
        Ok(Built { client: open::bucket(config, provider, &options)?, files, unreadable: None })
    }
}

/// The files that the options and the environment name, and that nobody else reads again.
fn read_once(options: &BTreeMap<String, String>, provider: Provider) -> Vec<PathBuf> {
    let environment = config::variables_beginning(environment_prefix(provider));
    let named =
        |name: &str| StoreOption::of(provider, name).is_some_and(|option| READ_ONCE.contains(&option.meaning.as_str()));
    options.iter().chain(&environment).filter(|(name, _)| named(name)).map(|(_, value)| value.into()).collect()
}

fn look(files: Vec<PathBuf>) -> Files {
    let at = |path: &PathBuf| {
        let found = std::fs::metadata(path).ok()?;
        let modified = (found.mtime(), found.mtime_nsec());
        Some(Look { device: found.dev(), inode: found.ino(), bytes: found.len(), modified })
    };
    files.into_iter().map(|path| (path.clone(), at(&path))).collect()
}
