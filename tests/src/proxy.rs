//! A network that misbehaves: a TCP proxy on a free port in front of any server.
//!
//! What it does to connections may be changed while it runs; what is set holds for bytes that come afterwards.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::runtime;
use crate::server::free_port;

/// Read at a time, and how many of these wait for their latency to pass.
const PIECE_BYTES: usize = 16 << 10;
const PIECES_UNDER_WAY: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    ToClient,
}

/// Ends connections in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    pub direction: Direction,
    /// Bytes of one connection that still pass.
    pub after: u64,
    /// How many connections are cut; later ones are whole.
    pub times: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Pass,
    /// Nobody listens, and what was open is closed.
    Refuse,
    /// Connections are taken and nothing passes any more.
    BlackHole,
}

/// What happens on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    pub mode: Mode,
    /// On each way: a request and its answer take twice that.
    pub latency: Duration,
    /// Of each connection and direction.
    pub bytes_per_second: Option<u64>,
    pub cut: Option<Cut>,
}

/// The proxy. It ends with this value.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    weather: watch::Sender<Weather>,
    /// Cuts that are still to come.
    cuts: Mutex<u32>,
    cut: AtomicU64,
    to_server: AtomicU64,
    to_client: AtomicU64,
}

impl Proxy {
    /// In front of `http://HOST:PORT`; everything passes until told otherwise.
    pub fn before(endpoint: &str) -> Self {
        let server = endpoint.strip_prefix("http://").unwrap_or(endpoint);
        let server: SocketAddr = server.parse().expect("servers of the harness have an address and a port");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let shared = Arc::new(Shared {
            weather: watch::Sender::new(Weather::default()),
            cuts: Mutex::new(0),
            cut: AtomicU64::new(0),
            to_server: AtomicU64::new(0),
            to_client: AtomicU64::new(0),
        });
        // Bound before anybody is told the address.
        let listener = runtime::block_on(TcpListener::bind(address)).expect("the port is free");
        let task = runtime::handle().spawn(listen(listener, address, server, shared.clone()));
        Self { address, shared, task }
    }

    /// Where clients go instead of to the server.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn set(&self, weather: Weather) {
        *lock(&self.shared.cuts) = weather.cut.map_or(0, |cut| cut.times);
        self.shared.weather.send_replace(weather);
    }

    /// How many were cut.
    pub fn cut(&self) -> u64 {
        self.shared.cut.load(Ordering::Relaxed)
    }

    /// How many bytes went that way, of all connections.
    pub fn passed(&self, direction: Direction) -> u64 {
        self.shared.passed(direction).load(Ordering::Relaxed)
    }
}

impl Shared {
    fn passed(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::ToServer => &self.to_server,
            Direction::ToClient => &self.to_client,
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.set(Weather { mode: Mode::Refuse, ..Weather::default() });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes connections; while they are refused there is no listener, so that the kernel refuses them.
async fn listen(first: TcpListener, address: SocketAddr, server: SocketAddr, shared: Arc<Shared>) {
    let mut weather = shared.weather.subscribe();
    let mut listener = Some(first);
    loop {
        let refuse = weather.borrow_and_update().mode == Mode::Refuse;
        if refuse {
            listener = None;
        } else if listener.is_none() {
            listener = Some(TcpListener::bind(address).await.expect("the port is still ours"));
        }
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = accepted => {
                let Ok((client, _)) = accepted else { continue };
                tokio::spawn(connection(client, server, shared.clone()));
            }
            changed = weather.changed() => if changed.is_err() { return },
        }
    }
}

/// One connection: both directions until either ends, however it does.
async fn connection(client: TcpStream, server: SocketAddr, shared: Arc<Shared>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    // Small requests go at once: what is slow here is slow on purpose.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut weather = shared.weather.subscribe();
    tokio::select! {
        () = pipe(from_client, to_server, Direction::ToServer, &shared) => {}
        () = pipe(from_server, to_client, Direction::ToClient, &shared) => {}
        _ = weather.wait_for(|weather| weather.mode == Mode::Refuse) => {}
    }
}

async fn pipe(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, direction: Direction, shared: &Shared) {
    let (send, mut receive) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES_UNDER_WAY);
    let read = async move {
        let mut piece = vec![0; PIECE_BYTES];
        while let Ok(count @ 1..) = from.read(&mut piece).await {
            let due = Instant::now() + shared.weather.borrow().latency;
            if send.send((due, piece[..count].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        let (mut passed, mut weather) = (0, shared.weather.subscribe());
        while let Some((due, piece)) = receive.recv().await {
            sleep_until(due).await;
            // What falls into a black hole is not lost, only never there in time.
            if weather.wait_for(|weather| weather.mode != Mode::BlackHole).await.is_err() {
                return;
            }
            let now = *weather.borrow();
            let allowed = allowed(&now, direction, passed, piece.len(), shared);
            let whole = allowed == piece.len();
            let piece = &piece[..allowed];
            if to.write_all(piece).await.is_err() {
                return;
            }
            passed += piece.len() as u64;
            shared.passed(direction).fetch_add(piece.len() as u64, Ordering::Relaxed);
            if !whole {
                shared.cut.fetch_add(1, Ordering::Relaxed);
                return;
            }
            if let Some(rate) = now.bytes_per_second {
                sleep(Duration::from_secs_f64(piece.len() as f64 / rate.max(1) as f64)).await;
            }
        }
    };
    // What was read is still passed on; what cannot be passed on is not read.
    let read = async {
        read.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = write => {}
        () = read => {}
    }
}

/// How many bytes of the next piece may pass. A connection that is cut short takes one of the cuts.
fn allowed(weather: &Weather, direction: Direction, passed: u64, piece: usize, shared: &Shared) -> usize {
    let Some(cut) = weather.cut.filter(|cut| cut.direction == direction) else { return piece };
    let left = usize::try_from(cut.after.saturating_sub(passed)).unwrap_or(usize::MAX);
    let mut cuts = lock(&shared.cuts);
    if left >= piece || *cuts == 0 {
        return piece;
    }
    *cuts -= 1;
    left
}
