//! What a request head may look like: reading it within a limit, and the strict rules of what passes.
//!
//! Whatever two HTTP implementations could read in two ways is refused, because tiny_http reads the
//! request again behind us: line ends other than CRLF, folded lines, several lengths, a length
//! beside chunks. Pure but for reading from a `BufRead`.

use std::io::{self, BufRead};

/// Headers of one request; more are refused with 431.
const MAX_HEADERS: usize = 100;

/// Headers that concern one connection only, and those we write ourselves.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers by which a proxy vouches for a peer. Nobody stands between us and ours, so they are lies.
const FORWARDED: [&str; 5] =
    ["forwarded", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip"];

/// Our own headers on the way to tiny_http begin with this; a client's copies are stripped.
pub const INTERNAL: &str = "x-front-";

/// Why a request is refused: an error answer, after which the connection closes.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Status code.
    pub status: u16,
    /// What to do about it, in words.
    pub message: String,
}

impl Refusal {
    /// 400 unless told otherwise.
    pub fn bad(message: impl Into<String>) -> Self {
        Self { status: 400, message: message.into() }
    }

    /// The body is longer than `limit` bytes.
    pub fn body_too_large(limit: usize) -> Self {
        Self { status: 413, message: format!("the body exceeds {limit} bytes") }
    }
}

/// Why there is no request.
#[derive(Debug)]
pub enum ReadError {
    /// The client ended or broke the connection, or its time ran out (`io::ErrorKind::TimedOut`).
    Io(io::Error),
    /// It sent something that must be refused.
    Refused(Refusal),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Refusal> for ReadError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// How the body of a request is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// That many bytes.
    Length(usize),
    /// Chunks.
    Chunked,
}

/// A request head that may pass.
#[derive(Debug)]
pub struct Head {
    /// Method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Whether the client speaks HTTP/1.1 and so understands chunks.
    pub http11: bool,
    /// Headers to pass on, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub framing: Framing,
    /// Whether the client wants to send more requests on this connection.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

/// Reads up to and with the empty line that ends a head, and not a byte further.
pub fn read_head(input: &mut impl BufRead, limit: usize) -> Result<Vec<u8>, ReadError> {
    let mut head = Vec::new();
    loop {
        let available = input.fill_buf()?;
        if available.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let mut used = 0;
        let mut complete = false;
        for &byte in available {
            used += 1;
            if byte == b'\n' && head.last() != Some(&b'\r') {
                return Err(Refusal::bad("lines must end with CRLF").into());
            }
            head.push(byte);
            if head == b"\r\n" {
                head.clear(); // Old clients send an empty line after a body; RFC 9112, 2.2.
            }
            complete = head.ends_with(b"\r\n\r\n");
            if complete || head.len() > limit {
                break;
            }
        }
        input.consume(used);
        if head.len() > limit {
            let message = format!("request line and headers exceed {limit} bytes");
            return Err(Refusal { status: 431, message }.into());
        }
        if complete {
            return Ok(head);
        }
    }
}

impl Head {
    /// Parses and judges a head; bodies may have `body_limit` bytes.
    pub fn parse(bytes: &[u8], body_limit: usize) -> Result<Self, Refusal> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut fields);
        match request.parse(bytes) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => return Err(Refusal::bad("the request head is cut off")),
            Err(httparse::Error::TooManyHeaders) => {
                return Err(Refusal { status: 431, message: format!("more than {MAX_HEADERS} headers") });
            }
            Err(httparse::Error::Version) => {
                return Err(Refusal { status: 505, message: "speak HTTP/1.1 or HTTP/1.0".into() });
            }
            Err(error) => return Err(Refusal::bad(format!("the request head is not valid HTTP: {error}"))),
        }
        let method = request.method.unwrap_or_default().to_owned();
        let target = request.path.unwrap_or_default().to_owned();
        let http11 = request.version == Some(1);
        check_request_line(&method, &target)?;
        let headers = text_headers(request.headers)?;
        check_host(&headers, http11)?;
        let framing = framing(&headers, http11, body_limit)?;
        let keep_alive = keep_alive(&headers, http11);
        let expects_continue = expects_continue(&headers, http11)?;
        let headers = headers.into_iter().filter(|(name, _)| passes(name)).collect();
        Ok(Self { method, target, http11, headers, framing, keep_alive, expects_continue })
    }
}

