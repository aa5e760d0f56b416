//! One client for one endpoint, from files that are read anew each time, so that rotated certificates just work.

use super::explain::explain;
use crate::config::{Etcd, Tls};
use crate::error::{Error, Reason, Result};
use etcd_client::{Channel, Client, ConnectOptions, StatusResponse};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use zeroize::Zeroizing;

/// How long a member may take to connect and to answer one small question.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// etcd refuses pings that come more often than every 5 s, and any while no call is open.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// A rotation writes certificate and key one after the other; a pair that does not match is read once more.
const ROTATION_TAKES: Duration = Duration::from_secs(1);

/// A client for this one endpoint, after it has answered a first `Status`: TLS 1.3 tells a refused client certificate
/// only then.
pub async fn connect(etcd: &Etcd, endpoint: &str) -> Result<Client> {
    Ok(reach(etcd, endpoint).await?.0)
}

/// Connects and asks for the status, all within `ANSWER_WITHIN`.
pub(super) async fn reach(etcd: &Etcd, endpoint: &str) -> Result<(Client, StatusResponse)> {
    let target = target(etcd, endpoint).await?;
    let options = ConnectOptions::new();
    let options = match credentials(etcd).await? {
        Some((user, password)) => options.with_user(user, password.as_str()),
        None => options,
    };
    let attempt = async {
        let channel = target.connect().await?;
        let mut client = Client::from_channel(Channel::Tonic(channel), Some(options)).await?;
        let status = client.status().await?;
        Ok::<_, etcd_client::Error>((client, status))
    };
    match tokio::time::timeout(ANSWER_WITHIN, attempt).await {
        Ok(Ok(reached)) => Ok(reached),
        Ok(Err(error)) => Err(explain(etcd, endpoint, "status", error).await),
        Err(_) => Err(silent(endpoint, "status")),
    }
}

/// The error for a member that took the connection, or swallowed it, and said nothing.
pub(super) fn silent(endpoint: &str, operation: &'static str) -> Error {
    Error::new(Reason::EtcdUnreachable, format!("etcd at {endpoint} did not answer within {ANSWER_WITHIN:?}"))
        .on(operation, endpoint)
        .hint("check that the member runs, is not frozen, and that no firewall swallows packets to this port")
}

async fn target(etcd: &Etcd, endpoint: &str) -> Result<Endpoint> {
    let invalid = |error: tonic::transport::Error| {
        Error::new(Reason::Config, format!("endpoint {endpoint} cannot be used"))
            .on("connect", endpoint)
            .hint("etcd.endpoints wants http://host:port or https://host:port")
            .because(error)
    };
    let target = Endpoint::from_shared(endpoint.to_owned()).map_err(invalid)?;
    let target = if endpoint.starts_with("https://") {
        let (pem, _) = TlsFiles::read(etcd, endpoint).await?;
        target.tls_config(pem.for_tonic()).map_err(invalid)?
    } else {
        target
    };
    Ok(target.connect_timeout(ANSWER_WITHIN).http2_keep_alive_interval(KEEP_ALIVE).keep_alive_timeout(KEEP_ALIVE))
}

async fn credentials(etcd: &Etcd) -> Result<Option<(String, Zeroizing<String>)>> {
    let (Some(user), Some(file)) = (&etcd.user, &etcd.password_file) else {
        return Ok(None);
    };
    let bytes = read(file).await?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        Error::new(Reason::Config, format!("password file {} is not text", file.display())).because(error)
    })?;
    let password = Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned());
    if password.is_empty() {
        return Err(Error::new(Reason::Config, format!("password file {} is empty", file.display()))
            .on("read", file.display())
            .hint(format!("write the password of etcd's user {user} into it")));
    }
    Ok(Some((user.clone(), password)))
}

async fn read(file: &Path) -> Result<Pem> {
    tokio::fs::read(file).await.map(Zeroizing::new).map_err(|error| Error::io("read", file.display(), error))
}

type Pem = Zeroizing<Vec<u8>>;

/// What the TLS files held at one moment.
pub(super) struct TlsFiles {
    ca: Pem,
    /// Certificate and key.
    identity: Option<(Pem, Pem)>,
}

