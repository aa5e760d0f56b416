//! An etcd member that misbehaves on command: it answers `Status`, `MemberList`, `Range` and `Snapshot` as its script says.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::{Request, Response};
use etcd_client::proto::{
    PbMember, PbMemberListResponse, PbRangeResponse, PbResponseHeader, PbSnapshotResponse, PbStatusResponse,
};
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::server::{Connected, Server};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

/// etcd's own chunk.
pub const CHUNK: usize = 32 << 10;

/// What the snapshot stream does. Offsets count bytes of the whole stream, database and trailer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Play {
    /// Sends everything, as a healthy member does.
    Whole,
    /// Sends this many bytes and then nothing, for ever.
    StallAt(usize),
    /// Sends this many bytes and then empty messages for ever, as etcd does when it cannot read its database.
    EmptyAfter(usize),
    /// Sends everything, with this many empty messages before each that has bytes.
    EmptyBetween(usize),
    /// Sends this many bytes and breaks the connection.
    CutAt(usize),
    /// Sends this many bytes and ends the stream as if that were all.
    EndAt(usize),
    /// Sends everything and this many bytes more.
    Extra(usize),
    /// Sends this many bytes and then an error.
    FailAt(usize, Code, &'static str),
    /// Sends everything, this slowly.
    Drip(Duration),
}

/// What the member says of itself, and what it sends.
#[derive(Clone, Debug)]
pub struct Script {
    pub play: Play,
    /// The database, without the trailer.
    pub db: Vec<u8>,
    pub cluster_id: u64,
    pub member_id: u64,
    pub leader: u64,
    pub is_learner: bool,
    pub revision: i64,
    /// What `Status` reports in `errors`: alarms, in protobuf's text form.
    pub errors: Vec<String>,
    /// Whom the member list names: id, name, client URLs.
    pub members: Vec<(u64, String, Vec<String>)>,
    /// Whether `Range` answers: a member without a quorum hangs.
    pub quorum: bool,
}

impl Default for Script {
    fn default() -> Self {
        Script {
            play: Play::Whole,
            db: database(5 * CHUNK),
            cluster_id: 0xC1,
            member_id: 1,
            leader: 1,
            is_learner: false,
            revision: 42,
            errors: Vec::new(),
            members: Vec::new(),
            quorum: true,
        }
    }
}

impl Script {
    pub fn playing(play: Play) -> Self {
        Script { play, ..Script::default() }
    }

    /// The whole stream: the database and its SHA-256.
    pub fn stream(&self) -> Vec<u8> {
        [self.db.as_slice(), Sha256::digest(&self.db).as_slice()].concat()
    }
}

/// Bytes that differ from place to place; not a bbolt file.
pub fn database(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at / 251 + at % 251) as u8).collect()
}

/// The running fake. Its script may be changed while it runs; its server ends with the test's runtime.
pub struct FakeEtcd {
    pub endpoint: String,
    world: Arc<World>,
    server: tokio::task::JoinHandle<()>,
}

struct World {
    script: Mutex<Script>,
    /// Snapshot streams that are open now.
    open: AtomicUsize,
    messages: AtomicUsize,
}

impl World {
    fn script(&self) -> Script {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl FakeEtcd {
    pub async fn start(script: Script) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("a bound socket has an address"));
        let world =
            Arc::new(World { script: Mutex::new(script), open: AtomicUsize::new(0), messages: AtomicUsize::new(0) });
        let server = tokio::spawn(serve(listener, world.clone()));
        FakeEtcd { endpoint, world, server }
    }

