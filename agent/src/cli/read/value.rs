//! What a value is, by how it begins: as the API server writes objects, in JSON or protobuf, in the clear or encrypted.

use serde_json::Value;

/// Before every object that is stored as protobuf.
const PROTOBUF: &[u8] = b"k8s\0";
const ENCRYPTED: &[u8] = b"k8s:enc:";

/// What the API server wraps an object in, `runtime.Unknown` of k8s.io/apimachinery.
#[derive(Clone, PartialEq, prost::Message)]
struct Unknown {
    #[prost(message, optional, tag = "1")]
    type_meta: Option<TypeMeta>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TypeMeta {
    #[prost(string, tag = "1")]
    api_version: String,
    #[prost(string, tag = "2")]
    kind: String,
}

/// How a value is written, and of what type it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// `json`, `protobuf`, `encrypted`, `text`, `binary`.
    pub encoding: &'static str,
    /// `apps/v1`, where the value says so.
    pub api_version: Option<String>,
    pub kind: Option<String>,
}

impl Shape {
    pub fn of(value: &[u8]) -> Shape {
        let plain = |encoding| Shape { encoding, api_version: None, kind: None };
        if let Some(rest) = value.strip_prefix(PROTOBUF) {
            let meta = <Unknown as prost::Message>::decode(rest).ok().and_then(|unknown| unknown.type_meta);
            let (api_version, kind) = meta.map(|meta| (meta.api_version, meta.kind)).unzip();
            return Shape { encoding: "protobuf", api_version, kind };
        }
        if value.starts_with(ENCRYPTED) {
            return plain("encrypted");
        }
        match (serde_json::from_slice::<Value>(value), std::str::from_utf8(value)) {
            (Ok(Value::Object(fields)), _) => {
                let field = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
                Shape { encoding: "json", api_version: field("apiVersion"), kind: field("kind") }
            }
            (_, Ok(_)) => plain("text"),
            _ => plain("binary"),
        }
    }

    /// `apps/v1 Deployment`, or how it is written.
    pub fn name(&self) -> String {
        match (&self.api_version, &self.kind) {
            (Some(version), Some(kind)) => format!("{version} {kind}"),
            (None, Some(kind)) => kind.clone(),
            _ => self.encoding.to_owned(),
        }
    }

    /// Whether it is not shown unless that is asked for: by its own type, or by the path that the API server keeps it under.
    pub fn is_secret(&self, key: &[u8]) -> bool {
        self.kind.as_deref() == Some("Secret") || key.split(|byte| *byte == b'/').any(|part| part == b"secrets")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_apart_by_how_they_begin() {
        let deployment = b"k8s\0\x0a\x15\x0a\x07apps/v1\x12\x0aDeployment\x12\x02xx";
        assert_eq!(Shape::of(deployment).name(), "apps/v1 Deployment");
        assert_eq!(
            Shape::of(br#"{"kind":"Lease","apiVersion":"coordination.k8s.io/v1"}"#).name(),
            "coordination.k8s.io/v1 Lease"
        );
        assert_eq!(Shape::of(b"k8s:enc:aescbc:v1:key2:\x01\xff").name(), "encrypted");
        assert_eq!(Shape::of(b"compact_rev_key").name(), "text");
        assert_eq!(Shape::of(b"\xff\xfe").name(), "binary");
        assert_eq!(Shape::of(b"k8s\0\xff\xff\xff").name(), "protobuf");
    }

    #[test]
    fn a_secret_is_one_by_its_type_or_by_its_path() {
        let secret = Shape::of(br#"{"kind":"Secret","apiVersion":"v1"}"#);
        assert!(secret.is_secret(b"/elsewhere"));
        assert!(Shape::of(b"x").is_secret(b"/registry/secrets/default/token"));
        assert!(!Shape::of(b"x").is_secret(b"/registry/configmaps/default/secrets-of-the-trade"));
    }
}
