//! `lifeboat copy`: verified copies of backups, and of what was said of them, from one store to another.

use super::args::{AllowWord, Cli, CopyArgs};
use super::log;
use super::open::{self, CLOCK};
use super::output::{Output, size};
use super::progress::Progress;
use crate::catalog::{Catalog, Reader, Trusted};
use crate::clock::{Clock as _, Stopwatch};
use crate::config::{self, ClusterName, Config, ProcessEnv, StoreConfig};
use crate::copy::{self, Copied, Item, Note, Step, difference};
use crate::daemon::signals::Shutdown;
use crate::error::{Error, Reason, Result};
use crate::keys::Trust;
use crate::setup;
use crate::store::{Kind, Layout, Store};
use lifeboat_policy::id::BackupId;
use lifeboat_policy::proof::Level;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Both ends, read.
struct Ends {
    from: Reader,
    to: Reader,
    source: Catalog,
    target: Catalog,
    /// The trust list that the target lacks.
    list: Option<u32>,
    required: Level,
}

/// What was done, and what could not be.
#[derive(Default)]
struct Done {
    copied: Vec<Value>,
    skipped: usize,
    refused: BTreeSet<BackupId>,
    refusals: Vec<Value>,
    notes: usize,
    bytes: u64,
    text: String,
}

pub async fn copy(cli: &Cli, args: &CopyArgs, output: &Output) -> Result<()> {
    log::begin(cli, None)?;
    let shutdown = Shutdown::listen()?;
    let work = async {
        let ends = ends(cli, args).await?;
        let only = chosen(&ends, args)?;
        let items = difference(&ends.source, &ends.target, only.as_ref());
        let notes = notes(&ends, only.as_ref()).await?;
        let watch = Stopwatch::start();
        let mut done = Done::default();
        // First of all: what follows may be signed by keys that only the list trusts.
        if let Some(n) = ends.list.filter(|_| !args.dry_run) {
            copy::signed(ends.from.store(), ends.to.store(), &ends.from.layout().trust_list(n)).await?;
        }
        backups(&ends, &items, args, output, &mut done).await?;
        for note in &notes {
            // A note of a backup that was refused would speak of nothing there.
            if !args.dry_run
                && !done.refused.contains(&note.id)
                && copy::signed(ends.from.store(), ends.to.store(), &note.key).await?
            {
                done.notes += 1;
            }
        }
        answer(&ends, args, output, &done, watch.seconds());
        refused(&done)
    };
    tokio::select! {
        done = work => done,
        () = shutdown.token().cancelled() => Err(Error::new(Reason::Interrupted, "stopped by a signal; what was copied stays")
            .hint("run it again: it goes on where it stood")),
    }
}

/// Opens both stores with the same trust. The config is asked only where something is left to it.
async fn ends(cli: &Cli, args: &CopyArgs) -> Result<Ends> {
    let config = match config::find(cli.config.as_deref(), &ProcessEnv)? {
        Some(path) => Some(Config::load(&path)?.0),
        None => None,
    };
    let from = store(&args.from, &args.from_options, config.as_ref(), "--from")?;
    let to = store(&args.to, &args.to_options, config.as_ref(), "--to")?;
    if from.url == to.url && args.from_options == args.to_options {
        return Err(Error::new(Reason::Usage, format!("--from and --to are the same store, {}", from.url)));
    }
    let trust = match (args.allow.contains(&AllowWord::Unverified), open::trust(&args.trust)?, &config) {
        (true, ..) => Trust::by_consent(),
        (false, trust, _) if !trust.is_empty() => trust,
        (false, _, Some(config)) => setup::trust(config)?,
        (false, _, None) => return Err(open::no_trust()),
    };
    let (source, target) = (Store::open(&from)?, Store::open(&to)?);
    source.check().await?;
    target.check().await?;
    let layout = Layout::new(&cluster(args, config.as_ref(), &source).await?);
    let required = match &config {
        Some(config) => setup::level(config, &ProcessEnv)?.0,
        None => Level::Sound,
    };
    let (from, to) = (Reader::new(source, layout.clone(), trust.clone()), Reader::new(target, layout, trust));
    let (mut source, mut target) = (from.read(CLOCK.now()).await?, to.read(CLOCK.now()).await?);
    let n = |catalog: &Catalog| catalog.trust_list.as_ref().map_or(0, |list| list.n);
    let list = (n(&source) > n(&target)).then(|| n(&source));
    // A key that is revoked in one store is revoked in both.
    match (&source.trust_list, &target.trust_list) {
        (Some(latest), _) if list.is_some() => {
            to.adopt(latest);
            target = to.read(CLOCK.now()).await?;
        }
        (_, Some(latest)) if n(&target) > n(&source) => {
            from.adopt(latest);
            source = from.read(CLOCK.now()).await?;
        }
        _ => {}
    }
    Ok(Ends { from, to, source, target, list, required })
}

