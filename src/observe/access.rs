//! Who may steer the service (interface.md 3): whoever has the token; without one, this machine.
//!
//! "This machine" includes the operator's browser, which any web site may make send a request. So
//! without a token a POST must name a local host, which a rebound DNS name does not, and come from
//! no other origin.

use std::net::IpAddr;

use crate::config::Secret;
use crate::front::Request;

/// Why a request may not steer.
#[derive(Debug, PartialEq, Eq)]
pub enum Denied {
    /// 401: there is a token, and it was not sent or is another.
    Token,
    /// 403: there is no token, and the request is not from here.
    NotLocal(&'static str),
}

/// Judges a request.
pub fn check(token: Option<&Secret>, request: &Request) -> Result<(), Denied> {
    match token {
        Some(token) => {
            let sent = request.header("authorization").and_then(bearer).unwrap_or_default();
            if same(sent.as_bytes(), token.expose().as_bytes()) { Ok(()) } else { Err(Denied::Token) }
        }
        None => check_local(request),
    }
}

fn check_local(request: &Request) -> Result<(), Denied> {
    if !request.peer.ip().to_canonical().is_loopback() {
        return Err(Denied::NotLocal("without admin_token_file only this machine may do that"));
    }
    let host = request.header("host").unwrap_or_default();
    if !is_local_host(host) {
        return Err(Denied::NotLocal("address the service as localhost or by a loopback address"));
    }
    match request.header("origin") {
        Some(origin) if origin.split_once("://").is_none_or(|(_, authority)| authority != host) => {
            Err(Denied::NotLocal("requests from pages of other origins are not accepted"))
        }
        _ => Ok(()),
    }
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Compares in a time that depends on the length sent, not on where the first difference is.
fn same(sent: &[u8], token: &[u8]) -> bool {
    let difference =
        sent.iter().zip(token.iter().cycle()).fold(sent.len() ^ token.len(), |difference, (a, b)| {
            std::hint::black_box(difference | usize::from(a ^ b))
        });
    difference == 0 && !token.is_empty()
}

/// Whether a `Host` value, with or without port, is `localhost` or a loopback address.
fn is_local_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(peer: &str, headers: &[(&str, &str)]) -> Request {
        Request {
            method: "POST".into(),
            path: "/".into(),
            query: String::new(),
            headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            body: Vec::new(),
            peer: peer.parse().unwrap(),
        }
    }

    #[test]
    fn without_a_token_only_this_machine_by_a_local_name_and_no_foreign_page() {
        let check = |peer, headers: &[(&str, &str)], allowed| {
            assert_eq!(check(None, &request(peer, headers)).is_ok(), allowed, "{peer} {headers:?}");
        };
        check("127.0.0.1:1", &[("host", "127.0.0.1:8080")], true);
        check("[::1]:1", &[("host", "[::1]:8080")], true);
        check("[::ffff:127.0.0.1]:1", &[("host", "LocalHost")], true);
        check("127.0.0.1:1", &[("host", "localhost:1"), ("origin", "http://localhost:1")], true);
        check("10.0.0.1:1", &[("host", "127.0.0.1:8080")], false);
        check("127.0.0.1:1", &[("host", "rebound.example:8080")], false);
        check("127.0.0.1:1", &[("host", "127.0.0.1.rebound.example")], false);
        check("127.0.0.1:1", &[], false);
        check("127.0.0.1:1", &[("host", "localhost:1"), ("origin", "http://evil.example")], false);
        check("127.0.0.1:1", &[("host", "localhost:1"), ("origin", "null")], false);
    }

    #[test]
    fn with_a_token_only_the_whole_token_counts() {
        let token = Secret::new("secret");
        let check = |header: Option<&str>, allowed| {
            let headers: Vec<_> = header.map(|value| ("authorization", value)).into_iter().collect();
            assert_eq!(check(Some(&token), &request("127.0.0.1:1", &headers)).is_ok(), allowed, "{header:?}");
        };
        check(Some("Bearer secret"), true);
        check(Some("bearer  secret "), true);
        for wrong in
            ["Bearer ", "Bearer secre", "Bearer secrets", "Bearer secretsecret", "Basic secret", "secret"]
        {
            check(Some(wrong), false);
        }
        check(None, false);
    }

    #[test]
    fn an_empty_token_opens_nothing() {
        let sent = request("127.0.0.1:1", &[("authorization", "Bearer ")]);
        assert_eq!(check(Some(&Secret::default()), &sent), Err(Denied::Token));
    }
}
