//! From the tree to the effective config: every field read, every default filled in.

use super::cursor::{Cursor, Fields, Reading, shown};
use super::env::{Env, OVERRIDES};
use super::finding::Finding;
use super::tree::{self, Node, Place};
use super::{
    AlertAfter, ClusterName, Config, Http, Keys, Limits, Log, Proof, Role, SlowStore, StoreConfig, check, etcd, keys,
    retention, schedule, store, units,
};
use crate::glob::{Glob, MAX_GLOBS};
use chrono_tz::Tz;
use lifeboat_policy::proof::Level;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

const FIELDS: &[&str] = &[
    "cluster",
    "time_zone",
    "etcd",
    "stores",
    "write_quorum",
    "keys",
    "schedule",
    "limits",
    "alert_after",
    "keep",
    "prune",
    "proof",
    "roles",
    "http",
    "log",
];
const LATER: &[&str] = &["extras", "notify"];

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

const DEFAULT_LIMITS: Limits = Limits {
    backup: seconds(600),
    stall: seconds(60),
    stream: seconds(300),
    compare: seconds(120),
    prove: seconds(1800),
    slow_store: SlowStore::Spool,
};
const DEFAULT_SCRATCH: &str = "/var/lib/lifeboat/scratch";
const DEFAULT_SCRATCH_BYTES: u64 = 12 << 30;
/// What rots in a store is found within a month.
pub(super) const DEFAULT_REREAD: Duration = seconds(30 * 86_400);
const DEFAULT_SAMPLE: u8 = 10;
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9797);

/// The whole of reading a config: text, preset, environment, fields, checks.
pub(crate) fn config(text: &str, source: &str, env: &dyn Env) -> Result<(Config, Vec<Finding>), Vec<Finding>> {
    let mut root = tree::parse(text, source, "write at least cluster, etcd, stores, keys and schedule.backup")?;
    let preset = etcd::expand_preset(&mut root, env);
    for over in OVERRIDES {
        if let Some(value) = env.var(over.var) {
            root.set(over.path, Node::text(&value, Place { position: None, var: Some(over.var) }));
        }
    }
    let reading = Reading::new(source, &root, env);
    etcd::warn_preset(&reading, preset);
    let config = read(&reading);
    if let Some(config) = &config {
        check::across(config, &reading);
    }
    let findings = reading.finish();
    match config {
        Some(config) if !findings.iter().any(Finding::is_error) => Ok((config, findings)),
        _ => Err(findings),
    }
}

/// `None` only where the root is no mapping, which is a finding. Fields that could not be read hold a default here:
/// their findings see to it that nobody gets this config.
fn read(reading: &Reading<'_>) -> Option<Config> {
    let fields = reading.root().fields_besides(FIELDS, LATER)?;
    fields.not_yet(LATER);
    let time_zone = fields.get("time_zone").and_then(|c| read_zone(&c)).unwrap_or(Tz::UTC);
    let cluster = fields.need("cluster", "name the cluster: cluster: prod-eu-1").and_then(|c| read_cluster(&c));
    let stores = fields.need("stores", "name a store: stores: [{ url: s3://bucket/prefix }]");
    let stores = stores.map(|c| store::read(&c)).unwrap_or_default();
    let write_quorum = fields.get("write_quorum").and_then(|c| read_write_quorum(&c, &stores)).unwrap_or(1);
    let keep = fields.get("keep").and_then(|c| retention::read_keep(&c));
    let schedule = schedule::read(fields.get("schedule"), time_zone);
    let keys = fields.get("keys").map_or_else(no_keys, |c| keys::read(&c));
    let roles = match fields.get("roles") {
        Some(c) => read_roles(&c),
        None => {
            let keeps = keep.is_some() || stores.iter().any(|store| store.keep.is_some());
            default_roles(&keys, keeps && schedule.prune.is_some())
        }
    };
    Some(Config {
        cluster: cluster.unwrap_or_else(|| ClusterName("unreadable".to_string())),
        time_zone,
        etcd: fields.get("etcd").and_then(|c| etcd::read(&c)),
        stores,
        write_quorum,
        keys,
        schedule,
        limits: read_limits(fields.get("limits")),
        alert_after: read_alert_after(fields.get("alert_after")),
        keep,
        prune: retention::read_prune(fields.get("prune")),
        proof: read_proof(fields.get("proof")),
        roles,
        http: Http { listen: read_listen(fields.get("http")) },
        log: read_log(fields.get("log")),
    })
}

