//! The steps themselves, in order, from wherever the journal stands.

use super::health::{self, Cluster};
use super::journal::{Journal, Stage};
use super::peers::{self, Sight};
use super::swap::{self, rename};
use super::{Here, How, LOOK_EVERY, gone, pod, runtime, unit};
use crate::capture::Survey;
use crate::clock::Stopwatch;
use crate::error::{Error, Reason, Result};
use std::path::Path;
use std::time::Duration;

/// etcd's own end takes longer when it looks for a new leader among members that are gone; its old data is kept anyway.
const ETCD_GRACE: Duration = Duration::from_secs(3);
/// kube-apiserver would serve for 30 s more a world that is about to be replaced.
const API_GRACE: Duration = Duration::from_secs(1);
/// How often the runtime is told again: the kubelet starts what it does not yet know to be gone.
const STOP_AGAIN_AFTER: Duration = Duration::from_secs(4);
/// Once a majority answers, the others may come up too before all are compared.
const ALL_WITHIN: Duration = Duration::from_secs(60);
const API_WITHIN: Duration = Duration::from_secs(120);

/// What a person is told on the way.
pub enum Told {
    /// What is waited for; said once for each new text.
    Waits(Stage, String),
    Did(Stage, String, f64),
    Warning(String),
}

/// How it ended.
pub struct Ended {
    /// Members that run, and all that vote; `None` where etcd was not started.
    pub members: Option<(usize, usize)>,
    /// Whether this node's API server became ready; `None` where there is none.
    pub api_ready: Option<bool>,
}

pub struct Steps<'a> {
    pub journal: &'a mut Journal,
    pub here: &'a Here,
    /// The most that is waited, for each of: the old etcd's end, the other nodes, a majority.
    pub wait: Duration,
    pub tell: &'a (dyn Fn(Told) + Sync),
}

