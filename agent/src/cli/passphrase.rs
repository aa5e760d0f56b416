//! Asks a person for a passphrase, at the terminal itself: standard input may be a pipe, and nothing is shown.

use crate::error::{Error, Reason, Result};
use crate::keys::{self, locked};
use age::secrecy::SecretString;
use std::path::Path;
use zeroize::Zeroizing;

/// A typing error is no reason to begin a restore anew.
const TRIES: usize = 3;

/// Opens an identity that is under a passphrase: the one in `file`, else one that is asked for.
pub fn unlock(bytes: &[u8], source: &str, file: Option<&Path>) -> Result<Zeroizing<String>> {
    if let Some(file) = file {
        return locked::unlock(bytes, &from_file(file)?, source);
    }
    let mut tries = 1..=TRIES;
    loop {
        let passphrase = ask(&format!("Passphrase of {source}: "))?;
        match (locked::unlock(bytes, &passphrase, source), tries.next()) {
            (Err(error), Some(n)) if error.reason == Reason::KeyWrong && n < TRIES => eprintln!("{error}"),
            (done, _) => return done,
        }
    }
}

/// A new passphrase: the one in `file`, else one that is asked for twice.
pub fn new(what: &str, file: Option<&Path>) -> Result<SecretString> {
    use age::secrecy::ExposeSecret as _;
    if let Some(file) = file {
        return from_file(file);
    }
    let passphrase = ask(&format!("New passphrase for {what}: "))?;
    if ask("The same once more: ")?.expose_secret() != passphrase.expose_secret() {
        return Err(Error::new(Reason::Usage, "the two passphrases differ; nothing was made").hint("run it again"));
    }
    checked(Zeroizing::new(passphrase.expose_secret().to_owned()), "the passphrase")
}

/// The first line of a file, as people write one with an editor or `echo`.
fn from_file(path: &Path) -> Result<SecretString> {
    let text = keys::read_secret("passphrase file", path)?;
    let line = text.lines().next().unwrap_or_default();
    checked(Zeroizing::new(line.to_owned()), &format!("the passphrase in {}", path.display()))
}

fn checked(text: Zeroizing<String>, what: &str) -> Result<SecretString> {
    if text.trim().is_empty() {
        return Err(Error::new(Reason::Usage, format!("{what} is empty")).hint("write it on the first line"));
    }
    Ok(SecretString::from(text.to_string()))
}

fn ask(prompt: &str) -> Result<SecretString> {
    let text = rpassword::prompt_password(prompt).map_err(|source| {
        Error::new(Reason::KeyWrong, "a passphrase is needed, and there is no terminal to ask for it at")
            .hint("give --passphrase-file FILE, or run it at a terminal")
            .because(source)
    })?;
    Ok(SecretString::from(text))
}
