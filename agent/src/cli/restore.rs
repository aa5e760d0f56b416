//! `lifeboat restore`: the plan first, then consent, then the data dir.

mod folder;
mod from_file;
mod in_place;
mod nodes;
mod subject;

use super::args::{AllowWord, Cli, RestoreArgs};
use super::open::{self, CLOCK, Opened};
use super::output::{Output, grouped};
use super::progress::Progress;
use super::{entry, log, sources};
use crate::catalog::Trusted;
use crate::clock::{Clock as _, Stopwatch};
use crate::daemon::signals::Shutdown;
use crate::error::{Error, Reason, Result};
use crate::inplace::{self, How, Journal, Stage};
use crate::restore::{self, Agreed, Asking, Built, Members, RestorePlan, Target};
use crate::scratch;
use etcdfile::MemberSpec;
use folder::Folder;
use in_place::Node;
use lifeboat_policy::choice::{Allow, Bound, Choice, Refusal, RefusalKind, Want, choose};
use lifeboat_policy::id::BackupId;
use nodes::Nodes;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, Write as _};
use std::path::Path;
use subject::{InPlace, Subject};

pub async fn restore(cli: &Cli, args: &RestoreArgs, output: &Output) -> Result<()> {
    log::begin(cli, None)?;
    let shutdown = Shutdown::listen()?;
    // Before anything is read over a slow line: a target that cannot be used ends it at once, and so does half a plan.
    args.data_dir.as_deref().map_or(Ok(()), restore::require_empty)?;
    let folder = match &args.from {
        Some(path) if path.is_dir() => Some(Folder::open(path)?),
        Some(path) => return from_file::restore(path, args, output, &shutdown).await,
        None => None,
    };
    if args.undo {
        return in_place::undo(args, output, &shutdown).await;
    }
    let agreed = args.plan.as_deref().map(agreed).transpose()?;
    let node = this_node(args).await?;
    if let Some(node) = &node
        && let Some(journal) = node.under_way(args)?
    {
        return in_place::go_on(node, journal, args, output, &shutdown).await;
    }
    let unverified = args.allow.contains(&AllowWord::Unverified);
    let store = folder.as_ref().map_or_else(|| args.store.clone(), |folder| folder.store(&args.store));
    let opened = open::open(cli, &store, unverified, output).await?;
    let mut given_up = BTreeSet::new();
    loop {
        let one = One {
            cli,
            args,
            output,
            shutdown: &shutdown,
            opened: &opened,
            folder: folder.as_ref(),
            node: node.as_ref(),
            agreed: agreed.as_ref(),
            given_up: &given_up,
        };
        match one.restore().await? {
            None => return Ok(()),
            // The next newest is chosen as if this one were not there.
            Some(unreadable) => given_up.insert(unreadable),
        };
    }
}

async fn this_node(args: &RestoreArgs) -> Result<Option<Node>> {
    match args.in_place {
        true => in_place::find(args).await.map(Some),
        false if args.static_pod.is_some() || args.unit.is_some() => Err(Error::new(
            Reason::Usage,
            "--static-pod and --unit say whose data is exchanged: they go with --in-place or --undo",
        )
        .hint("lifeboat restore --in-place, or leave them out and give --data-dir")),
        false => Ok(None),
    }
}

/// `lbp1:...` itself, or a file that holds it.
fn agreed(text: &str) -> Result<Agreed> {
    if text.trim_start().starts_with("lbp") {
        return Agreed::parse(text);
    }
    let read = std::fs::read_to_string(text).map_err(|source| {
        Error::io("read", text, source)
            .hint("--plan takes what the first node printed, lbp1:..., or a file that holds it")
    })?;
    Agreed::parse(&read)
}

/// What is decided before anybody is asked.
struct Planned {
    plan: RestorePlan,
    agreed: Agreed,
    nodes: Nodes,
}

/// One try at one backup.
struct One<'a> {
    cli: &'a Cli,
    args: &'a RestoreArgs,
    output: &'a Output,
    shutdown: &'a Shutdown,
    opened: &'a Opened,
    /// One backup's folder, where that is all there is.
    folder: Option<&'a Folder>,
    /// This node's etcd, where its data is exchanged in place.
    node: Option<&'a Node>,
    /// What another node decided.
    agreed: Option<&'a Agreed>,
    /// Backups that could not be read.
    given_up: &'a BTreeSet<BackupId>,
}

