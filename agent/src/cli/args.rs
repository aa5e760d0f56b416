//! What can be typed. Nothing here does more than describe.

mod keyring;
mod read;
mod restore;
mod wish;

use crate::keys::generate::KeyRole;
use chrono::{DateTime, Utc};
use clap::{Args, Parser, Subcommand, ValueEnum};
use lifeboat_policy::proof::Level;
use std::path::PathBuf;

pub use keyring::{ChangeArgs, KeyringAction, KeyringArgs, ResealArgs, RevokeArgs, TrustArgs};
pub use read::{DiffArgs, GetArgs, KeysArgs};
pub use restore::{AllowWord, RestoreArgs};
pub use wish::{AckArgs, DeleteArgs, HoldArgs, ReleaseArgs, SignArgs, Until};

const GROUPS: &str = "\
Everyday
  status        The one sentence: restorable to when, how proven, how long a restore takes
  list          Backups, newest first
  show          The story of one backup
  backup        One backup now, in the foreground
  prove         Test-restore from the store and record the verdict
Outage
  restore       Exchange the data of this node's etcd, or build a data dir that etcd starts from
  inspect       What a snapshot file is, plain or sealed, and whether it is sound
  keys          The keys in a backup, by name and type
  get           One key of a backup
  diff          What was created, changed and deleted from one backup to another
Upkeep
  prune         The retention plan with reasons; acts only with --apply
  hold          Keep a backup; also undoes its marked deletion
  release       Let a held backup go
  delete        Mark one backup for deletion; acts only with --apply
  ack           List the findings, or accept one
  copy          Verified copies of backups from one store to another
Trust
  verify        Is the store's history whole: signatures, parents, presence; opens nothing
  keyring       Which key opens and signed what; trust or revoke a key
  reseal        A new backup for other recipients, out of one that is there
Setup
  check-config  Every finding at once, the effective config, the next runs
  doctor        May and can I: every permission, clock, key, certificate, space and version, tried
  keygen        Make the keys of a role
  run           The agent: every role in the config, until SIGTERM
  exit-codes    What each exit code means (also: lifeboat help exit-codes)";

const AFTER: &str = "\
In an outage, with nothing but this binary, the store and a key:
  lifeboat restore --store s3://backups/etcd --identity recovery.key \\
    --trust backup=backup.sign.pub --trust prove=prove.sign.pub --in-place

Environment: LIFEBOAT_CONFIG names the config; other variables override one field each: lifeboat run --help";

/// Keeps etcd restorable and proves it.
#[derive(Debug, Parser)]
#[command(name = "lifeboat", version, propagate_version = true, max_term_width = 100, disable_help_subcommand = false)]
#[command(help_template = "{about}\n\n{usage-heading} {usage}\n\n{before-help}\n\nOptions:\n{options}\n\n{after-help}")]
#[command(before_help = GROUPS, after_help = AFTER)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// The config file [default: $LIFEBOAT_CONFIG, /etc/lifeboat/config.yaml, /etc/lifeboat/rescue.yaml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How answers are written
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Text)]
    pub output: Format,
    /// The same as --output json
    #[arg(long, global = true)]
    pub json: bool,
    /// How logs are written [default: as log.format in the config]
    #[arg(long, global = true, value_enum)]
    pub log: Option<Format>,
    /// Say nothing but the answer
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Log more; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

