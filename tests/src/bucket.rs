//! A bucket on a running server, whatever kind of store that is.

use crate::{azurite, gcs, s3};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    S3,
    Gcs,
    /// Azure says container.
    Azure,
}

/// A bucket, and what a client needs to use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    pub kind: Kind,
    pub name: String,
    /// `http://HOST:PORT`, without what some kinds add to it.
    pub endpoint: String,
}

impl Bucket {
    /// `s3://BUCKET`, or the same of another kind.
    pub fn url(&self) -> String {
        let scheme = match self.kind {
            Kind::S3 => "s3",
            Kind::Gcs => "gs",
            Kind::Azure => "az",
        };
        format!("{scheme}://{}", self.name)
    }

    /// object_store's option names and their values, as the config's `options` and `--store-option` take them. What is
    /// secret has `key` in its name.
    pub fn options(&self) -> Vec<(&'static str, String)> {
        let allow_http = ("allow_http", "true".to_owned());
        match self.kind {
            Kind::S3 => vec![
                ("endpoint", self.endpoint.clone()),
                allow_http,
                ("region", "us-east-1".to_owned()),
                ("access_key_id", s3::ACCESS_KEY.to_owned()),
                ("secret_access_key", s3::SECRET_KEY.to_owned()),
            ],
            Kind::Gcs => vec![allow_http, ("service_account_key", gcs::account(&self.endpoint))],
            Kind::Azure => vec![
                ("endpoint", format!("{}/{}", self.endpoint, azurite::ACCOUNT)),
                allow_http,
                ("account_name", azurite::ACCOUNT.to_owned()),
                ("access_key", azurite::KEY.to_owned()),
            ],
        }
    }

    /// The same bucket by another way, a proxy in front of its server say.
    pub fn through(&self, endpoint: impl Into<String>) -> Bucket {
        Bucket { endpoint: endpoint.into(), ..self.clone() }
    }

    /// What must show nowhere.
    pub fn secret(&self) -> &'static str {
        match self.kind {
            Kind::S3 => s3::SECRET_KEY,
            Kind::Gcs => gcs::SECRET,
            Kind::Azure => azurite::KEY,
        }
    }
}
