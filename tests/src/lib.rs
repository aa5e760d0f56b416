//! The harness: real servers, real tools, the real binary, each in its own temporary folder.
//!
//! Everything listens on loopback and free ports, and ends with the test, however that ends. A tool or server that is
//! missing fails the test with the command that brings it: nothing is skipped silently.
//! A helper panics with a reason when the machine does not do its part; what is under test is returned and judged by the test.
#![allow(clippy::disallowed_methods)] // tests have a clock and an environment of their own

pub mod azurite;
pub mod binary;
pub mod bucket;
pub mod fake_etcd;
pub mod fault_store;
pub mod forge;
pub mod gate;
pub mod gcs;
pub mod objects;
pub mod pki;
pub mod proxy;
pub mod real_etcd;
pub mod runtime;
pub mod s3;
pub mod server;
pub mod stock;
pub mod terminal;
pub mod tools;
pub mod units;
pub mod world;