    /// Changes the script for calls that come from now on.
    pub fn change(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.world.script.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Snapshot streams that a client holds open now.
    pub fn open_streams(&self) -> usize {
        self.world.open.load(Ordering::SeqCst)
    }

    /// Snapshot messages handed to the network so far.
    pub fn messages(&self) -> usize {
        self.world.messages.load(Ordering::SeqCst)
    }
}

impl Drop for FakeEtcd {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, world: Arc<World>) {
    let incoming = stream::unfold(listener, |listener| async {
        let accepted = listener.accept().await.map(|(socket, _)| Wire { socket, cut: Arc::default() });
        Some((accepted, listener))
    });
    let service = tower::service_fn(move |request| {
        let world = world.clone();
        async move { Ok::<_, Infallible>(answer(world, request).await) }
    });
    let routes = tonic::service::Routes::from(axum::Router::new().fallback_service(service));
    let served = Server::builder().add_routes(routes).serve_with_incoming(incoming).await;
    served.expect("the fake etcd serves until it is dropped");
}

async fn answer(world: Arc<World>, request: Request<axum::body::Body>) -> Response<tonic::body::Body> {
    let script = world.script();
    match request.uri().path() {
        "/etcdserverpb.Maintenance/Status" => unary(Ok(status(&script)), request).await,
        "/etcdserverpb.Cluster/MemberList" => unary(member_list(&script), request).await,
        "/etcdserverpb.KV/Range" => unary(range(&script).await, request).await,
        "/etcdserverpb.Maintenance/Snapshot" => snapshot(world, script, request).await,
        other => Status::unimplemented(format!("the fake etcd has no {other}")).into_http(),
    }
}

async fn unary<T>(reply: Result<T, Status>, request: Request<axum::body::Body>) -> Response<tonic::body::Body>
where
    T: tonic_prost::prost::Message + Default + Clone + Sync + 'static,
{
    let service = tower::service_fn(move |_: tonic::Request<()>| {
        let reply = reply.clone();
        async move { reply.map(tonic::Response::new) }
    });
    tonic::server::Grpc::new(ProstCodec::<T, ()>::default()).unary(service, request).await
}

fn header(script: &Script) -> Option<PbResponseHeader> {
    Some(PbResponseHeader {
        cluster_id: script.cluster_id,
        member_id: script.member_id,
        revision: script.revision,
        raft_term: 2,
    })
}

fn status(script: &Script) -> PbStatusResponse {
    PbStatusResponse {
        header: header(script),
        version: "3.6.14".to_owned(),
        db_size: i64::try_from(script.db.len()).expect("a small database"),
        leader: script.leader,
        raft_term: 2,
        errors: script.errors.clone(),
        is_learner: script.is_learner,
        ..PbStatusResponse::default()
    }
}

fn member_list(script: &Script) -> Result<PbMemberListResponse, Status> {
    if script.is_learner {
        return Err(Status::unavailable("etcdserver: rpc not supported for learner"));
    }
    let member = |(id, name, urls): &(u64, String, Vec<String>)| PbMember {
        id: *id,
        name: name.clone(),
        client_ur_ls: urls.clone(),
        ..PbMember::default()
    };
    Ok(PbMemberListResponse { header: header(script), members: script.members.iter().map(member).collect() })
}

async fn range(script: &Script) -> Result<PbRangeResponse, Status> {
    if !script.quorum {
        futures::future::pending::<()>().await;
    }
    Ok(PbRangeResponse { header: header(script), ..PbRangeResponse::default() })
}

async fn snapshot(
    world: Arc<World>,
    script: Script,
    request: Request<axum::body::Body>,
) -> Response<tonic::body::Body> {
    let cut = request.extensions().get::<Arc<AtomicBool>>().cloned().expect("every connection has its switch");
    let service = tower::service_fn(move |_: tonic::Request<()>| {
        let messages = play(world.clone(), &script, cut.clone());
        async move { Ok::<_, Status>(tonic::Response::new(messages)) }
    });
    tonic::server::Grpc::new(ProstCodec::<PbSnapshotResponse, ()>::default()).server_streaming(service, request).await
}

type Messages = BoxStream<'static, Result<PbSnapshotResponse, Status>>;

/// Counts a stream as open for as long as the server holds it.
struct Open(Arc<World>);

impl Open {
    fn new(world: Arc<World>) -> Self {
        world.open.fetch_add(1, Ordering::SeqCst);
        Open(world)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

fn play(world: Arc<World>, script: &Script, cut: Arc<AtomicBool>) -> Messages {
    let (bytes, total) = (script.stream(), script.db.len());
    let head = |at: usize| messages(&bytes[..at.min(bytes.len())], total);
    let never = || stream::pending::<Result<PbSnapshotResponse, Status>>();
    let played: Messages = match script.play {
        Play::Whole => head(bytes.len()).boxed(),
        Play::StallAt(at) => head(at).chain(never()).boxed(),
        Play::EmptyAfter(at) => {
            let empty = move || Ok(PbSnapshotResponse { remaining_bytes: left(total, at), ..Default::default() });
            head(at)
                .chain(stream::repeat_with(empty).then(|message| async {
                    tokio::task::yield_now().await;
                    message
                }))
                .boxed()
        }
        Play::EmptyBetween(count) => head(bytes.len())
            .enumerate()
            .flat_map(move |(number, message)| {
                let empty = PbSnapshotResponse { remaining_bytes: left(total, number * CHUNK), ..Default::default() };
                stream::iter(vec![Ok(empty); count]).chain(stream::iter([message]))
            })
            .boxed(),
        Play::CutAt(at) => head(at).chain(cutting(cut)).chain(never()).boxed(),
        Play::EndAt(at) => head(at).boxed(),
        Play::Extra(count) => {
            let more = Ok(PbSnapshotResponse { blob: vec![0; count], ..Default::default() });
            head(bytes.len()).chain(stream::iter([more])).boxed()
        }
        Play::FailAt(at, code, text) => head(at).chain(stream::iter([Err(Status::new(code, text))])).boxed(),
        Play::Drip(pause) => head(bytes.len())
            .then(move |message| async move {
                tokio::time::sleep(pause).await;
                message
            })
            .boxed(),
    };
    let open = Open::new(world);
    played
        .inspect(move |_| {
            open.0.messages.fetch_add(1, Ordering::SeqCst);
        })
        .boxed()
}

/// Waits until what was sent is on its way, then breaks the connection under the next write.
fn cutting(cut: Arc<AtomicBool>) -> Messages {
    stream::once(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        cut.store(true, Ordering::SeqCst);
        Ok(PbSnapshotResponse { blob: vec![0; CHUNK], ..Default::default() })
    })
    .boxed()
}

fn left(total: usize, sent: usize) -> u64 {
    u64::try_from(total.saturating_sub(sent)).expect("a small database")
}

/// The messages etcd would send: 32 KiB of database each, then the trailer by itself.
fn messages(bytes: &[u8], total: usize) -> stream::Iter<std::vec::IntoIter<Result<PbSnapshotResponse, Status>>> {
    let (db, trailer) = bytes.split_at(bytes.len().min(total));
    let mut sent = 0;
    let message = |blob: &[u8]| {
        sent += blob.len();
        let version = "3.6.0".to_owned();
        Ok(PbSnapshotResponse { remaining_bytes: left(total, sent), blob: blob.to_vec(), version, header: None })
    };
    let all: Vec<_> = db.chunks(CHUNK).chain(trailer.chunks(CHUNK)).map(message).collect();
    stream::iter(all)
}

/// A connection that can be broken while it is written to.
struct Wire {
    socket: TcpStream,
    cut: Arc<AtomicBool>,
}

impl Wire {
    fn whole(&self) -> io::Result<()> {
        match self.cut.load(Ordering::SeqCst) {
            true => Err(io::ErrorKind::ConnectionReset.into()),
            false => Ok(()),
        }
    }
}

impl Connected for Wire {
    type ConnectInfo = Arc<AtomicBool>;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.cut.clone()
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.whole()?;
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.whole()?;
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
