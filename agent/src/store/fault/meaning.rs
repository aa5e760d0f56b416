//! From what is known of an error to a reason and a next move.

use super::facts::{Facts, Tls};
use crate::error::Reason;
use object_store::client::HttpErrorKind;
use std::io::ErrorKind;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meaning {
    pub reason: Reason,
    pub hint: &'static str,
}

impl Meaning {
    pub fn is_lock(&self) -> bool {
        self.hint == LOCKED
    }
}

pub(super) const POLICY: &str = "check the store's credentials and what its policy lets this role do";
const CREDENTIALS: &str = "check the store's credentials: it does not know the key, or the secret does not fit it";
const EXPIRED: &str =
    "check the store's credentials: they have expired; new ones in options_file are used without a restart";
const NO_CREDENTIALS: &str = "check the store's credentials: none were given, and this machine's own (workload identity, \
                              instance metadata) could not be had; name keys in options_file, or give the pod or machine a role";
const LOCKED: &str = "it is locked until its retention ends, which is what the lock is for: prune takes it at a slot after \
                      that; nothing is wrong with the credentials";
const NO_LOCK: &str = "this bucket was made without object lock: make one with it, or leave `lock` out of the config";
const BUCKET: &str = "create the bucket, or correct its name and region in the config";
const REGION: &str = "set `region` (or `endpoint`) to the bucket's own: the store says that it lies elsewhere";
const CLOCK: &str = "set this machine's clock: the store refuses requests signed with a wrong time";
const THROTTLED: &str = "the store asks for fewer requests; it is tried again at the next slot";
const CONFLICT: &str = "another writer holds that name; nothing was overwritten";
const MISSING: &str = "the object is gone from the store: `lifeboat list` shows what is left";
const UPLOAD_GONE: &str =
    "the upload was dropped at the store while it ran, by a lifecycle rule or by hand; the next one begins anew";
const SPACE: &str = "free space on the store, or give it more";
const OWN_FAULT: &str =
    "the store answered with an error of its own: its log or status page says more; it is tried again";
const REFUSED: &str =
    "the store refuses the request as such; its own words stand above: check endpoint, region and options";
const CANNOT: &str =
    "this store cannot do that; the documentation's page about stores says what each kind must be able to do";
const REACH: &str = "check the store's endpoint, the network and DNS from this machine";
const NAME: &str = "check the store's endpoint and DNS: its name has no address here";
const SLOW: &str = "check the line to the store, or raise the store's `timeout`; it is tried again";
const PLAIN_HTTP: &str = "the endpoint is http://, which must be allowed: set allow_http: \"true\", or use https://";
const AUTHORITY: &str = "check the store's certificate: no authority that is known here signed it; give its CA as `ca_file` \
                         in the config, or with --store-ca";
const CERTIFICATE_TIME: &str = "check the store's certificate and this machine's clock: it is out of its time";
const CERTIFICATE_NAME: &str =
    "check the store's certificate and `endpoint`: it is made for another name than is asked for";
const NOT_TLS: &str = "check `endpoint`: what answers there speaks no TLS; it may be an http:// address";
const TLS: &str = "check the store's certificate and the CA that this machine trusts";
const FOLDER_MODE: &str = "check the owner and mode of the store's folder for the user that runs lifeboat";
const FOLDER_READ_ONLY: &str = "the store's folder is mounted read-only: mount it for writing";
const FOLDER_GONE: &str = "check the mount that the store's folder lies on";
const FOLDER_DISK: &str = "check the disk or mount below the store's folder: the kernel's log says more";

