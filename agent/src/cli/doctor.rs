//! `lifeboat doctor`: a table for people, JSON for machines, code 11 for whoever waits for it.

use super::args::Cli;
use super::log;
use super::open::CLOCK;
use super::output::Output;
use crate::clock::Clock as _;
use crate::config::{self, Config, ProcessEnv, Role};
use crate::doctor::{self, Asked, Check, Depth, Status};
use crate::error::{Error, Reason, Result};
use crate::setup;
use serde_json::{Value, json};

pub async fn doctor(cli: &Cli, output: &Output) -> Result<()> {
    log::begin(cli, None)?;
    let path = config::find(cli.config.as_deref(), &ProcessEnv)?
        .ok_or_else(|| Error::new(Reason::Config, "there is no config to examine").hint("give --config FILE"))?;
    let (config, warnings) = Config::load(&path)?;
    let level = setup::level(&config, &ProcessEnv);
    let asked = Asked { config: &config, warnings: Some(warnings.len()), level, clock: &CLOCK, depth: Depth::Tried };
    let checks = doctor::examine(&asked).await;
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let roles: Vec<&str> = config.roles.iter().map(|role: &Role| role.name()).collect();
    let outcome = doctor::outcome(&checks);
    let (failed, warned) = doctor::counts(&checks);
    let good = failed + warned == 0;
    let code = if good { 0 } else { Reason::Findings.exit_code() };
    let mut text = format!("{} on {host}, roles: {}\n", config.cluster, roles.join(", "));
    checks.iter().for_each(|check| text.push_str(&row(check)));
    text.push_str(&format!("{outcome}. Exit {code}.\n"));
    let fields = json!({
        "host": host, "roles": roles, "failed": failed, "warnings": warned,
        "checks": checks.iter().map(json).collect::<Vec<Value>>(),
    });
    output.answer(CLOCK.now(), Some(config.cluster.as_str()), fields, &text);
    match good {
        true => Ok(()),
        false => Err(Error::new(Reason::Findings, outcome).hint("each line above says what to do about it")),
    }
}

/// `WARN  etcd     client certificate expires in 12 days`, and below it the hint.
fn row(check: &Check) -> String {
    let word = match check.status {
        Status::Ok => "OK",
        Status::Skip => "SKIP",
        Status::Warn => "WARN",
        Status::Fail => "FAIL",
    };
    let mut text = format!("{word:<5} {:<8} {}\n", check.area, check.found);
    if let Some(hint) = &check.hint {
        text.push_str(&format!("{:15}{hint}\n", ""));
    }
    text
}

fn json(check: &Check) -> Value {
    json!({ "area": check.area, "status": check.status.name(), "found": check.found, "hint": check.hint })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_stand_below_each_other() {
        let check = Check {
            area: "etcd",
            status: Status::Warn,
            found: "it expires".to_owned(),
            hint: Some("renew".to_owned()),
        };
        assert_eq!(row(&check), "WARN  etcd     it expires\n               renew\n");
    }
}
