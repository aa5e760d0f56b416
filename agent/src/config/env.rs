//! The process environment as a seam: variables, which files exist, what is on PATH. Only this file reads `std::env`.

use crate::error::{Error, Reason, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What a config may ask of its surroundings.
pub trait Env {
    fn var(&self, name: &str) -> Option<String>;
    fn is_file(&self, path: &Path) -> bool;
    /// The first executable of that name in the directories of PATH.
    fn on_path(&self, program: &str) -> Option<PathBuf>;
}

/// The environment of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnv;

impl Env for ProcessEnv {
    // A value that is not UTF-8 is taken with replacement characters, so that its use fails by name instead of silently.
    #[allow(clippy::disallowed_methods)] // this is the place
    fn var(&self, name: &str) -> Option<String> {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    }

    fn is_file(&self, path: &Path) -> bool {
        path.is_file()
    }

    #[allow(clippy::disallowed_methods)] // this is the place
    fn on_path(&self, program: &str) -> Option<PathBuf> {
        use std::os::unix::fs::PermissionsExt;
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(program)).find(|candidate| {
            std::fs::metadata(candidate).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        })
    }
}

/// An environment made of plain values, for tests.
#[derive(Clone, Debug, Default)]
pub struct MapEnv {
    pub vars: BTreeMap<String, String>,
    pub files: BTreeSet<PathBuf>,
    pub programs: BTreeMap<String, PathBuf>,
}

impl Env for MapEnv {
    fn var(&self, name: &str) -> Option<String> {
        self.vars.get(name).cloned()
    }

    fn is_file(&self, path: &Path) -> bool {
        self.files.contains(path)
    }

    fn on_path(&self, program: &str) -> Option<PathBuf> {
        self.programs.get(program).cloned()
    }
}

/// An environment variable that takes the place of one field of the file.
#[derive(Clone, Copy, Debug)]
pub struct Override {
    pub var: &'static str,
    /// The field as segments; a number is the place in a list.
    pub path: &'static [&'static str],
    /// For `--help`.
    pub help: &'static str,
}

/// Every variable that overrides a field, for values that differ per node.
pub const OVERRIDES: &[Override] = &[
    Override { var: "LIFEBOAT_CLUSTER", path: &["cluster"], help: "cluster" },
    Override { var: "LIFEBOAT_HTTP_LISTEN", path: &["http", "listen"], help: "http.listen" },
    Override { var: "LIFEBOAT_LOG_LEVEL", path: &["log", "level"], help: "log.level" },
    Override { var: "LIFEBOAT_SCRATCH_DIR", path: &["proof", "scratch", "dir"], help: "proof.scratch.dir" },
    Override { var: "LIFEBOAT_IDENTITY_FILE", path: &["keys", "identity_file"], help: "keys.identity_file" },
    Override {
        var: "LIFEBOAT_SIGNING_KEY_BACKUP",
        path: &["keys", "signing_keys", "backup"],
        help: "keys.signing_keys.backup",
    },
    Override {
        var: "LIFEBOAT_SIGNING_KEY_PROVE",
        path: &["keys", "signing_keys", "prove"],
        help: "keys.signing_keys.prove",
    },
    Override {
        var: "LIFEBOAT_SIGNING_KEY_PRUNE",
        path: &["keys", "signing_keys", "prune"],
        help: "keys.signing_keys.prune",
    },
    Override { var: "LIFEBOAT_ETCD_CA_FILE", path: &["etcd", "tls", "ca_file"], help: "etcd.tls.ca_file" },
    Override { var: "LIFEBOAT_ETCD_CERT_FILE", path: &["etcd", "tls", "cert_file"], help: "etcd.tls.cert_file" },
    Override { var: "LIFEBOAT_ETCD_KEY_FILE", path: &["etcd", "tls", "key_file"], help: "etcd.tls.key_file" },
    Override { var: "LIFEBOAT_OPTIONS_FILE", path: &["stores", "0", "options_file"], help: "stores[0].options_file" },
];

/// Names the config file itself.
pub const CONFIG_VAR: &str = "LIFEBOAT_CONFIG";

/// Where a config is looked for when none is named, first come first served.
pub const DEFAULT_PATHS: [&str; 2] = ["/etc/lifeboat/config.yaml", "/etc/lifeboat/rescue.yaml"];

/// The config file to use: `--config`, then `LIFEBOAT_CONFIG`, then the default places. A file that was named is
/// returned whether it exists or not, so that reading it fails by its name instead of another file being used.
pub fn find(explicit: Option<&Path>, env: &dyn Env) -> Result<Option<PathBuf>> {
    if let Some(path) = explicit {
        return Ok(Some(path.to_path_buf()));
    }
    match env.var(CONFIG_VAR) {
        Some(path) if path.is_empty() => {
            let error = Error::new(Reason::Config, format!("{CONFIG_VAR} is set but empty"));
            return Err(error.hint(format!("unset {CONFIG_VAR}, or let it name a config file")));
        }
        Some(path) => return Ok(Some(PathBuf::from(path))),
        None => {}
    }
    Ok(DEFAULT_PATHS.iter().map(PathBuf::from).find(|path| env.is_file(path)))
}

/// The variables of this process whose names begin so, by the rest of the name in small letters: a cloud's own settings.
pub fn variables_beginning(begins: &str) -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| {
            Some((name.to_str()?.strip_prefix(begins)?.to_lowercase(), value.into_string().ok()?))
        })
        .collect()
}
