//! `stores`: where backups go, and object_store's options for getting there.

use super::StoreConfig;
use super::cursor::{Cursor, Fields, LEAVE_OUT, NOT_YET, Reading, shown};
use super::env::Env;
use super::finding::{Finding, into_error};
use super::nearest::nearest;
use super::tree::{self, Kind, Node, Place};
use crate::error::{Error, Result};
use object_store::aws::AmazonS3ConfigKey;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// One request with its body. Long enough for a part of a few MiB on a slow line, short enough for a retry in time.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

const FIELDS: &[&str] = &["url", "name", "options", "options_file", "timeout"];
const LATER: &[&str] = &["lock", "bandwidth", "read_back", "keep"];
const URL_FIX: &str = "write s3://bucket/prefix or file:///absolute/path";

/// Names that people know and object_store takes; `from_str` decides, this list is for guessing what was meant.
const KNOWN_OPTIONS: &[&str] = &[
    "access_key_id",
    "allow_http",
    "allow_invalid_certificates",
    "checksum_algorithm",
    "conditional_put",
    "connect_timeout",
    "container_authorization_token_file",
    "container_credentials_full_uri",
    "container_credentials_relative_uri",
    "copy_if_not_exists",
    "default_region",
    "disable_bulk_delete",
    "disable_system_certificates",
    "disable_tagging",
    "endpoint",
    "endpoint_url_sts",
    "http1_only",
    "http2_only",
    "imdsv1_fallback",
    "metadata_endpoint",
    "pool_idle_timeout",
    "pool_max_idle_per_host",
    "proxy_ca_certificate",
    "proxy_excludes",
    "proxy_url",
    "randomize_addresses",
    "read_timeout",
    "region",
    "request_payer",
    "role_arn",
    "role_session_name",
    "s3_express",
    "secret_access_key",
    "server_side_encryption",
    "session_token",
    "skip_signature",
    "sse_bucket_key_enabled",
    "sse_customer_key_base64",
    "sse_kms_key_id",
    "unsigned_payload",
    "user_agent",
    "virtual_hosted_style_request",
    "web_identity_token_file",
];

/// The same word, as object_store spells it, for every alias of a secret.
const SECRETS: &[&str] = &["aws_secret_access_key", "aws_session_token", "aws_sse_customer_key_base64"];

/// A store's URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// Percent-decoded and absolute.
    File(PathBuf),
    /// `prefix` has no slash at either end and may be empty.
    S3 { bucket: String, prefix: String },
}

impl Location {
    /// Why a URL is none, and what to write instead.
    pub fn parse(text: &str) -> std::result::Result<Location, (String, String)> {
        let bad = |what: &str, fix: &str| Err((what.to_string(), fix.to_string()));
        let Some((scheme, rest)) = text.split_once("://") else {
            return bad("a store is a URL", URL_FIX);
        };
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || matches!(c, '?' | '#')) {
            return bad("a store's URL has no spaces, ? or #", URL_FIX);
        }
        match scheme {
            "s3" => parse_s3(rest),
            "file" if !rest.starts_with('/') => {
                bad("file:// needs an absolute path, with three slashes", "write file:///absolute/path")
            }
            "file" => match url::Url::parse(text).ok().and_then(|url| url.to_file_path().ok()) {
                Some(path) if path.parent().is_some() => Ok(Location::File(path)),
                Some(_) => bad("file:/// is the root of this machine", "name a folder: file:///var/backups/etcd"),
                None => bad("not a file URL", "write file:///absolute/path"),
            },
            "gs" | "gcs" | "az" | "azure" | "abfs" | "abfss" => {
                Err((format!("{scheme}:// {NOT_YET}"), URL_FIX.to_string()))
            }
            "s3a" | "http" | "https" => bad(
                "a store is named by bucket, its server by an option",
                "write s3://bucket/prefix, and options: { endpoint: https://host }",
            ),
            _ => Err((format!("unknown scheme `{}`", shown(scheme)), URL_FIX.to_string())),
        }
    }
}

fn parse_s3(rest: &str) -> std::result::Result<Location, (String, String)> {
    const FIX: &str = "write s3://bucket/prefix";
    let bad = |what: &str, fix: &str| Err((what.to_string(), fix.to_string()));
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.contains('@') {
        return bad("a store's URL carries no credentials", "put them into options_file");
    }
    let letters =
        bucket.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'_'));
    if !letters || !(3..=63).contains(&bucket.len()) {
        return bad("a bucket's name has 3 to 63 of a-z 0-9 . -", FIX);
    }
    let prefix = prefix.trim_end_matches('/');
    if !prefix.is_empty() && object_store::path::Path::parse(prefix).is_err() {
        return bad("not a prefix: it has an empty or relative part, or an odd character", FIX);
    }
    Ok(Location::S3 { bucket: bucket.to_string(), prefix: prefix.to_string() })
}

