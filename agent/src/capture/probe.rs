//! Looks at a port once more after a connection failed without saying why, so that the error can say it.
//!
//! Two causes stay hidden from an ordinary client. A server that refuses a client certificate under TLS 1.3 says so
//! after the handshake, and our own next write may turn that alert into a bare reset: here nothing is written and the
//! alert is awaited. And plain HTTP spoken to a TLS port, or the reverse, ends as a closed connection: here the other
//! protocol is tried.

use rustls::pki_types::ServerName;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

const PATIENCE: Duration = Duration::from_secs(1);
/// The HTTP/2 preface and an empty SETTINGS frame (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

#[derive(Debug)]
pub(super) enum Finding {
    /// TLS failed, and this is how.
    Tls(rustls::Error),
    /// The endpoint says https, the port speaks plain HTTP.
    PlainPort,
    /// The endpoint says http, the port speaks TLS.
    TlsPort,
    /// Nothing that explains the failure.
    Nothing,
}

/// Blocks for a few times `PATIENCE` at most, name resolution aside: call it off the async threads.
pub(super) fn probe(endpoint: &str, config: Option<Arc<rustls::ClientConfig>>) -> Finding {
    let Ok(url) = Url::parse(endpoint) else {
        return Finding::Nothing;
    };
    match config {
        Some(config) => match handshake(&url, config) {
            Ok(()) => Finding::Nothing,
            Err(error) => match rustls_error(error) {
                Some(error @ rustls::Error::InvalidMessage(_)) if !speaks_http(&url) => Finding::Tls(error),
                Some(rustls::Error::InvalidMessage(_)) => Finding::PlainPort,
                Some(error) => Finding::Tls(error),
                None if speaks_http(&url) => Finding::PlainPort,
                None => Finding::Nothing,
            },
        },
        None if speaks_tls(&url) => Finding::TlsPort,
        None => Finding::Nothing,
    }
}

fn dial(url: &Url) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in url.socket_addrs(|| None)? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A handshake, then a wait for the server's first word. A server that stays silent is content.
fn handshake(url: &Url, config: Arc<rustls::ClientConfig>) -> io::Result<()> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    let mut session = rustls::ClientConnection::new(config, name).map_err(io::Error::other)?;
    let mut socket = dial(url)?;
    while session.is_handshaking() {
        session.complete_io(&mut socket)?;
    }
    while session.wants_write() {
        session.write_tls(&mut socket)?;
    }
    match rustls::Stream::new(&mut session, &mut socket).read(&mut [0]) {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(()),
        Err(error) => Err(error),
    }
}

fn rustls_error(error: io::Error) -> Option<rustls::Error> {
    error.into_inner()?.downcast::<rustls::Error>().ok().map(|error| *error)
}

fn speaks_http(url: &Url) -> bool {
    let ask = || -> io::Result<[u8; 9]> {
        let mut socket = dial(url)?;
        socket.write_all(PREFACE)?;
        let mut head = [0; 9];
        socket.read_exact(&mut head)?;
        Ok(head)
    };
    // A SETTINGS frame's header carries type 4 and stream 0.
    matches!(ask(), Ok([_, _, _, 4, _, 0, 0, 0, 0]) | Ok([b'H', b'T', b'T', b'P', b'/', ..]))
}

fn speaks_tls(url: &Url) -> bool {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let Ok(builder) = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
    else {
        return false;
    };
    // No root is trusted, so a TLS server gets as far as its certificate and no further.
    let config = builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    match handshake(url, Arc::new(config)) {
        Ok(()) => true,
        Err(error) => matches!(
            rustls_error(error),
            Some(
                rustls::Error::InvalidCertificate(_)
                    | rustls::Error::AlertReceived(_)
                    | rustls::Error::PeerIncompatible(_)
            )
        ),
    }
}
