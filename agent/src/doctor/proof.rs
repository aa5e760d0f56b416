//! Proofs: how deep they go on this host, and with which etcd.

use super::{Asked, Check, Status};
use crate::config::Role;
use crate::error::Result;
use crate::proof::binary::EtcdBinary;
use etcdfile::Line;
use lifeboat_policy::proof::Level;

const AREA: &str = "proof";

pub(super) fn look(asked: &Asked<'_>, line: Option<Line>) -> Check {
    if !asked.runs(Role::Prove) {
        return Check::skip(AREA, "not a role here");
    }
    judge(&asked.level, asked.config.proof.level, line)
}

/// `asked`: the level that the config names. `line`: what the cluster runs, where it answers.
pub(super) fn judge(level: &Result<(Level, Vec<EtcdBinary>)>, asked: Option<Level>, line: Option<Line>) -> Check {
    let (level, binaries) = match level {
        Ok((level, binaries)) => (*level, binaries),
        Err(error) => return Check::of_error(AREA, Status::Fail, error),
    };
    if level < Level::Booted {
        return match asked {
            Some(_) => Check::ok(AREA, format!("to `{level}`, as the config says")),
            None => Check::warn(
                AREA,
                format!("only to `{level}`: there is no etcd to boot a backup with"),
                "add one under proof.etcd, or put etcd on PATH; to be content with less: proof.level",
            ),
        };
    }
    let versions: Vec<&str> = binaries.iter().map(|binary| binary.version.as_str()).collect();
    let versions = versions.join(", ");
    let Some(line) = line else {
        return Check::ok(AREA, format!("to `{level}` with etcd {versions}"));
    };
    match binaries.iter().filter(|binary| binary.line >= line).min_by_key(|binary| binary.line) {
        Some(binary) if binary.line == line => {
            Check::ok(AREA, format!("to `{level}` with etcd {}, as the cluster runs {line}", binary.version))
        }
        Some(binary) => Check::ok(
            AREA,
            format!(
                "to `{level}` with etcd {}, the nearest that is no older than the cluster's {line}",
                binary.version
            ),
        ),
        None => Check::fail(
            AREA,
            format!("the cluster runs etcd {line}, and no etcd here is that new: {versions}"),
            format!("add an etcd {line} under proof.etcd, or set proof.level: sound"),
        ),
    }
}
