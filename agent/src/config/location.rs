//! A store's URL, taken apart: which kind of store, which bucket, which prefix.

use super::cursor::shown;
use object_store::ObjectStoreScheme;
use object_store::path::Path;
use std::fmt;
use std::path::PathBuf;

/// What to write where no store can be read from a URL.
pub(crate) const URL_FIX: &str = "write s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or file:///path";

/// Who keeps a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Provider {
    /// Amazon S3, and whatever speaks its language.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
}

impl Provider {
    pub const ALL: [Provider; 3] = [Provider::S3, Provider::Gcs, Provider::Azure];

    pub fn name(self) -> &'static str {
        match self {
            Provider::S3 => "S3",
            Provider::Gcs => "GCS",
            Provider::Azure => "Azure",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A store's URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// Percent-decoded and absolute.
    File(PathBuf),
    /// `prefix` may be empty. The bucket stays in the URL, where object_store reads it.
    Bucket { provider: Provider, prefix: Path },
}

/// Why a URL is none, and what to write instead.
type Refusal = (String, String);

fn refuse<T>(what: &str, fix: &str) -> Result<T, Refusal> {
    Err((what.to_string(), fix.to_string()))
}

impl Location {
    /// Why a URL is none, and what to write instead.
    pub fn parse(text: &str) -> Result<Location, Refusal> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return refuse("a store is a URL", URL_FIX);
        };
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || matches!(c, '?' | '#')) {
            return refuse("a store's URL has no spaces, ? or #", URL_FIX);
        }
        match scheme {
            "s3" | "s3a" => bucket(Provider::S3, rest, "write s3://bucket/prefix"),
            "gs" => bucket(Provider::Gcs, rest, "write gs://bucket/prefix"),
            "az" | "azure" | "adl" | "abfs" | "abfss" => container(rest),
            "https" => hosted(text),
            "file" if !rest.starts_with('/') => {
                refuse("file:// needs an absolute path, with three slashes", "write file:///absolute/path")
            }
            "file" => match url::Url::parse(text).ok().and_then(|url| url.to_file_path().ok()) {
                Some(path) if path.parent().is_some() => Ok(Location::File(path)),
                Some(_) => refuse("file:/// is the root of this machine", "name a folder: file:///var/backups/etcd"),
                None => refuse("not a file URL", "write file:///absolute/path"),
            },
            "gcs" => refuse("Google's scheme is gs://", "write gs://bucket/prefix"),
            "http" => refuse(BY_OPTION.0, BY_OPTION.1),
            _ => refuse(&format!("unknown scheme `{}`", shown(scheme)), URL_FIX),
        }
    }

    /// Whose option names apply; a folder has none.
    pub fn provider(&self) -> Option<Provider> {
        match self {
            Location::File(_) => None,
            Location::Bucket { provider, .. } => Some(*provider),
        }
    }
}

const BY_OPTION: (&str, &str) = (
    "a store is named by bucket, its server by an option",
    "write s3://bucket/prefix, and options: { endpoint: https://host }",
);

fn bucket(provider: Provider, rest: &str, fix: &str) -> Result<Location, Refusal> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.contains('@') {
        return refuse("a store's URL carries no credentials", "put them into options_file");
    }
    let letters =
        bucket.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'_'));
    // Google's names may be longer where they are domains.
    let longest = if provider == Provider::Gcs { 222 } else { 63 };
    if !letters || !(3..=longest).contains(&bucket.len()) {
        return refuse(&format!("a bucket's name has 3 to {longest} of a-z 0-9 . -"), fix);
    }
    Ok(Location::Bucket { provider, prefix: checked_prefix(prefix, fix)? })
}

/// `container/prefix`, or `container@account.dfs.core.windows.net/prefix` as Hadoop's tools write it.
fn container(rest: &str) -> Result<Location, Refusal> {
    const FIX: &str = "write az://container/prefix, and options: { account_name: NAME }";
    let (authority, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let (name, host) = authority.split_once('@').map_or((authority, None), |(name, host)| (name, Some(host)));
    if name.contains(':') {
        return refuse("a store's URL carries no credentials", "put them into options_file");
    }
    let letters = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !letters || !(3..=63).contains(&name.len()) {
        return refuse("a container's name has 3 to 63 of a-z 0-9 -", FIX);
    }
    if host.is_some_and(|host| !host.contains('.') || host.contains('@')) {
        return refuse(
            "behind the @ stands the account's host",
            "write abfss://container@account.dfs.core.windows.net/prefix",
        );
    }
    Ok(Location::Bucket { provider: Provider::Azure, prefix: checked_prefix(prefix, FIX)? })
}

/// The addresses of the clouds themselves, which object_store knows by their host.
fn hosted(text: &str) -> Result<Location, Refusal> {
    let parsed = url::Url::parse(text).ok();
    if parsed.as_ref().is_some_and(|url| !url.username().is_empty() || url.password().is_some()) {
        return refuse("a store's URL carries no credentials", "put them into options_file");
    }
    let Some((scheme, path)) = parsed.as_ref().and_then(|url| ObjectStoreScheme::parse(url).ok()) else {
        return refuse("not a store's address", URL_FIX);
    };
    let provider = match scheme {
        ObjectStoreScheme::AmazonS3 => Provider::S3,
        ObjectStoreScheme::MicrosoftAzure => Provider::Azure,
        _ => return refuse(BY_OPTION.0, BY_OPTION.1),
    };
    Ok(Location::Bucket { provider, prefix: path })
}

fn checked_prefix(prefix: &str, fix: &str) -> Result<Path, Refusal> {
    Path::parse(prefix.trim_end_matches('/'))
        .or_else(|_| refuse("not a prefix: it has an empty or relative part, or an odd character", fix))
}