/// A URL, or one of the config's stores by its name.
fn store(text: &str, options: &[String], config: Option<&Config>, flag: &str) -> Result<StoreConfig> {
    if text.contains("://") {
        return StoreConfig::from_options(text, &open::options(options)?);
    }
    let stores = config.map_or(&[][..], |config| &config.stores);
    let named = stores.iter().find(|store| store.name == text).cloned();
    named.filter(|_| options.is_empty()).ok_or_else(|| {
        Error::new(Reason::Usage, format!("{flag} {text:?} is no URL, and no store of the config"))
            .hint("give a URL like s3://bucket/prefix with its options, or a store's name without any")
    })
}

async fn cluster(args: &CopyArgs, config: Option<&Config>, source: &Store) -> Result<ClusterName> {
    match (&args.cluster, config) {
        (Some(name), _) => open::cluster_name(name),
        (None, Some(config)) => Ok(config.cluster.clone()),
        (None, None) => setup::only_cluster(source).await,
    }
}

fn chosen(ends: &Ends, args: &CopyArgs) -> Result<Option<BTreeSet<BackupId>>> {
    if args.backups.is_empty() {
        return Ok(None);
    }
    let find = |text: &String| {
        let id = open::find(&ends.source, ends.required, text)?;
        match ends.source.find(&id) {
            Some(_) => Ok(id),
            None => Err(Error::new(Reason::Unsigned, format!("backup {id} is not signed by a trusted key"))
                .hint("`lifeboat list` says why it does not count; nothing is copied that does not")),
        }
    };
    args.backups.iter().map(find).collect::<Result<BTreeSet<BackupId>>>().map(Some)
}

/// Every verdict, tombstone and hold that counts at the source, of these backups or of all, those that are gone included: a
/// history without its tombstones looks broken.
async fn notes(ends: &Ends, only: Option<&BTreeSet<BackupId>>) -> Result<Vec<Note>> {
    let layout = ends.from.layout();
    let strays: BTreeSet<&str> = ends.source.strays.iter().map(|stray| stray.path.as_str()).collect();
    let listed = ends.from.store().list(layout.cluster().as_str()).await?;
    let note = |name: &str| {
        let (id, kind, key) = layout.parse(name)?;
        let is_note = matches!(kind, Kind::Verdict | Kind::Tombstone | Kind::Hold) && !strays.contains(name);
        (is_note && only.is_none_or(|only| only.contains(&id))).then_some(Note { id, key })
    };
    Ok(listed.iter().filter_map(|found| note(&found.name)).collect())
}