/// Only paths: a proxy's forms, and the method that only proxies serve, have no meaning here.
fn check_request_line(method: &str, target: &str) -> Result<(), Refusal> {
    if method == "CONNECT" {
        return Err(Refusal { status: 501, message: "CONNECT is not served here".to_owned() });
    }
    if !target.starts_with('/') || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Refusal::bad("the request target must be a path that begins with / and is ASCII"));
    }
    Ok(())
}

fn text_headers(fields: &[httparse::Header<'_>]) -> Result<Vec<(String, String)>, Refusal> {
    let text = |field: &httparse::Header<'_>| {
        let name = field.name.to_ascii_lowercase();
        match std::str::from_utf8(field.value) {
            Ok(value) if value.is_ascii() => Ok((name, value.trim().to_owned())),
            _ => Err(Refusal::bad(format!("the value of header {name} is not ASCII"))),
        }
    };
    fields.iter().map(text).collect()
}

fn values<'a>(headers: &'a [(String, String)], name: &'a str) -> impl Iterator<Item = &'a str> {
    headers.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn check_host(headers: &[(String, String)], http11: bool) -> Result<(), Refusal> {
    match values(headers, "host").count() {
        0 if http11 => Err(Refusal::bad("HTTP/1.1 needs a Host header")),
        0 | 1 => Ok(()),
        _ => Err(Refusal::bad("several Host headers")),
    }
}

/// RFC 9112, 6.3, without any leniency.
fn framing(headers: &[(String, String)], http11: bool, body_limit: usize) -> Result<Framing, Refusal> {
    let lengths: Vec<&str> = values(headers, "content-length").collect();
    let codings: Vec<&str> = values(headers, "transfer-encoding").collect();
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(Framing::Length(0)),
        ([], [coding]) if http11 && coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
        ([], _) => Err(Refusal::bad("the only transfer encoding is chunked, once, with HTTP/1.1")),
        ([length], []) => content_length(length, body_limit),
        (_, []) => Err(Refusal::bad("several Content-Length headers")),
        _ => Err(Refusal::bad("Content-Length beside Transfer-Encoding")),
    }
}

fn content_length(text: &str, body_limit: usize) -> Result<Framing, Refusal> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::bad("Content-Length is not a number"));
    }
    match text.parse::<usize>() {
        Ok(length) if length <= body_limit => Ok(Framing::Length(length)),
        _ => Err(Refusal::body_too_large(body_limit)),
    }
}

fn keep_alive(headers: &[(String, String)], http11: bool) -> bool {
    let has = |wanted: &str| {
        values(headers, "connection")
            .flat_map(|value| value.split(','))
            .any(|token| token.trim().eq_ignore_ascii_case(wanted))
    };
    !has("close") && (http11 || has("keep-alive"))
}

fn expects_continue(headers: &[(String, String)], http11: bool) -> Result<bool, Refusal> {
    match values(headers, "expect").next() {
        None => Ok(false),
        Some(value) if value.eq_ignore_ascii_case("100-continue") => Ok(http11),
        Some(_) => Err(Refusal { status: 417, message: "the only expectation met is 100-continue".into() }),
    }
}

