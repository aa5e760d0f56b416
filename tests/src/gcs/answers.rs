//! The answers of the GCS stand-in: objects, ranges of them, pages of a listing, refusals.

use std::collections::BTreeMap;
use std::ops::Range;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::Response;

use super::Object;

/// Says no, with the code that Google gives it.
pub(super) struct Refusal(pub(super) StatusCode, pub(super) &'static str);

impl From<Refusal> for Response {
    fn from(Refusal(status, code): Refusal) -> Self {
        let text = format!("<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code></Error>");
        with_status(status, &[("content-type", "application/xml".to_owned())], Body::from(text))
    }
}

fn with_status(status: StatusCode, headers: &[(&str, String)], body: Body) -> Response {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, value);
    }
    response.body(body).expect("the headers are plain")
}

pub(super) fn answer(headers: &[(&str, String)], body: Body) -> Response {
    with_status(StatusCode::OK, headers, body)
}

pub(super) fn deleted() -> Response {
    with_status(StatusCode::NO_CONTENT, &[], Body::empty())
}

/// An object, or the range of it that was asked for. To HEAD the server sends the same without its body.
pub(super) fn object(object: &Object, range: Option<&str>) -> Result<Response, Refusal> {
    let size = object.bytes.len();
    let mut headers = vec![
        ("etag", object.e_tag.clone()),
        ("x-goog-generation", object.generation.to_string()),
        ("last-modified", object.modified.format("%a, %d %b %Y %H:%M:%S GMT").to_string()),
        ("accept-ranges", "bytes".to_owned()),
    ];
    let Some(range) = range else {
        return Ok(answer(&headers, Body::from(object.bytes.clone())));
    };
    let unsatisfiable = Refusal(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange");
    let range = parse(range, size).filter(|range| range.start < range.end).ok_or(unsatisfiable)?;
    headers.push(("content-range", format!("bytes {}-{}/{size}", range.start, range.end - 1)));
    let bytes: Bytes = object.bytes.slice(range);
    Ok(with_status(StatusCode::PARTIAL_CONTENT, &headers, Body::from(bytes)))
}

/// `bytes=FIRST-LAST`, `bytes=FIRST-` or `bytes=-COUNT`.
fn parse(range: &str, size: usize) -> Option<Range<usize>> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    if first.is_empty() {
        return Some(size.saturating_sub(last.parse().ok()?)..size);
    }
    let end = if last.is_empty() { size } else { last.parse::<usize>().ok()?.saturating_add(1).min(size) };
    Some(first.parse().ok()?..end)
}

/// What of a listing is asked for.
pub(super) struct Page<'a> {
    pub(super) prefix: &'a str,
    pub(super) delimiter: &'a str,
    /// Only names and folders after this one.
    pub(super) after: &'a str,
    pub(super) limit: usize,
}

/// One page, in the order of names; folders count like names.
pub(super) fn pages(objects: &BTreeMap<String, Object>, page: &Page<'_>) -> Response {
    let mut listed: BTreeMap<&str, Option<&Object>> = BTreeMap::new();
    for (name, object) in objects.range(page.prefix.to_owned()..).take_while(|(name, _)| name.starts_with(page.prefix))
    {
        let folder = Some(page.delimiter).filter(|delimiter| !delimiter.is_empty());
        let folder =
            folder.and_then(|delimiter| name[page.prefix.len()..].find(delimiter).map(|at| at + delimiter.len()));
        match folder {
            Some(end) => listed.insert(&name[..page.prefix.len() + end], None),
            None => listed.insert(name, Some(object)),
        };
    }
    let mut left = listed.into_iter().filter(|(name, _)| *name > page.after);
    let (mut text, mut last) = (String::from("<?xml version='1.0' encoding='UTF-8'?><ListBucketResult>"), "");
    for (name, object) in left.by_ref().take(page.limit) {
        last = name;
        let shown = escaped(name);
        text += &match object {
            None => format!("<CommonPrefixes><Prefix>{shown}</Prefix></CommonPrefixes>"),
            Some(object) => format!(
                "<Contents><Key>{shown}</Key><Generation>{}</Generation><LastModified>{}</LastModified>\
                 <ETag>{}</ETag><Size>{}</Size></Contents>",
                object.generation,
                object.modified.format("%Y-%m-%dT%H:%M:%S%.3fZ"),
                object.e_tag,
                object.bytes.len()
            ),
        };
    }
    match left.next() {
        Some(_) => {
            let token = escaped(last);
            text += &format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>");
        }
        None => text += "<IsTruncated>false</IsTruncated>",
    }
    answer(&[("content-type", "application/xml".to_owned())], Body::from(text + "</ListBucketResult>"))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
