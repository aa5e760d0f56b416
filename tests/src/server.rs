//! A server process that never outlives its test, and ports that two tests never share.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Ports given out so far: the kernel may offer one again before its new owner has bound it.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port of 127.0.0.1 that is free now and was not given out before in this process.
pub fn free_port() -> u16 {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        if given.insert(port) {
            return port;
        }
    }
}

/// A running server, its log, and a leash: a shell that kills the server when this process is gone, however it went.
#[derive(Debug)]
pub struct Server {
    child: Child,
    leash: Child,
    log: PathBuf,
}

impl Server {
    /// Starts `command` with both outputs appended to `log`.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        Self::start_with_leash(command, log, "read _; kill -9 \"$1\"", Path::new(""))
    }

    /// The same for a server that lives as long as this process: the leash also removes its folder.
    pub fn start_owning(command: &mut Command, log: &Path, dir: &Path) -> Self {
        Self::start_with_leash(command, log, "read _; kill -9 \"$1\"; sleep 0.2; rm -rf \"$2\"", dir)
    }

    fn start_with_leash(command: &mut Command, log: &Path, leash: &str, dir: &Path) -> Self {
        let out = OpenOptions::new().create(true).append(true).open(log).expect("the log can be opened");
        let err: File = out.try_clone().expect("a file handle can be cloned");
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        let child = child.unwrap_or_else(|error| panic!("{command:?} did not start: {error}"));
        let leash = Command::new("/bin/sh")
            .args(["-c", leash, "leash", &child.id().to_string()])
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("/bin/sh starts");
        Self { child, leash, log: log.to_owned() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of ours can be waited for")
    }

    /// Sends a signal by name, `TERM` or `STOP` say; a process that is gone already is no error.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("/bin/sh").args(["-c", "kill -\"$1\" \"$2\"", "signal", name, &pid]).status();
        status.expect("/bin/sh starts");
    }

    /// Asks it to end and waits; what does not end in time is killed, which panics.
    pub fn terminate(mut self, limit: Duration) -> ExitStatus {
        self.signal("TERM");
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(status) = self.ended() {
                return status;
            }
            sleep(Duration::from_millis(10));
        }
        panic!("pid {} did not end within {limit:?} of SIGTERM:\n{}", self.pid(), self.tail());
    }

    /// The last lines of its log, for messages.
    pub fn tail(&self) -> String {
        tail(&self.log)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

fn tail(log: &Path) -> String {
    let text = String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

impl Drop for Server {
    fn drop(&mut self) {
        // The leash first: after the wait below the server's pid may belong to somebody else. Errors mean "gone already".
        let _ = self.leash.kill();
        let _ = self.leash.wait();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks `ready` until it says yes; `None` when the limit has passed first.
pub fn wait_until(limit: Duration, mut ready: impl FnMut() -> bool) -> Option<()> {
    let deadline = Instant::now() + limit;
    loop {
        if ready() {
            return Some(());
        }
        if Instant::now() >= deadline {
            return None;
        }
        sleep(Duration::from_millis(30));
    }
}
