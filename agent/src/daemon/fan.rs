//! One backup on its way into every store at once: each store has a line of its own, and one that fails or stays behind is
//! let go as long as enough others stay.

use crate::catalog::{Captured, Prepared, Uploaded, place, read_back};
use crate::error::{Error, Reason, Result};
use crate::setup::Access;
use crate::spool::Reader;
use crate::store::{Layout, Store, Upload};
use lifeboat_policy::id::BackupId;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

/// How long a store may lag behind the others, at least.
const SHORTEST_WAIT: Duration = Duration::from_secs(60);

/// Lines that have not ended. They are ended from outside, and an upload is aborted only when its line is gone.
static LINES: LazyLock<TaskTracker> = LazyLock::new(TaskTracker::new);
/// A line that is ended is gone as soon as its thread looks up.
const SETTLE_WITHIN: Duration = Duration::from_secs(2);

/// Waits for the lines of a backup that was given up, so that their uploads are aborted before the process ends.
pub async fn settle() {
    LINES.close();
    if tokio::time::timeout(SETTLE_WITHIN, LINES.wait()).await.is_err() {
        tracing::warn!("an upload did not stop in time; a lifecycle rule of the bucket clears what it leaves");
    }
}

/// A store that has not got this backup, and why.
#[derive(Debug)]
pub struct Behind {
    /// The store's place in the config, and its name.
    pub at: usize,
    pub store: String,
    pub error: Error,
}

/// How far a store's line has come.
enum Event {
    ReadBack,
    Placed,
    Failed(Error),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Sending,
    ReadBack,
    Placed,
}

pub(super) struct Fan {
    /// The stores that are still with us, by their place in the config.
    lines: BTreeMap<usize, (String, State)>,
    /// In the order in which they were lost.
    pub behind: Vec<Behind>,
    quorum: usize,
    events: mpsc::UnboundedReceiver<(usize, Event)>,
    captured: watch::Sender<Option<Captured>>,
    prepared: watch::Sender<Option<Arc<Prepared>>>,
    /// Dropped with this, which ends what is under way and aborts unfinished uploads.
    _tasks: JoinSet<()>,
}

/// What one store's line works with.
struct Line {
    at: usize,
    store: Store,
    layout: Layout,
    id: BackupId,
    expected_bytes: u64,
    events: mpsc::UnboundedSender<(usize, Event)>,
    captured: watch::Receiver<Option<Captured>>,
    prepared: watch::Receiver<Option<Arc<Prepared>>>,
}

impl Fan {
    /// Begins the line of each of these stores; each takes its sealed bytes from its reader. Sealed they are hardly ever
    /// more than the database is expected to have.
    pub fn begin(
        access: &Access,
        id: &BackupId,
        expected_bytes: u64,
        stores: Vec<(usize, Store, Reader)>,
        behind: Vec<Behind>,
    ) -> Fan {
        let (tell, events) = mpsc::unbounded_channel();
        let (captured, _) = watch::channel(None);
        let (prepared, _) = watch::channel(None);
        let (mut lines, mut tasks) = (BTreeMap::new(), JoinSet::new());
        for (at, store, reader) in stores {
            lines.insert(at, (store.name().to_owned(), State::Sending));
            let line = Line {
                at,
                store,
                layout: access.layout().clone(),
                id: id.clone(),
                expected_bytes,
                events: tell.clone(),
                captured: captured.subscribe(),
                prepared: prepared.subscribe(),
            };
            tasks.spawn(LINES.track_future(line.run(reader)));
        }
        Fan { lines, behind, quorum: access.write_quorum, events, captured, prepared, _tasks: tasks }
    }

    /// Ends only when too few stores are left, with the first cause.
    pub async fn too_few(&mut self) -> Error {
        loop {
            if let Err(error) = self.enough() {
                return error;
            }
            self.hear().await;
        }
    }

    /// What the stores said until now is taken in: a line that is cut short has its cause there.
    pub fn cause(&mut self) -> Option<Error> {
        while let Ok((at, event)) = self.events.try_recv() {
            self.take_in(at, event);
        }
        self.enough().err()
    }

    /// The stream was good: the uploads may end. Returns when enough stores gave back what was sent.
    pub async fn read_back(&mut self, captured: Captured) -> Result<()> {
        self.captured.send_replace(Some(captured));
        while self.count(|state| state != State::Sending) < self.quorum {
            self.enough()?;
            self.hear().await;
        }
        Ok(())
    }

