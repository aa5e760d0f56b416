//! What the person types on the other nodes: this node's command with the plan in it.

use super::super::args::{Cli, RestoreArgs};
use crate::error::Result;
use crate::inplace::How;
use crate::restore::{Agreed, RestorePlan};
use serde_json::{Value, json};
use std::path::Path;

/// The plan that all nodes share, and each other node's command; no command where there is one node.
pub(super) struct Nodes {
    pub plan: String,
    others: Vec<(String, String)>,
}

impl Nodes {
    /// `how` says what starts etcd, where that one's data is exchanged in place.
    pub fn new(cli: &Cli, args: &RestoreArgs, how: Option<&How>, plan: &RestorePlan, agreed: &Agreed) -> Result<Nodes> {
        let text = agreed.to_text()?;
        let others = plan.members.iter().filter(|member| member.name != plan.name);
        let command = |name: &String| (name.clone(), command(cli, args, how, plan, name, &text));
        Ok(Nodes { others: others.map(|member| command(&member.name)).collect(), plan: text })
    }

    pub fn are_several(&self) -> bool {
        !self.others.is_empty()
    }

    /// What to do there, told before this node begins, so that nobody waits for it.
    pub fn text(&self) -> String {
        if self.others.is_empty() {
            return String::new();
        }
        let names: Vec<String> = self.others.iter().map(|(name, _)| name.clone()).collect();
        let mut text = format!("Now also run on {}, in any order, without waiting:\n", joined(&names));
        for (name, command) in &self.others {
            text.push_str(&format!("  {name}:  {command}\n"));
        }
        text.push('\n');
        text
    }

    pub fn commands(&self) -> Value {
        let command = |(name, command): &(String, String)| json!({ "name": name, "command": command });
        self.others.iter().map(command).collect()
    }
}

/// `cp-1, cp-2 and cp-3`.
pub(super) fn joined(names: &[String]) -> String {
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        Some((only, _)) => only.clone(),
        None => String::new(),
    }
}

/// As this node was called, but for that node and with the plan in place of what decided it.
fn command(cli: &Cli, args: &RestoreArgs, how: Option<&How>, plan: &RestorePlan, name: &str, text: &str) -> String {
    let mut words = vec!["lifeboat".to_owned(), "restore".to_owned()];
    let mut flag = |name: &str, value: &str| words.extend([name.to_owned(), quoted(value)]);
    let file = |path: &Path| path.display().to_string();
    if let Some(config) = &cli.config {
        flag("--config", &file(config));
    }
    args.from.iter().for_each(|path| flag("--from", &file(path)));
    let store = &args.store;
    for (name, value) in [("--store", &store.store), ("--cluster", &store.cluster)] {
        value.iter().for_each(|value| flag(name, value));
    }
    store.store_options.iter().for_each(|option| flag("--store-option", option));
    store.store_ca.iter().for_each(|path| flag("--store-ca", &file(path)));
    store.trust.iter().for_each(|key| flag("--trust", key));
    store.identity.identity.iter().for_each(|identity| flag("--identity", identity));
    store.identity.passphrase_file.iter().for_each(|path| flag("--passphrase-file", &file(path)));
    if how.is_none() {
        flag("--data-dir", &file(&plan.target.dir));
        flag("--name", name);
    }
    args.etcd_version.iter().for_each(|version| flag("--etcd-version", &version.to_string()));
    if args.allow.contains(&super::AllowWord::Unverified) {
        flag("--allow", "unverified");
    }
    flag("--plan", text);
    words.extend(args.compact_file.then(|| "--compact-file".to_owned()));
    if let Some(how) = how {
        words.insert(2, "--in-place".to_owned());
        words.extend(how.words().iter().map(|word| quoted(word)));
    }
    words.join(" ")
}

/// Fit for a shell.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_reach_the_other_node_as_they_were_typed() {
        assert_eq!(quoted("backup=/etc/keys/b.pub"), "backup=/etc/keys/b.pub");
        assert_eq!(quoted("it's here"), r"'it'\''s here'");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("$HOME"), "'$HOME'");
    }
}
