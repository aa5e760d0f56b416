//! Mutual TLS with a real etcd: what works, and what a person reads when it does not.

use super::{MINUTE, limits, says, take};
use lifeboat::capture::{connect, survey};
use lifeboat::config::{Compare, Etcd, Limits, Members, Tls};
use lifeboat::error::{Error, Reason};
use lifeboat_tests::pki::{Pair, Pki, TlsFiles, Validity};
use lifeboat_tests::real_etcd::{self, Options, RealEtcd};
use sha2::{Digest, Sha256};
use std::path::Path;

struct Secured {
    etcd: RealEtcd,
    pki: Pki,
    files: TlsFiles,
}

impl Secured {
    fn start() -> Self {
        let pki = Pki::new();
        let files = pki.tls();
        let options = Options { tls: Some(files.clone()), ..Options::default() };
        Secured { etcd: RealEtcd::start(real_etcd::Etcd::V3_6, options), pki, files }
    }

    fn config(&self) -> Etcd {
        self.with(&self.files.ca_file, Some(self.client()))
    }

    fn client(&self) -> Pair {
        Pair { cert_file: self.files.client_cert_file.clone(), key_file: self.files.client_key_file.clone() }
    }

    fn with(&self, ca_file: &Path, client: Option<Pair>) -> Etcd {
        let (cert_file, key_file) = client.map(|pair| (pair.cert_file, pair.key_file)).unzip();
        Etcd {
            endpoints: vec![self.etcd.endpoint()],
            members: Members::Discover,
            tls: Some(Tls { ca_file: Some(ca_file.to_owned()), cert_file, key_file }),
            user: None,
            password_file: None,
            compare: Compare::All,
        }
    }

    /// etcd reads its pair anew at every handshake.
    fn serve_with(&self, pair: &Pair) {
        std::fs::copy(&pair.cert_file, &self.files.server_cert_file).unwrap();
        std::fs::copy(&pair.key_file, &self.files.server_key_file).unwrap();
    }
}

async fn refused(etcd: &Etcd) -> Error {
    let error = survey(etcd).await.unwrap_err();
    assert_eq!(error.reason, Reason::EtcdTls, "{error}");
    says(&error, &[&etcd.endpoints[0]]);
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_certificate_gets_a_snapshot_whose_digest_is_right() {
    let secured = Secured::start();
    for number in 0..50 {
        secured.etcd.etcdctl(&["put", &format!("key-{number}"), &"value".repeat(400)]);
    }
    let etcd = secured.config();
    let found = survey(&etcd).await.unwrap();
    assert!(found.members[0].revision >= 51, "{:?}", found.members);
    let patient = Limits { stall: MINUTE, ..limits() };
    let stream = take(&etcd, &found.members[0], &patient).await.unwrap();
    let (db, trailer) = stream.split_at(stream.len() - 32);
    assert_eq!(Sha256::digest(db).as_slice(), trailer);
    assert_eq!(db.len() % 4096, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_not_trusted_and_a_client_that_does_not_trust_read_why() {
    let secured = Secured::start();
    let foreign = Pki::new();
    let ca = &secured.files.ca_file;

    let error = refused(&secured.with(&foreign.ca_file(), Some(secured.client()))).await;
    says(&error, &["not signed by the CA in", foreign.ca_file().to_str().unwrap()]);

    let expired = secured.pki.client("lifeboat", Validity::Expired);
    let error = refused(&secured.with(ca, Some(expired.clone()))).await;
    says(&error, &["refused the client certificate", expired.cert_file.to_str().unwrap(), "expired", "renew"]);

    let unknown = foreign.client("lifeboat", Validity::Now);
    let error = refused(&secured.with(ca, Some(unknown.clone()))).await;
    says(&error, &["client certificate", unknown.cert_file.to_str().unwrap(), "--trusted-ca-file"]);

    let error = refused(&secured.with(ca, None)).await;
    says(&error, &["wants a client certificate, and none is configured", "etcd.tls.cert_file"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_used_are_named_before_anything_is_sent() {
    let secured = Secured::start();
    let ca = &secured.files.ca_file;
    let expired = secured.pki.client("lifeboat", Validity::Expired);

    let mixed = Pair { key_file: expired.key_file.clone(), ..secured.client() };
    let error = survey(&secured.with(ca, Some(mixed.clone()))).await.unwrap_err();
    assert_eq!(error.reason, Reason::EtcdTls, "{error}");
    says(&error, &["do not belong together", mixed.key_file.to_str().unwrap()]);

    let missing = Pair { cert_file: "/nowhere/tls.crt".into(), ..secured.client() };
    let error = survey(&secured.with(ca, Some(missing))).await.unwrap_err();
    assert_eq!(error.reason, Reason::HostIo, "{error}");
    assert!(error.to_string().contains("/nowhere/tls.crt"), "{error}");

    let error = survey(&secured.with(&secured.files.client_key_file, None)).await.unwrap_err();
    assert_eq!(error.reason, Reason::EtcdTls, "{error}");
    says(&error, &["holds no PEM certificate", secured.files.client_key_file.to_str().unwrap()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_the_servers_certificate_is_named() {
    let secured = Secured::start();
    let etcd = secured.config();

    secured.serve_with(&secured.pki.server(Validity::Expired));
    says(&refused(&etcd).await, &["server certificate", "has expired on 2001-12-31", "clock"]);

    secured.serve_with(&secured.pki.server(Validity::NotYet));
    says(&refused(&etcd).await, &["server certificate", "not valid yet", "clock"]);

    secured.serve_with(&secured.pki.server_for(&["etcd.example"], Validity::Now));
    says(&refused(&etcd).await, &["is for other names", "etcd.example", "SAN"]);

    // The files are read at every handshake on both sides, so nothing needs a restart.
    secured.serve_with(&secured.pki.server(Validity::Now));
    connect(&etcd, &secured.etcd.endpoint()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_that_is_renewed_in_place_is_used_at_the_next_connection() {
    let secured = Secured::start();
    let pair = secured.pki.client("lifeboat", Validity::Expired);
    let etcd = secured.with(&secured.files.ca_file, Some(pair.clone()));
    refused(&etcd).await;
    let renewed = secured.pki.client("lifeboat", Validity::Now);
    std::fs::copy(&renewed.cert_file, &pair.cert_file).unwrap();
    // The key follows a moment later, as in a real rotation.
    let (from, to) = (renewed.key_file.clone(), pair.key_file.clone());
    let late = tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        std::fs::copy(from, to).unwrap();
    });
    connect(&etcd, &secured.etcd.endpoint()).await.unwrap();
    late.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn http_on_a_tls_port_and_https_on_a_plain_port_are_told_apart() {
    let secured = Secured::start();
    let http = Etcd { endpoints: vec![secured.etcd.endpoint().replace("https://", "http://")], ..secured.config() };
    says(&refused(&http).await, &["says http, but that port speaks TLS", "https://"]);

    let plain = RealEtcd::single(real_etcd::Etcd::V3_6);
    let https = Etcd { endpoints: vec![plain.endpoint().replace("http://", "https://")], ..secured.config() };
    says(&refused(&https).await, &["says https, but that port speaks plain HTTP", "http://"]);

    let no_ca = Etcd { tls: None, ..secured.config() };
    says(&refused(&no_ca).await, &["etcd.tls.ca_file"]);
}
