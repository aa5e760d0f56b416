//! The answers of stores, and what each must be taken for.

use super::Kind::{self, *};
use crate::error::Reason::{self, *};

/// A server's answer, the request that it was given to, the reason and a part of the hint.
pub(super) struct Row(
    pub(super) Kind,
    pub(super) &'static str,
    pub(super) u16,
    pub(super) &'static str,
    pub(super) Reason,
    pub(super) &'static str,
);

/// S3's are SeaweedFS' and moto's own and those that AWS documents; Azure's are Azurite's and documented ones; Google's
/// are documented ones.
pub(super) const ROWS: &[Row] = &[
    Row(
        S3,
        "list",
        404,
        "<Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist</Message></Error>",
        StoreBucketMissing,
        "create the bucket",
    ),
    Row(
        S3,
        "read",
        404,
        "<Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist</Message></Error>",
        StoreBucketMissing,
        "create the bucket",
    ),
    Row(
        S3,
        "read",
        404,
        "<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>",
        ObjectMissing,
        "lifeboat list",
    ),
    Row(S3, "head", 404, "", ObjectMissing, "lifeboat list"),
    Row(S3, "head", 403, "", StoreDenied, "it needs s3:GetObject"),
    Row(
        S3,
        "list",
        403,
        "<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>",
        StoreDenied,
        "it needs s3:ListBucket",
    ),
    Row(
        S3,
        "create",
        403,
        "<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>",
        StoreDenied,
        "it needs s3:PutObject",
    ),
    Row(
        S3,
        "list",
        403,
        "<Error><Code>InvalidAccessKeyId</Code><Message>The AWS access key Id you provided does not exist in our \
         records.</Message></Error>",
        StoreDenied,
        "does not know the key",
    ),
    Row(
        S3,
        "list",
        403,
        "<Error><Code>SignatureDoesNotMatch</Code><Message>The request signature we calculated does not match the \
         signature you provided. Check your key and signing method.</Message></Error>",
        StoreDenied,
        "does not know the key",
    ),
    Row(
        S3,
        "read",
        400,
        "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>",
        StoreDenied,
        "have expired",
    ),
    Row(
        S3,
        "create",
        403,
        "<Error><Code>RequestTimeTooSkewed</Code><Message>The difference between the request time and the \
         server's time is too large.</Message></Error>",
        StoreClockSkew,
        "set this machine's clock",
    ),
    Row(
        S3,
        "list",
        400,
        "<Error><Code>AuthorizationHeaderMalformed</Code><Message>The authorization header is malformed; the \
         region 'us-east-1' is wrong; expecting 'eu-central-1'</Message><Region>eu-central-1</Region></Error>",
        StoreBucketMissing,
        "set `region`",
    ),
    Row(S3, "list", 301, "<Error><Code>PermanentRedirect</Code></Error>", StoreBucketMissing, "set `region`"),
    Row(
        S3,
        "create",
        503,
        "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>",
        StoreThrottled,
        "fewer requests",
    ),
    Row(S3, "read", 429, "", StoreThrottled, "fewer requests"),
    Row(
        S3,
        "read",
        500,
        "<Error><Code>InternalError</Code><Message>We encountered an internal error, please try \
         again.</Message></Error>",
        StoreUnreachable,
        "an error of its own",
    ),
    Row(S3, "read", 502, "<html>bad gateway</html>", StoreUnreachable, "an error of its own"),
    Row(
        S3,
        "create",
        412,
        "<Error><Code>PreconditionFailed</Code><Message>At least one of the pre-conditions you specified did not \
         hold</Message></Error>",
        StoreConflict,
        "nothing was overwritten",
    ),
    Row(
        S3,
        "create",
        409,
        "<Error><Code>ConditionalRequestConflict</Code><Message>The conditional request cannot succeed due to a \
         conflicting operation against this resource.</Message></Error>",
        StoreConflict,
        "nothing was overwritten",
    ),
    Row(
        S3,
        "create",
        507,
        "<Error><Code>XMinioStorageFull</Code><Message>Storage backend has reached its minimum free drive \
         threshold. Please delete a few objects to proceed.</Message></Error>",
        NoSpace,
        "free space on the store",
    ),
    Row(S3, "create", 403, "<Error><Code>QuotaExceeded</Code></Error>", NoSpace, "free space on the store"),
    Row(
        S3,
        "create",
        400,
        "<Error><Code>RequestTimeout</Code><Message>Your socket connection to the server was not read from or \
         written to within the timeout period. Idle connections will be closed.</Message></Error>",
        StoreTimeout,
        "`timeout`",
    ),
    Row(
        S3,
        "create",
        400,
        "<Error><Code>InvalidRequest</Code><Message>Bucket is missing Object Lock Configuration</Message></Error>",
        Config,
        "made without object lock",
    ),
    Row(
        S3,
        "delete",
        200,
        "<DeleteResult><Error><Key>prod/manifest.json</Key><Code>AccessDenied</Code><Message>Access Denied \
         because object protected by object lock.</Message></Error></DeleteResult>",
        StoreDenied,
        "locked until its retention ends",
    ),
    Row(
        S3,
        "delete",
        200,
        "<DeleteResult><Error><Key>prod/manifest.json</Key><Code>AccessDenied</Code><Message>Access \
         Denied</Message></Error></DeleteResult>",
        StoreDenied,
        "it needs s3:DeleteObject",
    ),
    Row(
        S3,
        "delete",
        400,
        "<Error><Code>InvalidRequest</Code><Message>Object is WORM protected and cannot be \
         overwritten</Message></Error>",
        StoreDenied,
        "locked until its retention ends",
    ),
    Row(
        S3,
        "create",
        400,
        "<Error><Code>InvalidArgument</Code><Message>x-amz-foo is wrong</Message></Error>",
        StoreDenied,
        "refuses the request as such",
    ),
    Row(S3, "list", 405, "<Error><Code>MethodNotAllowed</Code></Error>", StoreDenied, "cannot do that"),
    Row(
        Gcs,
        "list",
        404,
        "<?xml version='1.0' encoding='UTF-8'?><Error><Code>NoSuchBucket</Code><Message>The specified bucket does \
         not exist.</Message></Error>",
        StoreBucketMissing,
        "create the bucket",
    ),
    Row(
        Gcs,
        "read",
        404,
        "<?xml version='1.0' encoding='UTF-8'?><Error><Code>NoSuchKey</Code><Message>The specified key does not \
         exist.</Message></Error>",
        ObjectMissing,
        "lifeboat list",
    ),
    Row(
        Gcs,
        "create",
        403,
        "<?xml version='1.0' encoding='UTF-8'?><Error><Code>AccessDenied</Code><Message>Access \
         denied.</Message><Details>agent@project.iam.gserviceaccount.com does not have storage.objects.create \
         access to the Google Cloud Storage object.</Details></Error>",
        StoreDenied,
        "storage.objects.create",
    ),
    Row(
        Gcs,
        "list",
        401,
        "<?xml version='1.0' encoding='UTF-8'?><Error><Code>AuthenticationRequired</Code><Message>Authentication \
         required.</Message></Error>",
        StoreDenied,
        "does not know the key",
    ),
    Row(
        Gcs,
        "create",
        429,
        "<?xml version='1.0' encoding='UTF-8'?><Error><Code>TooManyRequests</Code><Message>The object exceeded \
         the rate limit for object mutation operations (create, update, and delete). Please reduce your request \
         rate.</Message></Error>",
        StoreThrottled,
        "fewer requests",
    ),
    Row(
        Gcs,
        "create",
        503,
        "<?xml version='1.0' encoding='UTF-8'?><Error><Code>ServiceUnavailable</Code><Message>Service is \
         unavailable.</Message></Error>",
        StoreThrottled,
        "fewer requests",
    ),
    Row(
        Gcs,
        "create",
        412,
        "<?xml version='1.0' encoding='UTF-8'?><Error><Code>PreconditionFailed</Code><Message>At least one of the \
         pre-conditions you specified did not hold.</Message></Error>",
        StoreConflict,
        "nothing was overwritten",
    ),
    Row(
        Gcs,
        "delete",
        403,
        "<?xml version='1.0' encoding='UTF-8'?><Error><Code>AccessDenied</Code><Message>Access \
         denied.</Message><Details>Object 'b/o' is subject to bucket's retention policy or object retention and \
         cannot be deleted or overwritten until 2027-01-01T00:00:00Z</Details></Error>",
        StoreDenied,
        "locked until its retention ends",
    ),
    Row(
        Azure,
        "list",
        404,
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>ContainerNotFound</Code><Message>The specified \
         container does not exist.</Message></Error>",
        StoreBucketMissing,
        "create the bucket",
    ),
    Row(
        Azure,
        "read",
        404,
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>BlobNotFound</Code><Message>The specified blob \
         does not exist.</Message></Error>",
        ObjectMissing,
        "lifeboat list",
    ),
    Row(
        Azure,
        "read",
        409,
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>ContainerBeingDeleted</Code><Message>The \
         specified container is being deleted. Try operation later.</Message></Error>",
        StoreBucketMissing,
        "create the bucket",
    ),
    Row(
        Azure,
        "list",
        403,
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>AuthenticationFailed</Code><Message>Server failed \
         to authenticate the request. Make sure the value of Authorization header is formed correctly including \
         the signature.</Message><AuthenticationErrorDetail>The MAC signature found in the HTTP request 'abc' is \
         not the same as any computed signature.</AuthenticationErrorDetail></Error>",
        StoreDenied,
        "does not know the key",
    ),
    Row(
        Azure,
        "list",
        403,
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>AuthenticationFailed</Code><Message>Server failed \
         to authenticate the request. Make sure the value of Authorization header is formed correctly including \
         the signature.</Message><AuthenticationErrorDetail>Request date header too old: 'Wed, 25 Nov 2026 \
         10:00:00 GMT'</AuthenticationErrorDetail></Error>",
        StoreClockSkew,
        "set this machine's clock",
    ),
    Row(
        Azure,
        "create",
        403,
        "<?xml version=\"1.0\" \
         encoding=\"utf-8\"?><Error><Code>AuthorizationPermissionMismatch</Code><Message>This request is not \
         authorized to perform this operation using this permission.</Message></Error>",
        StoreDenied,
        "blobs/add/action",
    ),
    Row(
        Azure,
        "create",
        403,
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>UnauthorizedBlobOverwrite</Code><Message>This \
         request is not authorized to perform blob overwrites.</Message></Error>",
        StoreConflict,
        "nothing was overwritten",
    ),
    Row(
        Azure,
        "create",
        409,
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>BlobAlreadyExists</Code><Message>The specified \
         blob already exists.</Message></Error>",
        StoreConflict,
        "nothing was overwritten",
    ),
    Row(
        Azure,
        "create",
        503,
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>ServerBusy</Code><Message>The server is currently \
         unable to receive requests. Please retry your request.</Message></Error>",
        StoreThrottled,
        "fewer requests",
    ),
    Row(
        Azure,
        "create",
        500,
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>OperationTimedOut</Code><Message>The operation \
         could not be completed within the permitted time.</Message></Error>",
        StoreTimeout,
        "`timeout`",
    ),
    Row(
        Azure,
        "create",
        409,
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>BlobImmutableDueToPolicy</Code><Message>This \
         operation is not permitted as the blob is immutable due to a policy.</Message></Error>",
        StoreDenied,
        "locked until its retention ends",
    ),
];
