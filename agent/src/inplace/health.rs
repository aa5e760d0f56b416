//! Whether the cluster is back: this node's etcd, a majority, all, with the same content.

use super::flags::Server;
use crate::capture::{Comparison, Reply, Survey, survey};
use crate::error::{Error, Reason, Result};
use std::time::Duration;

/// All members must have said what they hold by then.
const HASH_WITHIN: Duration = Duration::from_secs(60);

/// What the members say, once a majority answers.
pub struct Cluster {
    pub running: usize,
    pub of: usize,
}

/// Asks this node's etcd, and through it the others. `Err` tells what is not there yet.
pub async fn look(server: &Server) -> Result<Survey, String> {
    match survey(&server.client).await {
        Err(error) => Err(format!("etcd here does not answer yet: {}", first_line(&error))),
        Ok(found) => match &found.revision {
            Ok(_) => Ok(found),
            Err(_) => {
                let (running, of) = counts(&found);
                Err(format!("{running} of {of} running, {} needed", of / 2 + 1))
            }
        },
    }
}

fn first_line(error: &Error) -> String {
    error.message.lines().next().unwrap_or_default().to_owned()
}

pub fn counts(found: &Survey) -> (usize, usize) {
    let running = found.members.iter().filter(|member| !member.is_learner).count();
    (running, found.voters.len().max(running))
}

/// That all who run hold the same, by HashKV at one revision.
pub async fn same(server: &Server, found: &Survey) -> Result<()> {
    let (Some(first), Ok(revision)) = (found.members.first(), &found.revision) else {
        return Ok(());
    };
    let comparison = Comparison::new(&server.client, found, first);
    comparison.ask(*revision, HASH_WITHIN).await;
    let hashes: Vec<(String, u32, i64)> = comparison
        .answers()
        .into_iter()
        .filter_map(|asked| match asked.reply {
            Reply::Hash { hash, compact_revision } => Some((asked.name, hash, compact_revision)),
            Reply::None(_) => None,
        })
        .collect();
    let Some(((one, hash, compacted), rest)) = hashes.split_first() else {
        return Ok(());
    };
    // Hashes compare only at equal compactions.
    match rest.iter().find(|(_, other, at)| at == compacted && other != hash) {
        None => Ok(()),
        Some((other, ..)) => {
            let text = format!("members {one} and {other} do not hold the same at revision {revision}");
            let hint = "one of them was restored from something else: `lifeboat restore --undo` there, then again with the plan";
            Err(Error::new(Reason::EtcdUnhealthy, text).hint(hint))
        }
    }
}
