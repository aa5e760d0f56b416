//! Whether a process listens on TCP: looked up in the kernel's own tables.

use crate::error::{Error, Result};
use rustix::process::Pid;
use std::collections::BTreeSet;

/// The state of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// The TCP addresses that a process listens on, as the kernel writes them.
pub(super) fn listening(pid: Pid) -> Result<Vec<String>> {
    let fds = format!("/proc/{pid}/fd");
    let unread = |source| Error::io("look into", &fds, source);
    let mut own = BTreeSet::new();
    for fd in std::fs::read_dir(&fds).map_err(unread)? {
        // One that was closed meanwhile is no socket any more.
        let Ok(link) = std::fs::read_link(fd.map_err(unread)?.path()) else { continue };
        let inode = link.to_str().and_then(|link| link.strip_prefix("socket:[")?.strip_suffix(']'));
        own.extend(inode.map(str::to_owned));
    }
    let mut found = Vec::new();
    for table in ["tcp", "tcp6"] {
        let path = format!("/proc/{pid}/net/{table}");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => continue, // a kernel without IPv6
            Err(source) => return Err(Error::io("read", &path, source)),
        };
        found.extend(listeners(&text).filter(|(_, inode)| own.contains(*inode)).map(|(at, _)| at.to_owned()));
    }
    Ok(found)
}

/// Address and inode of each listening socket of a table.
fn listeners(table: &str) -> impl Iterator<Item = (&str, &str)> {
    table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields.get(3) == Some(&LISTEN)).then(|| Some((*fields.get(1)?, *fields.get(9)?)))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_of_this_process_is_seen_and_one_that_is_closed_is_not() {
        let own = rustix::process::getpid();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let hex = format!(":{:04X}", listener.local_addr().unwrap().port());
        assert!(listening(own).unwrap().iter().any(|at| at.ends_with(&hex)));
        drop(listener);
        assert!(!listening(own).unwrap().iter().any(|at| at.ends_with(&hex)));
    }
}