/// How many of the stores must have a backup before it counts as taken.
fn read_write_quorum(cursor: &Cursor<'_>, stores: &[StoreConfig]) -> Option<usize> {
    let quorum = cursor.whole::<usize>()?;
    // Stores that could not be read have findings of their own; then nothing is known of their number.
    if quorum == 0 || (!stores.is_empty() && quorum > stores.len()) {
        let what = match stores.len() {
            0 | 1 => format!("{quorum} of one store is not possible"),
            count => format!("{quorum} of {count} stores is not possible"),
        };
        cursor.error(what, "write how many stores must have a backup before it counts: 1 up to their number");
        return None;
    }
    Some(quorum)
}

fn no_keys() -> Keys {
    Keys { recipients: Vec::new(), signing_keys: BTreeMap::new(), trusted_keys: BTreeMap::new(), identity_file: None }
}

fn read_cluster(cursor: &Cursor<'_>) -> Option<ClusterName> {
    match ClusterName::parse(cursor.text("a name like prod-eu-1")?) {
        Ok(name) => Some(name),
        Err(what) => {
            cursor.error(what, "write a name like prod-eu-1: it names the cluster's folder in the store");
            None
        }
    }
}

fn read_zone(cursor: &Cursor<'_>) -> Option<Tz> {
    let text = cursor.text("a time zone like Europe/Berlin")?;
    if let Ok(zone) = text.parse() {
        return Some(zone);
    }
    let near = super::nearest::nearest(text, chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()));
    let guess = near.map(|near| format!(": did you mean `{near}`?")).unwrap_or_default();
    cursor.error(format!("unknown time zone `{}`{guess}", shown(text)), "write an IANA name: UTC, Europe/Berlin");
    None
}

const LIMITS: &[&str] = &["backup", "stall", "stream", "compare", "prove", "slow_store"];
const SLOW_STORES: &[(&str, SlowStore)] = &[("spool", SlowStore::Spool), ("fail", SlowStore::Fail)];

fn read_limits(cursor: Option<Cursor<'_>>) -> Limits {
    let Some(fields) = cursor.and_then(|c| c.fields(LIMITS)) else {
        return DEFAULT_LIMITS;
    };
    let limit = |name: &str, default: Duration| positive(&fields, name, default);
    Limits {
        backup: limit("backup", DEFAULT_LIMITS.backup),
        stall: limit("stall", DEFAULT_LIMITS.stall),
        stream: limit("stream", DEFAULT_LIMITS.stream),
        compare: limit("compare", DEFAULT_LIMITS.compare),
        prove: limit("prove", DEFAULT_LIMITS.prove),
        slow_store: fields.get("slow_store").and_then(|c| c.word(SLOW_STORES)).unwrap_or(DEFAULT_LIMITS.slow_store),
    }
}

fn positive(fields: &Fields<'_>, name: &str, default: Duration) -> Duration {
    fields.get(name).and_then(|c| c.positive_duration()).unwrap_or(default)
}

fn read_alert_after(cursor: Option<Cursor<'_>>) -> AlertAfter {
    let Some(fields) = cursor.and_then(|c| c.fields(&["backup", "proof"])) else {
        return AlertAfter { backup: None, proof: None };
    };
    let after = |name: &str| match fields.get(name) {
        Some(c) if matches!(&c.node.kind, tree::Kind::Scalar { text, .. } if text == "auto") => None,
        Some(c) => c.positive_duration(),
        None => None,
    };
    AlertAfter { backup: after("backup"), proof: after("proof") }
}

fn read_proof(cursor: Option<Cursor<'_>>) -> Proof {
    let mut proof = Proof {
        level: None,
        scratch_dir: PathBuf::from(DEFAULT_SCRATCH),
        scratch_max_bytes: DEFAULT_SCRATCH_BYTES,
        etcd: BTreeMap::new(),
        reread: DEFAULT_REREAD,
        sample_percent: DEFAULT_SAMPLE,
        expect: Vec::new(),
    };
    let Some(fields) = cursor.and_then(|c| c.fields(&["level", "scratch", "etcd", "reread", "sample", "expect"]))
    else {
        return proof;
    };
    if let Some(c) = fields.get("level") {
        let named = Level::ALL.map(|level| (level.as_str(), Some(level)));
        let words: Vec<_> = named.into_iter().chain([("auto", None)]).collect();
        proof.level = c.word(&words).flatten();
    }
    if let Some(scratch) = fields.get("scratch").and_then(|c| c.fields(&["dir", "max"])) {
        if let Some(dir) = scratch.get("dir").and_then(|c| c.path()) {
            proof.scratch_dir = dir;
        }
        if let Some(max) = scratch.get("max").and_then(|c| c.size()) {
            proof.scratch_max_bytes = max;
        }
    }
    if let Some(c) = fields.get("etcd") {
        proof.etcd = read_binaries(&c);
    }
    proof.reread = positive(&fields, "reread", DEFAULT_REREAD);
    if let Some(percent) = fields.get("sample").and_then(|c| read_sample(&c)) {
        proof.sample_percent = percent;
    }
    if let Some(c) = fields.get("expect") {
        proof.expect = read_expected(&c);
    }
    proof
}

