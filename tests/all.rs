//! The one test binary: everything that needs more than one crate, a real server or the whole tree.
#![allow(clippy::disallowed_methods)] // tests have a clock and an environment of their own

mod capture;
mod chart;
mod conformance;
mod e2e;
mod harness;
mod protection;
mod sweep;
mod tidy;