impl Cli {
    pub fn json(&self) -> bool {
        self.json || self.output == Format::Json
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The one sentence: restorable to when, how proven, how long a restore takes
    #[command(
        after_help = "Example: lifeboat status --max-age 1h   (exit code 11 if the newest proven backup is older)"
    )]
    Status(StatusArgs),
    /// Backups, newest first
    #[command(alias = "ls", after_help = "Example: lifeboat list -n 10 --state proven")]
    List(ListArgs),
    /// The story of one backup: manifest, verdicts, retention reasons, where it is stored
    #[command(after_help = "Example: lifeboat show 7f3a9c")]
    Show(ShowArgs),
    /// One backup now, in the foreground: the command before an upgrade
    #[command(after_help = "Example: lifeboat backup --wait-proven 15m --hold 'before 1.37' --until 14d")]
    Backup(BackupArgs),
    /// Test-restore a backup from the store and record the verdict
    #[command(after_help = "Example: lifeboat prove latest --level booted")]
    Prove(ProveArgs),
    /// Exchange the data of this node's etcd for a backup, or build a data dir
    #[command(
        after_help = "Example: lifeboat restore                                shows the plan and what to type\n         \
        lifeboat restore --in-place --identity recovery.key    exchanges the data of this node's etcd, waits for all nodes\n         \
        lifeboat restore --undo                         takes that back\n         \
        lifeboat restore --identity recovery.key --data-dir /var/lib/etcd\n         \
        lifeboat restore --at 2026-11-23T02:00:00Z --allow older --data-dir /var/lib/etcd\n\n\
        Of several nodes the first prints the command for each of the others: it carries the plan, lbp1:..., that makes\n\
        them one cluster again."
    )]
    Restore(RestoreArgs),
    /// The keys in a backup, by name and type, without restoring it
    #[command(after_help = "Example: lifeboat keys latest-proven /registry/configmaps/ --identity recovery.key")]
    Keys(KeysArgs),
    /// One key of a backup, without restoring it; secrets only with --show-secrets
    #[command(
        after_help = "Example: lifeboat get 7f3a9c /registry/configmaps/default/settings --identity recovery.key\n         \
        lifeboat get 7f3a9c /registry/deployments/shop/web --raw > web.pb"
    )]
    Get(GetArgs),
    /// What was created, changed and deleted from one backup to another
    #[command(after_help = "Example: lifeboat diff 5c0667 latest --prefix /registry/ --identity recovery.key")]
    Diff(DiffArgs),
    /// What a snapshot file is, plain or sealed, and whether it is sound
    #[command(after_help = "Example: lifeboat inspect /var/lib/etcd/member/snap/db\n         \
        lifeboat inspect db.zst.age --identity recovery.key --json")]
    Inspect(InspectArgs),
    /// The retention plan with reasons; acts only with --apply
    #[command(
        after_help = "Example: lifeboat prune          prints the plan\n         lifeboat prune --apply  carries it out"
    )]
    Prune(PruneArgs),
    /// Keep a backup whatever the rules say; also undoes a marked deletion
    #[command(after_help = "Example: lifeboat hold 7f3a9c --reason 'before 1.37' --until 14d\n\n\
        Any key that is trusted here may hold; only the operator's may release.")]
    Hold(HoldArgs),
    /// Let a held backup go: from now on the rules decide again
    #[command(after_help = "Example: lifeboat release 7f3a9c --signing-key operator.sign.key")]
    Release(ReleaseArgs),
    /// Mark one backup for deletion against the keep rules; prune deletes it after the grace
    #[command(after_help = "Example: lifeboat delete 7f3a9c --reason 'holds a leaked secret' --apply\n\n\
        Never the newest, the newest proven, a held one or one of the last min_proven (exit code 7).\n\
        Undone by `lifeboat hold` within the grace.")]
    Delete(DeleteArgs),
    /// List the findings and what was accepted, or accept one
    #[command(after_help = "Example: lifeboat ack\n         lifeboat ack 3f9c21d0 --reason 'member was replaced'\n\n\
        Accepted is this one finding: a new one of its kind shows again. Only the operator's key may accept.")]
    Ack(AckArgs),
    /// Verified, resumable copies of backups and their history from one store to another
    #[command(after_help = "Example: lifeboat copy --from s3://backups/etcd --to file:///mnt/usb \\\n           \
        --trust backup=backup.sign.pub --trust prove=prove.sign.pub --trust prune=prune.sign.pub\n         \
        lifeboat copy --from main --to offsite latest-proven")]
    Copy(CopyArgs),
    /// Is the store's history whole: signatures, parents, presence; opens nothing, needs no identity
    #[command(after_help = "Example: lifeboat verify   (exit code 11 if something is not as it was signed)\n         \
        lifeboat verify --store s3://backups/etcd --trust backup=backup.sign.pub \\\n           \
        --trust prove=prove.sign.pub --trust prune=prune.sign.pub\n\n\
        What it finds, and what nobody can see from inside a store: agent/docs/history.md")]
    Verify(VerifyArgs),
    /// Which recipient opens which backups, and which key signed what; trust or revoke a key
    #[command(after_help = "Example: lifeboat keyring\n         \
        lifeboat keyring trust backup=backup2.sign.pub --signing-key operator.sign.key --apply\n         \
        lifeboat keyring revoke backup.sign.pub --reason 'node cp-2 was stolen' --signing-key operator.sign.key --apply\n\n\
        Trust and revoke write the operator's next trust list, trust/N.json, into every store. They show first what would change; \
        --apply does it.")]
    Keyring(KeyringArgs),
    /// A new backup for other recipients: fetched, verified, opened, sealed again, signed by the operator, unproven
    #[command(after_help = "Example: lifeboat reseal latest-proven --recipient age1... --identity recovery.key \
        --signing-key operator.sign.key\n\nThe old backup stays until `lifeboat delete`.")]
    Reseal(ResealArgs),
    /// Every finding at once, the effective config without secrets, the next runs
    #[command(after_help = "Example: lifeboat check-config --next 10")]
    CheckConfig(CheckConfigArgs),
    /// May and can I: every permission, clock, key, certificate, space and version, tried
    #[command(
        long_about = "May and can I: every permission, clock, key, certificate, space and version, tried.\n\n\
            In each store a small object is made below CLUSTER/doctor/, read, listed, written over and deleted, to see what \
            this key may do there; where it may not be deleted it stays, and every reader passes it by. From etcd a snapshot \
            is begun and hung up on. Nothing else is written anywhere.",
        after_help = "Example: lifeboat doctor --json   (exit code 11 if anything failed or warns)"
    )]
    Doctor,
    /// Make the keys of a role; says where each goes and who must never hold it
    #[command(after_help = "Example: lifeboat keygen --role all --out /etc/lifeboat/keys")]
    Keygen(KeygenArgs),
    /// The agent: every role in the config, until SIGTERM
    #[command(after_help = run_help())]
    Run,
    /// What each exit code means
    #[command(after_help = super::exit_codes::table())]
    ExitCodes,
}

