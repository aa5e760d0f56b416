//! Real servers that speak S3: SeaweedFS for whole runs, moto where a second counts.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::bucket::{Bucket, Kind};
use crate::server::{Server, free_port};
use crate::tools;

pub(crate) const ACCESS_KEY: &str = "testkey";
pub(crate) const SECRET_KEY: &str = "testsecret";

/// SeaweedFS on loopback; it checks credentials and signatures.
#[derive(Debug)]
pub struct S3(Running);

/// moto: S3 in memory, up in a second; it checks no credentials.
#[derive(Debug)]
pub struct Moto(Running);

#[derive(Debug)]
struct Running {
    endpoint: String,
    server: Server,
    dir: TempDir,
}

impl S3 {
    /// A server of its own, for a test that stops or starves it. It ends with this value.
    pub fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("lifeboat-s3-").tempdir().expect("a temporary folder");
        let ports: [u16; 9] = std::array::from_fn(|_| free_port());
        let mut command = seaweed(dir.path(), &ports);
        let server = Server::start_owning(&mut command, &dir.path().join("weed.log"), dir.path());
        let running = Running { endpoint: format!("http://127.0.0.1:{}", ports[0]), server, dir };
        Self(running)
    }

    /// One server for all tests of this binary: each takes a bucket of its own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<S3> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A fresh, empty bucket.
    pub fn bucket(&self) -> Bucket {
        self.0.bucket()
    }

    /// The server process, to be stopped and continued by signal.
    pub fn server(&self) -> &Server {
        &self.0.server
    }

    pub fn endpoint(&self) -> &str {
        &self.0.endpoint
    }
}

impl Moto {
    /// A server of its own; it ends with this value.
    pub fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("lifeboat-moto-").tempdir().expect("a temporary folder");
        let port = free_port();
        let mut command = Command::new(tools::python());
        command.env_clear().env("PYTHONDONTWRITEBYTECODE", "1").args(["-m", "moto.server", "-H", "127.0.0.1", "-p"]);
        command.arg(port.to_string()).current_dir(dir.path());
        let server = Server::start_owning(&mut command, &dir.path().join("moto.log"), dir.path());
        Self(Running { endpoint: format!("http://127.0.0.1:{port}"), server, dir })
    }

    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Moto> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    pub fn bucket(&self) -> Bucket {
        self.0.bucket()
    }

    pub fn endpoint(&self) -> &str {
        &self.0.endpoint
    }
}

impl Running {
    /// Makes a bucket; the script waits until the server answers.
    fn bucket(&self) -> Bucket {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("backups-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let script = tools::repository().join("tests/servers/bucket.py");
        let mut command = Command::new(tools::python());
        command.env_clear().env("PYTHONDONTWRITEBYTECODE", "1").env("HOME", self.dir.path());
        command.arg(script).args([&self.endpoint, ACCESS_KEY, SECRET_KEY, &name]);
        let output = command.output().expect("python starts");
        assert!(output.status.success(), "no bucket: {}\n{}", tools::said(&output), self.server.tail());
        Bucket { kind: Kind::S3, name, endpoint: self.endpoint.clone() }
    }
}

/// Every port is given, since the defaults are fixed; telemetry is off; sockets stay in the folder.
fn seaweed(dir: &Path, ports: &[u16; 9]) -> Command {
    let identities = serde_json::json!({ "identities": [{
        "name": "test",
        "credentials": [{ "accessKey": ACCESS_KEY, "secretKey": SECRET_KEY }],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }] });
    std::fs::write(dir.join("s3.json"), identities.to_string()).expect("the folder is ours");
    std::fs::create_dir(dir.join("data")).expect("the folder is ours");
    let mut command = Command::new(tools::weed());
    command.env_clear().env("HOME", dir).env("TMPDIR", dir).current_dir(dir);
    command.args([
        "-logdir=.",
        "server",
        "-dir=data",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
    ]);
    command.args(["-filer", "-s3", "-s3.config=s3.json", "-s3.port.iceberg=0", "-s3.port.lance=0"]);
    command.args(["-volume.max=400", "-master.volumeSizeLimitMB=64", "-volume.preStopSeconds=0"]);
    command.args(["-filer.localSocket=filer.sock", "-s3.localSocket=s3.sock"]);
    let flags = [
        "s3.port",
        "s3.port.grpc",
        "master.port",
        "master.port.grpc",
        "volume.port",
        "volume.port.grpc",
        "filer.port",
        "filer.port.grpc",
        "debug.port",
    ];
    command.args(flags.iter().zip(ports).map(|(flag, port)| format!("-{flag}={port}")));
    command
}

const UPLOADS: &str = "
import boto3, sys
endpoint, bucket, prefix, access, secret = sys.argv[1:]
client = boto3.client('s3', endpoint_url=endpoint, region_name='us-east-1', aws_access_key_id=access, aws_secret_access_key=secret)
uploads = client.list_multipart_uploads(Bucket=bucket).get('Uploads', [])
objects = client.list_objects_v2(Bucket=bucket, Prefix=prefix).get('Contents', [])
print(sum(upload['Key'].startswith(prefix) for upload in uploads), len(objects))
";

/// How many uploads are under way below a prefix of a bucket, and how many objects are there.
pub fn uploads(bucket: &Bucket, prefix: &str) -> (u32, u32) {
    let mut command = Command::new(tools::python());
    command.env_clear().args(["-c", UPLOADS, &bucket.endpoint, &bucket.name, prefix, ACCESS_KEY, SECRET_KEY]);
    let said = String::from_utf8(tools::succeed(&mut command)).expect("python writes text");
    let counts = said.trim().split_once(' ').and_then(|(up, ob)| Some((up.parse().ok()?, ob.parse().ok()?)));
    counts.unwrap_or_else(|| panic!("no counts: {said}"))
}