impl Steps<'_> {
    /// Goes on to the end, from the stage that the journal names.
    pub async fn run(mut self) -> Result<Ended> {
        let mut ended = Ended { members: None, api_ready: None };
        loop {
            let watch = Stopwatch::start();
            let stage = self.journal.stage;
            let did = match stage {
                Stage::Building => {
                    return Err(Error::new(Reason::Internal, "the new data dir is not built yet"));
                }
                Stage::Stopping => self.stop().await?,
                Stage::Swapping => self.swap()?,
                Stage::Starting => match self.may_start()? {
                    true => self.start().await?,
                    false => {
                        self.enter(Stage::Done)?;
                        (self.tell)(Told::Did(stage, self.left_stopped(), watch.seconds()));
                        return Ok(ended);
                    }
                },
                Stage::Waiting => {
                    let (did, cluster) = self.health().await?;
                    ended.members = Some((cluster.running, cluster.of));
                    ended.api_ready = self.api_ready().await?;
                    did
                }
                Stage::Done => return Ok(ended),
            };
            self.enter(next(stage))?;
            (self.tell)(Told::Did(stage, did, watch.seconds()));
        }
    }

    fn enter(&mut self, stage: Stage) -> Result<()> {
        self.journal.stage = stage;
        self.journal.save(&self.here.journal_dir)
    }

    async fn stop(&self) -> Result<String> {
        if let How::StaticPod { manifest } = &self.journal.how {
            self.park(manifest)?;
        }
        self.end_etcd().await?;
        let (watch, mut told) = (Stopwatch::start(), Duration::ZERO);
        while let Some(sign) = gone::sign_of_life(&self.journal.data_dir, &self.here.server.listens).await? {
            self.wait_for(Stage::Stopping, &watch, format!("the old etcd still runs: {sign}"), || {
                Error::new(Reason::HostIo, format!("the old etcd does not end: {sign}"))
                    .hint("end it by hand and run this again: it goes on; or go back with `lifeboat restore --undo`")
            })?;
            if watch.elapsed() > told + STOP_AGAIN_AFTER {
                told = watch.elapsed();
                self.end_etcd().await?;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok("etcd gone (lock free, ports closed)".to_owned())
    }

    async fn end_etcd(&self) -> Result<()> {
        match &self.journal.how {
            How::StaticPod { .. } => {
                self.end("etcd", ETCD_GRACE).await;
                Ok(())
            }
            How::Unit { name } => unit::stop(name).await,
        }
    }

    fn park(&self, manifest: &Path) -> Result<()> {
        let Some(parked) = self.journal.how.parked() else { return Ok(()) };
        match (manifest.exists(), parked.exists()) {
            (true, true) => Err(Error::new(
                Reason::TargetNotEmpty,
                format!("both {} and {} exist: nothing was moved", manifest.display(), parked.display()),
            )
            .hint("keep the right one of the two under the first name, remove the other, and run this again")),
            (true, false) => rename(manifest, &parked),
            (false, true) => Ok(()),
            (false, false) => Err(Error::new(Reason::HostIo, format!("{} is gone", manifest.display()))
                .hint("put etcd's manifest back and run this again")),
        }
    }

    /// Ends a container of this node; where the runtime cannot be asked, the kubelet does it, only later.
    async fn end(&self, container: &str, grace: Duration) {
        let ended = match runtime::socket() {
            Some(socket) => runtime::stop(&socket, container, grace).await,
            None => Err(Error::new(Reason::HostIo, "no container runtime was found")),
        };
        if let Err(error) = ended {
            (self.tell)(Told::Warning(format!("{container} is left to the kubelet: {error}")));
        }
    }

    fn swap(&self) -> Result<String> {
        let (swap, data_dir) = (&self.journal.swap, &self.journal.data_dir);
        if !self.journal.undoing {
            swap.forward()?;
            return Ok(match swap::inode(&swap.kept)? {
                Some(_) => format!("old data: {}", swap.kept_dir(data_dir).display()),
                None => "there was no old data".to_owned(),
            });
        }
        swap.back()?;
        Ok(match swap::inode(&swap.live)? {
            Some(_) => format!("old data back in {}; the restored: {}", data_dir.display(), swap.undone.display()),
            None => format!("no data was here before; the restored: {}", swap.undone.display()),
        })
    }

    /// An etcd that is started without data begins a world of its own.
    fn may_start(&self) -> Result<bool> {
        swap::inode(&self.journal.swap.live).map(|found| found.is_some())
    }

    fn left_stopped(&self) -> String {
        let rest = match self.journal.how.parked() {
            Some(parked) => format!("its manifest is {}", parked.display()),
            None => "start its unit when there is data".to_owned(),
        };
        format!("etcd stays stopped: there was no data here before; {rest}")
    }

    async fn start(&self) -> Result<String> {
        let watch = Stopwatch::start();
        // An etcd that began in the very moment of the exchange would still write to the old data.
        let old = if self.journal.undoing { &self.journal.swap.undone } else { &self.journal.swap.kept };
        let aside = old.join("member/snap/db");
        let aside = if aside.exists() { aside } else { old.join("snap/db") };
        while gone::is_locked(&aside)? {
            self.wait_for(Stage::Starting, &watch, "an etcd still runs on the old data".to_owned(), || {
                Error::new(Reason::HostIo, format!("an etcd runs on {}", aside.display()))
                    .hint("end it and run this again: it goes on")
            })?;
            self.end_etcd().await?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
        while let Some(why) = self.other_world().await? {
            self.wait_for(Stage::Starting, &watch, why.clone(), || {
                Error::new(Reason::WaitingForMembers, format!("waited {}: {why}", seconds(self.wait)))
                    .hint("nothing is undone, and etcd here stays stopped: run the command there, then this again")
            })?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
        match &self.journal.how {
            How::StaticPod { manifest } => {
                self.end("kube-apiserver", API_GRACE).await;
                for container in ["etcd", "kube-apiserver"] {
                    if let Some(socket) = runtime::socket()
                        && let Err(error) = runtime::forget(&socket, container).await
                    {
                        (self.tell)(Told::Warning(format!("{container} may start late: {error}")));
                    }
                }
                if let Some(parked) = self.journal.how.parked().filter(|parked| parked.exists()) {
                    rename(&parked, manifest)?;
                }
            }
            How::Unit { name } => unit::start(name).await?,
        }
        Ok("no other member runs the other world; etcd was told to start".to_owned())
    }

    /// Never beside another world: each peer is silent, or already where this node is going.
    async fn other_world(&self) -> Result<Option<String>> {
        let restored = &self.journal.cluster_id;
        for peer in &self.journal.peers {
            match peers::look(peer, &self.here.server.peer_tls).await? {
                Sight::Silent => {}
                Sight::Serves(id) if (id == *restored) != self.journal.undoing => {}
                Sight::Serves(_) => {
                    let world = if self.journal.undoing { "restored" } else { "old" };
                    return Ok(Some(format!(
                        "{} still runs the {world} cluster: run the command there too",
                        peer.name
                    )));
                }
                Sight::Unclear(what) => return Ok(Some(format!("{} cannot be told: {what}", peer.name))),
            }
        }
        Ok(None)
    }

    async fn health(&self) -> Result<(String, Cluster)> {
        let server = &self.here.server;
        let watch = Stopwatch::start();
        let mut found = loop {
            let why = match health::look(server).await {
                Ok(found) => break found,
                Err(why) => why,
            };
            self.wait_for(Stage::Waiting, &watch, why.clone(), || {
                let text = format!("waited {} for a majority: {why}", seconds(self.wait));
                Error::new(Reason::WaitingForMembers, text)
                    .hint("nothing is undone: run the command on the other nodes, then this again; `--wait` for longer")
            })?;
            tokio::time::sleep(LOOK_EVERY).await;
        };
        let quorum = Stopwatch::start();
        while quorum.elapsed() < ALL_WITHIN.min(self.wait) && !is_whole(&found) {
            let (running, of) = health::counts(&found);
            self.say(Stage::Waiting, format!("{running} of {of} running, which is a majority"));
            tokio::time::sleep(LOOK_EVERY).await;
            if let Ok(newer) = health::look(server).await {
                found = newer;
            }
        }
        health::same(server, &found).await?;
        let (running, of) = health::counts(&found);
        let equal = if running > 1 { ", hashes equal" } else { "" };
        Ok((format!("{running} of {of} members{equal}"), Cluster { running, of }))
    }

    async fn api_ready(&self) -> Result<Option<bool>> {
        let How::StaticPod { manifest } = &self.journal.how else { return Ok(None) };
        let Some((url, ca_file)) = pod::api_server(manifest) else { return Ok(None) };
        self.say(Stage::Waiting, "kube-apiserver is not ready yet".to_owned());
        let ready = peers::ready(&url, &ca_file, API_WITHIN.min(self.wait)).await?;
        if !ready {
            (self.tell)(Told::Warning(format!(
                "etcd serves, but {url} was not ready within {}: `crictl logs` of kube-apiserver says why",
                seconds(API_WITHIN.min(self.wait))
            )));
        }
        Ok(Some(ready))
    }

    /// Says what is waited for; fails once that has taken longer than it may.
    fn wait_for(&self, stage: Stage, watch: &Stopwatch, what: String, late: impl FnOnce() -> Error) -> Result<()> {
        if watch.elapsed() >= self.wait {
            return Err(late());
        }
        self.say(stage, what);
        Ok(())
    }

    fn say(&self, stage: Stage, what: String) {
        (self.tell)(Told::Waits(stage, what));
    }
}

fn is_whole(found: &Survey) -> bool {
    let (running, of) = health::counts(found);
    running == of
}

fn next(stage: Stage) -> Stage {
    match stage {
        Stage::Building => Stage::Stopping,
        Stage::Stopping => Stage::Swapping,
        Stage::Swapping => Stage::Starting,
        Stage::Starting => Stage::Waiting,
        Stage::Waiting | Stage::Done => Stage::Done,
    }
}

fn seconds(span: Duration) -> String {
    lifeboat_policy::span::print(Duration::from_secs(span.as_secs()))
}
