//! `stores`: where backups go, and object_store's options for getting there.

use super::cursor::{Cursor, Fields, LEAVE_OUT, Reading, shown};
use super::env::Env;
use super::finding::{Finding, into_error};
use super::location::{Location, URL_FIX};
use super::nearest::nearest;
use super::options::{self, OptionKind, StoreOption};
use super::retention;
use super::tree::{self, Kind, Node, Place};
use super::{Lock, LockMode, Provider, ReadBack, StoreConfig};
use crate::error::{Error, Reason, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// One request with its body. Long enough for a part of a few MiB on a slow line, short enough for a retry in time.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

const FIELDS: &[&str] =
    &["url", "name", "options", "options_file", "ca_file", "lock", "bandwidth", "read_back", "timeout", "keep"];
/// Object lock takes whole days; more than a century is a typing error that nobody could ever undo.
const LONGEST_LOCK_DAYS: u32 = 36_500;

/// What the only store is called unless it has a name.
const ONLY: &str = "main";

impl StoreConfig {
    /// A store with nothing but its name and URL.
    pub fn plain(name: impl Into<String>, url: impl Into<String>) -> StoreConfig {
        StoreConfig {
            name: name.into(),
            url: url.into(),
            options: BTreeMap::new(),
            options_file: None,
            ca_file: None,
            lock: None,
            bandwidth: None,
            read_back: ReadBack::Full,
            keep: None,
            timeout: REQUEST_TIMEOUT,
        }
    }

    /// A store from the command line, checked like one from a config. Secrets are let through here: on the day of a
    /// restore there may be nothing but what somebody types.
    pub fn from_options(url: &str, options: &[(String, String)]) -> Result<StoreConfig> {
        let map = |options: &[(String, String)]| {
            let place = Place::default();
            let text = |(key, value): &(String, String)| (key.clone(), Node::text(value, place));
            let pairs: Vec<_> = options.iter().map(text).collect();
            Node::map(pairs.iter().map(|(key, node)| (key.as_str(), node.clone())), place)
        };
        let fields = [("--store", Node::text(url, Place::default())), ("--store-option", map(options))];
        let root = Node::map(fields, Place::default());
        let reading = Reading::new("command line", &root, &NoEnv);
        let fields = reading.root().fields(&["--store", "--store-option"]);
        let url_cursor = fields.as_ref().and_then(|fields| fields.get("--store"));
        let location = url_cursor.and_then(|cursor| read_url(&cursor));
        let cursor = fields.and_then(|fields| fields.get("--store-option"));
        let options = cursor.map(|cursor| read_options(&cursor, location.as_ref().map(|(_, l)| l), Secrets::Allowed));
        let findings = reading.finish();
        match location {
            Some((url, _)) if findings.is_empty() => {
                Ok(StoreConfig { options: options.unwrap_or_default(), ..StoreConfig::plain(ONLY, url) })
            }
            _ => {
                let mut error = into_error(&findings);
                error.reason = Reason::Usage;
                error.hint = None;
                Err(error)
            }
        }
    }

    /// The URL taken apart.
    pub fn location(&self) -> Result<Location> {
        Location::parse(&self.url)
            .map_err(|(what, fix)| Error::new(Reason::Config, format!("store {}: {what}", self.name)).hint(fix))
    }

    /// The options with those of `options_file`, which is read now and wins. It is a mapping of option to value, and
    /// may hold secrets, so no message repeats a value.
    pub fn all_options(&self) -> Result<BTreeMap<String, String>> {
        let mut all = self.options.clone();
        if let Some(path) = &self.options_file {
            let bytes = std::fs::read(path).map_err(|e| Error::io("read", path.display(), e))?;
            let source = path.display().to_string();
            all.extend(self.parse_options(&bytes, &source).map_err(|findings| into_error(&findings))?);
        }
        Ok(all)
    }

    /// The content of an options file.
    pub fn parse_options(
        &self,
        bytes: &[u8],
        source: &str,
    ) -> std::result::Result<BTreeMap<String, String>, Vec<Finding>> {
        let text = super::utf8(bytes, source)?;
        let root = tree::parse(text, source, "write options, one a line: secret_access_key: ...")?;
        let location = Location::parse(&self.url).ok();
        let reading = Reading::new(source, &root, &NoEnv);
        let options = read_options(&reading.root(), location.as_ref(), Secrets::Allowed);
        let findings = reading.finish();
        if findings.iter().any(Finding::is_error) { Err(findings) } else { Ok(options) }
    }
}

/// Options files and flags ask nothing of the environment.
struct NoEnv;

impl Env for NoEnv {
    fn var(&self, _: &str) -> Option<String> {
        None
    }

    fn is_file(&self, _: &std::path::Path) -> bool {
        false
    }

    fn on_path(&self, _: &str) -> Option<PathBuf> {
        None
    }
}

pub(crate) fn read(cursor: &Cursor<'_>) -> Vec<StoreConfig> {
    const FIX: &str = "write a list: stores: [{ url: s3://bucket/prefix }]";
    let items = cursor.items("a list of stores", FIX);
    if items.is_empty() && matches!(cursor.node.kind, Kind::List(_)) {
        cursor.error("no store is named: backups have nowhere to go", FIX);
    }
    let stores: Vec<_> = items.iter().filter_map(|item| Some((item, read_store(item, items.len() > 1)?))).collect();
    for (at, (item, store)) in stores.iter().enumerate() {
        for (_, other) in stores.iter().take(at) {
            if other.name == store.name && item.node.child("name").is_some() {
                item.error(format!("two stores are called `{}`", store.name), "give each store a name of its own");
            }
            if place(other) == place(store) {
                item.error(
                    format!("{} is the same place as `{}`: two copies there are one", store.url, other.name),
                    "name another bucket or folder, or leave one of the two out",
                );
            }
        }
    }
    stores.into_iter().map(|(_, store)| store).collect()
}

/// What tells two places apart: one bucket's name may stand at two servers, or in two accounts.
fn place(store: &StoreConfig) -> (&str, Vec<&String>) {
    let tells = |name: &str| name.to_lowercase().contains("endpoint") || name.to_lowercase().contains("account_name");
    (&store.url, store.options.iter().filter(|(name, _)| tells(name)).map(|(_, value)| value).collect())
}

fn read_store(cursor: &Cursor<'_>, one_of_several: bool) -> Option<StoreConfig> {
    let fields = cursor.fields(FIELDS)?;
    let location = fields.need("url", URL_FIX).and_then(|c| read_url(&c));
    let named = match one_of_several {
        true => fields.need("name", "one of several stores needs a name, such as name: frankfurt"),
        false => fields.get("name"),
    };
    let name = named.and_then(|c| read_name(&c)).unwrap_or_else(|| ONLY.to_string());
    let kind = location.as_ref().map(|(_, location)| location);
    let options = fields.get("options").map(|c| read_options(&c, kind, Secrets::Refused)).unwrap_or_default();
    let path = |name| read_file_of_bucket(&fields, name, kind);
    let (options_file, ca_file) = (path("options_file"), path("ca_file"));
    Some(StoreConfig {
        options,
        options_file,
        ca_file,
        lock: fields.get("lock").and_then(|c| read_lock(&c, kind)),
        bandwidth: fields.get("bandwidth").and_then(|c| read_bandwidth(&c)),
        read_back: fields.get("read_back").and_then(|c| c.word(READ_BACKS)).unwrap_or(ReadBack::Full),
        keep: fields.get("keep").and_then(|c| retention::read_keep(&c)),
        timeout: fields.get("timeout").and_then(|c| c.positive_duration()).unwrap_or(REQUEST_TIMEOUT),
        ..StoreConfig::plain(name, location?.0)
    })
}

const READ_BACKS: &[(&str, ReadBack)] = &[("full", ReadBack::Full), ("head", ReadBack::Head)];

/// Bytes a second, written as a size.
fn read_bandwidth(cursor: &Cursor<'_>) -> Option<u64> {
    let bytes = cursor.size()?;
    if bytes == 0 {
        cursor.error("zero bytes a second move nothing", "write the most a second may carry, such as 20MiB");
        return None;
    }
    Some(bytes)
}

fn read_lock(cursor: &Cursor<'_>, location: Option<&Location>) -> Option<Lock> {
    const MODES: &[(&str, LockMode)] = &[("governance", LockMode::Governance), ("compliance", LockMode::Compliance)];
    const DAYS: &str = "write the days that nobody may delete an object, such as days: 14";
    if location.is_some_and(|location| location.provider() != Some(Provider::S3)) {
        cursor.error(
            "an object's lock can be sent to S3 only",
            "leave it out, and give the bucket or container a retention policy of its own",
        );
        return None;
    }
    let fields = cursor.fields(&["mode", "days"])?;
    let mode = fields.need("mode", "write mode: compliance, or mode: governance").and_then(|c| c.word(MODES));
    let days = fields.need("days", DAYS)?;
    let count = days.whole::<u32>()?;
    if !(1..=LONGEST_LOCK_DAYS).contains(&count) {
        days.error(format!("an object is locked for 1 to {LONGEST_LOCK_DAYS} days"), DAYS);
        return None;
    }
    Some(Lock { mode: mode?, days: count })
}

/// A folder has no options, and no server whose certificate could be checked.
fn read_file_of_bucket(fields: &Fields<'_>, name: &str, location: Option<&Location>) -> Option<PathBuf> {
    let cursor = fields.get(name)?;
    if let Some(Location::File(_)) = location {
        cursor.error("a file:// store takes no options", LEAVE_OUT);
    }
    cursor.path()
}

fn read_url(cursor: &Cursor<'_>) -> Option<(String, Location)> {
    let text = cursor.text("a URL like s3://bucket/prefix")?;
    match Location::parse(text) {
        Ok(location) => Some((text.trim_end_matches('/').to_string(), location)),
        Err((what, fix)) => {
            cursor.error(what, fix);
            None
        }
    }
}

fn read_name(cursor: &Cursor<'_>) -> Option<String> {
    let name = cursor.text("a name like main")?;
    let letters = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if name.is_empty() || name.len() > 63 || !letters {
        cursor.error("a store's name has 1 to 63 of a-z 0-9 -", "write a short name such as main");
        return None;
    }
    Some(name.to_string())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Secrets {
    Allowed,
    Refused,
}

fn read_options(cursor: &Cursor<'_>, location: Option<&Location>, secrets: Secrets) -> BTreeMap<String, String> {
    let entries = cursor.entries("a mapping of options", "write option: value, such as region: eu-central-1");
    if let (Some(Location::File(_)), false) = (location, entries.is_empty()) {
        cursor.error("a file:// store takes no options", LEAVE_OUT);
        return BTreeMap::new();
    }
    // A URL that is none has a finding of its own; of its options only those that nobody has are findings too.
    let providers = match location.and_then(Location::provider) {
        Some(provider) => vec![provider],
        None => Provider::ALL.to_vec(),
    };
    let mut by_meaning: BTreeMap<String, &str> = BTreeMap::new();
    let mut options = BTreeMap::new();
    for (name, value) in entries {
        let Some(meaning) = check_option(&providers, name, &value, secrets) else {
            continue;
        };
        if let Some(other) = by_meaning.insert(meaning, name) {
            value.error(format!("`{}` and `{}` are the same option", shown(other), shown(name)), "keep one of the two");
        }
        if let Some(text) = value.scalar("one value") {
            options.insert(name.to_string(), text.to_string());
        }
    }
    options
}

/// What object_store calls this option, if it may be used here.
fn check_option(providers: &[Provider], name: &str, value: &Cursor<'_>, secrets: Secrets) -> Option<String> {
    let Some(option) = providers.iter().find_map(|provider| StoreOption::of(*provider, name)) else {
        let what = match nearest(name, providers.iter().flat_map(|provider| options::known(*provider))) {
            Some(near) => format!("unknown option `{}`: did you mean `{near}`?", shown(name)),
            None => format!("unknown option `{}`", shown(name)),
        };
        let fix = match providers {
            [one] => format!("use object_store's {one} option names, such as {}", options::examples(*one)),
            _ => "use object_store's option names".to_owned(),
        };
        value.error(what, fix);
        return None;
    };
    let refused = secrets == Secrets::Refused;
    match (option.kind, &value.node.kind) {
        (OptionKind::Bucket, _) => {
            value.error("the bucket is named by `url`", LEAVE_OUT);
            None
        }
        (OptionKind::Timeout, _) => {
            value.error("the time for a request is the store's own `timeout`", "write timeout beside url");
            None
        }
        (OptionKind::Secret, _) if refused => {
            let what = format!("`{name}` is a secret, and secrets are never written into the config");
            value.error(what, "put it into options_file");
            None
        }
        (OptionKind::Proxy, Kind::Scalar { text, .. }) if refused && text.contains('@') => {
            value.error(
                "this proxy URL carries a password, and secrets are never written into the config",
                "put it into options_file",
            );
            None
        }
        _ => Some(option.meaning),
    }
}
