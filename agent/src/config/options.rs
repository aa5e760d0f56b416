//! object_store's own option names: which there are for each kind of store, and which are secret.

use super::Provider;
use object_store::ClientConfigKey;
use object_store::aws::AmazonS3ConfigKey;
use object_store::azure::AzureConfigKey;
use object_store::gcp::GoogleConfigKey;

/// What an option is, once object_store knows its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoreOption {
    /// The one name that all its aliases stand for.
    pub(crate) meaning: String,
    pub(crate) kind: OptionKind,
}

/// Options that this config treats in a way of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OptionKind {
    Plain,
    Secret,
    /// The URL says it.
    Bucket,
    /// `timeout` beside the URL says it.
    Timeout,
    /// A URL that may carry a password.
    Proxy,
}

impl StoreOption {
    /// `None`: the provider has no option of that name.
    pub(crate) fn of(provider: Provider, name: &str) -> Option<StoreOption> {
        let (meaning, client, bucket) = match provider {
            Provider::S3 => {
                let key: AmazonS3ConfigKey = name.parse().ok()?;
                let client = if let AmazonS3ConfigKey::Client(client) = &key { Some(*client) } else { None };
                (key.as_ref().to_owned(), client, matches!(key, AmazonS3ConfigKey::Bucket))
            }
            Provider::Gcs => {
                let key: GoogleConfigKey = name.parse().ok()?;
                let client = if let GoogleConfigKey::Client(client) = &key { Some(*client) } else { None };
                (key.as_ref().to_owned(), client, matches!(key, GoogleConfigKey::Bucket))
            }
            Provider::Azure => {
                let key: AzureConfigKey = name.parse().ok()?;
                let client = if let AzureConfigKey::Client(client) = &key { Some(*client) } else { None };
                (key.as_ref().to_owned(), client, matches!(key, AzureConfigKey::ContainerName))
            }
        };
        let kind = match client {
            _ if bucket => OptionKind::Bucket,
            Some(ClientConfigKey::Timeout) => OptionKind::Timeout,
            Some(ClientConfigKey::ProxyUrl) => OptionKind::Proxy,
            _ if SECRETS.contains(&meaning.as_str()) => OptionKind::Secret,
            _ => OptionKind::Plain,
        };
        Some(StoreOption { meaning, kind })
    }
}

/// Names that people know and object_store takes; `StoreOption::of` decides, these lists are for guessing what was meant.
pub(crate) fn known(provider: Provider) -> impl Iterator<Item = &'static str> {
    let own: &[&str] = match provider {
        Provider::S3 => S3,
        Provider::Gcs => GCS,
        Provider::Azure => AZURE,
    };
    own.iter().chain(CLIENT).copied()
}

/// A few names for a message.
pub(crate) fn examples(provider: Provider) -> &'static str {
    match provider {
        Provider::S3 => "region, endpoint, allow_http, role_arn",
        Provider::Gcs => "service_account, application_credentials, base_url",
        Provider::Azure => "account_name, endpoint, client_id, tenant_id",
    }
}

/// The same word, as object_store spells it, for every alias of a secret.
const SECRETS: &[&str] = &[
    "aws_secret_access_key",
    "aws_session_token",
    "aws_sse_customer_key_base64",
    "azure_fabric_session_token",
    "azure_storage_account_key",
    "azure_storage_client_secret",
    "azure_storage_encryption_key",
    "azure_storage_sas_key",
    "azure_storage_token",
    "google_bearer_token",
    "google_service_account_key",
];

const CLIENT: &[&str] = &[
    "allow_http",
    "allow_invalid_certificates",
    "connect_timeout",
    "default_content_type",
    "disable_system_certificates",
    "http1_only",
    "http2_keep_alive_interval",
    "http2_keep_alive_timeout",
    "http2_keep_alive_while_idle",
    "http2_max_frame_size",
    "http2_only",
    "pool_idle_timeout",
    "pool_max_idle_per_host",
    "proxy_ca_certificate",
    "proxy_excludes",
    "proxy_url",
    "randomize_addresses",
    "read_timeout",
    "user_agent",
];

const S3: &[&str] = &[
    "access_key_id",
    "checksum_algorithm",
    "conditional_put",
    "container_authorization_token_file",
    "container_credentials_full_uri",
    "container_credentials_relative_uri",
    "copy_if_not_exists",
    "default_region",
    "disable_bulk_delete",
    "disable_tagging",
    "endpoint",
    "endpoint_url_sts",
    "imdsv1_fallback",
    "metadata_endpoint",
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
    "virtual_hosted_style_request",
    "web_identity_token_file",
];

const GCS: &[&str] = &[
    "application_credentials",
    "base_url",
    "bearer_token",
    "service_account",
    "service_account_key",
    "service_account_path",
    "skip_signature",
];

const AZURE: &[&str] = &[
    "account_key",
    "account_name",
    "authority_host",
    "authority_id",
    "bearer_token",
    "client_id",
    "client_secret",
    "credential_type",
    "disable_tagging",
    "encryption_key",
    "endpoint",
    "fabric_cluster_identifier",
    "fabric_session_token",
    "fabric_token_service_url",
    "fabric_workload_host",
    "federated_token_file",
    "msi_endpoint",
    "msi_resource_id",
    "object_id",
    "sas_key",
    "skip_signature",
    "tenant_id",
    "use_azure_cli",
    "use_emulator",
    "use_fabric_endpoint",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_that_is_guessed_is_one_and_secrets_are_told_by_every_alias() {
        for provider in [Provider::S3, Provider::Gcs, Provider::Azure] {
            for name in known(provider) {
                assert!(StoreOption::of(provider, name).is_some(), "{provider} has no option {name}");
            }
        }
        let secrets = [
            (Provider::S3, ["secret_access_key", "aws_token", "sse_customer_key_base64"].as_slice()),
            (Provider::Gcs, &["service_account_key", "google_bearer_token"]),
            (
                Provider::Azure,
                &[
                    "master_key",
                    "access_key",
                    "sas_token",
                    "azure_client_secret",
                    "token",
                    "encryption_key",
                    "fabric_session_token",
                ],
            ),
        ];
        for (provider, names) in secrets {
            for name in names {
                assert_eq!(
                    StoreOption::of(provider, name).map(|option| option.kind),
                    Some(OptionKind::Secret),
                    "{name}"
                );
            }
        }
        assert_eq!(StoreOption::of(Provider::S3, "regoin"), None);
        assert_eq!(StoreOption::of(Provider::Gcs, "region"), None);
    }
}
