//! `lifeboat exit-codes`: the table that scripts rely on.

use super::output::Output;
use crate::clock::{Clock as _, SystemClock};
use crate::error::{Reason, Result};
use serde_json::{Value, json};

const CODES: [(u8, &str); 16] = [
    (0, "done (`run`: drained after SIGTERM)"),
    (1, "failed in a way that has no code of its own, a panic included (a bug: please report)"),
    (2, "the command line is wrong"),
    (3, "the config is wrong"),
    (4, "etcd cannot be reached, refuses, or has no healthy member"),
    (5, "the store cannot be reached, refuses, or lacks the bucket"),
    (6, "no such backup, or none that may be used"),
    (7, "refused for safety: target not empty, consent missing or \"no\", prune frozen, nothing to trust"),
    (8, "damaged or tampered: digest, signature, history, page tree, hash"),
    (9, "the key or passphrase does not open it"),
    (10, "a proof was made and failed"),
    (11, "done, with findings"),
    (12, "no space, or a budget (memory, scratch, time) would be broken"),
    (13, "this machine refuses: permission, I/O, no etcd binary"),
    (14, "waited long enough for other members; nothing undone, run it again to go on"),
    (130, "stopped by SIGINT after cleaning up"),
];

pub fn exit_codes(output: &Output) -> Result<()> {
    let codes = CODES.map(|(code, meaning)| json!({ "exit_code": code, "meaning": meaning, "reasons": reasons(code) }));
    output.answer(SystemClock.now(), None, json!({ "exit_codes": Value::from(codes.to_vec()) }), &table());
    Ok(())
}

fn reasons(code: u8) -> Vec<&'static str> {
    Reason::ALL.iter().filter(|reason| reason.exit_code() == code).map(|reason| reason.name()).collect()
}

/// The table for people; `lifeboat help exit-codes` shows it too.
pub fn table() -> String {
    let mut text = String::new();
    for (code, meaning) in CODES {
        text.push_str(&format!("{code:>4}  {meaning}\n"));
        let reasons = reasons(code);
        if !reasons.is_empty() {
            text.push_str(&format!("      reasons: {}\n", reasons.join(", ")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_line_in_the_table() {
        for reason in Reason::ALL {
            assert!(CODES.iter().any(|(code, _)| *code == reason.exit_code()), "{}", reason.name());
        }
    }
}
