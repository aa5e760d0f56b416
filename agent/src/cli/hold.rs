//! `lifeboat hold` and `lifeboat release`: whether a person keeps a backup whatever the rules say.

use super::args::{Cli, HoldArgs, ReleaseArgs, SignArgs, StoreArgs, Until};
use super::open::{self, CLOCK, Opened};
use super::output::{Output, time};
use super::{entry, log};
use crate::catalog::wish::{Hold, HoldAction};
use crate::catalog::{Reader, Trusted};
use crate::clock::Clock as _;
use crate::config::Role;
use crate::error::{Error, Reason, Result};
use crate::keys::Signer;
use crate::wish;
use chrono::{DateTime, Utc};
use lifeboat_policy::hold::Held;
use lifeboat_policy::id::BackupId;
use serde_json::{Value, json};
use std::sync::Arc;

pub async fn hold(cli: &Cli, args: &HoldArgs, output: &Output) -> Result<()> {
    let until = until(args.until, CLOCK.now())?;
    let (opened, id) = one(cli, &args.store, &args.backup, output).await?;
    let signer = signer(&opened, &args.sign, Who::Anybody)?;
    let now = CLOCK.now();
    let held = Held { reason: args.reason.clone(), until, at: now };
    let undone = opened.holdings.holders(&id).any(|holder| holder.entry.marks().next().is_some());
    let mut written = Written::default();
    for (at, entry) in everywhere(&opened, &id, &mut written) {
        let done = async {
            let reader = opened.access.place(at)?.reader()?;
            wish::hold(&reader, &signer, entry, &args.reason, until, now).await
        };
        written.add(&opened, at, done.await.map(drop));
    }
    let undone = undone && !written.done.is_empty();
    let mut text = format!("backup {id} is held: {}\n", held.words());
    if undone {
        text.push_str("its marked deletion is undone\n");
    }
    let fields = json!({ "id": id, "hold": entry::hold(Some(&held)), "undone": undone });
    written.answer(&opened, output, now, fields, text, "held")
}

pub async fn release(cli: &Cli, args: &ReleaseArgs, output: &Output) -> Result<()> {
    let (opened, id) = one(cli, &args.store, &args.backup, output).await?;
    let signer = signer(&opened, &args.sign, Who::Operator)?;
    let now = CLOCK.now();
    let (mut written, mut released) = (Written::default(), Vec::new());
    for (at, entry) in everywhere(&opened, &id, &mut written) {
        let Some(held) = entry.held(now) else { continue };
        let done = async {
            let reader = opened.access.place(at)?.reader()?;
            wish::release(&reader, &signer, entry, now).await
        };
        written.add(&opened, at, done.await.map(drop));
        released.push(held.words());
    }
    released.dedup();
    let text = match released.is_empty() {
        true => format!("backup {id} is not held\n"),
        false => format!("backup {id} is no longer held ({}): the rules decide again\n", released.join("; ")),
    };
    let fields = json!({ "id": id, "released": released });
    written.answer(&opened, output, now, fields, text, "released")
}

/// Holds a backup that was taken just now in every store that has it, with the operator's key where it is at hand, else
/// with the key that signed the backup.
pub async fn fresh(
    opened: &Opened,
    backup: &Signer,
    found: &mut Trusted,
    stores: &[String],
    (reason, until): (&str, Option<DateTime<Utc>>),
) -> Result<Held> {
    let operator = opened.config.as_ref().and_then(|config| config.keys.signing_keys.get(&Role::Operator));
    let operator = operator.map(|path| Signer::from_file(path)).transpose()?;
    let (signer, now) = (operator.as_ref().unwrap_or(backup), CLOCK.now());
    let mut failed = Vec::new();
    let mut held: Option<Hold> = None;
    for place in opened.access.places().iter().filter(|place| stores.iter().any(|name| name == place.name())) {
        let done = async { wish::hold(&*place.reader()?, signer, found, reason, until, now).await };
        match done.await {
            Ok(hold) => held = Some(hold),
            Err(error) => failed.push((place.name(), error)),
        }
    }
    if let Some((name, error)) = failed.into_iter().next() {
        let text = format!("backup {} was taken, but is not held in {name}: {error}", found.id());
        return Err(Error::new(Reason::Findings, text)
            .on("create", name)
            .hint(format!("hold it there: lifeboat hold {} --reason '{reason}'", found.id())));
    }
    found.holds.extend(held.map(|hold| (hold, now)));
    Ok(Held { reason: reason.to_owned(), until, at: now })
}

/// When a hold ends, which must not be over already.
pub fn until(until: Option<Until>, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>> {
    let Some(until) = until else { return Ok(None) };
    match until.from(now) {
        Some(at) if at > now => Ok(Some(at)),
        Some(at) => Err(Error::new(Reason::Usage, format!("--until {} is over already", time(at)))
            .hint("give a time to come, or a span from now like 14d")),
        None => Err(Error::new(Reason::Usage, "--until lies past the end of all calendars")
            .hint("leave it out: then the hold ends when it is released")),
    }
}

/// Opens the stores and finds the one trusted backup that is meant.
pub async fn one(cli: &Cli, store: &StoreArgs, backup: &str, output: &Output) -> Result<(Opened, BackupId)> {
    log::begin(cli, None)?;
    let opened = open::open(cli, store, false, output).await?;
    let id = open::find(opened.catalog(), opened.yardstick.required, backup)?;
    if opened.catalog().find(&id).is_none() {
        return Err(Error::new(Reason::Unsigned, format!("backup {id} does not count: no trusted key signed it"))
            .hint("`lifeboat list --state untrusted` says why; retention never touches what it does not trust"));
    }
    Ok((opened, id))
}

/// Whose signature a wish needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Anybody,
    Operator,
}

