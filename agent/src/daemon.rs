//! The agent: every role of the config, until SIGTERM. Each role is one loop, so no two runs of a kind ever overlap.

mod backoff;
pub mod backup;
mod backups;
mod catchup;
mod duty;
mod equality;
mod fan;
mod proofs;
mod prunes;
mod run;
mod shared;
pub mod signals;

pub use fan::settle;
pub use run::run;
