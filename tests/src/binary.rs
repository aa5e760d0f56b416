//! Runs the real `lifeboat` with a clean environment and a time limit.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use crate::server::Server;

/// What a run of the binary said and how it ended.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Fails with everything it said unless the exit code is `code`.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Standard output as one JSON document.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("no JSON ({error}) in:\n{}\nstderr:\n{}", self.stdout, self.stderr))
    }
}

/// The binary: `LIFEBOAT_BIN`, else the one that cargo put beside the test executable's folder.
pub fn path() -> PathBuf {
    let path = std::env::var_os("LIFEBOAT_BIN").map_or_else(beside_the_test, PathBuf::from);
    assert!(path.is_file(), "{} is missing: run ./tests/run (or cargo build -p lifeboat)", path.display());
    path
}

/// Test executables lie in target/PROFILE/deps, binaries in target/PROFILE.
fn beside_the_test() -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    let profile = test.parent().and_then(Path::parent).expect("cargo runs tests from target/PROFILE/deps");
    profile.join("lifeboat")
}

/// `lifeboat ARGUMENTS` with one minute to finish.
pub fn lifeboat<S: AsRef<OsStr>>(arguments: &[S]) -> Ran {
    Lifeboat::new(arguments).run()
}

/// A run to be: arguments, environment, standard input, limit.
#[derive(Debug)]
pub struct Lifeboat {
    command: Command,
    input: Vec<u8>,
    limit: Duration,
}

impl Lifeboat {
    pub fn new<S: AsRef<OsStr>>(arguments: &[S]) -> Self {
        let mut command = Command::new(path());
        // No etcd on this PATH, no colour, no proxy, no credentials of the person who runs the tests.
        command.args(arguments).env_clear().env("PATH", "/usr/bin:/bin").env("RUST_BACKTRACE", "1");
        Self { command, input: Vec::new(), limit: Duration::from_secs(60) }
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn current_dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    pub fn stdin(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs to the end; past the limit it is killed and the test fails with what was said so far.
    #[track_caller]
    pub fn run(mut self) -> Ran {
        let command = self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?} did not start: {error}"));
        let stdout = collect(child.stdout.take());
        let stderr = collect(child.stderr.take());
        let mut stdin = child.stdin.take().expect("standard input is a pipe");
        // A program that does not read its input closes the pipe early: that is its right.
        let writer = spawn(move || stdin.write_all(&self.input).is_ok());
        let code = wait(&mut child, self.limit);
        let (stdout, stderr) = (text(stdout), text(stderr));
        writer.join().expect("the writer does not panic");
        match code {
            Ok(code) => Ran { code, stdout, stderr },
            Err(limit) => panic!("lifeboat ran longer than {limit:?} and was killed:\n{stdout}\n{stderr}"),
        }
    }

    /// Starts it in the background, both outputs in `log`: for `lifeboat run`.
    pub fn start(mut self, log: &Path) -> Server {
        Server::start(&mut self.command, log)
    }
}

fn wait(child: &mut Child, limit: Duration) -> Result<Option<i32>, Duration> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().expect("a child of ours can be waited for") {
            return Ok(status.code());
        }
        if Instant::now() >= deadline {
            child.kill().expect("a child of ours can be killed");
            child.wait().expect("a child of ours can be waited for");
            return Err(limit);
        }
        sleep(Duration::from_millis(5));
    }
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    let mut pipe = pipe.expect("the output is a pipe");
    spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).expect("a pipe can be read");
        bytes
    })
}

fn text(reader: JoinHandle<Vec<u8>>) -> String {
    String::from_utf8_lossy(&reader.join().expect("the reader does not panic")).into_owned()
}
