//! Which etcd proves a backup: one of the same minor version, else the nearest newer one.

use crate::catalog::manifest::Manifest;
use crate::clock::Stopwatch;
use crate::config;
use crate::error::{Error, Reason, Result};
use etcdfile::Line;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long a program may take to tell its version.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(5);

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
    let text = version_of(&path, ANSWERS_WITHIN).map_err(unusable)?;
    let version = text.lines().find_map(|line| line.strip_prefix("etcd Version: ")).map(str::trim);
    let version = version.ok_or_else(|| unusable("it does not answer --version like one".to_owned()))?.to_owned();
    let line = version.parse().map_err(|wrong: etcdfile::line::NoLine| unusable(wrong.to_string()))?;
    Ok(EtcdBinary { path, version, line })
}

/// What it prints when asked for its version; what hangs is no etcd.
fn version_of(path: &Path, within: Duration) -> Result<String, String> {
    let told = |source: std::io::Error| source.to_string();
    let mut command = Command::new(path);
    command.arg("--version").env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(told)?;
    let asked = Stopwatch::start();
    // A few lines fit a pipe, so it can end without a reader.
    while child.try_wait().map_err(told)?.is_none() {
        if asked.elapsed() > within {
            child.kill().and_then(|()| child.wait()).map_err(told)?;
            return Err(format!("it did not answer --version within {} s", within.as_secs()));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    let output = child.wait_with_output().map_err(told)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_never_tells_its_version_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etcd");
        // Written by another process: what a thread beside this one forks could hold it open, and then it cannot be run.
        let script = "printf '#!/bin/sh\nexec sleep 600\n' > \"$0\" && chmod 755 \"$0\"";
        assert!(Command::new("/bin/sh").args(["-c", script]).arg(&path).status().unwrap().success());
        let why = version_of(&path, Duration::from_millis(50)).unwrap_err();
        assert!(why.contains("did not answer --version"), "{why}");
        assert_eq!(ask(PathBuf::from("/nonexistent/etcd")).unwrap_err().reason, Reason::NoEtcdBinary);
    }
}