/// The variables that override a field, listed from the table that the config reads.
fn run_help() -> String {
    let mut help = String::from(
        "Example: lifeboat run --config /etc/lifeboat/config.yaml\n\nVariables that override one field each:\n",
    );
    for entry in crate::config::OVERRIDES {
        help.push_str(&format!("  {:32} {}\n", entry.var, entry.help));
    }
    help
}

/// Which store, for every command that reads one; without any of these the config says.
#[derive(Args, Clone, Debug, Default)]
pub struct StoreArgs {
    /// The store, where no config names one: s3://bucket/prefix, gs://, az:// or file:///path; or a store of the config by name
    #[arg(long, value_name = "URL|NAME")]
    pub store: Option<String>,
    /// An option of the store, as object_store names it; credentials come from the environment
    #[arg(long = "store-option", value_name = "K=V", requires = "store")]
    pub store_options: Vec<String>,
    /// Certificates of the authority that signed the store's, beside those that this machine trusts
    #[arg(long = "store-ca", value_name = "FILE", requires = "store")]
    pub store_ca: Option<PathBuf>,
    /// The cluster in the store [default: the only one there]
    #[arg(long, value_name = "NAME", requires = "store")]
    pub cluster: Option<String>,
    /// A public key to believe, or its file: backup=KEY, prove=KEY, prune=KEY; bare: the operator's
    #[arg(long, value_name = "[ROLE=]KEY")]
    pub trust: Vec<String>,
    #[command(flatten)]
    pub identity: IdentityArgs,
}

/// What opens sealed backups.
#[derive(Args, Clone, Debug, Default)]
pub struct IdentityArgs {
    /// The age identity that opens backups; `-` reads it from standard input. A recovery key's comments say where they are
    #[arg(long, value_name = "FILE")]
    pub identity: Option<String>,
    /// The passphrase of that identity, on the first line of a file [default: it is asked for at the terminal]
    #[arg(long, value_name = "FILE", requires = "identity")]
    pub passphrase_file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct StatusArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// End with code 11 if the newest proven backup is older than this
    #[arg(long, value_name = "SPAN", value_parser = lifeboat_policy::span::parse)]
    pub max_age: Option<std::time::Duration>,
}

#[derive(Args, Debug)]
pub struct ListArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// At most so many
    #[arg(short, value_name = "N")]
    pub number: Option<usize>,
    /// Only those captured since
    #[arg(long, value_name = "TIME", value_parser = lifeboat_policy::moment::parse)]
    pub since: Option<DateTime<Utc>>,
    /// Every cluster of the store
    #[arg(long, conflicts_with = "cluster")]
    pub all_clusters: bool,
    /// Only those in this state
    #[arg(long, value_enum)]
    pub state: Option<StateFilter>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StateFilter {
    Proven,
    Unproven,
    Failed,
    Untrusted,
}

#[derive(Args, Debug)]
pub struct ShowArgs {
    /// A full id, a unique start of it or of its random part, `latest` or `latest-proven`
    pub backup: String,
    #[command(flatten)]
    pub store: StoreArgs,
}

#[derive(Args, Debug)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub store: StoreArgs,
}

