//! Machines where systemd starts etcd: a small `systemctl` that answers what Lifeboat asks as systemd 252 prints it, and
//! starts and stops real processes. Each of these values is one machine.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const SYSTEMCTL: &str = r#"#!/bin/sh
# One file a unit: its command line; beside it the pid of what was started.
here=$(dirname "$0")
for word in "$@"; do unit=$word; done
echo "$*" >> "$here/calls"
running() { pid=$(cat "$here/$unit.pid" 2> /dev/null) && kill -0 "$pid" 2> /dev/null; }
case $1 in
show)
    if [ ! -f "$here/$unit.argv" ]; then echo LoadState=not-found; exit 0; fi
    argv=$(cat "$here/$unit.argv")
    echo "LoadState=loaded"
    echo "User="
    echo "Environment="
    echo "ExecStart={ path=${argv%% *} ; argv[]=$argv ; ignore_errors=no ; start_time=[n/a] ; pid=0 ; code=(null) }"
    ;;
stop)
    if running; then kill "$pid"; while kill -0 "$pid" 2> /dev/null; do sleep 0.05; done; fi
    rm -f "$here/$unit.pid"
    ;;
start)
    if ! running; then
        # shellcheck disable=SC2046 # a command line
        setsid $(cat "$here/$unit.argv") > "$here/$unit.log" 2>&1 < /dev/null &
        echo $! > "$here/$unit.pid"
    fi
    ;;
*) echo "Unknown command verb $1." >&2; exit 1 ;;
esac
"#;

/// A machine with units.
#[derive(Debug)]
pub struct Units {
    dir: TempDir,
}

impl Units {
    /// With one unit that has this command line. No word of it may hold a blank.
    pub fn with(unit: &str, argv: &[String]) -> Self {
        let dir = tempfile::Builder::new().prefix("lifeboat-units-").tempdir().expect("a temporary folder");
        let units = Self { dir };
        fs::write(units.path("systemctl"), SYSTEMCTL).expect("the folder is ours");
        fs::set_permissions(units.path("systemctl"), fs::Permissions::from_mode(0o755)).expect("the file is ours");
        units.add(unit, argv);
        units
    }

    pub fn add(&self, unit: &str, argv: &[String]) {
        fs::write(self.path(&format!("{unit}.argv")), argv.join(" ")).expect("the folder is ours");
    }

    /// A PATH on which its `systemctl` is found.
    pub fn search_path(&self) -> String {
        format!("{}:/usr/bin:/bin", self.dir.path().display())
    }

    pub fn start(&self, unit: &str) {
        let ran = Command::new(self.path("systemctl")).args(["start", unit]).status().expect("a script of ours");
        assert!(ran.success());
    }

    pub fn stop(&self, unit: &str) {
        let ran = Command::new(self.path("systemctl")).args(["stop", unit]).status().expect("a script of ours");
        assert!(ran.success());
    }

    /// What `systemctl` was asked, a line each.
    pub fn calls(&self) -> String {
        fs::read_to_string(self.path("calls")).unwrap_or_default()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn running(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        names.filter(|path| path.extension().is_some_and(|e| e == "pid")).flat_map(fs::read_to_string).collect()
    }
}

impl Drop for Units {
    fn drop(&mut self) {
        for pid in Self::running(self.dir.path()) {
            // One that has ended by itself is no fault of the test.
            let _ended = Command::new("kill").args(["-9", pid.trim()]).output();
        }
    }
}
