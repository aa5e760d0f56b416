//! The one error of the agent: what failed, why, and the reader's next move.
//!
//! `Reason` is a closed set. It is the JSON field `error.reason`, the metric label `reason`, the anchor in the runbooks,
//! and it alone decides the exit code, so that the four can never disagree.

use lifeboat_policy::proof::Level;
use std::error::Error as StdError;
use std::fmt;

macro_rules! reasons {
    ($($reason:ident = $name:literal, $exit_code:literal;)*) => {
        /// Why something failed. `name` is part of the interface; a new variant is a change of CLI.md.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($reason),* }

        impl Reason {
            pub const ALL: &[Reason] = &[$(Reason::$reason),*];

            /// The word in JSON, in metrics and in the runbooks.
            pub fn name(self) -> &'static str {
                match self { $(Reason::$reason => $name),* }
            }

            /// The exit code; `lifeboat help exit-codes` prints the table.
            pub fn exit_code(self) -> u8 {
                match self { $(Reason::$reason => $exit_code),* }
            }
        }
    };
}

reasons! {
    Internal = "internal", 1;
    Usage = "usage", 2;
    Config = "config", 3;
    EtcdUnreachable = "etcd_unreachable", 4;
    EtcdDenied = "etcd_denied", 4;
    EtcdTls = "etcd_tls", 4;
    EtcdStalled = "etcd_stalled", 4;
    EtcdUnhealthy = "etcd_unhealthy", 4;
    StoreUnreachable = "store_unreachable", 5;
    StoreDenied = "store_denied", 5;
    StoreBucketMissing = "store_bucket_missing", 5;
    StoreThrottled = "store_throttled", 5;
    StoreClockSkew = "store_clock_skew", 5;
    StoreTls = "store_tls", 5;
    StoreTimeout = "store_timeout", 5;
    StoreConflict = "store_conflict", 5;
    NoBackup = "no_backup", 6;
    NotUsable = "not_usable", 6;
    TargetNotEmpty = "target_not_empty", 7;
    ConsentMissing = "consent_missing", 7;
    PruneFrozen = "prune_frozen", 7;
    NoTrust = "no_trust", 7;
    Guarded = "guarded", 7;
    Damaged = "damaged", 8;
    Unsigned = "unsigned", 8;
    ObjectMissing = "object_missing", 8;
    KeyWrong = "key_wrong", 9;
    ProofFailed = "proof_failed", 10;
    Findings = "findings", 11;
    NoSpace = "no_space", 12;
    Budget = "budget", 12;
    HostPermission = "host_permission", 13;
    HostIo = "host_io", 13;
    NoEtcdBinary = "no_etcd_binary", 13;
    WaitingForMembers = "waiting_for_members", 14;
    Interrupted = "interrupted", 130;
}

impl Reason {
    /// Whether the same call may succeed later with nothing changed by a person.
    pub fn retryable(self) -> bool {
        use Reason::*;
        matches!(
            self,
            EtcdUnreachable
                | EtcdStalled
                | EtcdUnhealthy
                | StoreUnreachable
                | StoreThrottled
                | StoreTimeout
                | WaitingForMembers
        )
    }
}

/// A failure with everything a person needs: what was tried, on what, why it failed, and what to do next.
#[derive(Debug)]
pub struct Error {
    pub reason: Reason,
    pub message: String,
    pub hint: Option<String>,
    /// What was being done: `read`, `create`, `snapshot`.
    pub operation: Option<&'static str>,
    /// What it was done to: an object key, an endpoint, a path.
    pub object: Option<String>,
    /// Of damage to a backup: the level of proof that it does not pass.
    pub level: Option<Level>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Error { reason, message: message.into(), hint: None, operation: None, object: None, level: None, source: None }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn on(mut self, operation: &'static str, object: impl fmt::Display) -> Self {
        self.operation = Some(operation);
        self.object = Some(object.to_string());
        self
    }

    /// Names the level of proof at which this shows, unless who knew better already did.
    pub fn at(mut self, level: Level) -> Self {
        self.level.get_or_insert(level);
        self
    }

    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// An I/O failure of this machine, told apart by what a person would do about it.
    pub fn io(operation: &'static str, object: impl fmt::Display, source: std::io::Error) -> Self {
        use std::io::ErrorKind;
        let (reason, hint) = match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                (Reason::NoSpace, Some("free space on that file system, or point to another one"))
            }
            ErrorKind::PermissionDenied => {
                (Reason::HostPermission, Some("check the owner and mode of that path for the user that runs lifeboat"))
            }
            _ => (Reason::HostIo, None),
        };
        let error = Error::new(reason, format!("cannot {operation} {object}")).on(operation, object).because(source);
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    /// The messages below this one, outermost first, without repeats of what the outer text already says.
    pub fn causes(&self) -> Vec<String> {
        let mut causes: Vec<String> = Vec::new();
        let mut next: Option<&(dyn StdError + 'static)> = self.source.as_deref().map(|e| e as _);
        while let Some(error) = next {
            let text = error.to_string();
            let told = self.message.contains(&text) || causes.last().is_some_and(|outer| outer.contains(&text));
            if !told {
                causes.push(text);
            }
            next = error.source();
        }
        causes
    }
}

impl fmt::Display for Error {
    /// Message and causes on one line, as logs want it; the hint is for the edge to show.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        for cause in self.causes() {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_reason_has_a_name_of_its_own() {
        let names: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
    }

    #[test]
    fn every_reason_has_its_heading_in_the_runbooks() {
        let runbooks = include_str!("../docs/runbooks.md");
        for reason in Reason::ALL {
            assert!(runbooks.contains(&format!("### {}\n", reason.name())), "{} has no heading", reason.name());
        }
    }

    #[test]
    fn causes_are_told_once() {
        let inner = std::io::Error::other("disk on fire");
        let error = Error::io("write", "/x", inner);
        assert_eq!(error.to_string(), "cannot write /x: disk on fire");
        assert_eq!(error.causes(), ["disk on fire"]);
    }
}
