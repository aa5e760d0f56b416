//! This machine: scratch space, the pruner's rules, the config's warnings, the port.

use super::{Asked, Check, Status, keys};
use crate::config::Role;
use crate::error::{Error, Result};
use crate::proof;
use crate::scratch;
use lifeboat_policy::proof::Level;
use rustix::fs::{Access, access};
use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What is known of the scratch dir.
#[derive(Debug)]
pub(super) struct Scratch {
    pub dir: PathBuf,
    /// Its mode; `None`: not there yet, and made when it is needed.
    pub mode: Option<u32>,
    pub writable: Result<()>,
    pub free: Result<u64>,
    pub max: u64,
    /// What a proof of the live database takes; `None`: no proof here needs any.
    pub needed: Option<u64>,
    /// Whether that is of the live database, or the least that any takes.
    pub sized: bool,
}

pub(super) fn scratch(asked: &Asked<'_>, db_bytes: Option<u64>) -> Check {
    let settings = &asked.config.proof;
    let dir = settings.scratch_dir.clone();
    let boots = asked.runs(Role::Prove) && matches!(&asked.level, Ok((Level::Booted, _)));
    judge_scratch(&Scratch {
        mode: keys::mode(&dir).ok(),
        writable: writable(&dir),
        free: scratch::free_bytes(&dir),
        max: settings.scratch_max_bytes,
        needed: boots.then(|| proof::scratch_needed(db_bytes.unwrap_or(0))),
        sized: db_bytes.is_some(),
        dir,
    })
}

/// Makes a nameless file in the dir, or, where the dir is still to be made, asks whether it could be.
fn writable(dir: &Path) -> Result<()> {
    if !dir.exists() {
        let parent = dir.ancestors().find(|parent| parent.exists()).unwrap_or(Path::new("/"));
        return access(parent, Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|source| Error::io("make a folder in", parent.display(), source.into()));
    }
    let failed = |source| Error::io("write to", dir.display(), source);
    let name = format!(".doctor-{}-{:08x}", std::process::id(), scratch::random_u32().map_err(failed)?);
    let path = dir.join(name);
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
    std::fs::remove_file(&path).map_err(failed)
}

pub(super) fn judge_scratch(found: &Scratch) -> Check {
    const AREA: &str = "scratch";
    let dir = found.dir.display();
    let free = match (&found.writable, &found.free) {
        (Err(error), _) | (_, Err(error)) => return Check::of_error(AREA, Status::Fail, error),
        (Ok(()), Ok(free)) => *free,
    };
    if let Some(needed) = found.needed {
        let of = if found.sized { "of the live database" } else { "of even the smallest database" };
        if needed > found.max {
            let text = format!("a proof {of} needs {}, proof.scratch.max is {}", size(needed), size(found.max));
            return Check::fail(AREA, text, "raise proof.scratch.max, or prove to `sound`");
        }
        if needed > free {
            let text = format!("a proof {of} needs {}, {dir} has {} free", size(needed), size(free));
            return Check::fail(AREA, text, "free space there, or point proof.scratch.dir to another file system");
        }
    }
    if let Some(mode) = found.mode.filter(|mode| mode & 0o007 != 0) {
        let text = format!("{dir} has mode {mode:04o}: every user of this host sees what proofs unpack");
        return Check::warn(AREA, text, format!("chmod 0700 {dir}"));
    }
    let state = if found.mode.is_some() { "writable" } else { "will be made" };
    let enough = match found.needed {
        Some(needed) => format!(", a proof needs {}", size(needed)),
        None => String::new(),
    };
    Check::ok(AREA, format!("{dir}: {state}, {} free{enough}", size(free)))
}

/// `1.4 GiB`.
fn size(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib < 1024.0 { format!("{mib:.0} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}

pub(super) fn prune(asked: &Asked<'_>) -> Check {
    const AREA: &str = "prune";
    if !asked.runs(Role::Prune) {
        return Check::skip(AREA, "not a role here");
    }
    let cron = asked.config.schedule.prune.as_ref();
    match (asked.config.keep.is_some(), cron.and_then(|cron| cron.next_after(asked.now()))) {
        (false, _) => {
            Check::warn(AREA, "no `keep`: nothing is ever deleted", "write rules, or take prune out of roles")
        }
        (true, None) => {
            Check::warn(AREA, "its schedule never comes", "correct schedule.prune: lifeboat check-config --next 5")
        }
        (true, Some(next)) => Check::ok(AREA, format!("next at {}", next.format("%Y-%m-%d %H:%M UTC"))),
    }
}

pub(super) fn config(asked: &Asked<'_>) -> Option<Check> {
    const AREA: &str = "config";
    let warnings = asked.warnings?;
    Some(match warnings {
        0 => Check::ok(AREA, "no warnings"),
        1 => Check::warn(AREA, "1 warning", "lifeboat check-config says which"),
        many => Check::warn(AREA, format!("{many} warnings"), "lifeboat check-config says which"),
    })
}

/// Whether the agent's port is free, or the agent's own.
pub(super) async fn listen(address: SocketAddr) -> Check {
    const AREA: &str = "http";
    match TcpListener::bind(address).await {
        Ok(_) => Check::ok(AREA, format!("{address} is free")),
        Err(source) if source.kind() == std::io::ErrorKind::AddrInUse => match is_ours(address).await {
            true => Check::ok(AREA, format!("an agent serves {address}")),
            false => Check::fail(
                AREA,
                format!("{address} is taken, and not by lifeboat"),
                "change http.listen or LIFEBOAT_HTTP_LISTEN, or end what listens there",
            ),
        },
        Err(source) => Check::fail(
            AREA,
            format!("{address} cannot be listened on: {source}"),
            "http.listen wants an address of this host and a port that its user may take",
        ),
    }
}

/// Whether what listens there shows the metrics of an agent.
async fn is_ours(address: SocketAddr) -> bool {
    const MOST: u64 = 1 << 20;
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        stream
            .write_all(format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())
            .await?;
        let mut answer = Vec::new();
        stream.take(MOST).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).contains("lifeboat_build_info"))
    };
    matches!(tokio::time::timeout(Duration::from_secs(3), ask).await, Ok(Ok(true)))
}
