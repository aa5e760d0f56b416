//! `lifeboat backup`: one backup now, in the foreground.

use super::args::{BackupArgs, Cli, StoreArgs};
use super::entry::{In, Presence};
use super::open::{self, CLOCK, Opened};
use super::output::{Output, grouped, size};
use super::progress::Progress;
use super::prove::{self, Prover};
use super::{entry, hold, log};
use crate::catalog::Trusted;
use crate::catalog::manifest::{Equality, Manifest};
use crate::clock::{Clock as _, Stopwatch};
use crate::daemon;
use crate::daemon::backup::Published;
use crate::daemon::signals::Shutdown;
use crate::error::{Error, Reason, Result};
use crate::holdings::Held;
use crate::setup::BackupKit;
use serde_json::json;
use std::time::Duration;

pub async fn backup(cli: &Cli, args: &BackupArgs, output: &Output) -> Result<()> {
    log::begin(cli, None)?;
    let shutdown = Shutdown::listen()?;
    let opened = open::open(cli, &StoreArgs::default(), false, output).await?;
    let Some(config) = &opened.config else {
        return Err(Error::new(Reason::Config, "a backup needs a config"));
    };
    let until = hold::until(args.until, CLOCK.now())?;
    let kit = BackupKit::from_config(config, &CLOCK)?;
    let watch = Stopwatch::start();
    let bar = Progress::new(output, "backup");
    let progress = |done: u64, all: u64| bar.at(done, all);
    let work = daemon::backup::backup(&opened.access, &kit, &CLOCK, None, &opened.holdings, &progress);
    let published = tokio::select! {
        published = work => published?,
        () = shutdown.token().cancelled() => {
            return Err(Error::new(Reason::Interrupted, "stopped by a signal; nothing was published"));
        }
    };
    bar.finish();
    if let Some(why) = &published.new_lineage {
        output.remark(&format!("a new history begins with this backup: {why}\n"));
    }
    let mut text = told(&opened, &published, watch.seconds());
    let mut done = published.entry.clone();
    // Before the proof: a hold that could not be written is told once the rest is.
    let held = match &args.hold {
        Some(reason) => Some(hold::fresh(&opened, &kit.signer, &mut done, &published.stores, (reason, until)).await),
        None => None,
    };
    match &held {
        Some(Ok(held)) => text.push_str(&format!("held: {}\n", held.words())),
        Some(Err(error)) => text.push_str(&format!("NOT HELD: {error}\n")),
        None => {}
    }
    let mut failed = None;
    let first = opened.holdings.stores.iter().position(|held| published.stores.contains(&held.name)).unwrap_or(0);
    if let Some(limit) = args.wait_proven {
        // From one store: who waits before an upgrade wants to know that there is a way back, and the agent proves the rest.
        let prover = Prover::new(&opened, config)?;
        let verdict = prover.prove(first, &published.entry, opened.yardstick.required, limit).await?;
        text.push_str(&prove::describe(&verdict, None));
        failed = prove::failed(&verdict);
        done.verdicts.push(verdict);
    }
    let short = done.id().random_part().len();
    let stores = accounts(&opened, &published, first, &done);
    let fields = json!({ "backup": entry::trusted(&done, &stores, short) });
    output.answer(CLOCK.now(), Some(opened.cluster()), fields, &text);
    // A proof that failed is the worst news, then members that differ.
    failed.map_or(Ok(()), Err)?;
    held.transpose()?;
    members_agree(&published.entry.manifest)?;
    all_stores_have_it(&published)
}

/// What was taken, and where it stands.
fn told(opened: &Opened, published: &Published, seconds: f64) -> String {
    let manifest = &published.entry.manifest;
    let mut text = format!(
        "backup {} of {}: revision {}, {} keys, {} sealed, from {} in {}\n",
        manifest.id,
        opened.cluster(),
        grouped(manifest.db.revision),
        manifest.db.keys,
        size(manifest.sealed.bytes),
        manifest.etcd.member_name,
        entry::seconds(seconds)
    );
    text.push_str(&format!("live members: {}\n", entry::equality(manifest)));
    if !opened.holdings.is_single() {
        text.push_str(&format!("stored in {}\n", published.stores.join(", ")));
    }
    for behind in &published.behind {
        text.push_str(&format!("BEHIND: {}: {}\n", behind.store, behind.error));
    }
    text
}

/// Each store's account of the new backup. `proven` is how the first store that has it holds it now.
fn accounts<'a>(opened: &'a Opened, published: &'a Published, first: usize, proven: &'a Trusted) -> Vec<In<'a>> {
    let account = |(at, held): (usize, &'a Held)| {
        let behind = published.behind.iter().find(|behind| behind.at == at);
        let entry = if at == first { proven } else { &published.entry };
        let hold = proven.held(CLOCK.now());
        let place = match behind {
            Some(behind) => Presence::Behind(&behind.error),
            None => Presence::Listed { entry, plan: None, grace: Duration::ZERO, hold },
        };
        In { name: &held.name, place }
    };
    opened.holdings.stores.iter().enumerate().map(account).collect()
}

/// Enough stores have it for the backup to count; that one has not is a finding all the same.
fn all_stores_have_it(published: &Published) -> Result<()> {
    let Some(first) = published.behind.first() else { return Ok(()) };
    let told: Vec<String> =
        published.behind.iter().map(|behind| format!("{}: {}", behind.store, behind.error)).collect();
    let id = &published.entry.manifest.id;
    let error = Error::new(Reason::Findings, format!("backup {id} is not in every store: {}", told.join("; ")));
    let hint = "the role backup copies it there later, or at once: `lifeboat copy --from URL --to URL`";
    Err(error.on("store", &first.store).hint(match &first.error.hint {
        Some(next) => format!("{next}; {hint}"),
        None => hint.to_owned(),
    }))
}

/// The backup is taken and published; that members differ is a finding all the same, and `backup` ends with its code.
fn members_agree(manifest: &Manifest) -> Result<()> {
    let what = match (&manifest.unprovable, &manifest.equality) {
        (Some(why), _) => format!("backup {} cannot be proven: {why}", manifest.id),
        (None, Equality::Differs { found }) => format!("the members of this cluster differ: {found}"),
        (None, Equality::Equal { .. } | Equality::NotCompared { .. }) => return Ok(()),
    };
    Err(Error::new(Reason::Findings, what)
        .on("compare", manifest.id.as_str())
        .hint("`lifeboat show BACKUP` lists every member's answer; see LifeboatMembersDiverged in the runbooks"))
}
