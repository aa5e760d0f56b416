//! etcd's JSON gateway over a plain socket: one request, one answer, no process to start.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Bytes as JSON carries them.
pub fn base64(bytes: &[u8]) -> String {
    let mut out = String::new();
    for part in bytes.chunks(3) {
        let bits = part.iter().chain([&0; 3]).take(3).fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        for place in 0..4 {
            let sextet = (bits >> (18 - 6 * place)) & 63;
            out.push(if place <= part.len() { char::from(ALPHABET[sextet as usize]) } else { '=' });
        }
    }
    out
}

/// Sends one request; `Err` is what the server said, or that it did not.
pub fn ask(client: &str, method: &str, path: &str, body: &Value) -> Result<Value, String> {
    let said = exchange(client, method, path, &body.to_string()).map_err(|error| error.to_string())?;
    let (head, body) = said.split_once("\r\n\r\n").ok_or_else(|| format!("no HTTP answer: {said:?}"))?;
    if head.split(' ').nth(1) != Some("200") {
        return Err(body.to_owned());
    }
    serde_json::from_str(body).map_err(|error| format!("{error}: {body:?}"))
}

fn exchange(client: &str, method: &str, path: &str, body: &str) -> std::io::Result<String> {
    let mut socket = TcpStream::connect(client.trim_start_matches("http://"))?;
    socket.set_read_timeout(Some(Duration::from_secs(30)))?;
    // The old version of HTTP: the answer ends with the connection, and is not cut into chunks.
    let head = format!("{method} {path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n", body.len());
    socket.write_all(head.as_bytes())?;
    socket.write_all(body.as_bytes())?;
    let mut said = String::new();
    socket.read_to_string(&mut said)?;
    Ok(said)
}

/// A change in a transaction.
pub fn put(key: &str, value: &[u8], lease: i64) -> Value {
    json!({ "requestPut": { "key": base64(key.as_bytes()), "value": base64(value), "lease": lease.to_string() } })
}

/// A deletion of all keys with a prefix, which must not end in the last byte there is.
pub fn delete_prefix(prefix: &str) -> Value {
    let mut end = prefix.as_bytes().to_vec();
    *end.last_mut().unwrap() += 1;
    json!({ "requestDeleteRange": { "key": base64(prefix.as_bytes()), "range_end": base64(&end) } })
}

pub fn delete(key: &str) -> Value {
    json!({ "requestDeleteRange": { "key": base64(key.as_bytes()) } })
}

/// A number as the gateway writes it: 64 bits come as text.
pub fn number(value: &Value) -> i64 {
    match value {
        Value::String(text) => text.parse().unwrap(),
        Value::Null => 0,
        other => other.as_i64().unwrap(),
    }
}

#[test]
fn base64_is_padded() {
    let text = |bytes: &[u8]| base64(bytes);
    assert_eq!([text(b""), text(b"a"), text(b"ab"), text(b"abc")], ["", "YQ==", "YWI=", "YWJj"]);
}
