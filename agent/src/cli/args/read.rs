//! Reading a backup without restoring it.

use super::StoreArgs;
use clap::Args;

#[derive(Args, Debug)]
pub struct KeysArgs {
    /// Which backup: id, its start, latest, latest-proven
    pub backup: String,
    /// Only keys that begin with this
    pub prefix: Option<String>,
    #[command(flatten)]
    pub store: StoreArgs,
}

#[derive(Args, Debug)]
pub struct GetArgs {
    /// Which backup: id, its start, latest, latest-proven
    pub backup: String,
    /// The key, such as /registry/configmaps/default/settings
    pub key: String,
    #[command(flatten)]
    pub store: StoreArgs,
    /// Write the value alone, as it is stored
    #[arg(long)]
    pub raw: bool,
    /// Show Secrets too
    #[arg(long)]
    pub show_secrets: bool,
}

#[derive(Args, Debug)]
pub struct DiffArgs {
    /// The backup before
    pub from: String,
    /// The backup after
    pub to: String,
    #[command(flatten)]
    pub store: StoreArgs,
    /// Only keys that begin with this
    #[arg(long)]
    pub prefix: Option<String>,
}
