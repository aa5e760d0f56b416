//! What the fuzz targets share: an input read as choices, a limit on memory, and databases to damage.

mod db;
mod input;
mod memory;
mod scratch;

// Written twice on purpose: it shares no code with the crate under test.
#[allow(dead_code)]
#[path = "../../tests/support/builder.rs"]
mod builder;

pub use db::{damaged_database, is_untouched};
pub use input::Input;
pub use memory::within;
pub use scratch::{Memory, Scratch};
