//! What a recovery key says of itself: comments that stock age ignores. They pin the operator's key and the store, so that
//! the key alone leads to the backups years later, however often the agents' keys were changed since.

use super::PublicKey;

/// The comments of an identity file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comments {
    pub cluster: Option<String>,
    pub store: Option<String>,
    /// The operator's public key: whose trust list counts.
    pub operator: Option<PublicKey>,
}

impl Comments {
    /// Whatever of them stands in this text; lines that are not ours, or not well formed, say nothing.
    pub fn of(text: &str) -> Comments {
        let mut comments = Comments::default();
        for line in text.lines() {
            let Some((name, value)) = line.strip_prefix("# lifeboat-").and_then(|line| line.split_once(": ")) else {
                continue;
            };
            let value = value.trim();
            match name {
                "cluster" => comments.cluster = Some(value.to_owned()),
                "store" => comments.store = Some(value.to_owned()),
                "operator" => comments.operator = PublicKey::parse(value).ok(),
                _ => {}
            }
        }
        comments
    }

    pub fn text(&self) -> String {
        let mut text =
            String::from("# Lifeboat recovery key: opens this cluster's etcd backups. Keep it offline, twice.\n");
        let operator = self.operator.as_ref().map(PublicKey::as_str);
        for (name, value) in
            [("cluster", self.cluster.as_deref()), ("store", self.store.as_deref()), ("operator", operator)]
        {
            if let Some(value) = value {
                text.push_str(&format!("# lifeboat-{name}: {value}\n"));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_other_comments_say_nothing() {
        let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
        let comments = Comments {
            cluster: Some("prod-eu-1".to_owned()),
            store: Some("s3://backups/etcd".to_owned()),
            operator: PublicKey::parse(&pair.pk.to_base64()).ok(),
        };
        assert!(comments.operator.is_some());
        let text = format!("{}# public key: age1...\nAGE-SECRET-KEY-1...\n", comments.text());
        assert_eq!(Comments::of(&text), comments);
        assert_eq!(
            Comments::of("# created: today\n# lifeboat-operator: RWx\nlifeboat-store: s3://x\n"),
            Comments::default()
        );
    }
}
