//! The binary: parse, run, say how it ended. Everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    lifeboat::cli::main()
}