/// The key that signs a person's wish: what the flag names, else the operator's, else where anybody may, any that is here.
pub fn signer(opened: &Opened, args: &SignArgs, who: Who) -> Result<Signer> {
    let keys = opened.config.as_ref().map(|config| &config.keys.signing_keys);
    let roles: &[Role] = match who {
        Who::Anybody => &[Role::Operator, Role::Backup, Role::Prune, Role::Prove],
        Who::Operator => &[Role::Operator],
    };
    let configured = keys.and_then(|keys| roles.iter().find_map(|role| keys.get(role)));
    let Some(path) = args.signing_key.as_ref().or(configured) else {
        return Err(Error::new(Reason::Config, "no key is at hand that could sign this").hint(
            "give --signing-key operator.sign.key (`lifeboat keygen --role operator --out DIR` makes one), \
             or name it in the config: keys.signing_keys.operator",
        ));
    };
    let signer = Signer::from_file(path)?;
    match (who, role(opened, &signer)?) {
        (Who::Anybody, Some(_)) | (Who::Operator, Some(Role::Operator)) => Ok(signer),
        (_, found) => {
            let found = found.map_or("is trusted for no role here".to_owned(), |role| format!("is that of {role}"));
            let wanted =
                if who == Who::Operator { "only the operator's may do this" } else { "nobody would believe it" };
            let text = format!("the key {} {found}, and {wanted}", path.display());
            Err(Error::new(Reason::NoTrust, text).on("sign", path.display()).hint(
                "trust its public key on every agent first: keys.trusted_keys.operator: [/etc/lifeboat/operator.sign.pub], \
                 or with --store URL: --trust operator=operator.sign.pub",
            ))
        }
    }
}

fn role(opened: &Opened, signer: &Signer) -> Result<Option<Role>> {
    let readers: Vec<Arc<Reader>> = opened.access.places().iter().filter_map(|place| place.reader().ok()).collect();
    let reader = readers.first().ok_or_else(|| Error::new(Reason::Internal, "no store is open"))?;
    Ok(reader.trust().role_of(signer.public()))
}

/// The stores that have a backup, by their place; those that could not be read count as failed.
pub fn everywhere<'a>(opened: &'a Opened, id: &'a BackupId, written: &mut Written) -> Vec<(usize, &'a Trusted)> {
    for (_, held, error) in opened.holdings.unreadable() {
        let error = Error::new(error.reason, format!("it cannot be read: {error}"));
        written.failed.push((held.name.clone(), error));
    }
    opened.holdings.holders(id).map(|holder| (holder.at, holder.entry)).collect()
}

/// In which stores a wish was written, and in which it was not.
#[derive(Default)]
pub struct Written {
    pub done: Vec<String>,
    pub failed: Vec<(String, Error)>,
}

impl Written {
    pub fn add(&mut self, opened: &Opened, at: usize, done: Result<()>) {
        let name = opened.holdings.stores.get(at).map_or(String::new(), |held| held.name.clone());
        match done {
            Ok(()) => self.done.push(name),
            Err(error) => self.failed.push((name, error)),
        }
    }

    /// The answer; with a finding where some stores have it and others have not.
    pub fn answer(
        mut self,
        opened: &Opened,
        output: &Output,
        now: DateTime<Utc>,
        mut fields: Value,
        mut text: String,
        verb: &str,
    ) -> Result<()> {
        if self.done.is_empty() && !self.failed.is_empty() {
            return Err(self.failed.swap_remove(0).1);
        }
        let failed = self.failed.iter().map(|(name, error)| {
            json!({ "name": name, "done": false, "error": { "reason": error.reason.name(), "message": error.to_string() } })
        });
        let done = self.done.iter().map(|name| json!({ "name": name, "done": true, "error": null }));
        fields["stores"] = done.chain(failed).collect();
        for (name, error) in &self.failed {
            text.push_str(&format!("NOT {verb} in {name}: {error}\n"));
        }
        output.answer(now, Some(opened.cluster()), fields, &text);
        match self.failed.first() {
            None => Ok(()),
            Some((name, _)) => Err(Error::new(Reason::Findings, format!("not {verb} in every store: not in {name}"))
                .on("create", name)
                .hint("run the same again once that store can be read and written: saying it twice does no harm")),
        }
    }
}

impl Opened {
    /// The last holds and releases of a backup, for `show`.
    pub fn history(found: &Trusted) -> String {
        let line = |(hold, _): &(Hold, DateTime<Utc>)| match hold.action {
            HoldAction::Hold => {
                let held = Held { reason: hold.reason.clone(), until: hold.until, at: hold.at };
                format!("hold       {}: {}; signed by {}\n", time(hold.at), held.words(), hold.binding.signer)
            }
            HoldAction::Release => format!("released   {}; signed by {}\n", time(hold.at), hold.binding.signer),
        };
        found.holds.iter().map(line).collect()
    }
}
