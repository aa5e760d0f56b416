//! `lifeboat backup`: one backup now, in the foreground.

use super::args::{BackupArgs, Cli, StoreArgs};
use super::open::{self, CLOCK};
use super::output::{Output, grouped, size};
use super::progress::Progress;
use super::{entry, log, prove};
use crate::catalog::manifest::{Equality, Manifest};
use crate::clock::{Clock as _, Stopwatch};
use crate::daemon;
use crate::daemon::signals::Shutdown;
use crate::error::{Error, Reason, Result};
use crate::setup::BackupKit;
use serde_json::json;

pub async fn backup(cli: &Cli, args: &BackupArgs, output: &Output) -> Result<()> {
    log::begin(cli, None)?;
    let shutdown = Shutdown::listen()?;
    let opened = open::open(cli, &StoreArgs::default(), false).await?;
    let Some(config) = &opened.config else {
        return Err(Error::new(Reason::Config, "a backup needs a config"));
    };
    let kit = BackupKit::from_config(config, &CLOCK)?;
    let watch = Stopwatch::start();
    let bar = Progress::new(output, "backup");
    let progress = |done: u64, all: u64| bar.at(done, all);
    let work = daemon::backup::backup(&opened.access, &kit, &CLOCK, None, &opened.catalog, &progress);
    let published = tokio::select! {
        published = work => published?,
        () = shutdown.token().cancelled() => {
            return Err(Error::new(Reason::Interrupted, "stopped by a signal; nothing was published"));
        }
    };
    bar.finish();
    let manifest = &published.entry.manifest;
    let mut text = format!(
        "backup {} of {}: revision {}, {} keys, {} sealed, from {} in {}\n",
        manifest.id,
        opened.catalog.cluster,
        grouped(manifest.db.revision),
        manifest.db.keys,
        size(manifest.sealed.bytes),
        manifest.etcd.member_name,
        entry::seconds(watch.seconds())
    );
    text.push_str(&format!("live members: {}\n", entry::equality(manifest)));
    if let Some(why) = &published.new_lineage {
        output.remark(&format!("a new history begins with this backup: {why}\n"));
    }
    let mut done = published.entry.clone();
    let mut failed = None;
    if let Some(limit) = args.wait_proven {
        let verdict = prove::prove_here(&opened, config, &published.entry, None, Some(limit)).await?;
        text.push_str(&prove::describe(&verdict));
        failed = prove::failed(&verdict);
        done.verdicts.push(verdict);
    }
    let store = opened.access.store().name();
    let short = done.id().random_part().len();
    let fields = json!({ "backup": entry::trusted(&done, &opened.yardstick, None, store, short) });
    output.answer(CLOCK.now(), Some(opened.catalog.cluster.as_str()), fields, &text);
    // A proof that failed is the worse news of the two.
    failed.map_or_else(|| members_agree(manifest), Err)
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