impl StoreConfig {
    /// A store from the command line, checked like one from a config. Secrets are let through here: on the day of a
    /// restore there may be nothing but what somebody types.
    pub fn from_options(url: &str, options: &[(String, String)]) -> Result<StoreConfig> {
        let map = |options: &[(String, String)]| {
            let place = Place::default();
            let text = |(key, value): &(String, String)| (key.clone(), Node::text(value, place));
            let pairs: Vec<_> = options.iter().map(text).collect();
            Node::map(pairs.iter().map(|(key, node)| (key.as_str(), node.clone())), place)
        };
        let fields = [("--store", Node::text(url, Place::default())), ("--store-option", map(options))];
        let root = Node::map(fields, Place::default());
        let reading = Reading::new("command line", &root, &NoEnv);
        let fields = reading.root().fields(&["--store", "--store-option"]);
        let url_cursor = fields.as_ref().and_then(|fields| fields.get("--store"));
        let location = url_cursor.and_then(|cursor| read_url(&cursor));
        let cursor = fields.and_then(|fields| fields.get("--store-option"));
        let options = cursor.map(|cursor| read_options(&cursor, location.as_ref().map(|(_, l)| l), Secrets::Allowed));
        let findings = reading.finish();
        match location {
            Some((url, _)) if findings.is_empty() => Ok(StoreConfig {
                name: "main".to_string(),
                url,
                options: options.unwrap_or_default(),
                options_file: None,
                timeout: REQUEST_TIMEOUT,
            }),
            _ => {
                let mut error = into_error(&findings);
                error.reason = crate::error::Reason::Usage;
                error.hint = None;
                Err(error)
            }
        }
    }

    /// The URL taken apart.
    pub fn location(&self) -> Result<Location> {
        Location::parse(&self.url).map_err(|(what, fix)| {
            Error::new(crate::error::Reason::Config, format!("store {}: {what}", self.name)).hint(fix)
        })
    }

    /// The options with those of `options_file`, which is read now and wins. It is a mapping of option to value, and
    /// may hold secrets, so no message repeats a value.
    pub fn all_options(&self) -> Result<BTreeMap<String, String>> {
        let mut all = self.options.clone();
        if let Some(path) = &self.options_file {
            let bytes = std::fs::read(path).map_err(|e| Error::io("read", path.display(), e))?;
            let source = path.display().to_string();
            all.extend(self.parse_options(&bytes, &source).map_err(|findings| into_error(&findings))?);
        }
        Ok(all)
    }

    /// The content of an options file.
    pub fn parse_options(
        &self,
        bytes: &[u8],
        source: &str,
    ) -> std::result::Result<BTreeMap<String, String>, Vec<Finding>> {
        let text = super::utf8(bytes, source)?;
        let root = tree::parse(text, source, "write options, one a line: secret_access_key: ...")?;
        let location = Location::parse(&self.url).ok();
        let reading = Reading::new(source, &root, &NoEnv);
        let options = read_options(&reading.root(), location.as_ref(), Secrets::Allowed);
        let findings = reading.finish();
        if findings.iter().any(Finding::is_error) { Err(findings) } else { Ok(options) }
    }
}

/// Options files and flags ask nothing of the environment.
struct NoEnv;

impl Env for NoEnv {
    fn var(&self, _: &str) -> Option<String> {
        None
    }

    fn is_file(&self, _: &std::path::Path) -> bool {
        false
    }

    fn on_path(&self, _: &str) -> Option<PathBuf> {
        None
    }
}

pub(crate) fn read(cursor: &Cursor<'_>) -> Vec<StoreConfig> {
    const FIX: &str = "write a list: stores: [{ url: s3://bucket/prefix }]";
    let items = cursor.items("a list of stores", FIX);
    if items.is_empty() && matches!(cursor.node.kind, Kind::List(_)) {
        cursor.error("no store is named: backups have nowhere to go", FIX);
    }
    if items.len() > 1 {
        cursor.error(format!("more than one store {NOT_YET}"), "keep one");
    }
    items.iter().filter_map(read_store).collect()
}