/// `10%`, from none to all.
fn read_sample(cursor: &Cursor<'_>) -> Option<u8> {
    let text = cursor.scalar("a share like 10%")?;
    let percent = units::parse_percent(text);
    if percent.is_none() {
        cursor.error(format!("expected a share from 0% to 100%, found `{}`", shown(text)), "write a share such as 10%");
    }
    percent
}

fn read_expected(cursor: &Cursor<'_>) -> Vec<Glob> {
    let items = cursor.items("a list of keys", "write a list: expect: [/registry/namespaces/kube-system]");
    if items.len() > MAX_GLOBS {
        cursor.error(
            format!("{} keys are expected", items.len()),
            format!("give at most {MAX_GLOBS}; `*` stands for many"),
        );
    }
    let mut expected = Vec::new();
    for item in items {
        let Some(text) = item.text("a key, perhaps with * in it") else { continue };
        match Glob::parse(text) {
            Ok(glob) => expected.push(glob),
            Err(why) => item.error(why, "write a key, such as /registry/namespaces/kube-system"),
        }
    }
    expected
}

fn read_binaries(cursor: &Cursor<'_>) -> BTreeMap<String, PathBuf> {
    let mut binaries = BTreeMap::new();
    for (version, path) in cursor.entries("a mapping of version to file", "write \"3.6\": /opt/etcd-3.6/etcd") {
        let number = |part: &str| !part.is_empty() && part.len() < 4 && part.bytes().all(|b| b.is_ascii_digit());
        if !version.split_once('.').is_some_and(|(major, minor)| number(major) && number(minor)) {
            path.error(format!("`{}` is no minor version", shown(version)), "write major and minor, such as \"3.6\"");
        }
        let Some(file) = path.path() else { continue };
        if !path.reading.env.is_file(&file) {
            path.warning(
                format!("{} is not there: proofs of etcd {} will be inconclusive", file.display(), shown(version)),
                "install it there, or correct the path",
            );
        }
        binaries.insert(version.to_string(), file);
    }
    binaries
}

fn read_roles(cursor: &Cursor<'_>) -> BTreeSet<Role> {
    let words: Vec<_> = Role::ALL.iter().map(|role| (role.name(), *role)).take(3).collect();
    let mut roles = BTreeSet::new();
    for item in cursor.items("a list of roles", "write a list: roles: [backup, prove, prune]") {
        if matches!(&item.node.kind, tree::Kind::Scalar { text, .. } if text == "operator") {
            item.error("the operator is a person: nothing runs under that role", "write backup, prove or prune");
        } else if let Some(role) = item.word(&words) {
            roles.insert(role);
        }
    }
    roles
}

fn default_roles(keys: &Keys, prunes: bool) -> BTreeSet<Role> {
    let mut roles = BTreeSet::from([Role::Backup]);
    if keys.identity_file.is_some() {
        roles.insert(Role::Prove);
    }
    if prunes {
        roles.insert(Role::Prune);
    }
    roles
}

fn read_listen(cursor: Option<Cursor<'_>>) -> SocketAddr {
    let Some(c) = cursor.and_then(|c| c.fields(&["listen"])).and_then(|fields| fields.get("listen")) else {
        return DEFAULT_LISTEN;
    };
    let Some(text) = c.text("an address like 127.0.0.1:9797") else {
        return DEFAULT_LISTEN;
    };
    match text.parse() {
        Ok(address) => address,
        Err(_) => {
            c.error(
                format!("`{}` is no address", shown(text)),
                "write an IP address and a port: 127.0.0.1:9797, 0.0.0.0:9797 or [::1]:9797",
            );
            DEFAULT_LISTEN
        }
    }
}

fn read_log(cursor: Option<Cursor<'_>>) -> Log {
    const LEVELS: [(&str, &str); 5] =
        [("error", "error"), ("warn", "warn"), ("info", "info"), ("debug", "debug"), ("trace", "trace")];
    let fields = cursor.and_then(|c| c.fields(&["format", "level"]));
    let format = fields.as_ref().and_then(|fields| fields.get("format"));
    let level = fields.as_ref().and_then(|fields| fields.get("level"));
    Log {
        json: format.and_then(|c| c.word(&[("text", false), ("json", true)])).unwrap_or(false),
        level: level.and_then(|c| c.word(&LEVELS)).unwrap_or("info").to_string(),
    }
}