impl One<'_> {
    /// Gives the backup that was tried where it could not be read and the one before it may be taken.
    async fn restore(&self) -> Result<Option<BackupId>> {
        let (args, opened, output, cluster) = (self.args, self.opened, self.output, self.opened.cluster());
        let (chosen, choice) = self.chosen()?;
        let mut subject = subject::stored(opened, chosen, &choice, args.allow.contains(&AllowWord::Unverified));
        if let (Some(_), Some(path)) = (self.folder, &args.from) {
            subject.title = format!("Using {}", path.display());
        }
        if let Some(agreed) = self.agreed {
            agreed.check(cluster, chosen.manifest_sha256)?;
        }
        let dir = match (self.node, &args.data_dir) {
            (Some(node), _) => node.swap.to_build(&node.here.server.data_dir),
            (None, Some(dir)) => dir,
            (None, None) => {
                output.answer(CLOCK.now(), Some(cluster), subject.shown(), &subject.show(chosen.id()));
                return Ok(None);
            }
        };
        let planned = self.plan(dir, &mut subject, chosen).await?;
        let Planned { plan, nodes, .. } = &planned;
        // Loaded here too, so that a wrong file is told before anybody is asked.
        drop(opened.access.identities()?);
        let text = subject.describe(plan);
        if args.dry_run {
            let text = format!("{text}{}", nodes.text());
            output.answer(CLOCK.now(), Some(cluster), subject.document(plan, Some(nodes), "planned", None), &text);
            return Ok(None);
        }
        output.remark(&text);
        let question = match self.node {
            Some(node) => format!("Type the cluster name to replace etcd's data on {}", node.here.server.name),
            None => format!("Type the cluster name to build {}", dir.display()),
        };
        consent(args, &question, cluster)?;
        // A node that was given a plan was named by the one that has told all.
        if self.agreed.is_none() {
            output.remark(&nodes.text());
        }
        let watch = Stopwatch::start();
        let journal = self.node.map(|node| node.begin(plan, &planned.agreed, &subject)).transpose()?;
        let built = match self.build(chosen, plan).await {
            Err(error) if sources::another_may_do_better(error.reason) => {
                return self.give_up(chosen, nodes, error).map(Some);
            }
            built => built?,
        };
        let (text, document) = match (self.node, journal) {
            (Some(node), Some((journal, _alone))) => {
                self.exchange(node, journal, &subject, &planned, &built, &watch).await?
            }
            _ => {
                let seconds = watch.seconds();
                let document = subject.document(plan, Some(nodes), "restored", Some((&built, seconds)));
                (subject.report(plan, &built, seconds), document)
            }
        };
        output.answer(CLOCK.now(), Some(cluster), document, &text);
        Ok(None)
    }

    /// Decides everything before anybody is asked.
    async fn plan(&self, dir: &Path, subject: &mut Subject, chosen: &Trusted) -> Result<Planned> {
        let (args, cluster) = (self.args, self.opened.cluster());
        let ahead = self.node.map_or(Ok(0), |node| node.ahead_of(subject.origin.revision))?;
        let mut target = target(args, dir, ahead, self.agreed)?;
        if let Some(node) = self.node {
            target.server = target.server.or(node.here.line);
        }
        let members = members(args, self.node, self.agreed)?;
        let plan = restore::plan(&subject.origin, target, members, token(args, self.agreed)?)?;
        if let Some(node) = self.node {
            node.check(&plan)?;
            subject.in_place = Some(InPlace {
                lines: node.lines(&plan).await?,
                data_dir: node.here.server.data_dir.clone(),
                api_server: matches!(node.how, How::StaticPod { .. }),
            });
        }
        let agreed = self.agreed.cloned();
        let agreed = agreed.unwrap_or_else(|| Agreed::new(cluster, chosen.id(), chosen.manifest_sha256, &plan));
        let nodes = Nodes::new(self.cli, args, self.node.map(|node| &node.how), &plan, &agreed)?;
        Ok(Planned { plan, agreed, nodes })
    }

    async fn build(&self, chosen: &Trusted, plan: &RestorePlan) -> Result<Built> {
        let (opened, output) = (self.opened, self.output);
        let bar = Progress::new(output, "restore");
        let progress = |done: u64| bar.at(done, chosen.manifest.sealed.bytes);
        let asking = Asking { ask: subject::ask(), ..Asking::default() };
        let build = sources::read(opened, chosen, output, async |store, entry, identities| {
            let layout = opened.access.layout();
            restore::build(store, layout, entry, identities, plan.clone(), &asking, &progress).await
        });
        let built = tokio::select! {
            built = build => built,
            () = self.shutdown.token().cancelled() => Err(interrupted()),
        };
        bar.finish();
        built
    }

    /// Puts what was built in the place of this node's data, and gives what is told at the end.
    async fn exchange(
        &self,
        node: &Node,
        mut journal: Journal,
        subject: &Subject,
        planned: &Planned,
        built: &Built,
        watch: &Stopwatch,
    ) -> Result<(String, Value)> {
        let (plan, output) = (&planned.plan, self.output);
        inplace::own(&journal, &node.here)?;
        inplace::built(&mut journal)?;
        journal.next = subject.next(plan, &built.counted);
        journal.next.push(in_place::undo_or_keep(&journal, &node.how));
        journal.save(&node.here.journal_dir)?;
        let seconds = watch.seconds();
        output.remark(&in_place::step(Stage::Building, &subject.built(built, seconds), seconds));
        output.remark(&subject::remarks(built));
        let ended = in_place::run(&node.here, &mut journal, self.args, output, self.shutdown).await?;
        let seconds = watch.seconds();
        let mut document = subject.document(plan, Some(&planned.nodes), "restored", Some((built, seconds)));
        subject::extend(&mut document["report"], &in_place::facts(&journal, &ended, seconds));
        document["plan"]["data_dir"] = json!(node.here.server.data_dir);
        Ok((in_place::text(&journal, seconds), document))
    }

    fn chosen(&self) -> Result<(&Trusted, Choice)> {
        let (args, catalog, required) = (self.args, self.opened.catalog(), self.opened.yardstick.required);
        let only = self.folder.map(Folder::id);
        let want = match (self.agreed, args.backup.as_ref().or(only.as_ref()), args.at, args.revision) {
            (Some(agreed), ..) => Want::This(agreed.backup.clone()),
            (_, Some(text), ..) => Want::This(open::find(catalog, required, text)?),
            (.., Some(at), _) => Want::UpTo(Bound::Time(at)),
            (.., Some(revision)) => Want::UpTo(Bound::Revision(revision)),
            _ => Want::NewestProven,
        };
        // What speaks against a backup was consented to on the node that made the plan; whom to believe is each node's own.
        let allows = |word| args.allow.contains(&word) || (self.agreed.is_some() && word != AllowWord::Unverified);
        let allow = Allow {
            unproven: allows(AllowWord::Unproven),
            diverged: allows(AllowWord::Diverged),
            older: allows(AllowWord::Older),
            late: allows(AllowWord::Late),
            unverified: allows(AllowWord::Unverified),
        };
        let mut candidates = catalog.candidates(required);
        candidates.retain(|candidate| !self.given_up.contains(&candidate.id));
        let choice = choose(&candidates, &want, &allow, CLOCK.now()).map_err(refused)?;
        Ok((open::trusted(catalog, &choice.id)?, choice))
    }

    /// Goes on to the backup before this one, where nobody named this one and an older one was consented to.
    fn give_up(&self, tried: &Trusted, nodes: &Nodes, error: Error) -> Result<BackupId> {
        let args = self.args;
        let named = self.agreed.is_some() || args.backup.is_some();
        if named || nodes.are_several() || !args.allow.contains(&AllowWord::Older) {
            let next = match nodes.are_several() && !named {
                true => {
                    "every node needs the same backup: stop the others too, and begin again with one named, or with \
                         --allow older"
                }
                false => {
                    "to take the newest proven one before it where this one cannot be read: lifeboat restore --allow older"
                }
            };
            let hint = error.hint.as_ref().map_or(next.to_owned(), |hint| format!("{hint}; {next}"));
            return Err(error.hint(hint));
        }
        let id = tried.id().short(6);
        self.output
            .remark(&format!("WARNING: backup {id} cannot be read: {error}\n  going on to the one before it\n\n"));
        Ok(tried.id().clone())
    }
}

