//! `etcd`: the preset `kubeadm`, or endpoints and how to speak to them.

use super::cursor::{Cursor, Fields, Reading, shown};
use super::env::Env;
use super::tree::{Kind, Node};
use super::{Compare, Etcd, Members, Tls};
use std::path::Path;
use url::Url;

const PKI: &str = "/etc/kubernetes/pki/etcd";
const FIELDS: &[&str] = &["endpoints", "members", "tls", "user", "password_file", "compare"];

/// What the preset had to settle for.
pub(crate) enum Preset {
    /// The healthcheck certificate, which belongs to the kubelet's probe and goes when kubeadm renews it.
    Borrowed,
    /// Neither certificate is here: fine for looking at backups, not for making them.
    Absent,
}

/// Replaces `etcd: kubeadm` by what it stands for, before the environment overrides single fields of it.
pub(crate) fn expand_preset(root: &mut Node, env: &dyn Env) -> Option<Preset> {
    let Kind::Map(entries) = &mut root.kind else {
        return None;
    };
    let etcd = &mut entries.iter_mut().find(|entry| entry.key == "etcd")?.node;
    if !matches!(&etcd.kind, Kind::Scalar { text, .. } if text == "kubeadm") {
        return None;
    }
    let here = |name: &str| {
        let pair = [format!("{PKI}/{name}.crt"), format!("{PKI}/{name}.key")];
        pair.iter().all(|file| env.is_file(Path::new(file)))
    };
    let (name, settled) = match (here("lifeboat"), here("healthcheck-client")) {
        (true, _) => ("lifeboat", None),
        (false, true) => ("healthcheck-client", Some(Preset::Borrowed)),
        (false, false) => ("lifeboat", Some(Preset::Absent)),
    };
    let place = etcd.place;
    let text = |value: &str| Node::text(value, place);
    let tls = [
        ("ca_file", text(&format!("{PKI}/ca.crt"))),
        ("cert_file", text(&format!("{PKI}/{name}.crt"))),
        ("key_file", text(&format!("{PKI}/{name}.key"))),
    ];
    let endpoints = Node { place, kind: Kind::List(vec![text("https://127.0.0.1:2379")]) };
    let fields = [("endpoints", endpoints), ("members", text("discover")), ("tls", Node::map(tls, place))];
    *etcd = Node::map(fields, place);
    settled.filter(|_| env.var("LIFEBOAT_ETCD_CERT_FILE").is_none())
}

pub(crate) fn warn_preset(reading: &Reading<'_>, settled: Option<Preset>) {
    match settled {
        None => {}
        Some(Preset::Borrowed) => reading.warning(
            &["etcd"],
            format!("{PKI}/lifeboat.crt and .key are not here: kubeadm's healthcheck-client certificate is used instead"),
            "sign a client certificate of its own for lifeboat with that CA, so that each can be replaced alone",
        ),
        Some(Preset::Absent) => reading.warning(
            &["etcd"],
            format!("neither lifeboat.crt nor healthcheck-client.crt, with its key, is readable in {PKI}: backups cannot start here"),
            "run this on a control-plane node with that folder mounted, or write `etcd` as a mapping with tls",
        ),
    }
}

pub(crate) fn read(cursor: &Cursor<'_>) -> Option<Etcd> {
    if let Kind::Scalar { text, .. } = &cursor.node.kind {
        cursor.error(
            format!("expected `kubeadm` or a mapping, found `{}`", shown(text)),
            "write `etcd: kubeadm`, or a mapping with endpoints and tls",
        );
        return None;
    }
    let fields = cursor.fields_besides(FIELDS, &["password"])?;
    fields.no_secret("password", "password_file");
    let endpoints = read_endpoints(&fields);
    let members = fields
        .get("members")
        .and_then(|c| c.word(&[("discover", Members::Discover), ("endpoints", Members::Endpoints)]))
        .unwrap_or(Members::Discover);
    let compare = fields
        .get("compare")
        .and_then(|c| c.word(&[("all", Compare::All), ("source", Compare::Source), ("off", Compare::Off)]))
        .unwrap_or(Compare::All);
    let tls = fields.get("tls").and_then(|c| read_tls(&c));
    let user = fields.get("user").and_then(|c| c.text("a user name")).map(str::to_string);
    let password_file = fields.get("password_file").and_then(|c| c.path());
    check_tls(cursor, &fields, &endpoints, tls.as_ref());
    if fields.has("user") != fields.has("password_file") {
        cursor.error("`user` and `password_file` belong together, and one is missing", "write both or neither");
    }
    Some(Etcd { endpoints, members, tls, user, password_file, compare })
}