impl TlsFiles {
    /// Reads the files and checks what can be checked without a server, so that each error names its file.
    pub(super) async fn read(etcd: &Etcd, endpoint: &str) -> Result<(Self, Arc<rustls::ClientConfig>)> {
        let Some((tls, ca_file)) = etcd.tls.as_ref().and_then(|tls| Some((tls, tls.ca_file.as_ref()?))) else {
            return Err(tls_error(format!("endpoint {endpoint} is https, but no CA to check it with is configured"))
                .on("connect", endpoint)
                .hint("set etcd.tls.ca_file to the CA that signed etcd's server certificate"));
        };
        let files = Self::load(tls, ca_file).await?;
        match files.for_rustls(tls, ca_file) {
            Err(error) if error.is_mismatch() => {
                tokio::time::sleep(ROTATION_TAKES).await;
                let files = Self::load(tls, ca_file).await?;
                let config = files.for_rustls(tls, ca_file).map_err(FileFault::into_error)?;
                Ok((files, config))
            }
            Err(fault) => Err(fault.into_error()),
            Ok(config) => Ok((files, config)),
        }
    }

    async fn load(tls: &Tls, ca_file: &Path) -> Result<Self> {
        let ca = read(ca_file).await?;
        let identity = match (&tls.cert_file, &tls.key_file) {
            (Some(cert), Some(key)) => Some((read(cert).await?, read(key).await?)),
            (None, None) => None,
            _ => {
                return Err(Error::new(Reason::Config, "only one of etcd.tls.cert_file and key_file is set")
                    .hint("a client certificate needs its key: set both or none"));
            }
        };
        Ok(TlsFiles { ca, identity })
    }

    fn for_tonic(&self) -> ClientTlsConfig {
        let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&*self.ca));
        match &self.identity {
            Some((cert, key)) => config.identity(Identity::from_pem(&**cert, &**key)),
            None => config,
        }
    }

    fn for_rustls(&self, tls: &Tls, ca_file: &Path) -> Result<Arc<rustls::ClientConfig>, FileFault> {
        let mut roots = rustls::RootCertStore::empty();
        for cert in certificates(&self.ca, ca_file)? {
            roots.add(cert).map_err(|error| {
                let message = format!("CA file {} holds a certificate that cannot be used", ca_file.display());
                FileFault::Broken(Box::new(tls_error(message).on("read", ca_file.display()).because(error)))
            })?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| FileFault::Broken(Box::new(tls_error("no TLS version is available").because(error))))?
            .with_root_certificates(roots);
        let mut config = match (&self.identity, &tls.cert_file, &tls.key_file) {
            (Some((cert, key)), Some(cert_file), Some(key_file)) => {
                let chain = certificates(cert, cert_file)?;
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| FileFault::no_pem("private key", key_file))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| FileFault::pair(cert_file, key_file, error))?
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols.push(b"h2".to_vec());
        Ok(Arc::new(config))
    }
}

fn certificates(pem: &[u8], file: &Path) -> Result<Vec<CertificateDer<'static>>, FileFault> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(FileFault::no_pem("certificate", file)),
    }
}

/// What is wrong with the files; a pair that does not match may be a rotation half done.
enum FileFault {
    Mismatch(Box<Error>),
    Broken(Box<Error>),
}

impl FileFault {
    fn is_mismatch(&self) -> bool {
        matches!(self, FileFault::Mismatch(_))
    }

    fn into_error(self) -> Error {
        match self {
            FileFault::Mismatch(error) | FileFault::Broken(error) => *error,
        }
    }

    fn no_pem(what: &str, file: &Path) -> Self {
        FileFault::Broken(Box::new(
            tls_error(format!("{} holds no PEM {what} that can be read", file.display()))
                .on("read", file.display())
                .hint("the file must be PEM (-----BEGIN ...); check that it was written in full"),
        ))
    }

    fn pair(cert: &Path, key: &Path, error: rustls::Error) -> Self {
        let error_is_mismatch = matches!(error, rustls::Error::InconsistentKeys(_));
        let told = if error_is_mismatch { "do not belong together" } else { "cannot be used" };
        let message = format!("client certificate {} and key {} {told}", cert.display(), key.display());
        let error = tls_error(message)
            .on("read", cert.display())
            .hint("issue the pair again, or point cert_file and key_file at one pair")
            .because(error);
        if error_is_mismatch { FileFault::Mismatch(Box::new(error)) } else { FileFault::Broken(Box::new(error)) }
    }
}

fn tls_error(message: impl Into<String>) -> Error {
    Error::new(Reason::EtcdTls, message)
}
