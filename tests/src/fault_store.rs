//! A store in memory that fails on purpose: its n-th operation, in one of many ways.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

/// How the store fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 503, and nothing happened.
    Unavailable,
    /// It works, later.
    Slow,
    /// The connection ends in the middle of a body.
    CutBody,
    /// A byte is another, on its way here or where it is kept.
    WrongBytes,
    Denied,
    /// The object stays until its lock ends.
    Locked,
    /// The name is said to be taken, though nothing was stored.
    Conflict,
    /// It happened, and the answer was lost.
    CommittedThenError,
    /// It happened, the answer was lost, and the client's own second try met the first: the name is taken.
    CommittedThenConflict,
    /// An error now; it happens later.
    ErrorThenCommitted,
    /// A listing from a few writes ago.
    StaleList,
    /// A listing without one of its objects, by its place.
    MissingInList(usize),
}

impl Fault {
    /// Every fault, with the first so many places of a listing.
    pub fn all(listed: usize) -> Vec<Fault> {
        use Fault::*;
        let mut all = vec![Unavailable, Slow, CutBody, WrongBytes, Denied, Locked, Conflict];
        all.extend([CommittedThenError, CommittedThenConflict, ErrorThenCommitted, StaleList]);
        all.extend((0..listed).map(MissingInList));
        all
    }

    fn error(self, what: &str) -> Error {
        let path = what.to_owned();
        match self {
            Fault::Denied => Error::PermissionDenied { path, source: "403 Forbidden: AccessDenied".into() },
            Fault::Locked => Error::PermissionDenied { path, source: "403 Forbidden: the object is locked".into() },
            Fault::Conflict | Fault::CommittedThenConflict => {
                Error::AlreadyExists { path, source: "412 Precondition Failed".into() }
            }
            Fault::CutBody => Error::Generic { store: "faulty", source: "connection reset by peer".into() },
            _ => Error::Generic { store: "faulty", source: "503 Service Unavailable: SlowDown".into() },
        }
    }
}

/// How old a stale listing is, in writes.
const STALE_BY: usize = 3;
const SLOW: Duration = Duration::from_millis(3);

/// What an operation does: which faults can befall it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Write,
    Begin,
    Read,
    List,
    Delete,
    Abort,
}

impl Kind {
    fn can(self, fault: Fault) -> bool {
        use Fault::*;
        match fault {
            Unavailable | Slow | Denied => true,
            Locked => self == Kind::Delete,
            CutBody => self == Kind::Read,
            WrongBytes => matches!(self, Kind::Read | Kind::Write),
            Conflict | CommittedThenConflict => self == Kind::Write,
            CommittedThenError | ErrorThenCommitted => matches!(self, Kind::Write | Kind::Delete),
            StaleList | MissingInList(_) => self == Kind::List,
        }
    }
}

#[derive(Debug)]
pub struct FaultStore {
    inner: Arc<InMemory>,
    state: Shared,
}

type Shared = Arc<Mutex<State>>;

#[derive(Default)]
struct State {
    operations: u64,
    at: Option<(u64, Fault)>,
    /// The operation that failed.
    fired: Option<String>,
    /// What happens later.
    held: Vec<BoxFuture<'static, ()>>,
    /// Every operation waits a while that this decides, so that several clients meet in many orders.
    pace: Option<u64>,
    /// The listing after each write.
    history: Vec<Vec<ObjectMeta>>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} after {} operations, {} held", self.at, self.operations, self.held.len())
    }
}

impl Default for FaultStore {
    fn default() -> Self {
        Self { inner: Arc::new(InMemory::new()), state: Shared::default() }
    }
}

impl FaultStore {
    /// A copy that goes its own way, with nothing counted and nothing to fail.
    pub fn fork(&self) -> Self {
        let state = State { history: self.lock().history.clone(), ..State::default() };
        Self { inner: Arc::new(self.inner.fork()), state: Arc::new(Mutex::new(state)) }
    }

    /// The operation with this number, counted from now and from 0, fails; if it can in this way.
    pub fn fail(&self, number: u64, fault: Fault) {
        let mut state = self.lock();
        (state.operations, state.at, state.fired) = (0, Some((number, fault)), None);
    }

    /// From now on every operation begins after a pause that follows from the seed.
    pub fn pace(&self, seed: u64) {
        self.lock().pace = Some(seed);
    }

    /// What failed, if anything did.
    pub fn fired(&self) -> Option<String> {
        self.lock().fired.clone()
    }

