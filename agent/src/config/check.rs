//! What must fit together: checks across fields, after each field has been read.

use super::cursor::Reading;
use super::decode::DEFAULT_REREAD;
use super::retention::{DEFAULT_GRACE, DEFAULT_MIN_AGE, DEFAULT_MIN_PROVEN, DEFAULT_SHRUNK};
use super::{Config, Role, schedule};
use lifeboat_policy::proof::Level;
use lifeboat_policy::span;

pub(crate) fn across(config: &Config, reading: &Reading<'_>) {
    signing_keys(config, reading);
    if config.roles.contains(&Role::Backup) {
        backup(config, reading);
    }
    if config.roles.contains(&Role::Prove) {
        prove(config, reading);
    } else if config.keys.identity_file.is_some() && !config.roles.is_empty() {
        reading.warning(
            &["keys", "identity_file"],
            "this agent does not prove, and yet holds an identity that opens backups",
            "remove identity_file here, or add prove to `roles`",
        );
    }
    if config.roles.contains(&Role::Prune) {
        prune(config, reading);
    } else if config.schedule.prune.is_some() {
        let (what, fix) = match keeps(config) {
            false => {
                ("has no effect without `keep`: nothing is ever deleted", "write `keep`, or leave schedule.prune out")
            }
            true => ("has no effect: prune is not among `roles`", "add prune to `roles`, or leave schedule.prune out"),
        };
        reading.warning(&["schedule", "prune"], what, fix);
    }
    floors(config, reading);
    limits(config, reading);
    schedule::check(config, reading);
}

fn signing_keys(config: &Config, reading: &Reading<'_>) {
    for role in config.roles.iter().filter(|role| !config.keys.signing_keys.contains_key(role)) {
        let name = role.name();
        // A key that is written but wrong has a finding of its own.
        if !reading.written(&["keys", "signing_keys", name]) {
            reading.error(
                &["keys", "signing_keys", name],
                format!("the role {name} runs here and has no key to sign with"),
                format!("make one with: lifeboat keygen --role {name} --out DIR; then name its file here"),
            );
        }
    }
    if config.keys.signing_keys.contains_key(&Role::Operator) && !config.roles.is_empty() {
        reading.warning(
            &["keys", "signing_keys", "operator"],
            "the operator's key is on a host that runs an agent: whoever breaks in there may release and forgive",
            "keep it offline with the recovery key, and use it from a person's machine with roles: []",
        );
    }
}

fn backup(config: &Config, reading: &Reading<'_>) {
    if config.etcd.is_none() && !reading.written(&["etcd"]) {
        reading.error(
            &["etcd"],
            "is missing: the role backup runs here",
            "write etcd: kubeadm, or a mapping with endpoints; where nothing is backed up, write roles: []",
        );
    }
    if config.schedule.backup.is_none() && !reading.written(&["schedule", "backup"]) {
        reading.error(
            &["schedule", "backup"],
            "is missing: the role backup runs here",
            "write a cron line such as backup: \"*/30 * * * *\"",
        );
    }
    let written = reading.written(&["keys", "recipients", "0"]);
    if config.keys.recipients.is_empty() && !written {
        reading.error(
            &["keys", "recipients"],
            "nobody could open the backups: no recipient is named",
            "name at least one age1... recipient, or the file of one",
        );
    }
}

fn prove(config: &Config, reading: &Reading<'_>) {
    if config.keys.identity_file.is_none() && !reading.written(&["keys", "identity_file"]) {
        reading.error(
            &["keys", "identity_file"],
            "is missing: the role prove runs here and must open backups",
            "name the identity made by: lifeboat keygen --role prove --out DIR",
        );
    }
    let no_binary = config.proof.etcd.is_empty() && reading.env.on_path("etcd").is_none();
    if config.proof.level == Some(Level::Booted) && no_binary && !reading.written(&["proof", "etcd"]) {
        reading.error(
            &["proof", "level"],
            "booted needs an etcd to boot: none is configured and none is on PATH",
            "write proof: { etcd: { \"3.6\": /path/to/etcd } }, put etcd on PATH, or lower the level to sound",
        );
    }
    if config.proof.reread > DEFAULT_REREAD {
        reading.warning(
            &["proof", "reread"],
            format!("above the default of {}: what rots in the store is found later", span::print(DEFAULT_REREAD)),
            format!("write {} or less, unless this is meant", span::print(DEFAULT_REREAD)),
        );
    }
    if !trusts(config, Role::Backup) {
        reading.warning(
            &["keys", "trusted_keys", "backup"],
            "no key is trusted for backups: there is nothing this agent could prove",
            "name the backup key's .pub file",
        );
    }
}