#[derive(Args, Debug)]
pub struct BackupArgs {
    /// Also prove it here, and give up after this long
    #[arg(long, value_name = "SPAN", value_parser = lifeboat_policy::span::parse)]
    pub wait_proven: Option<std::time::Duration>,
    /// Hold it, and why: the rules do not delete it until the hold ends or the operator releases it
    #[arg(long, value_name = "REASON", value_parser = wish::words)]
    pub hold: Option<String>,
    /// When the hold ends by itself: a time, a date, or a span from now such as 14d
    #[arg(long, value_name = "TIME|SPAN", requires = "hold", value_parser = wish::parse_until)]
    pub until: Option<Until>,
}

#[derive(Args, Debug)]
pub struct ProveArgs {
    /// Which backup [default: the newest]
    pub backup: Option<String>,
    /// Whatever is due: the newest, what was never proven, what nobody read for proof.reread, and a sample in full
    #[arg(long, conflicts_with = "backup")]
    pub due: bool,
    /// Every backup, newest first
    #[arg(long, conflicts_with_all = ["backup", "due"])]
    pub all: bool,
    /// How deep: stored, opened, sound, booted [default: proof.level]
    #[arg(long, value_name = "LEVEL")]
    pub level: Option<Level>,
}

#[derive(Args, Debug)]
pub struct InspectArgs {
    /// A snapshot, a data dir's member/snap/db, or a sealed db.zst.age
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub identity: IdentityArgs,
    /// Show HashKV at this revision instead of the newest
    #[arg(long, value_name = "R")]
    pub hash_revision: Option<i64>,
    /// As a member answers it that is compacted here; -1: never [default: as the file is]
    #[arg(long, value_name = "C", requires = "hash_revision", allow_negative_numbers = true)]
    pub hash_compact_revision: Option<i64>,
}

#[derive(Args, Debug)]
pub struct PruneArgs {
    /// Carry the plan out
    #[arg(long)]
    pub apply: bool,
    /// Only print the plan: the default
    #[arg(long, conflicts_with = "apply")]
    pub dry_run: bool,
    /// Print every verdict
    #[arg(long)]
    pub all: bool,
}

#[derive(Args, Debug)]
pub struct CopyArgs {
    /// Which backups, as for `show` [default: all, with every verdict and tombstone]
    pub backups: Vec<String>,
    /// Where they are: a URL, or the name of one of the config's stores
    #[arg(long, value_name = "URL|NAME")]
    pub from: String,
    /// Where they go: a URL, or the name of one of the config's stores; nothing there is overwritten
    #[arg(long, value_name = "URL|NAME")]
    pub to: String,
    /// An option of the store at --from URL, as object_store names it
    #[arg(long = "from-option", value_name = "K=V")]
    pub from_options: Vec<String>,
    /// An option of the store at --to URL
    #[arg(long = "to-option", value_name = "K=V")]
    pub to_options: Vec<String>,
    /// The cluster [default: the config's, else the only one at --from]
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// A public key to believe, or its file: backup=KEY, prove=KEY, prune=KEY; bare: the operator's [default: the config's]
    #[arg(long, value_name = "[ROLE=]KEY")]
    pub trust: Vec<String>,
    /// Consent, by name: unverified copies what nobody vouches for
    #[arg(long, value_enum)]
    pub allow: Vec<AllowWord>,
    /// Say what would be copied and copy nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Args, Debug)]
pub struct CheckConfigArgs {
    /// Print the next N runs, in the config's zone and in UTC
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub next: usize,
}

#[derive(Args, Debug)]
pub struct KeygenArgs {
    /// Whose keys
    #[arg(long, value_enum)]
    pub role: KeyRole,
    /// The folder for the files; nothing in it is overwritten
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Written into the recovery key's comments
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// Written into the recovery key's comments
    #[arg(long, value_name = "URL")]
    pub store: Option<String>,
    /// The operator's public key or its file, written into the recovery key's comments [default: one made in the same call]
    #[arg(long, value_name = "KEY")]
    pub operator: Option<String>,
    /// Put the recovery identity under a passphrase, which is asked for at the terminal
    #[arg(long)]
    pub passphrase: bool,
    /// The same with the passphrase on the first line of a file
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase")]
    pub passphrase_file: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn every_command_stands_in_a_group_of_the_help_and_shows_an_example() {
        let command = Cli::command();
        command.clone().debug_assert();
        for sub in command.get_subcommands() {
            let name = sub.get_name();
            assert!(GROUPS.contains(&format!("\n  {name} ")), "{name} is in no group");
            let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example: lifeboat ") || name == "exit-codes", "{name} shows no example");
        }
    }
}
