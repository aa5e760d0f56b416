//! The effective config as YAML: every default filled in, and readable as a config again.
//! It holds no secret, because a config holds none: only the names of files.

use super::units::size_text;
use super::{Config, Members, NamedKey, ProveWhen, Role, StoreConfig};
use lifeboat_policy::retention::Keep;
use lifeboat_policy::span;
use serde_yaml::{Mapping, Value};
use std::path::Path;
use std::time::Duration;

/// The text of `lifeboat check-config`.
pub fn effective(config: &Config) -> String {
    let mut root = Map::default();
    root.put("cluster", config.cluster.as_str());
    root.put("time_zone", config.time_zone.name());
    if let Some(etcd) = etcd(config) {
        root.put("etcd", etcd);
    }
    root.put("stores", config.stores.iter().map(store).collect::<Vec<_>>());
    root.put("write_quorum", u64::try_from(config.write_quorum).unwrap_or(u64::MAX));
    root.put("keys", keys(config));
    root.put("schedule", schedule(config));
    let limits = &config.limits;
    let limits = [
        ("backup", limits.backup),
        ("stall", limits.stall),
        ("stream", limits.stream),
        ("compare", limits.compare),
        ("prove", limits.prove),
    ];
    let mut limits = map(limits.map(|(name, limit)| (name, time(limit))));
    limits.put("slow_store", config.limits.slow_store.name());
    root.put("limits", limits);
    let auto = |after: Option<Duration>| after.map_or_else(|| Value::from("auto"), time);
    let alert_after = [("backup", auto(config.alert_after.backup)), ("proof", auto(config.alert_after.proof))];
    root.put("alert_after", map(alert_after));
    if let Some(rules) = &config.keep {
        root.put("keep", keep(rules));
    }
    let prune = &config.prune;
    let mut floors = Map::default();
    floors.put("grace", time(prune.grace));
    floors.put("min_age", time(prune.min_age));
    floors.put("max_deletions", u64::try_from(prune.max_deletions).unwrap_or(u64::MAX));
    floors.put("freeze_if_shrunk", prune.freeze_if_shrunk.map_or("off".to_owned(), |percent| format!("{percent}%")));
    root.put("prune", floors);
    root.put("proof", proof(config));
    root.put("roles", config.roles.iter().map(|role| Value::from(role.name())).collect::<Vec<_>>());
    root.put("http", map([("listen", Value::from(config.http.listen.to_string()))]));
    let format = if config.log.json { "json" } else { "text" };
    root.put("log", map([("format", Value::from(format)), ("level", Value::from(config.log.level.as_str()))]));
    // Mappings of text and numbers always serialise; were it otherwise, the reason belongs on the screen.
    serde_yaml::to_string(&root.0).unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
}

#[derive(Default)]
struct Map(Mapping);

impl Map {
    fn put(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(Value::from(key), value.into());
    }

    fn put_path(&mut self, key: &str, path: Option<&Path>) {
        if let Some(path) = path {
            self.put(key, file(path));
        }
    }
}

impl From<Map> for Value {
    fn from(map: Map) -> Value {
        Value::Mapping(map.0)
    }
}

fn map<const N: usize>(entries: [(&str, Value); N]) -> Map {
    let mut map = Map::default();
    for (key, value) in entries {
        map.put(key, value);
    }
    map
}

fn time(span: Duration) -> Value {
    Value::from(span::print(span))
}

fn file(path: &Path) -> Value {
    Value::from(path.display().to_string())
}

fn etcd(config: &Config) -> Option<Map> {
    let etcd = config.etcd.as_ref()?;
    let mut map = Map::default();
    map.put("endpoints", etcd.endpoints.iter().map(|endpoint| Value::from(endpoint.as_str())).collect::<Vec<_>>());
    map.put(
        "members",
        match etcd.members {
            Members::Discover => "discover",
            Members::Endpoints => "endpoints",
        },
    );
    if let Some(tls) = &etcd.tls {
        let mut files = Map::default();
        files.put_path("ca_file", tls.ca_file.as_deref());
        files.put_path("cert_file", tls.cert_file.as_deref());
        files.put_path("key_file", tls.key_file.as_deref());
        map.put("tls", files);
    }
    if let Some(user) = &etcd.user {
        map.put("user", user.as_str());
    }
    map.put_path("password_file", etcd.password_file.as_deref());
    map.put("compare", etcd.compare.name());
    Some(map)
}

