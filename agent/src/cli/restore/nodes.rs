//! What the person types on the other nodes: this node's command with the plan in it.

use super::super::args::{Cli, RestoreArgs};
use crate::error::Result;
use crate::restore::{Agreed, RestorePlan};
use serde_json::{Value, json};
use std::path::Path;

/// The plan that all nodes share, and each other node's command; no command where there is one node.
pub(super) struct Nodes {
    pub plan: String,
    others: Vec<(String, String)>,
}

impl Nodes {
    pub fn new(cli: &Cli, args: &RestoreArgs, plan: &RestorePlan, agreed: &Agreed) -> Result<Nodes> {
        let text = agreed.to_text()?;
        let others = plan.members.iter().filter(|member| member.name != plan.name);
        let command = |name: &String| (name.clone(), command(cli, args, plan, name, &text));
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
        let names: Vec<&str> = self.others.iter().map(|(name, _)| name.as_str()).collect();
        let mut text = format!("Now also run on {}, in any order, without waiting:\n", names.join(", "));
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

/// As this node was called, but for that node and with the plan in place of what decided it.
fn command(cli: &Cli, args: &RestoreArgs, plan: &RestorePlan, name: &str, text: &str) -> String {
    let mut words = vec!["lifeboat".to_owned(), "restore".to_owned()];
    let mut flag = |name: &str, value: &str| words.extend([name.to_owned(), quoted(value)]);
    let file = |path: &Path| path.display().to_string();
    if let Some(config) = &cli.config {
        flag("--config", &file(config));
    }
    let store = &args.store;
    for (name, value) in [("--store", &store.store), ("--cluster", &store.cluster)] {
        value.iter().for_each(|value| flag(name, value));
    }
    store.store_options.iter().for_each(|option| flag("--store-option", option));
    store.store_ca.iter().for_each(|path| flag("--store-ca", &file(path)));
    store.trust.iter().for_each(|key| flag("--trust", key));
    store.identity.identity.iter().for_each(|identity| flag("--identity", identity));
    store.identity.passphrase_file.iter().for_each(|path| flag("--passphrase-file", &file(path)));
    flag("--data-dir", &file(&plan.target.dir));
    args.etcd_version.iter().for_each(|version| flag("--etcd-version", &version.to_string()));
    if args.allow.contains(&super::AllowWord::Unverified) {
        flag("--allow", "unverified");
    }
    flag("--name", name);
    flag("--plan", text);
    words.extend(args.compact_file.then(|| "--compact-file".to_owned()));
    words.join(" ")
}

/// Fit for a shell.
fn quoted(word: &str) -> String {
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
