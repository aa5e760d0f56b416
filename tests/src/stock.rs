//! The way back without Lifeboat: minisign, sha256sum, age, zstd and etcdutl, and nothing of ours.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::real_etcd::{Etcd, etcdutl};
use crate::tools;
use crate::world::World;

/// `age -d -i IDENTITY SEALED | zstd -d > INTO`.
pub fn open(identity: &Path, sealed: &Path, into: &Path) {
    let mut age = Command::new(tools::age())
        .arg("-d")
        .arg("-i")
        .arg(identity)
        .arg(sealed)
        .stdout(Stdio::piped())
        .spawn()
        .expect("age starts");
    let pipe = age.stdout.take().expect("its output is a pipe");
    let file = File::create(into).expect("the folder is ours");
    let zstd = Command::new(tools::zstd()).arg("-d").stdin(pipe).stdout(file).status().expect("zstd starts");
    assert!(age.wait().expect("age ends").success() && zstd.success());
}

/// `minisign -Vm FILE -P KEY`.
pub fn is_signed(file: &Path, key: &str) -> bool {
    let output =
        Command::new(tools::minisign()).arg("-Vm").arg(file).args(["-P", key]).output().expect("minisign starts");
    output.status.success()
}

/// The second line of a `.pub` file.
pub fn public(path: PathBuf) -> String {
    std::fs::read_to_string(path).expect("the key is there").lines().last().expect("it has two lines").to_owned()
}

/// The first word of `sha256sum FILE`.
pub fn sha256sum(file: &Path) -> String {
    let said = String::from_utf8(tools::succeed(Command::new("sha256sum").arg(file))).expect("hexadecimal");
    said.split(' ').next().unwrap_or_default().to_owned()
}

/// A backup in a world's folder, believed for its signature, opened by the recovery key and put into `data_dir`.
#[track_caller]
pub fn restore(world: &World, id: &str, version: Etcd, data_dir: &Path) {
    let manifest = world.object(id, "manifest.json");
    assert!(is_signed(&manifest, &public(world.backup_key())), "the manifest of {id}");
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(manifest).expect("the manifest is there")).expect("JSON");
    let sealed = world.object(id, "db.zst.age");
    assert_eq!(
        sha256sum(&sealed),
        manifest["sealed"]["sha256"].as_str().unwrap_or_default(),
        "what was sealed of {id}"
    );
    let opened = data_dir.with_extension("db");
    open(&world.key("recovery.key"), &sealed, &opened);
    assert_eq!(
        sha256sum(&opened),
        manifest["plaintext"]["sha256"].as_str().unwrap_or_default(),
        "what was opened of {id}"
    );
    let (db, dir) = (opened.to_str().expect("a plain path"), data_dir.to_str().expect("a plain path"));
    etcdutl(version, &["snapshot", "restore", db, "--data-dir", dir]);
    std::fs::remove_file(&opened).expect("it is ours");
}
