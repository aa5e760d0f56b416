//! `lifeboat restore --from FILE`: a plain snapshot or database that nobody signed.

use super::super::open::CLOCK;
use super::super::output::{Output, size};
use super::super::progress::Progress;
use super::{Subject, consent, members, subject, target, token};
use crate::cli::args::{AllowWord, RestoreArgs};
use crate::clock::{Clock as _, Stopwatch};
use crate::daemon::signals::Shutdown;
use crate::error::{Error, Reason, Result};
use crate::fetch::{Kind, SnapshotFile};
use crate::restore::{self, Asking, Origin};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How often the bar is told.
const TELL_EVERY: Duration = Duration::from_millis(200);

pub(super) async fn restore(path: &Path, args: &RestoreArgs, output: &Output, shutdown: &Shutdown) -> Result<()> {
    let Some(dir) = &args.data_dir else {
        return Err(Error::new(Reason::Usage, "--from FILE goes with --data-dir DIR: where to build the data dir")
            .hint("a file says nothing of who made it, so it is never exchanged in place"));
    };
    if args.plan.is_some() {
        return Err(Error::new(Reason::Usage, "--plan pins a signed backup, and --from FILE is none")
            .hint("give every node the same file, --initial-cluster, --initial-cluster-token and --bump"));
    }
    let file = open(path)?;
    if args.store.identity.identity.is_some() {
        return Err(Error::new(Reason::Usage, format!("{} is not sealed: --identity has no use", path.display()))
            .hint("leave it out; of a sealed backup give the folder, with its manifest.json"));
    }
    let origin = Origin::of_file(&file)?;
    let plan = restore::plan(&origin, target(args, dir, 0, None)?, members(args, None, None)?, token(args, None)?)?;
    let subject = Subject::of_file(&file, origin);
    if args.dry_run {
        let text = subject.describe(&plan);
        output.answer(CLOCK.now(), None, subject.document(&plan, None, "planned", None), &text);
        return Ok(());
    }
    output.remark(&subject.describe(&plan));
    unsigned(path, args)?;
    consent(args, &format!("Type restore to build {}", dir.display()), "restore")?;
    let watch = Stopwatch::start();
    let built = build(file, plan.clone(), output, shutdown).await?;
    let done = Some((&built, watch.seconds()));
    let text = subject.report(&plan, &built, watch.seconds());
    output.answer(CLOCK.now(), None, subject.document(&plan, None, "restored", done), &text);
    Ok(())
}

/// Nothing speaks for such a file but the person who names it.
fn unsigned(path: &Path, args: &RestoreArgs) -> Result<()> {
    if args.allow.contains(&AllowWord::Unverified) {
        return Ok(());
    }
    let text = format!("{} carries no signature: nothing says who made it, or from which cluster", path.display());
    Err(Error::new(Reason::ConsentMissing, text).hint("if you know where it comes from: --allow unverified"))
}

fn open(path: &Path) -> Result<SnapshotFile> {
    let file = SnapshotFile::open(path)?;
    if file.kind == Kind::Sealed {
        let text = format!("{} is a sealed backup by itself, without its manifest", path.display());
        return Err(Error::new(Reason::Usage, text)
            .on("restore", path.display())
            .hint(
                "give its folder, with its manifest.json; a store or a copy of it: --store file:///DIR; or by hand: age -d | zstd -d",
            ));
    }
    if file.kind == Kind::BareDb && file.is_in_use() {
        let text = format!("an etcd runs on {}: what is read would be no one moment", path.display());
        return Err(Error::new(Reason::NotUsable, text)
            .on("restore", path.display())
            .hint("take a snapshot of that etcd instead, or stop it first"));
    }
    Ok(file)
}

/// Builds, with a bar; a signal ends the reading.
async fn build(
    file: SnapshotFile,
    plan: restore::RestorePlan,
    output: &Output,
    shutdown: &Shutdown,
) -> Result<restore::Built> {
    let bytes = file.bytes;
    let done = Arc::new(AtomicU64::new(0));
    let stop = Stop(Arc::new(AtomicBool::new(false)));
    let (told, stopped) = (done.clone(), stop.0.clone());
    let progress = move |read: u64| {
        told.store(read, Ordering::Relaxed);
        if stopped.load(Ordering::Relaxed) { Err(std::io::Error::other("stopped by a signal")) } else { Ok(()) }
    };
    let bar = Progress::new(output, "restore");
    let asking = Asking { ask: subject::ask(), ..Asking::default() };
    let tell = async {
        loop {
            bar.at(done.load(Ordering::Relaxed), bytes);
            tokio::time::sleep(TELL_EVERY).await;
        }
    };
    let built = tokio::select! {
        built = restore::build_from_file(file, plan, asking, progress) => built,
        () = shutdown.token().cancelled() => Err(super::interrupted()),
        () = tell => Err(Error::new(Reason::Internal, "the bar outlived the restore")),
    };
    bar.finish();
    built
}

/// Ends the reading thread when nobody waits for it any more.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Subject {
    fn of_file(file: &SnapshotFile, origin: Origin) -> Subject {
        let kind = match file.kind {
            Kind::BareDb => "a database without a digest: what etcd had not yet committed is not in it",
            Kind::Snapshot | Kind::Sealed => "a snapshot",
        };
        let backup = vec![
            ("file", format!("{}, {}, {kind}", file.path.display(), size(file.bytes))),
            ("WARNING", "nobody signed it: nothing says who made it, or from which cluster".to_owned()),
            ("lost", format!("all writes after revision {}", super::grouped(origin.revision))),
        ];
        let fields = serde_json::json!({ "file": file.path, "kind": file.kind.name() });
        Subject {
            title: format!("Using {}", file.path.display()),
            name: file.path.display().to_string(),
            backup,
            fields,
            origin,
            keys: String::new(),
            in_place: None,
        }
    }
}
