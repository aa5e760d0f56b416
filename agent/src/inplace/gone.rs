//! Whether the old etcd is gone for good: its lock and its ports, never a fixed sleep.

use crate::error::{Error, Result};
use crate::fetch;
use std::fs::File;
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpStream;
use url::Url;

const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// What still speaks for an etcd that runs: its lock on the database, or one of its ports.
pub async fn sign_of_life(live: &Path, member: &Path, listens: &[String]) -> Result<Option<String>> {
    for db in [live.join("member/snap/db"), member.join("snap/db")] {
        if is_locked(&db)? {
            return Ok(Some(format!("{} is locked", db.display())));
        }
    }
    for text in listens {
        let Some((host, port)) = Url::parse(text)
            .ok()
            .and_then(|url| Some((url.host_str()?.trim_matches(['[', ']']).to_owned(), url.port_or_known_default()?)))
        else {
            continue;
        };
        let host = match host.as_str() {
            "0.0.0.0" => "127.0.0.1",
            "::" => "::1",
            other => other,
        };
        if let Ok(Ok(_)) = tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect((host, port))).await {
            return Ok(Some(format!("port {port} is open")));
        }
    }
    Ok(None)
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
