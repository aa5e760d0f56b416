//! Whether the old etcd is gone for good: its lock and its ports, never a fixed sleep.

use super::flags::reachable;
use crate::error::{Error, Result};
use crate::fetch;
use std::fs::File;
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpStream;
use url::Url;

const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// What still speaks for an etcd that runs: its lock on the database, or one of its ports.
pub async fn sign_of_life(data_dir: &Path, listens: &[String]) -> Result<Option<String>> {
    let db = data_dir.join("member/snap/db");
    if is_locked(&db)? {
        return Ok(Some(format!("{} is locked", db.display())));
    }
    for url in listens.iter().filter_map(|text| Url::parse(&reachable(text)).ok()) {
        if takes_connections(&url, CONNECT_WITHIN).await {
            return Ok(Some(format!("port {} is open", url.port_or_known_default().unwrap_or_default())));
        }
    }
    Ok(None)
}

/// Whether anybody listens there.
pub async fn takes_connections(url: &Url, within: Duration) -> bool {
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return false };
    let dialled = TcpStream::connect((host.trim_matches(['[', ']']), port));
    matches!(tokio::time::timeout(within, dialled).await, Ok(Ok(_)))
}

/// Whether an etcd has this database open.
pub fn is_locked(db: &Path) -> Result<bool> {
    match File::open(db) {
        Ok(file) => Ok(fetch::is_locked(&file)),
        Err(source) if matches!(source.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            Ok(false)
        }
        Err(source) => Err(Error::io("open", db.display(), source)),
    }
}
