//! `lifeboat check-config`: every finding at once, the effective config, the next runs.

use super::args::{CheckConfigArgs, Cli};
use super::open::CLOCK;
use super::output::{Output, count, time};
use crate::clock::Clock as _;
use crate::config::{self, Config, Finding, ProcessEnv, ProveWhen};
use crate::error::{Error, Reason, Result};
use crate::keys::{Identities, Recipients, Signer};
use crate::setup;
use crate::store::Store;
use chrono::{DateTime, Utc};
use lifeboat_policy::retention::{Steady, steady};
use lifeboat_policy::schedule::Cron;
use serde_json::{Value, json};

pub fn check_config(cli: &Cli, args: &CheckConfigArgs, output: &Output) -> Result<()> {
    let path = config::find(cli.config.as_deref(), &ProcessEnv)?
        .ok_or_else(|| Error::new(Reason::Config, "there is no config to check").hint("give --config FILE"))?;
    let (config, mut warnings) = Config::load(&path)?;
    let now = CLOCK.now();
    let (errors, of_keys): (Vec<_>, Vec<_>) =
        setup::validity(&config, &path.display().to_string(), now).into_iter().partition(Finding::is_error);
    named_files(&config, &errors)?;
    warnings.extend(of_keys);
    let mut text = format!("{}: good, with {} warnings\n", path.display(), warnings.len());
    for warning in &warnings {
        text.push_str(&format!("{warning}\n"));
    }
    let effective = config::effective(&config);
    text.push_str(&format!("\nEffective config:\n{}", indent(&effective)));
    let runs = next_runs(&config, args.next, now);
    for (name, slots) in &runs {
        text.push_str(&format!("\nNext runs of {name} ({} / UTC):\n", config.time_zone));
        for slot in slots {
            let local = slot.with_timezone(&config.time_zone).format("%Y-%m-%d %H:%M:%S %Z");
            text.push_str(&format!("  {local}  /  {}\n", slot.format("%Y-%m-%d %H:%M:%S")));
        }
    }
    let comes_to = comes_to(&config, now);
    text.push_str(&comes_to_text(&comes_to));
    let effective: Value = serde_yaml::from_str(&effective)
        .map_err(|source| Error::new(Reason::Internal, "the effective config cannot be read back").because(source))?;
    let next: serde_json::Map<String, Value> = runs
        .into_iter()
        .map(|(name, slots)| (name.to_owned(), json!(slots.into_iter().map(time).collect::<Vec<_>>())))
        .collect();
    let retention: Vec<Value> = comes_to
        .iter()
        .map(|(store, steady)| {
            json!({
                "store": store, "backups": steady.backups, "at_least": steady.at_least, "without_effect": steady.idle,
            })
        })
        .collect();
    let fields = json!({
        "findings": warnings.iter().map(finding).collect::<Vec<_>>(), "effective": effective, "next": next,
        "retention": retention,
    });
    output.answer(now, Some(config.cluster.as_str()), fields, &text);
    Ok(())
}

/// Everything that the config only names is opened too, and every failure is told, not only the first.
fn named_files(config: &Config, of_keys: &[Finding]) -> Result<()> {
    let key = |finding: &Finding| Error::new(Reason::Config, finding.what.clone()).hint(finding.fix.clone());
    let mut failures: Vec<Error> = of_keys.iter().map(key).collect();
    let mut try_one = |result: Result<()>| failures.extend(result.err());
    if !config.keys.recipients.is_empty() {
        try_one(Recipients::load(&config.keys.recipients).map(drop));
    }
    for path in config.keys.signing_keys.values() {
        try_one(Signer::from_file(path).map(drop));
    }
    for value in config.keys.trusted_keys.values().flatten() {
        try_one(crate::keys::public_key(&value.key).map(drop));
    }
    if let Some(path) = &config.keys.identity_file {
        try_one(Identities::from_file(path).map(drop));
    }
    for store in &config.stores {
        try_one(Store::open(store).map(drop));
    }
    try_one(setup::level(config, &ProcessEnv).map(drop));
    if failures.is_empty() {
        return Ok(());
    }
    let mut message = format!("what the config names has {}", count(failures.len(), "error"));
    for failure in &failures {
        message.push_str(&format!("\n  {failure}"));
        if let Some(hint) = &failure.hint {
            message.push_str(&format!("\n    fix: {hint}"));
        }
    }
    Err(Error::new(Reason::Config, message))
}

fn next_runs(config: &Config, count: usize, now: DateTime<Utc>) -> Vec<(&'static str, Vec<DateTime<Utc>>)> {
    let prove = match &config.schedule.prove {
        ProveWhen::AfterBackup => None,
        ProveWhen::Cron(cron) => Some(cron),
    };
    let crons: [(&'static str, Option<&Cron>); 3] =
        [("backup", config.schedule.backup.as_ref()), ("prove", prove), ("prune", config.schedule.prune.as_ref())];
    let slots = |cron: &Cron| {
        let mut slots = Vec::new();
        let mut at = now;
        while slots.len() < count
            && let Some(next) = cron.next_after(at)
        {
            slots.push(next);
            at = next;
        }
        slots
    };
    crons
        .into_iter()
        .filter_map(|(name, cron)| cron.map(|cron| (name, slots(cron))))
        .filter(|(_, slots)| !slots.is_empty())
        .collect()
}

/// What the rules of each store that has any come to, once they have run for long.
fn comes_to(config: &Config, now: DateTime<Utc>) -> Vec<(String, Steady)> {
    let Some(cron) = &config.schedule.backup else { return Vec::new() };
    let of_store = |store| steady(&setup::rules(config, store), cron, now);
    config.stores.iter().filter_map(|store| Some((store.name.clone(), of_store(store)?))).collect()
}

fn comes_to_text(comes_to: &[(String, Steady)]) -> String {
    let mut text = String::new();
    if !comes_to.is_empty() {
        text.push_str("\nWhat `keep` comes to, with every backup taken and proven:\n");
    }
    for (store, Steady { backups, at_least, idle }) in comes_to {
        let about = if *at_least { "more than" } else { "about" };
        text.push_str(&format!("  store {store}: {about} {backups} backups\n"));
        for rule in idle {
            text.push_str(&format!("  store {store}: keep.{rule} has no effect: what it keeps stays anyway\n"));
        }
    }
    text
}

fn finding(finding: &Finding) -> Value {
    json!({
        "severity": finding.severity.name(), "path": finding.path, "line": finding.line, "column": finding.column,
        "what": finding.what, "fix": finding.fix,
    })
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, MapEnv};

    fn parse(text: &str, name: &str) -> Config {
        match Config::parse(text, name, &MapEnv::default()) {
            Ok((config, _)) => config,
            Err(findings) => panic!("{findings:#?}"),
        }
    }

    #[test]
    fn the_configs_that_people_are_told_to_paste_are_good() {
        let readme = include_str!("../../../README.md");
        let (_, rest) = readme.split_once("```yaml\n").expect("the README shows a config");
        let (yaml, _) = rest.split_once("```").expect("the block ends");
        assert!(parse(yaml, "README.md").keep.is_some());
        let example = parse(include_str!("../../../examples/kubeadm-s3.yaml"), "kubeadm-s3.yaml");
        assert_eq!(example.stores.len(), 1);
    }
}