fn passes(name: &str) -> bool {
    !(HOP_BY_HOP.contains(&name)
        || FORWARDED.contains(&name)
        || name.starts_with("x-forwarded-")
        || name.starts_with(INTERNAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1000;

    fn parse(text: &str) -> Result<Head, Refusal> {
        let mut input = text.as_bytes();
        match read_head(&mut input, 2000) {
            Ok(head) => Head::parse(&head, LIMIT),
            Err(ReadError::Refused(refusal)) => Err(refusal),
            Err(ReadError::Io(error)) => panic!("{error}"),
        }
    }

    /// A request with these header lines is refused with `status`.
    fn check(lines: &str, status: u16) {
        let refusal =
            parse(&format!("POST /x HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n")).map(drop).unwrap_err();
        assert_eq!(refusal.status, status, "{lines:?}: {}", refusal.message);
    }

    #[test]
    fn bodies_that_two_parsers_could_delimit_in_two_ways_are_refused() {
        check("Content-Length: -1", 400);
        check("Content-Length: +1", 400);
        check("Content-Length: 0x10", 400);
        check("Content-Length:", 400);
        check("Content-Length: 5, 5", 400);
        check("Content-Length: 5\r\nContent-Length: 6", 400);
        check("Content-Length: 5\r\nTransfer-Encoding: chunked", 400);
        check("Transfer-Encoding: gzip", 400);
        check("Transfer-Encoding: gzip, chunked", 400);
        check("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400);
    }

    #[test]
    fn a_length_above_the_limit_is_refused_before_anything_is_allocated() {
        check("Content-Length: 1001", 413);
        check("Content-Length: 1000000000000", 413);
        check("Content-Length: 99999999999999999999999999999", 413);
    }

    #[test]
    fn malformed_heads_are_refused() {
        check("X: a\r\n folded", 400);
        check("X: a\0b", 400);
        check("X : a", 400);
        check("X: \u{e4}", 400);
        check("X: a\nY: b", 400);
        check("Host: b", 400);
        check("Expect: tea", 417);
    }

    #[test]
    fn request_lines_of_proxies_and_rubbish_are_refused() {
        for (line, status) in [
            ("GET http://a/x HTTP/1.1", 400),
            ("CONNECT a:1 HTTP/1.1", 501),
            ("OPTIONS * HTTP/1.1", 400),
            ("GET /\u{e4} HTTP/1.1", 400),
            ("GET / HTTP/2.0", 505),
            ("GET /", 400),
            ("\u{16}\u{3}\u{1} hello", 400),
        ] {
            let refusal = parse(&format!("{line}\r\nHost: a\r\n\r\n")).map(drop).unwrap_err();
            assert_eq!(refusal.status, status, "{line:?}: {}", refusal.message);
        }
        assert_eq!(parse("GET / HTTP/1.1\r\n\r\n").map(drop).unwrap_err().status, 400);
        assert!(parse("GET / HTTP/1.0\r\n\r\n").is_ok());
    }

    #[test]
    fn a_head_is_bounded_in_bytes_and_lines() {
        let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(3000));
        assert_eq!(parse(&long).map(drop).unwrap_err().status, 431);
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(MAX_HEADERS + 1));
        assert_eq!(parse(&many).map(drop).unwrap_err().status, 431);
    }

    #[test]
    fn what_a_client_says_about_its_peer_or_our_own_headers_is_stripped() {
        let head = parse(
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 127.0.0.1\r\nForwarded: for=127.0.0.1\r\n\
             X-Front-Token: guess\r\nX-Real-IP: ::1\r\nConnection: keep-alive\r\nBK_User: tester\r\n\r\n",
        )
        .unwrap();
        assert_eq!(head.headers, [("host".into(), "a".into()), ("bk_user".into(), "tester".into())]);
    }

    #[test]
    fn connections_stay_open_as_the_versions_say() {
        for (version, header, expected) in [
            ("1.1", "X: y", true),
            ("1.1", "Connection: close", false),
            ("1.1", "Connection: x, Close", false),
            ("1.0", "X: y", false),
            ("1.0", "Connection: Keep-Alive", true),
        ] {
            let head = parse(&format!("GET / HTTP/{version}\r\nHost: a\r\n{header}\r\n\r\n")).unwrap();
            assert_eq!(head.keep_alive, expected, "HTTP/{version} {header}");
        }
    }

    #[test]
    fn reading_a_head_leaves_what_follows_it_alone() {
        let mut input = &b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nbody"[..];
        assert_eq!(read_head(&mut input, 100).unwrap(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(input, b"body");
        assert!(matches!(read_head(&mut &b"GET / HT"[..], 100), Err(ReadError::Io(_))));
    }
}
