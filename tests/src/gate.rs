//! A gate in front of a server that speaks HTTP: it lets requests through, turns some away, or takes a header off.
//!
//! It stands for what a policy or another make of store does. The server behind it must not check signatures.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread::spawn;

/// What the gate does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Nothing is deleted, and the answers are those of S3 to a key without that right.
    NoDelete,
    /// `If-None-Match` is lost on the way: a store that ignores preconditions.
    NoPreconditions,
}

/// Listens until the tests end.
#[derive(Debug)]
pub struct Gate {
    endpoint: String,
}

const DENIED: &str = "<Code>AccessDenied</Code><Message>Access Denied</Message>";

impl Gate {
    /// In front of `http://HOST:PORT`.
    pub fn before(endpoint: &str, rule: Rule) -> Self {
        let server = endpoint.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        spawn(move || {
            for client in listener.incoming().flatten() {
                let server = server.clone();
                // A client that hangs up is no concern of the gate's; the test sees what the client saw.
                spawn(move || serve(client, &server, rule).is_ok());
            }
        });
        Self { endpoint: format!("http://{address}") }
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

/// One request a connection: the server is asked to close, and the client sees that it does.
fn serve(mut client: TcpStream, server: &str, rule: Rule) -> io::Result<()> {
    let (head, mut body) = read_head(&mut client)?;
    if rule == Rule::NoDelete && head.starts_with("DELETE ") {
        return answer(&mut client, "403 Forbidden", &format!("<Error>{DENIED}</Error>"));
    }
    if rule == Rule::NoDelete && head.starts_with("POST ") && head.contains("?delete") {
        // Many at once: the request succeeds, and each name in it is refused by itself.
        while !body.ends_with(b"</Delete>") {
            let mut piece = [0; 4096];
            match client.read(&mut piece)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => body.extend_from_slice(&piece[..read]),
            }
        }
        let body = String::from_utf8_lossy(&body);
        let names = body.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next());
        let refused: String = names.map(|name| format!("<Error><Key>{name}</Key>{DENIED}</Error>")).collect();
        return answer(&mut client, "200 OK", &format!("<DeleteResult>{refused}</DeleteResult>"));
    }
    let kept = head.lines().filter(|line| {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        let lost = rule == Rule::NoPreconditions && name == "if-none-match";
        !line.is_empty() && !lost && name != "connection"
    });
    let head: String = kept.map(|line| format!("{line}\r\n")).collect();
    let mut upstream = TcpStream::connect(server)?;
    upstream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
    upstream.write_all(&body)?;
    let (mut from, mut to) = (client.try_clone()?, upstream.try_clone()?);
    spawn(move || io::copy(&mut from, &mut to).is_ok());
    io::copy(&mut upstream, &mut client)?;
    client.shutdown(Shutdown::Both)
}

fn answer(client: &mut TcpStream, status: &str, xml: &str) -> io::Result<()> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n", xml.len());
    client.write_all(format!("{head}Connection: close\r\n\r\n{xml}").as_bytes())
}

/// The head of a request as text, and what came with it of the body.
fn read_head(client: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    const END: &[u8] = b"\r\n\r\n";
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        if let Some(at) = bytes.windows(END.len()).position(|window| window == END) {
            let body = bytes.split_off(at + END.len());
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), body));
        }
        match client.read(&mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => bytes.extend_from_slice(&piece[..read]),
        }
    }
}