/// The stores' own words, in lower case, of S3 and what speaks like it, of Google, of Azure, and of their token servers.
const CODES: &[(Reason, &str, &[&str])] = &[
    (
        Reason::StoreBucketMissing,
        BUCKET,
        &["nosuchbucket", "containernotfound", "containerbeingdeleted", "containerdisabled", "invalidbucketname"],
    ),
    (
        Reason::StoreBucketMissing,
        REGION,
        &["permanentredirect", "temporaryredirect", "authorizationheadermalformed", "incorrectendpoint"],
    ),
    (Reason::StoreClockSkew, CLOCK, &["requesttimetooskewed"]),
    (
        Reason::StoreDenied,
        CREDENTIALS,
        &[
            "invalidaccesskeyid",
            "signaturedoesnotmatch",
            "authenticationfailed",
            "invalidauthenticationinfo",
            "noauthenticationinformation",
            "authenticationrequired",
            "unauthenticated",
            "invalid_grant",
            "invalid_client",
            "unauthorized_client",
            "invalididentitytoken",
            "notsignedup",
        ],
    ),
    (Reason::StoreDenied, EXPIRED, &["expiredtoken", "tokenrefreshrequired", "invalidtoken", "expiredtokenexception"]),
    (
        Reason::StoreDenied,
        POLICY,
        &[
            "accessdenied",
            "accountproblem",
            "allaccessdisabled",
            "userprojectaccessdenied",
            "userprojectmissing",
            "permission_denied",
            "forbidden",
            "insufficientpermissions",
            "authorizationfailure",
            "authorizationpermissionmismatch",
            "authorizationprotocolmismatch",
            "authorizationresourcetypemismatch",
            "authorizationservicemismatch",
            "authorizationsourceipmismatch",
            "insufficientaccountpermissions",
            "accountisdisabled",
            "publicaccessnotpermitted",
            "keybasedauthenticationnotpermitted",
        ],
    ),
    (
        Reason::StoreDenied,
        LOCKED,
        &[
            "blobimmutableduetopolicy",
            "blobimmutableduetolegalhold",
            "objectlocked",
            "retentionpolicynotmet",
            "objectunderactivehold",
        ],
    ),
    // A right to create that is no right to overwrite answers like this where the name is taken.
    (
        Reason::StoreConflict,
        CONFLICT,
        &[
            "unauthorizedbloboverwrite",
            "blobalreadyexists",
            "conditionnotmet",
            "targetconditionnotmet",
            "preconditionfailed",
            "conditionalrequestconflict",
            "operationaborted",
            "leaseidmissing",
        ],
    ),
    (Reason::ObjectMissing, UPLOAD_GONE, &["nosuchupload", "invalidblocklist"]),
    (Reason::ObjectMissing, MISSING, &["nosuchkey", "blobnotfound", "nosuchversion"]),
    (
        Reason::StoreThrottled,
        THROTTLED,
        &[
            "slowdown",
            "serverbusy",
            "toomanyrequests",
            "requestlimitexceeded",
            "throttling",
            "throttlingexception",
            "bandwidthlimitexceeded",
            "ratelimitexceeded",
            "userratelimitexceeded",
            "resource_exhausted",
            "serviceunavailable",
            "accountbandwidthlimitexceeded",
        ],
    ),
    (
        Reason::NoSpace,
        SPACE,
        &[
            "quotaexceeded",
            "insufficientstorage",
            "storagefull",
            "xminiostoragefull",
            "xminioadminbucketquotaexceeded",
            "accountquotaexceeded",
            "storagequotaexceeded",
            "toomuchdata",
        ],
    ),
    (Reason::StoreTimeout, SLOW, &["requesttimeout", "operationtimedout"]),
    (Reason::StoreUnreachable, OWN_FAULT, &["internalerror", "backenderror"]),
    (Reason::Config, NO_LOCK, &["invalidbucketstate", "objectlockconfigurationnotfounderror"]),
];

/// A lock's refusal comes as a denial like any other; only its words differ.
const LOCK_WORDS: &[&str] = &["worm", "object lock", "is locked", "legal hold", "retention", "immutab", "active hold"];
/// S3's own words, and those of whoever asked the bucket before it sent a lock.
const MISSING_LOCK: &str = "missing object lock configuration";
/// The words in which tokens and signatures are refused for their time.
const CLOCK_WORDS: &[&str] = &[
    "date header too old",
    "time too skewed",
    "too large of a time difference",
    "short-lived token (60 minutes) and in a reasonable timeframe",
    "assertion is not within its valid time range",
    "server's time and the client's time",
];

pub(super) fn of(operation: &str, facts: &Facts) -> Meaning {
    let (reason, hint) = credentials(facts)
        .or_else(|| said(operation, facts))
        .or_else(|| answered(facts))
        .or_else(|| below(facts))
        .or_else(|| carried(facts))
        .unwrap_or((Reason::StoreUnreachable, REACH));
    Meaning { reason, hint }
}

/// The store was never asked: there was nothing to ask it with.
fn credentials(facts: &Facts) -> Option<(Reason, &'static str)> {
    facts.instance.then_some((Reason::StoreDenied, NO_CREDENTIALS))
}

/// What the store itself said.
fn said(operation: &str, facts: &Facts) -> Option<(Reason, &'static str)> {
    let refusal = matches!(facts.status, Some(400..=403 | 409 | 412)) || facts.code.is_some();
    if refusal && facts.says(&[MISSING_LOCK, "object lock is not enabled"]) {
        return Some((Reason::Config, NO_LOCK));
    }
    if refusal && operation == "delete" && facts.says(LOCK_WORDS) {
        return Some((Reason::StoreDenied, LOCKED));
    }
    if refusal && facts.says(CLOCK_WORDS) {
        return Some((Reason::StoreClockSkew, CLOCK));
    }
    let code = facts.code.as_deref()?;
    CODES.iter().find(|(.., codes)| codes.contains(&code)).map(|(reason, hint, _)| (*reason, *hint))
}