fn interrupted() -> Error {
    Error::new(Reason::Interrupted, "stopped by a signal; the target was not touched")
        .hint("run it again: what was begun beside it is cleared away by itself")
}

fn refused(refusal: Refusal) -> Error {
    let reason = match refusal.kind {
        RefusalKind::NoBackup => Reason::NoBackup,
        RefusalKind::NotUsable => Reason::NotUsable,
        RefusalKind::NeedsConsent { .. } => Reason::ConsentMissing,
    };
    Error::new(reason, refusal.text).hint(refusal.hint)
}

/// `ahead`: how far beyond the backup the cluster has been.
fn target(args: &RestoreArgs, dir: &Path, ahead: u64, agreed: Option<&Agreed>) -> Result<Target> {
    let dir = std::path::absolute(dir).map_err(|source| Error::io("find", dir.display(), source))?;
    let bump = agreed.map_or(args.bump(ahead), |agreed| agreed.bump);
    Ok(Target { dir, bump, compact_file: args.compact_file, server: args.etcd_version })
}

/// `name=url,name=url`, several URLs of one member by repeating its name, as etcdutl takes them.
fn members(args: &RestoreArgs, node: Option<&Node>, agreed: Option<&Agreed>) -> Result<Members> {
    let known = args.name.clone().or_else(|| node.map(|node| node.here.server.name.clone()));
    if let Some(agreed) = agreed {
        return Ok(Members::Agreed { name: known, initial_cluster: agreed.members() });
    }
    let (Some(name), Some(cluster)) = (&known, &args.initial_cluster) else {
        return Ok(Members::FromBackup { name: known });
    };
    let mut urls: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for part in cluster.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, url) = part.split_once('=').ok_or_else(|| {
            Error::new(Reason::Usage, format!("--initial-cluster: {part:?} is not NAME=URL"))
                .hint("expected like cp-1=https://10.0.0.11:2380,cp-2=https://10.0.0.12:2380")
        })?;
        urls.entry(name.to_owned()).or_default().push(url.to_owned());
    }
    if let Some(own) = &args.initial_advertise_peer_urls {
        let mut own: Vec<String> = own.split(',').map(|url| url.trim().to_owned()).collect();
        let mut known = urls.get(name).cloned().unwrap_or_default();
        own.sort();
        known.sort();
        if own != known {
            let text =
                format!("--initial-advertise-peer-urls {} is not what --initial-cluster says of {name}", own.join(","));
            return Err(Error::new(Reason::Usage, text).hint("give the same URLs in both"));
        }
    }
    let initial_cluster = urls.into_iter().map(|(name, peer_urls)| MemberSpec { name, peer_urls }).collect();
    Ok(Members::Given { name: name.clone(), initial_cluster })
}

