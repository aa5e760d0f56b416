//! etcd as a systemd unit, asked and moved by `systemctl` alone.

use super::flags::{Flags, Server};
use crate::error::{Error, Reason, Result};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;

/// What `systemctl show` says of a unit, that this needs.
const PROPERTIES: &str = "LoadState,ExecStart,Environment,EnvironmentFiles,User";

/// What distributions call it.
pub const USUAL: &str = "etcd.service";

/// How the unit starts etcd.
pub async fn read(unit: &str) -> Result<Server> {
    let shown = systemctl(&["show", "--no-pager", "--property", PROPERTIES, unit]).await?;
    let property = |name: &str| {
        let value = |line: &str| line.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
        shown.lines().filter_map(value).collect::<Vec<_>>()
    };
    if property("LoadState").iter().all(|state| state != "loaded") {
        return Err(Error::new(Reason::Usage, format!("--unit {unit}: systemd knows no such unit"))
            .hint("`systemctl list-units | grep etcd` shows its name"));
    }
    let mut env = Vec::new();
    for line in property("EnvironmentFiles") {
        let (path, optional) = match line.rsplit_once(" (ignore_errors=") {
            Some((path, rest)) => (path.to_owned(), rest.starts_with("yes")),
            None => (line, false),
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => env.extend(text.lines().filter_map(assignment)),
            Err(source) if optional && source.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::io("read", path, source)),
        }
    }
    env.extend(property("Environment").iter().flat_map(|line| words(line)).filter_map(|word| assignment(&word)));
    // { path=/usr/bin/etcd ; argv[]=/usr/bin/etcd --name a ; ignore_errors=no ; ... }
    let argv = property("ExecStart");
    let argv = argv.iter().find_map(|line| line.split_once("argv[]=")?.1.split(" ; ").next().map(words));
    let argv = expanded(argv.unwrap_or_default(), &env);
    Flags::new(argv.iter().map(String::as_str), env).server(&format!("unit {unit}"), &Path::to_path_buf)
}

pub async fn stop(unit: &str) -> Result<()> {
    systemctl(&["stop", unit]).await.map(drop)
}

/// Does not wait: an etcd tells systemd that it is up only once it has a quorum.
pub async fn start(unit: &str) -> Result<()> {
    systemctl(&["start", "--no-block", unit]).await.map(drop)
}

async fn systemctl(arguments: &[&str]) -> Result<String> {
    let ran = Command::new("systemctl").args(arguments).stdin(Stdio::null()).kill_on_drop(true).output().await;
    let ran = ran.map_err(|source| {
        Error::io("run", "systemctl", source).hint("--unit is for machines where systemd starts etcd")
    })?;
    if !ran.status.success() {
        let said = String::from_utf8_lossy(&ran.stderr).trim().to_owned();
        let text = format!("systemctl {} failed ({}): {said}", arguments.join(" "), ran.status);
        return Err(
            Error::new(Reason::HostIo, text).hint("run it by hand; what is done so far is kept, run this again")
        );
    }
    Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
}

/// `NAME=value` of an environment file or property, with or without quotes.
fn assignment(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    let (name, value) = line.split_once('=').filter(|_| !line.starts_with(['#', ';']))?;
    let value = value.trim();
    let bare = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    Some((name.trim().to_owned(), bare.unwrap_or(value).to_owned()))
}

/// Words of a line as systemd prints it; a quoted one may hold blanks.
fn words(line: &str) -> Vec<String> {
    let (mut all, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in line.chars() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => quote = Some(c),
            (' ', None) => all.extend((!word.is_empty()).then(|| std::mem::take(&mut word))),
            _ => word.push(c),
        }
    }
    all.extend((!word.is_empty()).then_some(word));
    all
}

/// `${NAME}` and `$NAME` as whole words or parts, from the unit's own environment.
fn expanded(argv: Vec<String>, env: &[(String, String)]) -> Vec<String> {
    let replace = |word: String| {
        env.iter().rev().fold(word, |word, (name, value)| {
            let word = word.replace(&format!("${{{name}}}"), value);
            if word == format!("${name}") { value.clone() } else { word }
        })
    };
    argv.into_iter().map(replace).collect()
}

/// Where the journal of a unit's restore lies: beside its data dir.
pub fn journal_dir(data_dir: &Path) -> PathBuf {
    let mut name = data_dir.file_name().unwrap_or_default().to_os_string();
    name.push(".lifeboat-restore");
    data_dir.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_units_lines_are_read_as_systemd_prints_them() {
        assert_eq!(words("etcd --name a '--x=b c'"), ["etcd", "--name", "a", "--x=b c"]);
        assert_eq!(assignment("ETCD_NAME=\"cp-1\""), Some(("ETCD_NAME".to_owned(), "cp-1".to_owned())));
        assert_eq!(assignment("# ETCD_NAME=x"), None);
        let env = [("DIR".to_owned(), "/var/lib/etcd".to_owned())];
        let argv = ["--data-dir=${DIR}", "$DIR", "--name=$DIRS"].map(str::to_owned).to_vec();
        assert_eq!(expanded(argv, &env), ["--data-dir=/var/lib/etcd", "/var/lib/etcd", "--name=$DIRS"]);
        assert_eq!(journal_dir(Path::new("/var/lib/etcd")), Path::new("/var/lib/etcd.lifeboat-restore"));
    }
}