    /// Writes the manifest wherever the backup is and will be; waits for every store, but for those behind the quorum
    /// no longer than as long as `took` again, and never longer than half of what is `left`.
    pub async fn place(&mut self, prepared: Arc<Prepared>, took: Duration, left: Duration) -> Result<()> {
        self.prepared.send_replace(Some(prepared));
        while self.count(|state| state == State::Placed) < self.quorum {
            self.enough()?;
            self.hear().await;
        }
        let patience = took.max(SHORTEST_WAIT).min(left / 2);
        let all = async {
            while self.lines.values().any(|(_, state)| *state != State::Placed) {
                self.hear().await;
            }
        };
        if tokio::time::timeout(patience, all).await.is_err() {
            let late: Vec<usize> =
                self.lines.iter().filter(|(_, (_, state))| *state != State::Placed).map(|(at, _)| *at).collect();
            for at in late {
                let text = format!("it had not taken the backup {} s after the others", patience.as_secs());
                self.lose(at, Error::new(Reason::StoreTimeout, text).hint("it is caught up later, by a copy"));
            }
        }
        Ok(())
    }

    /// The stores that have the backup.
    pub fn placed(&self) -> Vec<String> {
        self.lines.values().filter(|(_, state)| *state == State::Placed).map(|(name, _)| name.clone()).collect()
    }

    fn count(&self, is: impl Fn(State) -> bool) -> usize {
        self.lines.values().filter(|(_, state)| is(*state)).count()
    }

    /// Every line ends with an event that settles it, so there is one as long as one is awaited.
    async fn hear(&mut self) {
        match self.events.recv().await {
            Some((at, event)) => self.take_in(at, event),
            None => {
                let lost: Vec<usize> =
                    self.lines.iter().filter(|(_, (_, state))| *state != State::Placed).map(|(at, _)| *at).collect();
                for at in lost {
                    self.lose(at, Error::new(Reason::Internal, "the upload stopped without a word"));
                }
            }
        }
    }

    fn take_in(&mut self, at: usize, event: Event) {
        match (event, self.lines.get_mut(&at)) {
            (Event::Failed(error), Some(_)) => self.lose(at, error),
            (Event::ReadBack, Some((_, state))) => *state = State::ReadBack,
            (Event::Placed, Some((_, state))) => *state = State::Placed,
            (_, None) => {} // it was let go before
        }
    }

    fn lose(&mut self, at: usize, error: Error) {
        if let Some((store, _)) = self.lines.remove(&at) {
            self.behind.push(Behind { at, store, error });
        }
    }

    /// Fails with the first cause where fewer stores than the quorum are left.
    fn enough(&self) -> Result<()> {
        if self.lines.len() >= self.quorum {
            return Ok(());
        }
        Err(too_few(&self.behind, self.lines.len(), self.quorum))
    }
}

/// The first cause, as it is where there is but one store; else with what it led to.
pub(super) fn too_few(behind: &[Behind], left: usize, quorum: usize) -> Error {
    let Some(first) = behind.first() else {
        return Error::new(Reason::Internal, "stores were lost without a cause");
    };
    let message = match behind.len() + left {
        1 => first.error.to_string(),
        all => format!(
            "{left} of {all} stores are left, a backup must stand in {quorum}: {}: {}",
            first.store, first.error
        ),
    };
    again(&first.error, message)
}

/// An error once more, in other words.
pub(super) fn again(error: &Error, message: String) -> Error {
    let mut again = Error::new(error.reason, message);
    again.hint = error.hint.clone();
    again.operation = error.operation;
    again.object = error.object.clone();
    again
}

impl Line {
    async fn run(mut self, mut reader: Reader) {
        // Told before the reader goes: whoever misses the reader finds the cause.
        let ended = match self.work(&mut reader).await {
            Ok(()) => Event::Placed,
            Err(error) => Event::Failed(error),
        };
        self.tell(ended);
    }

    /// Nobody listens any more only where the backup has ended without this store.
    fn tell(&self, event: Event) {
        let _ = self.events.send((self.at, event));
    }

    async fn work(&mut self, reader: &mut Reader) -> Result<()> {
        let mut upload = self.store.upload_expecting(&self.layout.blob(&self.id), self.expected_bytes).await?;
        while let Some(piece) = reader.next().await? {
            // A part may take long: a store that is let go meanwhile is told of at once, and its upload dropped.
            tokio::select! {
                written = upload.write(piece) => written?,
                why = reader.let_go() => return Err(why),
            }
        }
        let uploaded = self.finish(upload).await?;
        self.tell(Event::ReadBack);
        let prepared = given(&mut self.prepared).await?;
        place(&self.store, &self.layout, uploaded, &prepared).await
    }

    /// The pieces have ended; whether they are all that there are, and good, the check says.
    async fn finish(&mut self, upload: Upload) -> Result<Uploaded> {
        let captured = given(&mut self.captured).await?;
        upload.finish().await?;
        read_back(&self.store, &self.layout, &self.id, captured).await
    }
}

/// Waits for what the run hands out; where it ended without, it has failed and tells why itself.
async fn given<T: Clone>(from: &mut watch::Receiver<Option<T>>) -> Result<T> {
    let stopped = || Error::new(Reason::Internal, "the backup was given up");
    match from.wait_for(Option::is_some).await {
        Ok(value) => value.clone().ok_or_else(stopped),
        Err(_) => Err(stopped()),
    }
}
