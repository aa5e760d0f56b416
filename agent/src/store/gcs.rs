//! What Google Cloud Storage can tell of a bucket and object_store has no call for, asked with the store's own credentials.

use super::Store;
use super::s3::{self, Answer};
use crate::config::StoreConfig;
use crate::error::Result;
use object_store::client::HttpClient;
use object_store::gcp::{GoogleCloudStorage, GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::signer::Method;
use serde::Deserialize;
use std::sync::Arc;
use url::Url;

const GOOGLE: &str = "https://storage.googleapis.com";

/// The view of a bucket that only Google's storage has.
#[derive(Clone, Debug)]
pub(super) struct Gcs {
    store: Arc<GoogleCloudStorage>,
    http: HttpClient,
    /// Where the bucket itself is asked about.
    bucket: Url,
}

impl Gcs {
    /// `None` where the bucket's address cannot be told.
    pub fn new(store: Arc<GoogleCloudStorage>, http: HttpClient, base: &str, config: &StoreConfig) -> Option<Gcs> {
        let url = Url::parse(&config.url).ok()?;
        let name = match url.scheme() {
            "gs" => url.host_str()?.to_owned(),
            _ => url.path_segments()?.next()?.to_owned(),
        };
        let mut bucket = Url::parse(base).ok()?;
        bucket.path_segments_mut().ok()?.pop_if_empty().push(&name);
        Some(Gcs { store, http, bucket })
    }

    async fn ask(&self, question: &str) -> object_store::Result<Answer> {
        let mut url = self.bucket.clone();
        url.set_query(Some(question));
        let bearer = self.store.credentials().get_credential().await?.bearer.clone();
        let mut tries = 0;
        loop {
            let asked = s3::send(&self.http, Method::GET, url.as_str(), Some(&bearer)).await;
            tries += 1;
            if !s3::goes_again(&asked, tries).await {
                return asked.map_err(s3::generic);
            }
        }
    }
}

/// Where the builder will send its requests, told in its own order.
pub(super) fn base(builder: &GoogleCloudStorageBuilder) -> String {
    let set = |key| builder.get_config_value(&key);
    let account = || {
        let file = || std::fs::read_to_string(set(GoogleConfigKey::ServiceAccount)?).ok();
        let account: Account = serde_json::from_str(&set(GoogleConfigKey::ServiceAccountKey).or_else(file)?).ok()?;
        account.gcs_base_url
    };
    set(GoogleConfigKey::BaseUrl).or_else(account).unwrap_or_else(|| GOOGLE.to_owned())
}

#[derive(Deserialize)]
struct Account {
    gcs_base_url: Option<String>,
}

impl Store {
    /// Whether the bucket's own lifecycle drops uploads that nobody finished. `None` of every store but Google's: those of
    /// S3 are swept, those of Azure fall away by themselves, and a folder has none.
    pub async fn drops_unfinished_uploads(&self) -> Result<Option<bool>> {
        const OPERATION: &str = "read the lifecycle of";
        let Some(gcs) = self.source.client().gcs else {
            return Ok(None);
        };
        self.count("get_lifecycle");
        let answer = self.own(OPERATION, gcs.ask("lifecycle").await)?;
        let lifecycle: LifecycleXml = self.parsed(OPERATION, &answer)?;
        Ok(Some(lifecycle.rules.iter().any(|rule| rule.action.abort.is_some())))
    }
}

#[derive(Deserialize)]
struct LifecycleXml {
    #[serde(rename = "Rule", default)]
    rules: Vec<RuleXml>,
}

#[derive(Deserialize)]
struct RuleXml {
    #[serde(rename = "Action")]
    action: ActionXml,
}

#[derive(Deserialize)]
struct ActionXml {
    #[serde(rename = "AbortIncompleteMultipartUpload")]
    abort: Option<Empty>,
}

#[derive(Deserialize)]
struct Empty {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_bucket_follows_url_and_options() {
        let _ = rustls::crypto::ring::default_provider().install_default(); // another test may have done it
        let store = |url: &str, options: &[(GoogleConfigKey, &str)]| {
            let mut builder = GoogleCloudStorageBuilder::new().with_url(url).with_skip_signature(true);
            for (key, value) in options {
                builder = builder.with_config(*key, *value);
            }
            let base = base(&builder);
            let connector = s3::Keeping::default();
            let store = builder.with_http_connector(connector.clone()).build().unwrap();
            let gcs = Gcs::new(Arc::new(store), connector.kept().unwrap(), &base, &StoreConfig::plain("main", url));
            gcs.unwrap().bucket.to_string()
        };
        let account = r#"{"gcs_base_url":"https://two.example:4443/","disable_oauth":true,
            "client_email":"","private_key":"","private_key_id":""}"#;
        let key = (GoogleConfigKey::ServiceAccountKey, account);
        let bearer = (GoogleConfigKey::BearerToken, "x");
        assert_eq!(store("gs://backups/etcd", &[bearer]), "https://storage.googleapis.com/backups");
        assert_eq!(store("gs://backups", &[key]), "https://two.example:4443/backups");
        let one = (GoogleConfigKey::BaseUrl, "https://one.example");
        assert_eq!(store("gs://backups", &[key, one]), "https://one.example/backups");
    }

    #[test]
    fn a_rule_that_drops_unfinished_uploads_is_seen_among_others() {
        let drops = |rules: &str| {
            let text = format!(
                "<?xml version='1.0' encoding='UTF-8'?><LifecycleConfiguration>{rules}</LifecycleConfiguration>"
            );
            let read: LifecycleXml = quick_xml::de::from_str(&text).unwrap();
            read.rules.iter().any(|rule| rule.action.abort.is_some())
        };
        let rule = |action: &str| format!("<Rule><Action>{action}</Action><Condition><Age>2</Age></Condition></Rule>");
        assert!(!drops(""));
        assert!(!drops(&rule("<Delete/>")));
        assert!(drops(&(rule("<Delete/>") + &rule("<AbortIncompleteMultipartUpload/>"))));
    }
}
