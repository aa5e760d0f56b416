//! What can be known of an error: from types where they are public, from the store's own words where they are not.

use object_store::client::{HttpError, HttpErrorKind};
use std::error::Error as StdError;
use std::io;

/// Everything that the meaning of an error is judged by.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// What the store answered with, or what object_store made of that.
    pub status: Option<u16>,
    /// The store's own word for it, in lower case: `nosuchbucket`.
    pub code: Option<String>,
    /// How the request itself went wrong.
    pub transport: Option<HttpErrorKind>,
    /// No connection came about.
    pub connecting: bool,
    pub io: Option<io::ErrorKind>,
    pub tls: Option<Tls>,
    /// A folder's error, whose causes are this machine's.
    pub folder: bool,
    /// The address of this machine's own credentials was asked, not the store.
    pub instance: bool,
    /// All messages in lower case, without addresses: a port of 45031 must not be read as a status 503.
    pub text: String,
}

/// What a certificate or a handshake suffers from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tls {
    UnknownAuthority,
    Expired,
    OtherName,
    PlainText,
    Other,
}

/// Where clouds hand out credentials to their machines, pods and functions.
const INSTANCE: &[&str] = &[
    "//169.254.169.254",
    "//169.254.170.2",
    "//[fd00:ec2::23]",
    "//[fd00:ec2::254]",
    "//metadata.google.internal",
    "//metadata/computemetadata",
];

impl Facts {
    pub fn of(error: &object_store::Error) -> Facts {
        use object_store::Error as E;
        let mut facts = Facts::default();
        let mut texts = Vec::new();
        let mut next: Option<&(dyn StdError + 'static)> = Some(error);
        while let Some(cause) = next {
            texts.push(cause.to_string());
            next = facts.look(cause);
        }
        texts.iter().for_each(|text| facts.hear(text));
        let made_of = match error {
            E::NotFound { .. } => Some(404),
            E::AlreadyExists { .. } => Some(409),
            E::Precondition { .. } => Some(412),
            E::PermissionDenied { .. } => Some(403),
            E::Unauthenticated { .. } => Some(401),
            E::NotSupported { .. } | E::NotImplemented { .. } => Some(501),
            E::Generic { store, .. } => {
                facts.folder = *store == "LocalFileSystem";
                None
            }
            _ => None,
        };
        facts.status = facts.status.or(made_of);
        facts.text = plain(&texts.join(": "));
        facts
    }

    pub fn of_answer(status: u16, body: &str) -> Facts {
        Facts { status: Some(status), code: code(body), text: plain(body), ..Facts::default() }
    }

    /// Takes what a cause's type tells, and gives the next cause.
    fn look<'a>(&mut self, cause: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
        if let Some(http) = cause.downcast_ref::<HttpError>() {
            self.transport = Some(http.kind());
            self.connecting |= http.kind() == HttpErrorKind::Connect;
        }
        if let Some(request) = cause.downcast_ref::<reqwest::Error>() {
            self.connecting |= request.is_connect();
        }
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            self.tls = Some(Tls::of(tls));
        }
        let Some(io) = cause.downcast_ref::<io::Error>() else {
            return cause.source();
        };
        if io.kind() != io::ErrorKind::Other {
            self.io = self.io.or(Some(io.kind()));
        }
        // `source` of an I/O error skips the error that it was made from.
        io.get_ref().map(|inner| inner as &(dyn StdError + 'static))
    }

    /// object_store keeps its answers' status and body in types of its own that say them in exactly these words.
    fn hear(&mut self, text: &str) {
        if let Some(answer) = text.strip_prefix("Server returned non-2xx status code: ") {
            let (status, body) = answer.split_once(": ").unwrap_or((answer, ""));
            self.status = status.get(..3).and_then(|digits| digits.parse().ok());
            self.code = code(body);
        } else if let Some(body) = text.strip_prefix("Server returned error response: ") {
            self.code = code(body);
        } else if text.contains("request failed for key ") {
            self.code = between(text, "(code: ", ")").map(str::to_lowercase);
        }
        let text = text.to_lowercase();
        self.instance |= INSTANCE.iter().any(|address| text.contains(address));
    }

    pub fn says(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.text.contains(word))
    }
}

impl Tls {
    fn of(error: &rustls::Error) -> Tls {
        use rustls::CertificateError as C;
        match error {
            rustls::Error::InvalidCertificate(certificate) => match certificate {
                // An authority of the same name with another key, as after a renewal, gives a bad signature.
                C::UnknownIssuer | C::BadSignature => Tls::UnknownAuthority,
                C::Expired | C::ExpiredContext { .. } | C::NotValidYet | C::NotValidYetContext { .. } => Tls::Expired,
                C::NotValidForName | C::NotValidForNameContext { .. } => Tls::OtherName,
                _ => Tls::Other,
            },
            rustls::Error::InvalidMessage(_) => Tls::PlainText,
            _ => Tls::Other,
        }
    }
}

/// The word for what went wrong: of S3's, Google's or Azure's XML, or of the JSON that their token servers speak.
fn code(body: &str) -> Option<String> {
    if let Some(code) = between(body, "<Code>", "</Code>") {
        return Some(code.trim().to_lowercase());
    }
    let json: serde_json::Value = serde_json::from_str(body).ok()?;
    let error = json.get("error").unwrap_or(&json);
    let first = |name: &str| error.get("errors").and_then(|errors| errors.get(0)).and_then(|first| first.get(name));
    let word = error.as_str().or_else(|| first("reason")?.as_str());
    let word = word.or_else(|| error.get("status")?.as_str()).or_else(|| error.get("code")?.as_str());
    word.or_else(|| json.get("Code")?.as_str()).map(str::to_lowercase)
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(begin)?;
    Some(rest.split_once(end)?.0)
}

fn plain(text: &str) -> String {
    // object_store names its own limit in every error that it tried to get around: no sign that anything took too long.
    const NOT_SAID: &[&str] = &["http://", "https://", "retry_timeout:"];
    let words = text.split_whitespace().filter(|word| !NOT_SAID.iter().any(|begin| word.starts_with(begin)));
    words.collect::<Vec<_>>().join(" ").to_lowercase()
}
