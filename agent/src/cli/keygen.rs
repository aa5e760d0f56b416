//! `lifeboat keygen`: makes keys and says what to do with them.

use super::args::KeygenArgs;
use super::output::Output;
use crate::clock::{Clock as _, SystemClock};
use crate::error::Result;
use crate::keys::generate::generate;
use crate::keys::{self, Comments};
use serde_json::json;

pub fn keygen(args: &KeygenArgs, output: &Output) -> Result<()> {
    // Absolute, because the lines go into a config that is read from anywhere.
    let dir =
        std::path::absolute(&args.out).map_err(|source| crate::error::Error::io("find", args.out.display(), source))?;
    let operator = args.operator.as_deref().map(keys::public_key).transpose()?;
    let comments = Comments { cluster: args.cluster.clone(), store: args.store.clone(), operator };
    let keys = generate(args.role, &dir, comments)?;
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
