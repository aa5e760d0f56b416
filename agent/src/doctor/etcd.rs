//! etcd: who answers, what they complain of, whether a snapshot may be had, until when the certificates hold.

use super::{Asked, Check, PATIENCE, Status, certificate, within};
use crate::capture::{self, Survey};
use crate::config::{Etcd, Members, Role};
use crate::error::{Reason, Result};
use etcdfile::Line;
use std::collections::BTreeSet;

/// The checks, and what others need to know of the cluster.
pub(super) struct Cluster {
    pub checks: Vec<Check>,
    /// The largest database of those that answered.
    pub db_bytes: Option<u64>,
    /// The newest line that runs: a proof needs an etcd that is no older.
    pub line: Option<Line>,
}

pub(super) async fn look(asked: &Asked<'_>) -> Cluster {
    let Some(etcd) = &asked.config.etcd else {
        let checks = vec![Check::skip("etcd", "the config names none: nothing is backed up from here")];
        return Cluster { checks, db_bytes: None, line: None };
    };
    let survey = within("etcd", Reason::EtcdUnreachable, capture::survey(etcd)).await;
    let mut checks = judge(etcd, &survey);
    if let Ok(survey) = &survey
        && asked.tries()
        && asked.runs(Role::Backup)
    {
        checks.push(judge_snapshot(&snapshot(etcd, survey, asked).await));
    }
    checks.extend(certificates(etcd, asked));
    let members = survey.map(|survey| survey.members).unwrap_or_default();
    let db_bytes = members.iter().map(|member| member.db_bytes).max();
    Cluster { checks, db_bytes, line: members.iter().filter_map(|member| member.version.parse().ok()).max() }
}

/// Opens a snapshot stream as a backup would, and hangs up at its first bytes; who gave it.
async fn snapshot(etcd: &Etcd, survey: &Survey, asked: &Asked<'_>) -> Result<String> {
    let limits = &asked.config.limits;
    let opened = capture::first_good(&survey.members, async |member| {
        capture::open(etcd, &member, limits, PATIENCE).await.map(drop)
    });
    within("etcd", Reason::EtcdStalled, opened).await.map(|(member, ())| member.name)
}

fn certificates(etcd: &Etcd, asked: &Asked<'_>) -> Vec<Check> {
    let https = etcd.endpoints.iter().any(|endpoint| endpoint.starts_with("https://"));
    let Some(tls) = etcd.tls.as_ref().filter(|_| https) else {
        return Vec::new();
    };
    let mut checks = Vec::new();
    if let Some(path) = &tls.cert_file {
        checks.push(certificate::judge_own("client certificate", path, &certificate::read(path), asked.now()));
    }
    if let Some(path) = &tls.ca_file {
        checks.push(certificate::judge_ca("etcd", "etcd's CA", path, &certificate::read(path), asked.now()));
    }
    checks
}

pub(super) fn judge(etcd: &Etcd, survey: &Result<Survey>) -> Vec<Check> {
    let survey = match survey {
        Ok(survey) => survey,
        Err(error) => return vec![Check::of_error("etcd", Status::Fail, error)],
    };
    let mut checks = vec![Check::ok("etcd", sentence(etcd, survey))];
    for (_, error) in &survey.unreachable {
        checks.push(Check::of_error("etcd", Status::Warn, error));
    }
    if let Err(error) = &survey.revision {
        checks.push(Check::of_error("etcd", Status::Fail, error));
    }
    for member in &survey.members {
        for alarm in &member.alarms {
            let hint = match alarm.as_str() {
                "NOSPACE" => "etcd takes no writes: compact, defragment, then `etcdctl alarm disarm`",
                _ => "its data differs from the others': runbooks, LifeboatMembersDiverged",
            };
            checks.push(Check::fail("etcd", format!("{} raises the alarm {alarm}", member.name), hint));
        }
    }
    checks
}

/// `3 of 3 members, 3.6.14, no alarms, cp-2 leads`.
fn sentence(etcd: &Etcd, survey: &Survey) -> String {
    let voting = survey.members.iter().filter(|member| !member.is_learner).count();
    let learners = survey.members.len() - voting;
    let all = survey.voters.len().max(voting);
    let mut parts = vec![format!("{voting} of {all} member{}", if all == 1 { "" } else { "s" })];
    if voting < all && etcd.members == Members::Endpoints {
        parts.push("only etcd.endpoints were asked".to_owned());
    }
    if learners > 0 {
        parts.push(format!("{learners} learner{}", if learners == 1 { "" } else { "s" }));
    }
    let versions: BTreeSet<&str> = survey.members.iter().map(|member| member.version.as_str()).collect();
    parts.extend(versions.into_iter().map(str::to_owned));
    if survey.members.iter().all(|member| member.alarms.is_empty()) {
        parts.push("no alarms".to_owned());
    }
    parts.extend(survey.members.iter().find(|member| member.is_leader).map(|leader| format!("{} leads", leader.name)));
    parts.join(", ")
}

fn judge_snapshot(opened: &Result<String>) -> Check {
    match opened {
        Ok(name) => Check::ok("etcd", format!("{name} began to send a snapshot, and was hung up on")),
        Err(error) => Check::of_error("etcd", Status::Fail, error),
    }
}
