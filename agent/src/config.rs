//! What the operator wrote, turned into what is meant: only valid, ready values, every error reported in one go.

mod check;
mod cursor;
mod decode;
mod effective;
mod env;
mod etcd;
mod finding;
mod keys;
mod location;
mod nearest;
mod options;
mod retention;
mod schedule;
mod store;
#[cfg(test)]
mod tests;
mod tree;
mod units;

pub use effective::effective;
pub use env::{CONFIG_VAR, DEFAULT_PATHS, Env, MapEnv, OVERRIDES, Override, ProcessEnv, find, variables_beginning};
pub use finding::{Finding, Severity, into_error};
pub use location::{Location, Provider};
pub(crate) use options::StoreOption;
pub use store::REQUEST_TIMEOUT;

use crate::error::{Error, Reason, Result};
use crate::glob::Glob;
use lifeboat_policy::proof::Level;
use lifeboat_policy::retention::Keep;
use lifeboat_policy::schedule::{Blackout, Cron};
use lifeboat_policy::trust::Validity;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The effective config. Times and sizes are parsed, defaults are filled in, files are named but not yet read.
#[derive(Clone, Debug)]
pub struct Config {
    pub cluster: ClusterName,
    pub time_zone: chrono_tz::Tz,
    /// Absent where this agent does not back up.
    pub etcd: Option<Etcd>,
    /// At least one, each with a name of its own.
    pub stores: Vec<StoreConfig>,
    /// In how many stores a backup must stand to count as taken.
    pub write_quorum: usize,
    pub keys: Keys,
    pub schedule: Schedule,
    pub limits: Limits,
    pub alert_after: AlertAfter,
    /// Absent: nothing is ever deleted.
    pub keep: Option<Keep>,
    pub prune: Prune,
    pub proof: Proof,
    pub roles: BTreeSet<Role>,
    pub http: Http,
    pub log: Log,
}

impl Config {
    /// What this store keeps: its own rules, else those for all.
    pub fn keep_in<'a>(&'a self, store: &'a StoreConfig) -> Option<&'a Keep> {
        store.keep.as_ref().or(self.keep.as_ref())
    }

    /// The config in `path`, with this process's environment; beside it the warnings. All errors come as one.
    pub fn load(path: &Path) -> Result<(Config, Vec<Finding>)> {
        Config::load_with(path, &ProcessEnv)
    }

    /// The same with an environment that is given.
    pub fn load_with(path: &Path, env: &dyn Env) -> Result<(Config, Vec<Finding>)> {
        let source = path.display().to_string();
        let bytes = read_file(path)?;
        let text = utf8(&bytes, &source).map_err(|findings| into_error(&findings))?;
        Config::parse(text, &source, env).map_err(|findings| into_error(&findings))
    }

    /// The config in `text`, with the warnings, or every finding. `source` is how the findings call it.
    pub fn parse(text: &str, source: &str, env: &dyn Env) -> Result<(Config, Vec<Finding>), Vec<Finding>> {
        decode::config(text, source, env)
    }
}

/// Stops reading where a config is too long to be one, so that a wrong path to a huge file costs nothing.
fn read_file(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read;
    let read = || {
        let mut bytes = Vec::new();
        let limit = tree::MAX_BYTES as u64 + 1;
        std::fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::new(Reason::Config, format!("there is no config at {}", path.display()))
            .hint("correct --config or LIFEBOAT_CONFIG; the README has a config to paste"),
        _ => Error::io("read", path.display(), error),
    })
}

fn utf8<'a>(bytes: &'a [u8], source: &str) -> Result<&'a str, Vec<Finding>> {
    std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let what = "this is not UTF-8 text";
        let mut finding = Finding::of_file(source, what, "save it as UTF-8, and check that it is the file you meant");
        finding.line = Some(1 + before.iter().filter(|b| **b == b'\n').count());
        finding.column = Some(1 + before.len() - line_start);
        vec![finding]
    })
}

/// A cluster's name: 1 to 63 of `a-z 0-9 . -`, beginning and ending with a letter or digit. It names a folder in the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterName(String);

