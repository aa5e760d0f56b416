//! Whether the other members are silent, in the old world or already in the restored one. etcd names its cluster id in the
//! header of every answer on its peer port, quorum or not.

use super::gone::takes_connections;
use super::journal::Peer;
use crate::config::Tls;
use crate::error::{Error, Reason, Result};
use std::path::Path;
use std::time::Duration;
use url::Url;

const CONNECT_WITHIN: Duration = Duration::from_secs(2);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What a peer's port says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Nobody takes the connection.
    Silent,
    /// A member of this cluster, by its id in hex.
    Serves(String),
    /// Something takes the connection and does not say which cluster it is of.
    Unclear(String),
}

/// Asks every URL of a peer; who answers on any of them is there.
pub async fn look(peer: &Peer, tls: &Tls) -> Result<Sight> {
    let mut seen = Sight::Silent;
    for text in &peer.urls {
        let url = Url::parse(text).map_err(|source| {
            Error::new(Reason::Usage, format!("{text} of member {} is no URL", peer.name)).because(source)
        })?;
        match ask(&url, tls).await? {
            Sight::Silent => {}
            serves @ Sight::Serves(_) => return Ok(serves),
            unclear => seen = unclear,
        }
    }
    Ok(seen)
}

async fn ask(url: &Url, tls: &Tls) -> Result<Sight> {
    if !takes_connections(url, CONNECT_WITHIN).await {
        return Ok(Sight::Silent);
    }
    let client = client(url, tls)?;
    let asked = client.get(format!("{}members", with_slash(url))).send().await;
    Ok(match asked {
        Ok(answer) => match answer.headers().get("x-etcd-cluster-id").and_then(|id| id.to_str().ok()) {
            Some(id) => Sight::Serves(id.trim_start_matches('0').to_owned()),
            None => Sight::Unclear(format!("{url} answers {} and is no etcd", answer.status())),
        },
        Err(error) => Sight::Unclear(format!("{url} takes the connection, then: {}", last_cause(&error))),
    })
}

fn with_slash(url: &Url) -> String {
    let text = url.as_str();
    if text.ends_with('/') { text.to_owned() } else { format!("{text}/") }
}

fn last_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// A client with what etcd itself shows its peers.
fn client(url: &Url, tls: &Tls) -> Result<reqwest::Client> {
    // etcd 3.6 takes whatever comes as HTTP/2 on its peer port for gRPC, and hangs up.
    let mut builder = reqwest::Client::builder().timeout(ANSWER_WITHIN).no_proxy().http1_only();
    if url.scheme() == "https" {
        let mut roots = Vec::new();
        if let Some(file) = &tls.ca_file {
            roots = reqwest::Certificate::from_pem_bundle(&read(file)?).map_err(|source| unusable(file, source))?;
        }
        builder = builder.tls_certs_only(roots);
        if let (Some(cert), Some(key)) = (&tls.cert_file, &tls.key_file) {
            let mut pem = read(key)?;
            pem.extend(read(cert)?);
            builder = builder.identity(reqwest::Identity::from_pem(&pem).map_err(|source| unusable(cert, source))?);
        }
    }
    builder.build().map_err(|source| Error::new(Reason::Internal, "no HTTP client").because(source))
}

fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).map_err(|source| {
        Error::io("read", file.display(), source).hint("etcd's manifest or unit names this file for its peers")
    })
}

fn unusable(file: &Path, source: reqwest::Error) -> Error {
    Error::new(Reason::EtcdTls, format!("{} cannot be used to ask the peers", file.display()))
        .hint("etcd's manifest or unit names this file for its peers: is it whole?")
        .because(source)
}

/// Waits for the API server of this node; whether it became ready within the time.
pub async fn ready(url: &str, ca_file: &Path, within: Duration) -> Result<bool> {
    let url =
        Url::parse(url).map_err(|source| Error::new(Reason::Internal, format!("{url} is no URL")).because(source))?;
    let tls = Tls { ca_file: Some(ca_file.to_path_buf()), cert_file: None, key_file: None };
    let client = client(&url, &tls)?;
    let poll = async {
        loop {
            if let Ok(answer) = client.get(url.clone()).send().await
                && answer.status().is_success()
            {
                return;
            }
            tokio::time::sleep(super::LOOK_EVERY).await;
        }
    };
    Ok(tokio::time::timeout(within, poll).await.is_ok())
}
