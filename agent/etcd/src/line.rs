//! Lines of etcd releases, and which of them starts from which database.
//!
//! What is written into a database says how old an etcd may be: `meta/storageVersion`, since 3.6, and
//! `cluster/clusterVersion`. A newer etcd starts from any older database. The rules are those of the servers themselves,
//! each tried with a real one.

use std::fmt;
use std::str::FromStr;

/// A line of releases, such as 3.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// 3.
    pub major: u32,
    /// The number behind the dot.
    pub minor: u32,
}

/// The oldest line whose files this crate writes.
pub const OLDEST: Line = Line { major: 3, minor: 4 };

/// The first line that records its schema's version, and insists on knowing it.
const SCHEMA: Line = Line { major: 3, minor: 6 };

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Not a version like 3.6 or 3.6.14.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a version of etcd: expected one like 3.6 or 3.6.14")]
pub struct NoLine(String);

impl FromStr for Line {
    type Err = NoLine;

    /// Takes `3.6`, `3.6.14` and what else begins like these.
    fn from_str(text: &str) -> Result<Line, NoLine> {
        let mut parts = text.split(['.', '-', '+']).map(str::parse);
        match (parts.next(), parts.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => Ok(Line { major, minor }),
            _ => Err(NoLine(text.to_owned())),
        }
    }
}

/// Why a line of etcd does not start from a database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Its files are of another kind.
    #[error("etcd {server} is older than {OLDEST}, the oldest that a restored data dir is made for")]
    TooOld {
        /// The server in question.
        server: Line,
    },
    /// The database's schema is newer than the server.
    #[error("etcd {server} does not start from a database of storage version {version}: start etcd {needed} or newer")]
    Storage {
        /// The server in question.
        server: Line,
        /// What the database records.
        version: String,
        /// The oldest line that starts.
        needed: Line,
    },
    /// The cluster had agreed on a newer version than the server.
    #[error("etcd {server} does not join a cluster of version {version}: start etcd {needed} or newer")]
    Cluster {
        /// The server in question.
        server: Line,
        /// What the database records.
        version: String,
        /// The oldest line that starts.
        needed: Line,
    },
    /// What the database records is no version at all.
    #[error("the database says that its version is {0:?}, which is none")]
    Unreadable(String),
}

/// Whether a server of this line starts from a database that records these versions.
///
/// etcd 3.6 and newer refuse a newer schema and a newer cluster version. 3.5 reads neither. Late patches of 3.4 stop at
/// a schema of 3.6 and newer; early ones do not, but a restore must not depend on the patch.
pub fn starts(server: Line, storage: Option<&str>, cluster: Option<&str>) -> Result<(), Refused> {
    if server < OLDEST {
        return Err(Refused::TooOld { server });
    }
    let read = |version: &str| version.parse::<Line>().map_err(|_| Refused::Unreadable(version.to_owned()));
    if let Some(version) = storage
        && (server >= SCHEMA || server == OLDEST)
    {
        let needed = read(version)?;
        if needed > server {
            return Err(Refused::Storage { server, version: version.to_owned(), needed });
        }
    }
    if let Some(version) = cluster
        && server >= SCHEMA
    {
        let needed = read(version)?;
        if needed > server {
            return Err(Refused::Cluster { server, version: version.to_owned(), needed });
        }
    }
    Ok(())
}

/// The oldest line from which on every one starts from a database that records these versions; none where what is
/// recorded is no version of etcd 3.
pub fn oldest(storage: Option<&str>, cluster: Option<&str>) -> Option<Line> {
    // Above the newest version recorded nobody refuses, so the answer is at most that, and 100 is far beyond.
    let lines: Vec<Line> = (OLDEST.minor..100).map(|minor| Line { minor, ..OLDEST }).collect();
    let refuses = |line: &&Line| starts(**line, storage, cluster).is_err();
    match lines.iter().rfind(refuses) {
        None => Some(OLDEST),
        Some(last) => lines.iter().copied().find(|line| line > last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        text.parse().unwrap()
    }

    #[test]
    fn versions_are_read_and_ordered_by_number() {
        assert_eq!((line("3.6"), line("3.6.14"), line("3.7.0-rc.1")), (line("3.6.0"), line("3.6"), line("3.7")));
        assert!(line("3.10") > line("3.9") && line("4.0") > line("3.99"));
        for text in ["", "3", "v3.6", "3.x", "three.four"] {
            let error = text.parse::<Line>().unwrap_err().to_string();
            assert!(error.contains("expected one like 3.6"), "{error}");
        }
    }

    #[test]
    fn an_older_database_starts_everywhere() {
        for server in ["3.4", "3.5", "3.6", "3.7", "3.8"].map(line) {
            assert_eq!(starts(server, None, None), Ok(()));
            assert_eq!(starts(server, None, Some("3.4.0")), Ok(()));
        }
        assert_eq!(starts(line("3.7"), Some("3.6.0"), Some("3.6.0")), Ok(()));
        assert_eq!(starts(line("3.6"), Some("3.6.0"), Some("3.6.0")), Ok(()));
    }

    #[test]
    fn a_newer_database_is_refused_by_name_where_etcd_refuses_it() {
        let refused = |server: &str, storage, cluster| starts(line(server), storage, cluster).unwrap_err().to_string();
        let text = refused("3.6", Some("3.7.0"), Some("3.7.0"));
        assert_eq!(text, "etcd 3.6 does not start from a database of storage version 3.7.0: start etcd 3.7 or newer");
        assert!(refused("3.6", None, Some("3.7.0")).contains("a cluster of version 3.7.0"));
        assert!(refused("3.4", Some("3.6.0"), None).contains("storage version 3.6.0"));
        assert!(refused("3.3", None, None).contains("older than 3.4"));
        assert!(refused("3.6", Some("soon"), None).contains("\"soon\""));
        assert_eq!(starts(line("3.5"), Some("3.7.0"), Some("3.7.0")), Ok(()), "3.5 reads neither");
    }

    #[test]
    fn the_oldest_line_is_the_one_from_which_on_all_start() {
        assert_eq!(oldest(None, None), Some(line("3.4")));
        assert_eq!(oldest(None, Some("3.5.0")), Some(line("3.4")));
        assert_eq!(oldest(Some("3.6.0"), Some("3.6.0")), Some(line("3.5")));
        assert_eq!(oldest(Some("3.7.0"), Some("3.7.0")), Some(line("3.7")), "3.5 starts, but 3.6 does not");
        assert_eq!(oldest(Some("soon"), None), None);
    }
}