fn read_store(cursor: &Cursor<'_>) -> Option<StoreConfig> {
    let fields = cursor.fields_besides(FIELDS, LATER)?;
    fields.not_yet(LATER);
    let location = fields.need("url", URL_FIX).and_then(|c| read_url(&c));
    let name = fields.get("name").and_then(|c| read_name(&c)).unwrap_or_else(|| "main".to_string());
    let kind = location.as_ref().map(|(_, location)| location);
    let options = fields.get("options").map(|c| read_options(&c, kind, Secrets::Refused)).unwrap_or_default();
    let options_file = read_options_file(&fields, kind);
    let timeout = fields.get("timeout").and_then(|c| c.positive_duration()).unwrap_or(REQUEST_TIMEOUT);
    Some(StoreConfig { name, url: location?.0, options, options_file, timeout })
}

fn read_options_file(fields: &Fields<'_>, location: Option<&Location>) -> Option<PathBuf> {
    let cursor = fields.get("options_file")?;
    if let Some(Location::File(_)) = location {
        cursor.error("a file:// store takes no options", LEAVE_OUT);
    }
    cursor.path()
}

fn read_url(cursor: &Cursor<'_>) -> Option<(String, Location)> {
    let text = cursor.text("a URL like s3://bucket/prefix")?;
    match Location::parse(text) {
        Ok(location) => Some((text.trim_end_matches('/').to_string(), location)),
        Err((what, fix)) => {
            cursor.error(what, fix);
            None
        }
    }
}

fn read_name(cursor: &Cursor<'_>) -> Option<String> {
    let name = cursor.text("a name like main")?;
    let letters = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if name.is_empty() || name.len() > 63 || !letters {
        cursor.error("a store's name has 1 to 63 of a-z 0-9 -", "write a short name such as main");
        return None;
    }
    Some(name.to_string())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Secrets {
    Allowed,
    Refused,
}

fn read_options(cursor: &Cursor<'_>, location: Option<&Location>, secrets: Secrets) -> BTreeMap<String, String> {
    let entries = cursor.entries("a mapping of options", "write option: value, such as region: eu-central-1");
    if let (Some(Location::File(_)), false) = (location, entries.is_empty()) {
        cursor.error("a file:// store takes no options", LEAVE_OUT);
        return BTreeMap::new();
    }
    let mut by_meaning: BTreeMap<String, &str> = BTreeMap::new();
    let mut options = BTreeMap::new();
    for (name, value) in entries {
        let Some(meaning) = check_option(name, &value, secrets) else {
            continue;
        };
        if let Some(other) = by_meaning.insert(meaning, name) {
            value.error(format!("`{}` and `{}` are the same option", shown(other), shown(name)), "keep one of the two");
        }
        if let Some(text) = value.scalar("one value") {
            options.insert(name.to_string(), text.to_string());
        }
    }
    options
}

/// What object_store calls this option, if it may be used here.
fn check_option(name: &str, value: &Cursor<'_>, secrets: Secrets) -> Option<String> {
    let Ok(key) = name.parse::<AmazonS3ConfigKey>() else {
        let what = match nearest(name, KNOWN_OPTIONS.iter().copied()) {
            Some(near) => format!("unknown option `{}`: did you mean `{near}`?", shown(name)),
            None => format!("unknown option `{}`", shown(name)),
        };
        value.error(what, "use object_store's S3 option names, such as region, endpoint, allow_http, role_arn");
        return None;
    };
    let meaning = key.as_ref().to_string();
    if secrets == Secrets::Refused && SECRETS.contains(&meaning.as_str()) {
        let what = format!("`{name}` is a secret, and secrets are never written into the config");
        value.error(what, "put it into options_file");
        return None;
    }
    match (key, &value.node.kind) {
        (AmazonS3ConfigKey::Bucket, _) => {
            value.error("the bucket is named by `url`", LEAVE_OUT);
            None
        }
        (AmazonS3ConfigKey::Client(object_store::ClientConfigKey::Timeout), _) => {
            value.error("the time for a request is the store's own `timeout`", "write timeout beside url");
            None
        }
        (AmazonS3ConfigKey::Client(object_store::ClientConfigKey::ProxyUrl), Kind::Scalar { text, .. })
            if secrets == Secrets::Refused && text.contains('@') =>
        {
            value.error(
                "this proxy URL carries a password, and secrets are never written into the config",
                "put it into options_file",
            );
            None
        }
        _ => Some(meaning),
    }
}