    /// How many operations there were.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Lets happen what was held back.
    pub async fn settle(&self) {
        let held = std::mem::take(&mut self.lock().held);
        futures::future::join_all(held).await;
    }

    /// The same objects without faults.
    pub fn sound(&self) -> Arc<InMemory> {
        self.inner.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pause before an operation, where there is one.
async fn pause(state: &Shared) {
    let span = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pace) = &mut state.pace else { return };
        *pace = pace.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Duration::from_millis(*pace >> 60)
    };
    tokio::time::sleep(span).await;
}

/// Counts an operation and says how it fails.
fn next(state: &Shared, kind: Kind, what: impl fmt::Display) -> Option<Fault> {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let number = state.operations;
    state.operations += 1;
    let (_, fault) = state.at.filter(|(at, fault)| *at == number && kind.can(*fault))?;
    state.fired = Some(format!("{kind:?} {what}"));
    Some(fault)
}

/// Notes what a listing shows after a write.
async fn note(inner: &InMemory, state: &Shared) {
    let listed = inner.list(None).try_collect().await.unwrap_or_default();
    state.lock().unwrap_or_else(PoisonError::into_inner).history.push(listed);
}

/// Does a write, or fails to, as the fault says.
async fn write<T: Send + 'static>(
    inner: &Arc<InMemory>,
    state: &Shared,
    fault: Option<Fault>,
    what: &str,
    work: BoxFuture<'static, Result<T>>,
) -> Result<T> {
    match fault {
        None | Some(Fault::WrongBytes) => {}
        Some(Fault::Slow) => tokio::time::sleep(SLOW).await,
        Some(fault @ (Fault::CommittedThenError | Fault::CommittedThenConflict)) => {
            work.await?;
            note(inner, state).await;
            return Err(fault.error(what));
        }
        Some(fault @ Fault::ErrorThenCommitted) => {
            // Whether it can still be done is nobody's business any more.
            state.lock().unwrap_or_else(PoisonError::into_inner).held.push(work.map(drop).boxed());
            return Err(fault.error(what));
        }
        Some(fault) => return Err(fault.error(what)),
    }
    let done = work.await?;
    note(inner, state).await;
    Ok(done)
}

/// The payload with its middle byte flipped.
fn spoilt(payload: &PutPayload) -> PutPayload {
    let mut bytes: Vec<u8> = payload.iter().flat_map(|piece| piece.iter().copied()).collect();
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
    bytes.into()
}

impl fmt::Display for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultStore")
    }
}