impl ClusterName {
    /// The name, or the rule that it breaks.
    pub fn parse(text: &str) -> Result<ClusterName, String> {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let letters = text.bytes().all(|b| inner(b) || matches!(b, b'.' | b'-'));
        let ends = text.bytes().next().is_some_and(inner) && text.bytes().last().is_some_and(inner);
        if text.len() > 63 || !letters || !ends {
            let name = cursor::shown(text);
            return Err(format!(
                "`{name}` is no cluster name: 1 to 63 of a-z 0-9 . -, beginning and ending with a letter or digit"
            ));
        }
        Ok(ClusterName(text.to_string()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Backup,
    Prove,
    Prune,
    Operator,
}

impl Role {
    /// The three that run as agents, then the person.
    pub const ALL: [Role; 4] = [Role::Backup, Role::Prove, Role::Prune, Role::Operator];

    /// The word in configs, on the command line and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Role::Backup => "backup",
            Role::Prove => "prove",
            Role::Prune => "prune",
            Role::Operator => "operator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Role, String> {
        let found = Role::ALL.into_iter().find(|role| role.name() == text);
        found
            .ok_or_else(|| format!("`{}` is no role: it is one of backup, prove, prune, operator", cursor::shown(text)))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Etcd {
    /// `http://host:port` or `https://host:port`.
    pub endpoints: Vec<String>,
    pub members: Members,
    pub tls: Option<Tls>,
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
    pub compare: Compare,
}

/// Whom a backup is compared with. Each question is a full read of the database on the member that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// Every voting member, one after the other.
    All,
    /// The member that the backup is taken from.
    Source,
    Off,
}

impl Compare {
    pub fn name(self) -> &'static str {
        match self {
            Compare::All => "all",
            Compare::Source => "source",
            Compare::Off => "off",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Members {
    /// Ask the endpoints for the member list and use everybody's client URLs.
    Discover,
    /// Use the endpoints as written.
    Endpoints,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    pub ca_file: Option<PathBuf>,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
}

#[derive(Clone, Debug)]
pub struct StoreConfig {
    pub name: String,
    pub url: String,
    /// object_store's own option names, checked.
    pub options: BTreeMap<String, String>,
    pub options_file: Option<PathBuf>,
    /// Certificates of authorities that this store is believed by, beside those of the system.
    pub ca_file: Option<PathBuf>,
    pub lock: Option<Lock>,
    /// Bytes a second that uploads and downloads may carry together.
    pub bandwidth: Option<u64>,
    pub read_back: ReadBack,
    /// Instead of the rules for all stores.
    pub keep: Option<Keep>,
    /// One request, its body included.
    pub timeout: Duration,
}

/// S3 object lock, sent with every object: until then nobody can delete it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    pub mode: LockMode,
    pub days: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Who has the right to bypass it may delete.
    Governance,
    /// Nobody may, the account's owner included.
    Compliance,
}

impl LockMode {
    pub fn name(self) -> &'static str {
        match self {
            LockMode::Governance => "governance",
            LockMode::Compliance => "compliance",
        }
    }
}

/// How an upload is compared with what was sent before its manifest is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadBack {
    /// Every byte is fetched and summed.
    Full,
    /// Size and the store's own checksum, where it has one that can be trusted; else every byte.
    Head,
}

impl ReadBack {
    pub fn name(self) -> &'static str {
        match self {
            ReadBack::Full => "full",
            ReadBack::Head => "head",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Keys {
    /// `age1...` or the path of a file with one recipient a line.
    pub recipients: Vec<NamedKey>,
    pub signing_keys: BTreeMap<Role, PathBuf>,
    /// Public keys (`RW...`) or paths of `.pub` files, by role.
    pub trusted_keys: BTreeMap<Role, Vec<NamedKey>>,
    pub identity_file: Option<PathBuf>,
}

/// A public key as it is named in the config, and for how long it may be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedKey {
    /// The key itself, or the path of a file that holds it.
    pub key: String,
    /// What a person calls it.
    pub id: Option<String>,
    /// Never `revoked`: that is the operator's trust list's to say.
    pub validity: Validity,
}

impl NamedKey {
    /// One without a name and without an end.
    pub fn bare(key: impl Into<String>) -> NamedKey {
        NamedKey { key: key.into(), ..NamedKey::default() }
    }
}

#[derive(Clone, Debug)]
pub struct Schedule {
    pub backup: Option<Cron>,
    pub prove: ProveWhen,
    pub prune: Option<Cron>,
    pub jitter: Duration,
    /// When no run begins. The schedules above know it already.
    pub blackout: Blackout,
    /// How long an agent leaves a slot to each of those whose turn comes before its own.
    pub take_over: Duration,
}

#[derive(Clone, Debug)]
pub enum ProveWhen {
    AfterBackup,
    Cron(Cron),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub backup: Duration,
    pub stall: Duration,
    pub stream: Duration,
    /// What comparing with the live members may take after the stream has ended.
    pub compare: Duration,
    pub prove: Duration,
    pub slow_store: SlowStore,
}

/// What happens when a store is slower than etcd's stream for longer than that stream may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlowStore {
    /// Sealed bytes wait in the scratch dir.
    Spool,
    /// The store is left out of this backup; with too few left, the backup fails.
    Fail,
}

impl SlowStore {
    pub fn name(self) -> &'static str {
        match self {
            SlowStore::Spool => "spool",
            SlowStore::Fail => "fail",
        }
    }
}

/// `None` is `auto`: two slots and the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlertAfter {
    pub backup: Option<Duration>,
    pub proof: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prune {
    pub grace: Duration,
    pub min_age: Duration,
    pub max_deletions: usize,
    /// In percent; `None` is `off`.
    pub freeze_if_shrunk: Option<u8>,
}

#[derive(Clone, Debug)]
pub struct Proof {
    /// `None`: booted where an etcd is found, else sound.
    pub level: Option<Level>,
    pub scratch_dir: PathBuf,
    pub scratch_max_bytes: u64,
    /// Minor version, `3.6`, to the path of an etcd.
    pub etcd: BTreeMap<String, PathBuf>,
    /// Every kept backup is read back at least this often.
    pub reread: Duration,
    /// Of every hundred readings so many are whole proofs.
    pub sample_percent: u8,
    /// Keys that every backup must hold, or its proof fails.
    pub expect: Vec<Glob>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    pub listen: std::net::SocketAddr,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub json: bool,
    pub level: String,
}
