//! Turns what the gRPC client says, or hides, into an error that names endpoint, file, cause and next step.

use super::connect::TlsFiles;
use super::probe::{Finding, probe};
use crate::config::{Etcd, Tls};
use crate::error::{Error, Reason};
use rustls::{AlertDescription, CertificateError};
use std::error::Error as StdError;
use std::io;
use std::path::Path;
use std::time::Duration;
use tonic::Code;

const PROBE_WITHIN: Duration = Duration::from_secs(4);

/// The error for a failed call on a client of `connect`. A connection that failed without a cause is looked at once
/// more, which takes a few seconds at most.
pub async fn explain(etcd: &Etcd, endpoint: &str, operation: &'static str, error: etcd_client::Error) -> Error {
    if let Some(refusal) = refusal(etcd, endpoint, operation, &error) {
        return refusal;
    }
    if let Some(tls) = in_chain::<rustls::Error>(inner(&error)) {
        return tls_failure(etcd, endpoint, tls).on(operation, endpoint);
    }
    if !is_plain_network_failure(inner(&error))
        && let Some(found) = look_again(etcd, endpoint).await
    {
        return found.on(operation, endpoint);
    }
    unreachable(endpoint, operation, error)
}

/// What the server itself answered, as opposed to a connection that failed. `None`: it was the connection.
pub(super) fn refusal(
    etcd: &Etcd,
    endpoint: &str,
    operation: &'static str,
    error: &etcd_client::Error,
) -> Option<Error> {
    let etcd_client::Error::GRpcStatus(status) = error else {
        return None;
    };
    if status.source().is_some() {
        return None;
    }
    let text = status.message();
    let (reason, hint) = match status.code() {
        Code::PermissionDenied => (Reason::EtcdDenied, needs_root(etcd)),
        Code::Unauthenticated => (Reason::EtcdDenied, "check etcd.user and what etcd.password_file holds".to_owned()),
        Code::InvalidArgument if text.contains("user name is empty") => {
            (Reason::EtcdDenied, "this cluster wants a user: set etcd.user and etcd.password_file".to_owned())
        }
        Code::InvalidArgument if text.contains("authentication failed") => {
            (Reason::EtcdDenied, "check etcd.user and what etcd.password_file holds".to_owned())
        }
        Code::FailedPrecondition if text.contains("authentication is not enabled") => {
            (Reason::EtcdDenied, "this cluster knows no users: remove etcd.user from the config".to_owned())
        }
        Code::Unimplemented => (Reason::EtcdUnhealthy, "check that an etcd 3.4 or newer listens there".to_owned()),
        _ => (Reason::EtcdUnhealthy, "look into this member's log; etcdctl endpoint status shows its state".to_owned()),
    };
    let did = if reason == Reason::EtcdDenied { "refused" } else { "failed at" };
    let message = format!("etcd at {endpoint} {did} {operation}: {text} ({:?})", status.code());
    Some(Error::new(reason, message).hint(hint).on(operation, endpoint))
}

fn needs_root(etcd: &Etcd) -> String {
    match &etcd.user {
        Some(user) => format!("a snapshot needs the root role: etcdctl user grant-role {user} root"),
        None => {
            "a snapshot needs the root role: grant it to the user that the client certificate's CN names".to_owned()
        }
    }
}

fn unreachable(endpoint: &str, operation: &'static str, error: etcd_client::Error) -> Error {
    Error::new(Reason::EtcdUnreachable, format!("etcd at {endpoint} cannot be reached"))
        .on(operation, endpoint)
        .hint("check that the member runs and listens there, and that name, port and firewall are right")
        .because(Chain(told(inner(&error)).join(": ")))
}

/// The text of a chain of causes; gRPC's own types hide theirs behind "transport error".
#[derive(Debug)]
pub(super) struct Chain(pub(super) String);

impl std::fmt::Display for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Chain {}

/// The part of the client's error that has a chain of causes.
pub(super) fn inner(error: &etcd_client::Error) -> &(dyn StdError + 'static) {
    match error {
        etcd_client::Error::TransportError(error) => error,
        etcd_client::Error::GRpcStatus(status) => status.source().unwrap_or(status),
        etcd_client::Error::IoError(error) => error,
        other => other,
    }
}

/// Every cause from the outermost in, those inside an `io::Error` too.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let next = |error: &&'a (dyn StdError + 'static)| -> Option<&'a (dyn StdError + 'static)> {
        let error: &'a (dyn StdError + 'static) = *error;
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        }
    };
    std::iter::successors(Some(error), next)
}

fn in_chain<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    chain(error).find_map(|error| error.downcast_ref::<T>())
}

/// The texts of the chain without repeats and without the words that say nothing.
pub(super) fn told(error: &(dyn StdError + 'static)) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    for text in chain(error).map(|error| error.to_string()) {
        if text != "transport error" && !told.iter().any(|outer| outer.contains(&text)) {
            told.push(text);
        }
    }
    if told.is_empty() {
        told.push("the connection was closed".to_owned());
    }
    told
}

