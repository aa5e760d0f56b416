//! Whose keys count, who opens what.

use super::{SignArgs, StoreArgs};
use clap::{Args, Subcommand};

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct KeyringArgs {
    #[command(subcommand)]
    pub action: Option<KeyringAction>,
    #[command(flatten)]
    pub store: StoreArgs,
}

#[derive(Debug, Subcommand)]
pub enum KeyringAction {
    /// Trust a key from now on, or vouch for a backup whose key was revoked
    #[command(
        after_help = "Example: lifeboat keyring trust backup=backup2.sign.pub --signing-key operator.sign.key --apply"
    )]
    Trust(TrustArgs),
    /// Believe a key no more: of what it signed only backups count that a trusted verdict, or you, vouched for
    #[command(
        after_help = "Example: lifeboat keyring revoke backup.sign.pub --reason 'cp-2 was stolen' --signing-key operator.sign.key --apply"
    )]
    Revoke(RevokeArgs),
}

#[derive(Args, Debug)]
pub struct TrustArgs {
    /// A public key or its file: backup=KEY, prove=KEY, prune=KEY; without a role one that the config trusts already
    #[arg(value_name = "[ROLE=]KEY", required_unless_present = "vouch")]
    pub keys: Vec<String>,
    #[command(flatten)]
    pub change: ChangeArgs,
}

#[derive(Args, Debug)]
pub struct RevokeArgs {
    /// The public key, its file, or the start of its SHA-256 as `lifeboat keyring` shows it
    #[arg(value_name = "KEY")]
    pub key: String,
    /// Why; it stays readable in the list
    #[arg(long, value_name = "TEXT", value_parser = super::wish::words)]
    pub reason: String,
    #[command(flatten)]
    pub change: ChangeArgs,
}

/// Of the list that is written next.
#[derive(Args, Debug)]
pub struct ChangeArgs {
    /// A backup that counts from now on, whatever became of the key that signed it; again for each
    #[arg(long, value_name = "BACKUP")]
    pub vouch: Vec<String>,
    /// Write the list
    #[arg(long)]
    pub apply: bool,
    /// Only say what would change: the default
    #[arg(long, conflicts_with = "apply")]
    pub dry_run: bool,
    #[command(flatten)]
    pub sign: SignArgs,
    #[command(flatten)]
    pub store: StoreArgs,
}

#[derive(Args, Debug)]
pub struct ResealArgs {
    /// A full id, a unique start of it or of its random part, `latest` or `latest-proven`
    pub backup: String,
    /// Who opens the new one: age1..., or a file with one a line; again for each
    #[arg(long = "recipient", value_name = "RECIPIENT", required = true)]
    pub recipients: Vec<String>,
    #[command(flatten)]
    pub sign: SignArgs,
    #[command(flatten)]
    pub store: StoreArgs,
}
