//! A recovery identity under a passphrase: an age file that one passphrase opens, as `age -p` makes it too, so that stock
//! `age -d` opens ours and we open theirs. Whoever finds the file alone has nothing.

use crate::error::{Error, Reason, Result};
use age::armor::{ArmoredReader, ArmoredWriter, Format};
use age::secrecy::{ExposeSecret as _, SecretString};
use age::{DecryptError, Decryptor, Encryptor, scrypt};
use std::io::{Read as _, Write as _};
use zeroize::Zeroizing;

/// 2^18 rounds, as age writes: a quarter of a second for us, a lifetime for who guesses a good passphrase.
const WORK_FACTOR: u8 = 18;

/// A file may ask for 16 times that. More is no care but a trap: each step doubles memory too, 4 GiB at this one.
const MAX_WORK_FACTOR: u8 = 22;

/// An identity file is a few hundred bytes; what a passphrase opens is read no further than this.
const MAX_BYTES: u64 = 1 << 20;

/// Whether this is an age file, and so no identity as it stands.
pub fn is_locked(bytes: &[u8]) -> bool {
    bytes.starts_with(b"age-encryption.org/") || bytes.trim_ascii_start().starts_with(b"-----BEGIN AGE ENCRYPTED FILE")
}

/// The text under a passphrase, as an armored age file.
pub fn lock(text: &str, passphrase: &SecretString) -> Result<Zeroizing<String>> {
    let failed = |source: std::io::Error| Error::new(Reason::Internal, "an identity cannot be locked").because(source);
    let mut recipient = scrypt::Recipient::new(passphrase.clone());
    recipient.set_work_factor(WORK_FACTOR);
    let encryptor = Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient))
        .map_err(|source| Error::new(Reason::Internal, "an identity cannot be locked").because(source))?;
    let armor = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor).map_err(failed)?;
    let mut writer = encryptor.wrap_output(armor).map_err(failed)?;
    writer.write_all(text.as_bytes()).map_err(failed)?;
    let bytes = writer.finish().and_then(ArmoredWriter::finish).map_err(failed)?;
    let text = String::from_utf8(bytes).map_err(|source| failed(std::io::Error::other(source)))?;
    Ok(Zeroizing::new(text))
}

/// The identity file under a passphrase; `source` names it in errors. A wrong passphrase is `KeyWrong`.
pub fn unlock(bytes: &[u8], passphrase: &SecretString, source: &str) -> Result<Zeroizing<String>> {
    let damaged = |why: String| {
        Error::new(Reason::Damaged, format!("{source} is no whole age file: {why}"))
            .hint("use the other copy of the recovery identity")
    };
    let decryptor = Decryptor::new_buffered(ArmoredReader::new(bytes)).map_err(|error| damaged(error.to_string()))?;
    if !decryptor.is_scrypt() {
        return Err(Error::new(Reason::KeyWrong, format!("{source} is sealed for another key, not for a passphrase"))
            .hint(
                "an identity file is wanted here; open it first: age -d -i THAT_KEY FILE | lifeboat ... --identity -",
            ));
    }
    let mut identity = scrypt::Identity::new(passphrase.clone());
    identity.set_max_work_factor(MAX_WORK_FACTOR);
    let mut reader =
        decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity)).map_err(|error| match error {
            DecryptError::ExcessiveWork { required, .. } => Error::new(
                Reason::KeyWrong,
                format!(
                    "{source} asks for 2^{required} rounds to be opened, more than the 2^{MAX_WORK_FACTOR} done here"
                ),
            )
            .hint("open it with age, where there is memory: age -d FILE | lifeboat ... --identity -"),
            DecryptError::DecryptionFailed | DecryptError::NoMatchingKeys | DecryptError::KeyDecryptionFailed => {
                wrong(source, passphrase)
            }
            other => damaged(other.to_string()),
        })?;
    let mut text = Zeroizing::new(String::new());
    reader.by_ref().take(MAX_BYTES).read_to_string(&mut text).map_err(|error| damaged(error.to_string()))?;
    Ok(text)
}

fn wrong(source: &str, passphrase: &SecretString) -> Error {
    // A file from an editor on another system, or a pasted line: the commonest cause, and invisible.
    let text = passphrase.expose_secret();
    let blanks = if text != text.trim() { " (it begins or ends with a blank)" } else { "" };
    Error::new(Reason::KeyWrong, format!("the passphrase does not open {source}{blanks}"))
        .hint("try again, with the passphrase that `lifeboat keygen` or `age -p` was given for this file")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretString {
        SecretString::from(text.to_owned())
    }

    #[test]
    fn what_is_locked_opens_with_its_passphrase_alone() {
        let text = "# comment\nAGE-SECRET-KEY-1...\n";
        let locked = lock(text, &secret("three blind mice")).unwrap();
        assert!(is_locked(locked.as_bytes()) && !is_locked(text.as_bytes()));
        assert!(!locked.contains("SECRET"));
        assert_eq!(*unlock(locked.as_bytes(), &secret("three blind mice"), "k").unwrap(), text);
        let error = unlock(locked.as_bytes(), &secret("three blind mice\r"), "recovery.key").unwrap_err();
        assert_eq!(error.reason, Reason::KeyWrong);
        assert_eq!(error.message, "the passphrase does not open recovery.key (it begins or ends with a blank)");
    }

    #[test]
    fn a_torn_file_and_one_for_a_key_are_told_apart_from_a_wrong_passphrase() {
        let locked = lock("AGE-SECRET-KEY-1...\n", &secret("x")).unwrap();
        let torn = &locked.as_bytes()[..locked.len() / 2];
        assert_eq!(unlock(torn, &secret("x"), "k").unwrap_err().reason, Reason::Damaged);
        let key = age::x25519::Identity::generate().to_public();
        let sealed = age::encrypt(&key, b"text").unwrap();
        let error = unlock(&sealed, &secret("x"), "k").unwrap_err();
        assert!(error.reason == Reason::KeyWrong && error.message.contains("another key"), "{error}");
    }
}