/// Failures below TLS that explain themselves.
fn is_plain_network_failure(error: &(dyn StdError + 'static)) -> bool {
    use io::ErrorKind::*;
    let kind = in_chain::<io::Error>(error).map(io::Error::kind);
    let known = matches!(kind, Some(ConnectionRefused | HostUnreachable | NetworkUnreachable | TimedOut));
    known || told(error).iter().any(|text| text.contains("dns error"))
}

async fn look_again(etcd: &Etcd, endpoint: &str) -> Option<Error> {
    let config = match endpoint.starts_with("https://") {
        true => Some(TlsFiles::read(etcd, endpoint).await.ok()?.1),
        false => None,
    };
    let asked = endpoint.to_owned();
    let probing = tokio::task::spawn_blocking(move || probe(&asked, config));
    match tokio::time::timeout(PROBE_WITHIN, probing).await {
        Ok(Ok(Finding::Tls(error))) => Some(tls_failure(etcd, endpoint, &error)),
        Ok(Ok(Finding::PlainPort)) => Some(
            Error::new(Reason::EtcdTls, format!("{endpoint} says https, but that port speaks plain HTTP"))
                .hint("write http:// in etcd.endpoints, or give etcd a server certificate"),
        ),
        Ok(Ok(Finding::TlsPort)) => Some(
            Error::new(Reason::EtcdTls, format!("{endpoint} says http, but that port speaks TLS"))
                .hint("write https:// in etcd.endpoints and set etcd.tls.ca_file"),
        ),
        // Nothing found, or no time left: the caller reports the failure it has.
        Ok(Ok(Finding::Nothing) | Err(_)) | Err(_) => None,
    }
}

fn tls_failure(etcd: &Etcd, endpoint: &str, error: &rustls::Error) -> Error {
    let none = Tls { ca_file: None, cert_file: None, key_file: None };
    let tls = etcd.tls.as_ref().unwrap_or(&none);
    let (message, hint) = match error {
        rustls::Error::InvalidCertificate(fault) => server_certificate(tls, endpoint, fault),
        rustls::Error::AlertReceived(alert) => client_certificate(tls, endpoint, *alert),
        rustls::Error::InvalidMessage(_) => (
            format!("{endpoint} says https, but that port does not speak TLS"),
            "check scheme and port in etcd.endpoints".to_owned(),
        ),
        rustls::Error::NoApplicationProtocol => (
            format!("{endpoint} speaks TLS, but not HTTP/2: it is not etcd's client port"),
            "point etcd.endpoints at the client port, usually 2379".to_owned(),
        ),
        _ => (
            format!("TLS with etcd at {endpoint} failed"),
            "compare the TLS settings of etcd and of etcd.tls in the config".to_owned(),
        ),
    };
    Error::new(Reason::EtcdTls, message).hint(hint).because(error.clone())
}

fn server_certificate(tls: &Tls, endpoint: &str, fault: &CertificateError) -> (String, String) {
    use CertificateError::*;
    let ca = path(tls.ca_file.as_deref(), "etcd.tls.ca_file");
    match fault {
        UnknownIssuer | BadSignature => (
            format!("the server certificate of {endpoint} is not signed by the CA in {ca}"),
            format!(
                "put the CA that signed etcd's server certificate into {ca}; kubeadm: /etc/kubernetes/pki/etcd/ca.crt"
            ),
        ),
        Expired | ExpiredContext { .. } => (
            format!("the server certificate of {endpoint} has expired{}", expiry(fault)),
            "renew etcd's server certificate and check this host's clock; kubeadm: kubeadm certs renew etcd-server"
                .to_owned(),
        ),
        NotValidYet | NotValidYetContext { .. } => (
            format!("the server certificate of {endpoint} is not valid yet"),
            "check this host's clock and the one that issued the certificate".to_owned(),
        ),
        NotValidForName | NotValidForNameContext { .. } => (
            format!("the server certificate of {endpoint} is for other names than this one"),
            "use a name or address that the certificate carries, or issue it again with this one as SAN".to_owned(),
        ),
        _ => (
            format!("the server certificate of {endpoint} was not accepted with the CA in {ca}"),
            "look at it with: openssl s_client -connect HOST:PORT -showcerts".to_owned(),
        ),
    }
}

/// ` on 2026-11-23`, where the fault tells it; rustls itself counts seconds.
fn expiry(fault: &CertificateError) -> String {
    let CertificateError::ExpiredContext { not_after, .. } = fault else {
        return String::new();
    };
    let day = i64::try_from(not_after.as_secs()).ok().and_then(|seconds| chrono::DateTime::from_timestamp(seconds, 0));
    day.map_or_else(String::new, |day| format!(" on {}", day.format("%Y-%m-%d")))
}

fn client_certificate(tls: &Tls, endpoint: &str, alert: AlertDescription) -> (String, String) {
    use AlertDescription::*;
    let Some(cert) = tls.cert_file.as_deref() else {
        return (
            format!("etcd at {endpoint} wants a client certificate, and none is configured"),
            "set etcd.tls.cert_file and key_file to a certificate signed by etcd's client CA".to_owned(),
        );
    };
    let cert = cert.display();
    let renew = format!("renew {cert}; the running agent reads it anew at the next connection");
    match alert {
        CertificateExpired => {
            (format!("etcd at {endpoint} refused the client certificate {cert}: it has expired"), renew)
        }
        UnknownCA => (
            format!("etcd at {endpoint} refused the client certificate {cert}: it does not know the CA that signed it"),
            format!("issue {cert} from the CA that etcd names in --trusted-ca-file"),
        ),
        CertificateRevoked => {
            (format!("etcd at {endpoint} refused the client certificate {cert}: it has been revoked"), renew)
        }
        CertificateRequired => (
            format!("etcd at {endpoint} wants a client certificate and was not content with {cert}"),
            format!("issue {cert} from the CA that etcd names in --trusted-ca-file"),
        ),
        _ => (
            format!("etcd at {endpoint} refused the client certificate {cert}, or the TLS settings"),
            format!(
                "check that {cert} is valid, allows client authentication and is signed by etcd's --trusted-ca-file"
            ),
        ),
    }
}

fn path(file: Option<&Path>, key: &str) -> String {
    file.map_or_else(|| key.to_owned(), |file| file.display().to_string())
}