fn prune(config: &Config, reading: &Reading<'_>) {
    if !keeps(config) && !reading.written(&["keep"]) {
        reading.error(
            &["keep"],
            "is missing: the role prune runs here, and without rules nothing is ever deleted",
            "write rules such as keep: { within: 48h, daily: 14 }, or take prune out of `roles`",
        );
    }
    if config.schedule.prune.is_none() && !reading.written(&["schedule", "prune"]) {
        reading.error(
            &["schedule", "prune"],
            "is missing: the role prune runs here and would never run",
            "write a cron line such as prune: \"17 3 * * *\", or take prune out of `roles`",
        );
    }
    for role in [Role::Backup, Role::Prove].into_iter().filter(|role| !trusts(config, *role)) {
        reading.warning(
            &["keys", "trusted_keys", role.name()],
            format!(
                "no key is trusted for {}: nothing counts as proven, so nothing would ever be deleted",
                role.name()
            ),
            format!("name the {} key's .pub file", role.name()),
        );
    }
}

/// Whether any store has rules by which backups are deleted.
fn keeps(config: &Config) -> bool {
    config.keep.is_some() || config.stores.iter().any(|store| store.keep.is_some())
}

/// A role's own signing key is trusted for it.
fn trusts(config: &Config, role: Role) -> bool {
    config.keys.signing_keys.contains_key(&role)
        || config.keys.trusted_keys.get(&role).is_some_and(|keys| !keys.is_empty())
}

/// Less than the defaults is allowed: it is somebody's decision, as long as they know what they decide.
fn floors(config: &Config, reading: &Reading<'_>) {
    if !keeps(config) {
        return;
    }
    let places: Vec<String> = (0..config.stores.len()).map(|at| at.to_string()).collect();
    let of_stores = config.stores.iter().zip(&places).filter_map(|(store, at)| {
        let keep = store.keep.as_ref()?;
        Some((vec!["stores", at.as_str(), "keep", "min_proven"], keep))
    });
    let all = config.keep.iter().map(|keep| (vec!["keep", "min_proven"], keep)).chain(of_stores);
    for (path, keep) in all.filter(|(_, keep)| keep.min_proven < DEFAULT_MIN_PROVEN) {
        reading.warning(
            &path,
            format!(
                "{} is below the default of {DEFAULT_MIN_PROVEN}: one damaged object could leave nothing proven to restore",
                keep.min_proven
            ),
            format!("write {DEFAULT_MIN_PROVEN} or more, unless this is meant"),
        );
    }
    if config.prune.freeze_if_shrunk.is_none_or(|percent| percent < DEFAULT_SHRUNK) {
        let written = config.prune.freeze_if_shrunk.map_or("off".to_owned(), |percent| format!("{percent}%"));
        reading.warning(
            &["prune", "freeze_if_shrunk"],
            format!("{written} is below the default of {DEFAULT_SHRUNK}%: the last full backups of an emptied cluster can go"),
            format!("write {DEFAULT_SHRUNK}% or more, unless this is meant"),
        );
    }
    let spans = [
        ("grace", config.prune.grace, DEFAULT_GRACE, "less time to notice and undo a wrong deletion"),
        ("min_age", config.prune.min_age, DEFAULT_MIN_AGE, "a wrong clock or rule can delete recent backups"),
    ];
    for (name, value, default, risk) in spans {
        if value < default {
            let what = format!("{} is below the default of {}: {risk}", span::print(value), span::print(default));
            reading.warning(
                &["prune", name],
                what,
                format!("write {} or more, unless this is meant", span::print(default)),
            );
        }
    }
}

fn limits(config: &Config, reading: &Reading<'_>) {
    let limits = &config.limits;
    for (name, value) in [("stall", limits.stall), ("stream", limits.stream), ("compare", limits.compare)] {
        if value > limits.backup {
            reading.warning(
                &["limits", name],
                format!("has no effect: limits.backup ends the run after {}", span::print(limits.backup)),
                "make it shorter than limits.backup",
            );
        }
    }
}