/// What the status alone tells, as after HEAD, which has no words.
fn answered(facts: &Facts) -> Option<(Reason, &'static str)> {
    Some(match facts.status? {
        200..=299 | 500..=502 | 504 | 520..=599 => (Reason::StoreUnreachable, OWN_FAULT),
        300..=399 => (Reason::StoreBucketMissing, REGION),
        401 => (Reason::StoreDenied, CREDENTIALS),
        403 | 407 => (Reason::StoreDenied, POLICY),
        404 | 410 => (Reason::ObjectMissing, MISSING),
        405 => (Reason::StoreDenied, CANNOT),
        408 => (Reason::StoreTimeout, SLOW),
        409 | 412 => (Reason::StoreConflict, CONFLICT),
        429 | 503 => (Reason::StoreThrottled, THROTTLED),
        507 => (Reason::NoSpace, SPACE),
        _ => (Reason::StoreDenied, REFUSED),
    })
}

/// What this machine says, of a folder.
fn below(facts: &Facts) -> Option<(Reason, &'static str)> {
    let kind = facts.io?;
    Some(match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => (Reason::NoSpace, SPACE),
        _ if !facts.folder => return None,
        ErrorKind::PermissionDenied => (Reason::StoreDenied, FOLDER_MODE),
        ErrorKind::ReadOnlyFilesystem => (Reason::StoreDenied, FOLDER_READ_ONLY),
        ErrorKind::NotFound => (Reason::ObjectMissing, MISSING),
        ErrorKind::AlreadyExists => (Reason::StoreConflict, CONFLICT),
        ErrorKind::TimedOut => (Reason::StoreTimeout, FOLDER_GONE),
        ErrorKind::StaleNetworkFileHandle
        | ErrorKind::NotConnected
        | ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable
        | ErrorKind::NetworkDown => (Reason::StoreUnreachable, FOLDER_GONE),
        _ => (Reason::HostIo, FOLDER_DISK),
    })
}

/// How the way to the store failed.
fn carried(facts: &Facts) -> Option<(Reason, &'static str)> {
    if let Some(tls) = facts.tls {
        let hint = match tls {
            Tls::UnknownAuthority => AUTHORITY,
            Tls::Expired => CERTIFICATE_TIME,
            Tls::OtherName => CERTIFICATE_NAME,
            Tls::PlainText => NOT_TLS,
            Tls::Other => TLS,
        };
        return Some((Reason::StoreTls, hint));
    }
    if facts.says(&[MISSING_LOCK]) {
        return Some((Reason::Config, NO_LOCK));
    }
    if facts.says(&["redirect without location"]) {
        return Some((Reason::StoreBucketMissing, REGION));
    }
    if facts.says(&["url scheme is not allowed"]) {
        return Some((Reason::Config, PLAIN_HTTP));
    }
    if facts.says(&["dns error", "failed to lookup address"]) {
        return Some((Reason::StoreUnreachable, NAME));
    }
    if facts.connecting {
        return Some((Reason::StoreUnreachable, REACH));
    }
    if facts.transport == Some(HttpErrorKind::Timeout) || facts.io == Some(ErrorKind::TimedOut) {
        return Some((Reason::StoreTimeout, SLOW));
    }
    // The verifier of a platform has errors of its own.
    if facts.says(&["certificate", "tls handshake", "no ca certificates"]) {
        return Some((Reason::StoreTls, TLS));
    }
    facts.says(&["timed out", "timeout"]).then_some((Reason::StoreTimeout, SLOW))
}

/// The right that an operation needs, in the words of the store's own policies.
pub(super) fn right(url: &str, operation: &str) -> Option<&'static str> {
    let (scheme, _) = url.split_once("://")?;
    let rights = match scheme {
        "s3" | "s3a" => [
            "s3:ListBucket",
            "s3:PutObject (and s3:PutObjectRetention where `lock` is set)",
            "s3:GetObject",
            "s3:DeleteObject",
            "s3:ListBucketMultipartUploads",
            "s3:AbortMultipartUpload",
            "s3:GetBucketVersioning",
            "s3:GetBucketObjectLockConfiguration",
        ],
        "gs" => [
            "storage.objects.list",
            "storage.objects.create",
            "storage.objects.get",
            "storage.objects.delete",
            "storage.multipartUploads.list",
            "storage.multipartUploads.abort",
            "storage.buckets.get",
            "storage.buckets.get",
        ],
        "az" | "azure" | "abfs" | "abfss" | "adl" => {
            let (read, write) = ("blobs/read, as in Storage Blob Data Reader", "blobs/add/action or blobs/write");
            [read, write, read, "blobs/delete", read, write, read, read]
        }
        _ => return None,
    };
    let at = match operation {
        "list" => 0,
        "create" | "upload" => 1,
        "read" | "head" => 2,
        "delete" => 3,
        "list uploads of" => 4,
        "abort" => 5,
        "read the versioning of" => 6,
        "read the object lock of" => 7,
        _ => return None,
    };
    rights.get(at).copied()
}