fn store(store: &StoreConfig) -> Value {
    let mut map = Map::default();
    map.put("url", store.url.as_str());
    map.put("name", store.name.as_str());
    if !store.options.is_empty() {
        let mut options = Map::default();
        for (key, value) in &store.options {
            options.put(key, value.as_str());
        }
        map.put("options", options);
    }
    map.put_path("options_file", store.options_file.as_deref());
    map.put_path("ca_file", store.ca_file.as_deref());
    if let Some(found) = &store.lock {
        let mut lock = Map::default();
        lock.put("mode", found.mode.name());
        lock.put("days", found.days);
        map.put("lock", lock);
    }
    if let Some(bandwidth) = store.bandwidth {
        map.put("bandwidth", size_text(bandwidth));
    }
    map.put("read_back", store.read_back.name());
    if let Some(rules) = &store.keep {
        map.put("keep", keep(rules));
    }
    map.put("timeout", time(store.timeout));
    map.into()
}

fn keys(config: &Config) -> Map {
    let keys = &config.keys;
    let mut map = Map::default();
    map.put("recipients", keys.recipients.iter().map(named).collect::<Vec<_>>());
    let mut signing = Map::default();
    let mut trusted = Map::default();
    for role in Role::ALL {
        signing.put_path(role.name(), keys.signing_keys.get(&role).map(|path| path.as_path()));
        if let Some(listed) = keys.trusted_keys.get(&role) {
            trusted.put(role.name(), listed.iter().map(named).collect::<Vec<_>>());
        }
    }
    map.put("signing_keys", signing);
    map.put("trusted_keys", trusted);
    map.put_path("identity_file", keys.identity_file.as_deref());
    map
}

fn named(named: &NamedKey) -> Value {
    if *named == NamedKey::bare(named.key.as_str()) {
        return Value::from(named.key.as_str());
    }
    let mut map = Map::default();
    map.put("key", named.key.as_str());
    if let Some(id) = &named.id {
        map.put("id", id.as_str());
    }
    for (name, at) in [("from", named.validity.from), ("until", named.validity.until)] {
        if let Some(at) = at {
            map.put(name, at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true));
        }
    }
    map.into()
}

fn schedule(config: &Config) -> Map {
    let schedule = &config.schedule;
    let mut map = Map::default();
    if let Some(cron) = &schedule.backup {
        map.put("backup", cron.to_string());
    }
    match &schedule.prove {
        ProveWhen::AfterBackup => map.put("prove", "after-backup"),
        ProveWhen::Cron(cron) => map.put("prove", cron.to_string()),
    }
    if let Some(cron) = &schedule.prune {
        map.put("prune", cron.to_string());
    }
    map.put("jitter", time(schedule.jitter));
    if !schedule.blackout.is_empty() {
        map.put(
            "blackout",
            schedule.blackout.texts().iter().map(|text| Value::from(text.as_str())).collect::<Vec<_>>(),
        );
    }
    map.put("take_over", time(schedule.take_over));
    map
}

fn keep(keep: &Keep) -> Map {
    let mut map = Map::default();
    let spans = [
        ("within", keep.within),
        ("within_hourly", keep.within_hourly),
        ("within_daily", keep.within_daily),
        ("within_weekly", keep.within_weekly),
        ("within_monthly", keep.within_monthly),
        ("within_quarterly", keep.within_quarterly),
        ("within_yearly", keep.within_yearly),
    ];
    for (name, span) in spans {
        if let Some(span) = span {
            map.put(name, time(span));
        }
    }
    let rules = [
        ("last", keep.last),
        ("hourly", keep.hourly),
        ("daily", keep.daily),
        ("weekly", keep.weekly),
        ("monthly", keep.monthly),
        ("quarterly", keep.quarterly),
        ("yearly", keep.yearly),
    ];
    // A rule of 0 is no rule, and reading it back would warn about it.
    for (name, count) in rules.into_iter().filter(|(_, count)| *count > 0) {
        map.put(name, count);
    }
    if let Some(budget) = keep.budget {
        map.put("budget", size_text(budget));
    }
    map.put("min_proven", keep.min_proven);
    map
}

fn proof(config: &Config) -> Map {
    let proof = &config.proof;
    let mut map = Map::default();
    map.put("level", proof.level.map_or("auto", |level| level.as_str()));
    let mut scratch = Map::default();
    scratch.put("dir", file(&proof.scratch_dir));
    scratch.put("max", size_text(proof.scratch_max_bytes));
    map.put("scratch", scratch);
    let mut etcd = Map::default();
    for (version, path) in &proof.etcd {
        etcd.put(version, file(path));
    }
    map.put("etcd", etcd);
    map.put("reread", time(proof.reread));
    map.put("sample", format!("{}%", proof.sample_percent));
    if !proof.expect.is_empty() {
        map.put("expect", proof.expect.iter().map(ToString::to_string).collect::<Vec<_>>());
    }
    map
}