fn read_endpoints(fields: &Fields<'_>) -> Vec<String> {
    const FIX: &str = "write a list: endpoints: [https://127.0.0.1:2379]";
    let Some(cursor) = fields.need("endpoints", FIX) else {
        return Vec::new();
    };
    if matches!(&cursor.node.kind, Kind::List(items) if items.is_empty()) {
        cursor.error("no endpoint is named", FIX);
    }
    cursor.items("a list of endpoints", FIX).iter().filter_map(read_endpoint).collect()
}

fn read_endpoint(cursor: &Cursor<'_>) -> Option<String> {
    const FIX: &str = "write scheme, host and port: https://10.0.0.11:2379";
    let text = cursor.text("an endpoint like https://127.0.0.1:2379")?;
    if !text.starts_with("https://") && !text.starts_with("http://") {
        cursor.error("an endpoint begins with https:// or http://", FIX);
        return None;
    }
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => {
            cursor.error(format!("not an endpoint: {error}"), FIX);
            return None;
        }
    };
    if !url.username().is_empty() || url.password().is_some() {
        cursor.error("an endpoint carries no user or password", "use `user` and `password_file`");
        return None;
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        cursor.error("an endpoint ends with its port", FIX);
        return None;
    }
    // The url crate drops a port that is the scheme's own, so the text decides whether one was written.
    let authority = text.trim_end_matches('/').rsplit("//").next().unwrap_or_default();
    if !authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0)) {
        cursor.error("an endpoint names its port", FIX);
        return None;
    }
    Some(text.trim_end_matches('/').to_string())
}

fn read_tls(cursor: &Cursor<'_>) -> Option<Tls> {
    let fields = cursor.fields(&["ca_file", "cert_file", "key_file"])?;
    let file = |name: &str| fields.get(name).and_then(|c| c.path());
    let tls = Tls { ca_file: file("ca_file"), cert_file: file("cert_file"), key_file: file("key_file") };
    if fields.has("cert_file") && !fields.has("key_file") {
        cursor.error("`cert_file` without `key_file`: the certificate cannot be used", "name its key as key_file");
    }
    if fields.has("key_file") && !fields.has("cert_file") {
        cursor.error("`key_file` without `cert_file`: the key cannot be used", "name its certificate as cert_file");
    }
    Some(tls)
}

fn check_tls(cursor: &Cursor<'_>, fields: &Fields<'_>, endpoints: &[String], tls: Option<&Tls>) {
    let https = endpoints.iter().any(|endpoint| endpoint.starts_with("https://"));
    let http = endpoints.iter().any(|endpoint| endpoint.starts_with("http://"));
    if https && http {
        cursor.error(
            "http:// and https:// endpoints are mixed",
            "one cluster speaks one of them: write all endpoints alike",
        );
    }
    // A `tls` that could not be read has its own finding already.
    let has_ca = match fields.get("tls") {
        Some(_) => tls.is_none_or(|tls| tls.ca_file.is_some()) || ca_written(fields),
        None => false,
    };
    if https && !has_ca {
        fields.get("tls").as_ref().unwrap_or(cursor).error(
            "https:// endpoints need the CA that etcd's certificates are signed by",
            format!("name it: tls: {{ ca_file: {PKI}/ca.crt }}"),
        );
    }
    if http && !https && fields.has("tls") {
        cursor.warning("`tls` has no effect on http:// endpoints: everything is sent in the clear", "write https://");
    }
}

fn ca_written(fields: &Fields<'_>) -> bool {
    fields.get("tls").is_some_and(|tls| tls.node.child("ca_file").is_some())
}
