//! Which etcd proves a backup: one of the same minor version, else the nearest newer one.

use crate::catalog::manifest::Manifest;
use crate::config;
use crate::error::{Error, Reason, Result};
use etcdfile::Line;
use std::path::PathBuf;
use std::process::Command;

/// An etcd server on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdBinary {
    pub path: PathBuf,
    pub version: String,
    pub line: Line,
}

/// The configured servers, else the one on PATH; each is asked for its version.
pub fn find(config: &config::Proof, env: &dyn config::Env) -> Result<Vec<EtcdBinary>> {
    if config.etcd.is_empty() {
        return env.on_path("etcd").map(ask).into_iter().collect();
    }
    let mut found = Vec::new();
    for (minor, path) in &config.etcd {
        let binary = ask(path.clone())?;
        if binary.line.to_string() != *minor {
            let text = format!("proof.etcd says that {} is {minor}, but it is {}", path.display(), binary.version);
            return Err(Error::new(Reason::Config, text).hint("correct the version or the path"));
        }
        found.push(binary);
    }
    Ok(found)
}

fn ask(path: PathBuf) -> Result<EtcdBinary> {
    let unusable = |why: String| {
        Error::new(Reason::NoEtcdBinary, format!("{} is not a usable etcd: {why}", path.display()))
            .hint("give the path of an etcd server under proof.etcd, or put one on PATH")
    };
    let output =
        Command::new(&path).arg("--version").env_clear().output().map_err(|source| unusable(source.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.lines().find_map(|line| line.strip_prefix("etcd Version: ")).map(str::trim);
    let version = version.ok_or_else(|| unusable("it does not answer --version like one".to_owned()))?.to_owned();
    let line = version.parse().map_err(|wrong: etcdfile::line::NoLine| unusable(wrong.to_string()))?;
    Ok(EtcdBinary { path, version, line })
}

/// A database must not be opened by an older minor version than the one that wrote it.
pub fn choose<'a>(binaries: &'a [EtcdBinary], manifest: &Manifest) -> Result<&'a EtcdBinary> {
    let wrote: Line = manifest.etcd.version.parse().map_err(|_| {
        Error::new(Reason::NoEtcdBinary, format!("the backup names no etcd version: {:?}", manifest.etcd.version))
    })?;
    binaries.iter().filter(|binary| binary.line >= wrote).min_by_key(|binary| binary.line).ok_or_else(|| {
        let have: Vec<&str> = binaries.iter().map(|binary| binary.version.as_str()).collect();
        let have = if have.is_empty() { "none is here".to_owned() } else { format!("here: {}", have.join(", ")) };
        Error::new(Reason::NoEtcdBinary, format!("no etcd {wrote} or newer to boot the backup with; {have}"))
            .hint("add one under proof.etcd, or set proof.level: sound")
    })
}
