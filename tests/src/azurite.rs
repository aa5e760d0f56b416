//! Azurite, Microsoft's own emulator of Azure Blob Storage. It checks signatures.

use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::http::Method;
use object_store::ClientOptions;
use object_store::azure::{AzureAccessKey, AzureAuthorizer, AzureCredential};
use object_store::client::{HttpConnector as _, HttpRequest, HttpRequestBody, ReqwestConnector};
use tempfile::TempDir;

use crate::bucket::{Bucket, Kind};
use crate::server::{Server, free_port, wait_until};
use crate::{runtime, tools};

/// The account that every Azurite has, and its key, both published by Microsoft: no secret, but treated like one.
pub(crate) const ACCOUNT: &str = "devstoreaccount1";
pub(crate) const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

#[derive(Debug)]
pub struct Azurite {
    endpoint: String,
    server: Server,
    _dir: TempDir,
}

impl Azurite {
    /// A server of its own; it ends with this value.
    pub fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("lifeboat-azurite-").tempdir().expect("a temporary folder");
        let port = free_port();
        let (node, program) = tools::azurite();
        let mut command = Command::new(node);
        command.env_clear().env("HOME", dir.path()).env("TMPDIR", dir.path()).current_dir(dir.path());
        command.arg(program).args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string(), "-l", "data"]);
        command.args(["--silent", "--skipApiVersionCheck", "--disableTelemetry"]);
        let server = Server::start_owning(&mut command, &dir.path().join("azurite.log"), dir.path());
        Self { endpoint: format!("http://127.0.0.1:{port}"), server, _dir: dir }
    }

    /// One server for all tests of this binary: each takes a container of its own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Azurite> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A fresh, empty container.
    pub fn bucket(&self) -> Bucket {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("backups-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut said = String::new();
        let made = wait_until(Duration::from_secs(60), || {
            said = runtime::block_on(create(self.endpoint.clone(), name.clone()));
            said == "201 Created"
        });
        made.unwrap_or_else(|| panic!("no container: {said}\n{}", self.server.tail()));
        Bucket { kind: Kind::Azure, name, endpoint: self.endpoint.clone() }
    }
}

/// Asks for a container and returns how that went.
async fn create(endpoint: String, name: String) -> String {
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    *request.method_mut() = Method::PUT;
    *request.uri_mut() = format!("{endpoint}/{ACCOUNT}/{name}?restype=container").parse().expect("a plain address");
    request.headers_mut().insert("content-length", 0.into());
    let key = AzureCredential::AccessKey(AzureAccessKey::try_new(KEY).expect("the key is well formed"));
    AzureAuthorizer::new(&key, ACCOUNT).try_authorize(&mut request).expect("a signature can be made");
    let options = ClientOptions::new().with_allow_http(true);
    let client = ReqwestConnector::default().connect(&options).expect("the options are whole");
    match client.execute(request).await {
        Ok(response) => response.status().to_string(),
        Err(error) => format!("{error:?}"),
    }
}
