//! Backups that nobody took: entries put into a folder store by hand, signed by whichever key, with whatever in them.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lifeboat::digest::Digest;
use lifeboat::keys::Signer;
use lifeboat_policy::id::BackupId;
use serde_json::{Value, json};

use crate::tools;
use crate::world::{CLUSTER, World};

/// An entry to be: a copy of a real one under another id, until something of it is changed.
#[derive(Debug)]
pub struct Forgery<'a> {
    world: &'a World,
    pub manifest: Value,
    pub id: BackupId,
    blob: Vec<u8>,
}

/// Reads one of a backup's signed objects.
pub fn manifest_of(world: &World, id: &str) -> Value {
    let text = fs::read(world.object(id, "manifest.json")).expect("the manifest is there");
    serde_json::from_slice(&text).expect("a manifest is JSON")
}

impl<'a> Forgery<'a> {
    /// Of a real backup, as if it had been captured at `captured_at`.
    pub fn of(world: &'a World, real: &str, captured_at: chrono::DateTime<chrono::Utc>) -> Self {
        let id = BackupId::new(captured_at, 0x00f0_0000_0000_0001);
        let mut manifest = manifest_of(world, real);
        manifest["id"] = json!(id);
        manifest["path"] = json!(format!("{CLUSTER}/backups/{id}/manifest.json"));
        manifest["captured_at"] = json!(captured_at);
        manifest["finished_at"] = json!(captured_at);
        let blob = fs::read(world.object(real, "db.zst.age")).expect("the blob is there");
        Self { world, manifest, id, blob }
    }

    /// With this as what is sealed, for the true recipient, which is no secret.
    pub fn sealing(mut self, compressed: &[u8]) -> Self {
        self.blob = age(compressed, &self.world.key("prove.pub"));
        self
    }

    /// Puts it into the store, signed by the key in this file, and says where it is.
    pub fn put(mut self, signing_key: &Path) -> String {
        let sums: String = self.blob.chunks(4 << 20).map(|chunk| format!("{}\n", Digest::of(chunk))).collect();
        for (name, bytes) in [("sealed", self.blob.as_slice()), ("sums", sums.as_bytes())] {
            self.manifest[name] = json!({ "bytes": bytes.len(), "sha256": Digest::of(bytes) });
        }
        let id = self.id.to_string();
        fs::create_dir_all(self.folder()).expect("the store is ours");
        fs::write(self.world.object(&id, "db.zst.age"), &self.blob).expect("the store is ours");
        fs::write(self.world.object(&id, "db.zst.age.sums"), sums).expect("the store is ours");
        sign(&self.folder().join("manifest.json"), &mut self.manifest, signing_key);
        id
    }

    pub fn folder(&self) -> PathBuf {
        self.world.folder().join(CLUSTER).join("backups").join(self.id.as_str())
    }
}

/// Writes a signed object with the fingerprint of this key, and its signature.
pub fn sign(path: &Path, object: &mut Value, signing_key: &Path) {
    let signer = Signer::from_file(signing_key).expect("a signing key");
    object["signer"] = json!(signer.public().fingerprint());
    let json = serde_json::to_vec_pretty(object).expect("JSON is JSON");
    let signature = signer.sign(&json, "forged").expect("a key signs");
    fs::write(path, &json).expect("the store is ours");
    fs::write(path.with_extension("json.minisig"), signature).expect("the store is ours");
}

/// Stock age, with the recipient in this file.
fn age(bytes: &[u8], recipient: &Path) -> Vec<u8> {
    let mut command = Command::new(tools::age());
    let mut child = command
        .arg("-R")
        .arg(recipient)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} did not start: {error}"));
    let mut stdin = child.stdin.take().expect("standard input is a pipe");
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = child.wait_with_output().expect("age ends");
    writer.join().expect("the writer does not panic").expect("age reads its input");
    assert!(output.status.success(), "{}", tools::said(&output));
    output.stdout
}