#[async_trait]
impl ObjectStore for FaultStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        pause(&self.state).await;
        let fault = next(&self.state, Kind::Write, location);
        let payload = if fault == Some(Fault::WrongBytes) { spoilt(&payload) } else { payload };
        let (inner, path) = (self.inner.clone(), location.clone());
        let work = async move { inner.put_opts(&path, payload, options).await }.boxed();
        write(&self.inner, &self.state, fault, location.as_ref(), work).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        match next(&self.state, Kind::Begin, location) {
            None => {}
            Some(Fault::Slow) => tokio::time::sleep(SLOW).await,
            Some(fault) => return Err(fault.error(location.as_ref())),
        }
        let upload = self.inner.put_multipart_opts(location, options).await?;
        Ok(Box::new(FaultUpload {
            upload: Some(upload),
            inner: self.inner.clone(),
            state: self.state.clone(),
            location: location.clone(),
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        pause(&self.state).await;
        match next(&self.state, Kind::Read, location) {
            None => self.inner.get_opts(location, options).await,
            Some(Fault::Slow) => {
                tokio::time::sleep(SLOW).await;
                self.inner.get_opts(location, options).await
            }
            // A head has no body that could be cut or altered.
            Some(fault @ (Fault::CutBody | Fault::WrongBytes)) if !options.head => {
                let answer = self.inner.get_opts(location, options).await?;
                damaged(answer, fault, location).await
            }
            Some(fault) => Err(fault.error(location.as_ref())),
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (inner, state) = (self.inner.clone(), self.state.clone());
        let delete = move |location: Result<Path>| {
            let (inner, state) = (inner.clone(), state.clone());
            async move {
                let path = location?;
                pause(&state).await;
                let fault = next(&state, Kind::Delete, &path);
                let (objects, gone) = (inner.clone(), path.clone());
                let work = async move { objects.delete(&gone).await }.boxed();
                write(&inner, &state, fault, path.as_ref(), work).await?;
                Ok(path)
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let fault = next(&self.state, Kind::List, prefix.map_or("", AsRef::as_ref));
        let (inner, prefix, history) = (self.inner.clone(), prefix.cloned(), self.lock().history.clone());
        let state = self.state.clone();
        let listed = async move {
            pause(&state).await;
            let now = inner.list(prefix.as_ref()).try_collect::<Vec<_>>();
            match fault {
                None => now.await,
                Some(Fault::Slow) => {
                    tokio::time::sleep(SLOW).await;
                    now.await
                }
                Some(Fault::StaleList) => {
                    let mut old = history.iter().rev().nth(STALE_BY).cloned().unwrap_or_default();
                    old.retain(|meta| prefix.as_ref().is_none_or(|prefix| meta.location.prefix_matches(prefix)));
                    Ok(old)
                }
                Some(Fault::MissingInList(place)) => {
                    let mut listed = now.await?;
                    if place < listed.len() {
                        listed.remove(place);
                    }
                    Ok(listed)
                }
                Some(fault) => Err(fault.error("the listing")),
            }
        };
        futures::stream::once(listed)
            .map_ok(|listed: Vec<ObjectMeta>| futures::stream::iter(listed.into_iter().map(Ok)))
            .try_flatten()
            .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        match next(&self.state, Kind::List, "folders") {
            None | Some(Fault::Slow | Fault::StaleList | Fault::MissingInList(_)) => {
                self.inner.list_with_delimiter(prefix).await
            }
            Some(fault) => Err(fault.error("the folders")),
        }
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(Error::NotImplemented { operation: "copy".to_owned(), implementer: "FaultStore".to_owned() })
    }
}

/// The answer with its body cut or altered in the middle.
async fn damaged(answer: GetResult, fault: Fault, location: &Path) -> Result<GetResult> {
    let (meta, range, attributes, extensions) =
        (answer.meta.clone(), answer.range.clone(), answer.attributes.clone(), answer.extensions.clone());
    let mut body = answer.bytes().await?.to_vec();
    let middle = body.len() / 2;
    let end = if fault == Fault::CutBody {
        body.truncate(middle);
        Some(Err(fault.error(location.as_ref())))
    } else {
        if let Some(byte) = body.get_mut(middle) {
            *byte ^= 1;
        }
        None
    };
    let pieces: Vec<Result<Bytes>> = std::iter::once(Ok(body.into())).chain(end).collect();
    Ok(GetResult {
        payload: GetResultPayload::Stream(futures::stream::iter(pieces).boxed()),
        meta,
        range,
        attributes,
        extensions,
    })
}

struct FaultUpload {
    upload: Option<Box<dyn MultipartUpload>>,
    inner: Arc<InMemory>,
    state: Shared,
    location: Path,
}

impl fmt::Debug for FaultUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultUpload({})", self.location)
    }
}

impl FaultUpload {
    fn over(&self) -> Error {
        Error::Generic { store: "faulty", source: format!("the upload of {} is over", self.location).into() }
    }
}

#[async_trait]
impl MultipartUpload for FaultUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let fault = next(&self.state, Kind::Write, format_args!("a part of {}", self.location));
        let data = if fault == Some(Fault::WrongBytes) { spoilt(&data) } else { data };
        let Some(upload) = self.upload.as_mut() else {
            return futures::future::ready(Err(self.over())).boxed();
        };
        let part = upload.put_part(data);
        let location = self.location.clone();
        // No part is seen by anybody: it is there or lost, and later means too late.
        async move {
            match fault {
                None | Some(Fault::WrongBytes) => part.await,
                Some(Fault::Slow) => {
                    tokio::time::sleep(SLOW).await;
                    part.await
                }
                Some(fault) => Err(fault.error(location.as_ref())),
            }
        }
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let fault = next(&self.state, Kind::Write, format_args!("the end of {}", self.location));
        let mut upload = self.upload.take().ok_or_else(|| self.over())?;
        let work = async move { upload.complete().await }.boxed();
        write(&self.inner, &self.state, fault, self.location.as_ref(), work).await
    }

    async fn abort(&mut self) -> Result<()> {
        if let Some(fault) = next(&self.state, Kind::Abort, &self.location).filter(|fault| *fault != Fault::Slow) {
            return Err(fault.error(self.location.as_ref()));
        }
        match self.upload.as_mut() {
            Some(upload) => upload.abort().await,
            None => Ok(()),
        }
    }
}
