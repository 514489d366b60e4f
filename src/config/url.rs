//! Addresses: `host`, `host:port`, `http(s)://host:port/prefix`, IPv6 with or without brackets.

use super::BaseUrl;
use std::net::{IpAddr, Ipv6Addr};

/// Reads the address of an HTTP peer. Without a path the prefix is `default_prefix`.
/// The error says what would be right, without repeating the address.
pub fn parse_base_url(text: &str, default_prefix: &str) -> Result<BaseUrl, String> {
    let text = text.trim();
    let (scheme, rest) = match text.split_once("://") {
        None => ("http", text),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => ("http", rest),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => ("https", rest),
        Some(_) => return Err("the scheme must be http or https".to_owned()),
    };
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, ""),
    };
    if authority.contains('@') {
        return Err("must not hold a user name or password; they have keys of their own".to_owned());
    }
    if rest.contains(['?', '#']) {
        return Err("must not have a query or a fragment".to_owned());
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("the path must be percent-encoded".to_owned());
    }
    let (host, port) = parse_host_port(authority)?;
    let origin = match port {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    };
    let path = path.trim_end_matches('/');
    let prefix = if path.is_empty() { default_prefix } else { path };
    Ok(BaseUrl { origin, prefix: prefix.to_owned() })
}

/// Reads a ZooKeeper server: `host` or `host:port`, port 2181 if none; gives `host:port`.
pub fn parse_server(text: &str) -> Result<String, String> {
    const ZOOKEEPER_PORT: u16 = 2181;
    if text.contains('/') {
        return Err("must be host:port without scheme or path".to_owned());
    }
    let (host, port) = parse_host_port(text)?;
    Ok(format!("{host}:{}", port.unwrap_or(ZOOKEEPER_PORT)))
}

/// Whether a server as [`parse_server`] gives it is on the loopback interface. Names other than
/// `localhost` are taken to be elsewhere: looking them up is not for a check of a file.
pub fn is_loopback(server: &str) -> bool {
    let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Splits `host`, `host:port`, `[v6]`, `[v6]:port` or `v6`; gives IPv6 hosts in brackets.
fn parse_host_port(text: &str) -> Result<(String, Option<u16>), String> {
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Ok((format!("[{address}]"), None));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or("the bracket of the IPv6 address is not closed")?;
        let address: Ipv6Addr =
            address.parse().map_err(|_| "there must be an IPv6 address between the brackets".to_owned())?;
        let port = match port.strip_prefix(':') {
            Some(port) => Some(parse_port(port)?),
            None if port.is_empty() => None,
            None => return Err("after the brackets only :port may follow".to_owned()),
        };
        return Ok((format!("[{address}]"), port));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(parse_port(port)?)),
        None => (text, None),
    };
    check_host(host)?;
    Ok((host.to_owned(), port))
}

fn parse_port(text: &str) -> Result<u16, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|port| digits && *port != 0);
    port.ok_or_else(|| "the port must be a number from 1 to 65535".to_owned())
}

fn check_host(host: &str) -> Result<(), String> {
    // The longest name DNS allows.
    const LONGEST: usize = 253;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if host.is_empty() {
        return Err("the host is missing".to_owned());
    }
    if host.len() > LONGEST || !host.bytes().all(allowed) {
        return Err("the host must be a DNS name or an IP address".to_owned());
    }
    Ok(())
}
