//! The command line: what a person may ask, and how the answer leaves.

mod ack;
mod args;
mod backup;
mod check_config;
mod copy;
mod delete;
mod doctor;
mod entry;
mod exit_codes;
mod hold;
mod inspect;
mod keygen;
mod keyring;
mod list;
mod log;
mod open;
mod output;
mod passphrase;
mod progress;
mod prove;
mod prune;
mod read;
mod reseal;
mod restore;
mod run;
mod show;
mod sources;
mod status;
mod verify;

use crate::daemon;
use crate::error::{Error, Reason, Result};
use crate::store;
use args::{Cli, Command};
use clap::Parser as _;
use output::Output;
use std::process::ExitCode;

/// Parses the command line and carries it out. The exit code is decided here and nowhere else.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(wrong) => return refuse(&wrong),
    };
    let output = Output::new(cli.json(), cli.quiet);
    // A panic is a bug, and an answer all the same: code 1 and a document, not Rust's own 101.
    let acted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| act(&cli, &output)));
    let done = acted.unwrap_or_else(|_| {
        Err(Error::new(Reason::Internal, "lifeboat broke: the lines above say where")
            .hint("this is a bug: please report it"))
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.failure(&error);
            ExitCode::from(error.reason.exit_code())
        }
    }
}

/// A wrong command line in clap's own words, or as a document where one was asked for. `--help` comes this way too.
fn refuse(wrong: &clap::Error) -> ExitCode {
    let asked = |word: &std::ffi::OsStr| ["--json", "json", "-ojson", "--output=json"].iter().any(|json| word == *json);
    if wrong.use_stderr() && std::env::args_os().any(|word| asked(&word)) {
        let text = wrong.render().to_string();
        let said = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        Output::new(true, false)
            .failure(&Error::new(Reason::Usage, said).hint("`lifeboat help COMMAND` shows an example"));
    } else if wrong.print().is_err() {
        // Nobody listens: the code alone answers.
    }
    ExitCode::from(u8::try_from(wrong.exit_code()).unwrap_or(Reason::Usage.exit_code()))
}

fn act(cli: &Cli, output: &Output) -> Result<()> {
    // object_store and etcd-client speak TLS through whichever provider the process installed: ring, once, here.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return Err(Error::new(Reason::Internal, "a second TLS provider was installed"));
    }
    match &cli.command {
        Command::Keygen(args) => return keygen::keygen(args, output),
        Command::CheckConfig(args) => return check_config::check_config(cli, args, output),
        Command::ExitCodes => return exit_codes::exit_codes(output),
        Command::Inspect(args) => return inspect::inspect(args, output),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::io("start", "the runtime", source))?;
    runtime.block_on(async {
        let done = match &cli.command {
            Command::Run => run::run(cli).await,
            Command::Status(args) => status::status(cli, args, output).await,
            Command::List(args) => list::list(cli, args, output).await,
            Command::Show(args) => show::show(cli, args, output).await,
            Command::Backup(args) => backup::backup(cli, args, output).await,
            Command::Prove(args) => prove::prove(cli, args, output).await,
            Command::Keys(args) => read::keys(cli, args, output).await,
            Command::Get(args) => read::get(cli, args, output).await,
            Command::Diff(args) => read::diff(cli, args, output).await,
            Command::Restore(args) => restore::restore(cli, args, output).await,
            Command::Prune(args) => prune::prune(cli, args, output).await,
            Command::Hold(args) => hold::hold(cli, args, output).await,
            Command::Release(args) => hold::release(cli, args, output).await,
            Command::Delete(args) => delete::delete(cli, args, output).await,
            Command::Ack(args) => ack::ack(cli, args, output).await,
            Command::Verify(args) => verify::verify(cli, args, output).await,
            Command::Copy(args) => copy::copy(cli, args, output).await,
            Command::Keyring(args) => keyring::keyring(cli, args, output).await,
            Command::Reseal(args) => reseal::reseal(cli, args, output).await,
            Command::Doctor => doctor::doctor(cli, output).await,
            // Carried out above.
            Command::Keygen(_) | Command::CheckConfig(_) | Command::ExitCodes | Command::Inspect(_) => Ok(()),
        };
        daemon::settle().await;
        store::settle().await;
        done
    })
}
