//! Lifeboat keeps an etcd cluster restorable and proves it. The design: `agent/docs/design.md`.
//!
//! Order of the stages, each importing only what stands left of it:
//! `capture seal store catalog holdings fetch copy reseal restore proof prune inplace`; `daemon` and `cli` alone compose them.
//! Beside them the seams `config`, `clock`, `error`, `glob`, `keys`, `digest`, `scratch`, `spool`, `metrics`.

pub mod capture;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod copy;
pub mod daemon;
pub mod digest;
pub mod doctor;
pub mod error;
pub mod fetch;
pub mod glob;
pub mod holdings;
pub mod http;
pub mod inplace;
pub mod keys;
pub mod metrics;
pub mod proof;
pub mod prune;
pub mod reseal;
pub mod restore;
pub mod scratch;
pub mod seal;
pub mod setup;
pub mod spool;
pub mod store;
pub mod summary;
pub mod verify;
pub mod wish;

/// Pages for people who run or change Lifeboat.
pub mod docs {
    #[doc = include_str!("../docs/design.md")]
    pub mod design {}
    #[doc = include_str!("../docs/objects.md")]
    pub mod objects {}
    #[doc = include_str!("../docs/keys.md")]
    pub mod keys {}
    #[doc = include_str!("../docs/metrics.md")]
    pub mod metrics {}
    #[doc = include_str!("../docs/runbooks.md")]
    pub mod runbooks {}
    #[doc = include_str!("../docs/stores.md")]
    pub mod stores {}
    #[doc = include_str!("../docs/backends.md")]
    pub mod backends {}
    #[doc = include_str!("../docs/proof.md")]
    pub mod proof {}
    #[doc = include_str!("../docs/history.md")]
    pub mod history {}
}
