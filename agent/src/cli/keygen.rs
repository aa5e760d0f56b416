//! `lifeboat keygen`: makes keys and says what to do with them.

use super::args::KeygenArgs;
use super::output::Output;
use super::passphrase;
use crate::clock::{Clock as _, SystemClock};
use crate::error::{Error, Reason, Result};
use crate::keys::generate::{KeyRole, generate};
use crate::keys::{self, Comments};
use serde_json::json;

pub fn keygen(args: &KeygenArgs, output: &Output) -> Result<()> {
    // Absolute, because the lines go into a config that is read from anywhere.
    let dir = std::path::absolute(&args.out).map_err(|source| Error::io("find", args.out.display(), source))?;
    let operator = args.operator.as_deref().map(keys::public_key).transpose()?;
    let comments = Comments { cluster: args.cluster.clone(), store: args.store.clone(), operator };
    let passphrase = match args.passphrase || args.passphrase_file.is_some() {
        false => None,
        true if !matches!(args.role, KeyRole::Recovery | KeyRole::All) => {
            return Err(Error::new(Reason::Usage, "only the recovery identity can have a passphrase")
                .hint("agents use all other keys, and have nobody to ask"));
        }
        true => Some(passphrase::new("the recovery identity", args.passphrase_file.as_deref())?),
    };
    let keys = generate(args.role, &dir, comments, passphrase.as_ref())?;
    let mut text = String::new();
    let mut files = Vec::new();
    for file in &keys.files {
        text.push_str(&format!("{}\n    {}; keep it {}\n", file.path.display(), file.what, file.keep));
        files.push(json!({ "path": file.path, "what": file.what, "keep": file.keep }));
    }
    text.push_str("\nIn the config:\n");
    for line in &keys.config {
        text.push_str(&format!("    {line}\n"));
    }
    output.answer(SystemClock.now(), None, json!({ "files": files, "config": keys.config }), &text);
    Ok(())
}