/// A new token by default: members of the old cluster that still run must not talk to the restored one.
fn token(args: &RestoreArgs, agreed: Option<&Agreed>) -> Result<String> {
    match agreed.map(|agreed| &agreed.token).or(args.initial_cluster_token.as_ref()) {
        Some(token) => Ok(token.clone()),
        None => Ok(format!("lifeboat-{:016x}", scratch::random_u64()?)),
    }
}

/// Asks at the terminal for a word. No terminal and no `--yes` is a no.
fn consent(args: &RestoreArgs, question: &str, word: &str) -> Result<()> {
    if args.yes {
        return Ok(());
    }
    let missing = |what: &str| {
        Error::new(Reason::ConsentMissing, format!("{what}: nothing was changed"))
            .hint(format!("run it again and type {word}, or give --yes"))
    };
    let terminal = std::fs::OpenOptions::new().read(true).write(true).open("/dev/tty");
    let Some(mut terminal) = terminal.ok().filter(std::io::IsTerminal::is_terminal) else {
        return Err(missing("there is no terminal to ask at"));
    };
    let mut ask = || -> std::io::Result<String> {
        write!(terminal, "{question}: ")?;
        terminal.flush()?;
        let mut answer = String::new();
        std::io::BufReader::new(&terminal).read_line(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|source| Error::io("ask at", "the terminal", source))?;
    if answer.trim() == word { Ok(()) } else { Err(missing(&format!("the answer was not {word}"))) }
}
