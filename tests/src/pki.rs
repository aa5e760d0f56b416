//! Real certificates: an authority, a server's pair, and clients good, expired and foreign.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use tempfile::TempDir;

/// What a server with mutual TLS needs, and the pair with which the harness talks to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    pub ca_file: PathBuf,
    pub server_cert_file: PathBuf,
    pub server_key_file: PathBuf,
    pub client_cert_file: PathBuf,
    pub client_key_file: PathBuf,
}

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

/// How long a certificate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// From 2000 to 2100.
    Now,
    /// Until the end of 2001.
    Expired,
    /// From 2099.
    NotYet,
}

/// An authority with its files in a temporary folder.
#[derive(Debug)]
pub struct Pki {
    issuer: Issuer<'static, KeyPair>,
    dir: TempDir,
}

impl Pki {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("lifeboat-pki-").tempdir().expect("a temporary folder");
        let key = KeyPair::generate().expect("the system has randomness");
        let mut params = params("Lifeboat test authority", &[], Validity::Now);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let cert = params.self_signed(&key).expect("the parameters are sound");
        std::fs::write(dir.path().join("ca.crt"), cert.pem()).expect("the folder is ours");
        Self { issuer: Issuer::new(params, key), dir }
    }

    pub fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.crt")
    }

    /// A server's pair for localhost and 127.0.0.1.
    pub fn server(&self, validity: Validity) -> Pair {
        self.server_for(&["localhost", "127.0.0.1"], validity)
    }

    /// A server's pair for other names, as where a certificate does not fit its host.
    pub fn server_for(&self, names: &[&str], validity: Validity) -> Pair {
        let mut params = params("etcd", names, validity);
        // etcd's gRPC gateway is a client of its own server, with the server's pair.
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    /// A client's pair.
    pub fn client(&self, name: &str, validity: Validity) -> Pair {
        let mut params = params(name, &[], validity);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    /// The usual set: everything good.
    pub fn tls(&self) -> TlsFiles {
        let server = self.server(Validity::Now);
        let client = self.client("lifeboat", Validity::Now);
        TlsFiles {
            ca_file: self.ca_file(),
            server_cert_file: server.cert_file,
            server_key_file: server.key_file,
            client_cert_file: client.cert_file,
            client_key_file: client.key_file,
        }
    }

    fn sign(&self, params: CertificateParams) -> Pair {
        let key = KeyPair::generate().expect("the system has randomness");
        let cert = params.signed_by(&key, &self.issuer).expect("the parameters are sound");
        let dir =
            tempfile::Builder::new().prefix("pair-").tempdir_in(self.dir.path()).expect("a temporary folder").keep();
        write_pair(&dir, &cert.pem(), &key.serialize_pem())
    }
}

impl Default for Pki {
    fn default() -> Self {
        Self::new()
    }
}

fn write_pair(dir: &Path, cert: &str, key: &str) -> Pair {
    let pair = Pair { cert_file: dir.join("tls.crt"), key_file: dir.join("tls.key") };
    std::fs::write(&pair.cert_file, cert).expect("the folder is ours");
    std::fs::write(&pair.key_file, key).expect("the folder is ours");
    pair
}

fn params(name: &str, hosts: &[&str], validity: Validity) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    let mut params = CertificateParams::new(hosts).expect("the host names are ASCII");
    params.distinguished_name.push(DnType::CommonName, name);
    let (from, to) = match validity {
        Validity::Now => (2000, 2100),
        Validity::Expired => (2000, 2001),
        Validity::NotYet => (2099, 2100),
    };
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(to, 12, 31);
    params
}