async fn backups(ends: &Ends, items: &[Item<'_>], args: &CopyArgs, output: &Output, done: &mut Done) -> Result<()> {
    for Item { entry, step } in items {
        let bytes = entry.manifest.sealed.bytes;
        match step {
            Step::Skip => done.skipped += 1,
            Step::Conflict => {
                done.refuse(
                    entry,
                    Reason::StoreConflict,
                    "another object stands there at its name; it was not touched",
                );
            }
            Step::NoData => done.refuse(entry, Reason::ObjectMissing, "its data is missing from the source"),
            Step::Copy if args.dry_run => {
                done.line(entry, &format!("{} to copy", size(bytes)));
                done.copied.push(json!({ "id": entry.id(), "sealed_bytes": bytes }));
            }
            Step::Copy => one(ends, entry, output, done).await?,
        }
    }
    Ok(())
}

async fn one(ends: &Ends, entry: &Trusted, output: &Output, done: &mut Done) -> Result<()> {
    let all = entry.manifest.sealed.bytes;
    let bar = Progress::new(output, "copy");
    let copied = copy::backup(&ends.from, ends.to.store(), entry, &|bytes| bar.at(bytes, all)).await;
    bar.finish();
    match copied {
        Ok(copied) => {
            let resumed = copied == Copied::Resumed;
            let how = if resumed { "was there already and is whole" } else { "copied" };
            done.line(entry, &format!("{} {how}", size(all)));
            done.bytes += if resumed { 0 } else { all };
            done.copied.push(json!({ "id": entry.id(), "sealed_bytes": all, "resumed": resumed }));
            Ok(())
        }
        // One damaged backup must not keep the others from leaving.
        Err(error) if matches!(error.reason, Reason::Damaged | Reason::ObjectMissing | Reason::StoreConflict) => {
            done.refuse(entry, error.reason, &error.to_string());
            Ok(())
        }
        Err(error) => Err(error),
    }
}

impl Done {
    fn line(&mut self, entry: &Trusted, what: &str) {
        let at = entry.manifest.captured_at.format("%Y-%m-%d %H:%M:%S");
        self.text.push_str(&format!("  {}  {at}  {what}\n", entry.id().short(6)));
    }

    fn refuse(&mut self, entry: &Trusted, reason: Reason, message: &str) {
        self.line(entry, &format!("REFUSED: {message}"));
        self.refusals.push(json!({ "id": entry.id(), "reason": reason.name(), "message": message }));
        self.refused.insert(entry.id().clone());
    }
}

fn answer(ends: &Ends, args: &CopyArgs, output: &Output, done: &Done, seconds: f64) {
    let (from, to) = (ends.from.store().url(), ends.to.store().url());
    let cluster = ends.source.cluster.as_str();
    let dry = if args.dry_run { " DRY RUN: nothing is copied." } else { "" };
    let mut text = format!("{cluster} from {from} to {to}.{dry}\n{}", done.text);
    if let Some(n) = ends.list {
        text.push_str(&format!("  trust list {n}\n"));
    }
    let verb = if args.dry_run { "to copy" } else { "copied" };
    text.push_str(&format!("{} {verb}, {} there already", done.copied.len(), done.skipped));
    if !args.dry_run {
        text.push_str(&format!(
            "; {} verdicts, tombstones and holds copied; {} in {seconds:.1} s",
            done.notes,
            size(done.bytes)
        ));
    }
    text.push('\n');
    if !ends.source.untrusted.is_empty() {
        text.push_str(&format!("{} backups do not count and stay where they are\n", ends.source.untrusted.len()));
    }
    let fields = json!({
        "from": from, "to": to, "dry_run": args.dry_run, "copied": done.copied, "skipped": done.skipped,
        "refused": done.refusals, "trust_list": ends.list, "notes": done.notes, "copied_bytes": done.bytes,
        "untrusted": ends.source.untrusted.iter().map(|entry| json!({ "id": entry.id, "why": entry.why.to_string() })).collect::<Vec<_>>(),
        "took_seconds": seconds,
    });
    output.answer(CLOCK.now(), Some(cluster), fields, &text);
}

fn refused(done: &Done) -> Result<()> {
    match done.refused.len() {
        0 => Ok(()),
        count => Err(Error::new(Reason::Findings, format!("{count} backups could not be copied"))
            .hint("the line of each says why; all others were copied")),
    }
}
