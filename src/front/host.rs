//! The names a port may be addressed by.
//!
//! A web site can make its own name lead to our address and then read us through the browser of whoever
//! visits it (DNS rebinding). Its requests are told by their `Host`, which is that name: a port that
//! knows its own names refuses all others. An IP address cannot be rebound.

use super::head::{Head, Refusal};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// The names of a port. By default: any.
#[derive(Clone, Debug, Default)]
pub struct Hosts(Option<Arc<[String]>>);

impl Hosts {
    /// These, `localhost`, the name of this machine and every IP address; without any, all there are.
    pub fn of(names: &[String]) -> Self {
        Self::of_machine(names, &rustix::system::uname().nodename().to_string_lossy())
    }

    fn of_machine(names: &[String], machine: &str) -> Self {
        if names.is_empty() {
            return Self::default();
        }
        let short = machine.split('.').next().unwrap_or_default();
        let ours = ["localhost", machine, short].into_iter().filter(|name| !name.is_empty());
        let all = names.iter().map(String::as_str).chain(ours);
        Self(Some(all.map(|name| without_dot(name).to_owned()).collect()))
    }

    /// Refuses a request to another name. One without any is of HTTP/1.0, and of no browser.
    pub(super) fn check(&self, head: &Head) -> Result<(), Refusal> {
        let Some(names) = &self.0 else { return Ok(()) };
        let Some((_, host)) = head.headers.iter().find(|(name, _)| name == "host") else { return Ok(()) };
        if is_among(names, host) {
            return Ok(());
        }
        let message = "the Host of the request is neither an IP address, nor localhost, nor the name of this machine, \
                       nor one of http_allowed_hosts: add the name to that key, or use one of these";
        Err(Refusal { status: 421, message: message.to_owned() })
    }
}

/// Whether a `Host`, with or without port, is an IP address or one of the names.
fn is_among(names: &[String], host: &str) -> bool {
    let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(literal) = host.strip_prefix('[') {
        let Some((address, rest)) = literal.split_once(']') else { return false };
        let good_end = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
        return good_end && address.parse::<Ipv6Addr>().is_ok();
    }
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    let name = without_dot(name);
    let is_ours = || names.iter().any(|ours| ours.eq_ignore_ascii_case(name));
    is_port(port) && !name.is_empty() && (name.parse::<Ipv4Addr>().is_ok() || is_ours())
}

/// `vm.example.com.` is `vm.example.com`.
fn without_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(names: &[&str], host: &str, allowed: bool) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let head = Head::parse(text.as_bytes(), 0).unwrap();
        let checked = Hosts::of_machine(&names, "vm7.corp.example").check(&head);
        assert_eq!(
            checked.map_err(|refusal| refusal.status),
            if allowed { Ok(()) } else { Err(421) },
            "{host:?}"
        );
    }

    #[test]
    fn addresses_local_names_and_those_of_the_key_pass() {
        for host in [
            "10.0.0.5",
            "10.0.0.5:8080",
            "127.0.0.1.",
            "[::1]",
            "[::1]:8080",
            "[2001:DB8::5]:1",
            "localhost",
            "LocalHost:8080",
            "localhost.",
            "vm7",
            "VM7.corp.example:8080",
            "vm7.corp.example.",
            "status.example.com",
            "STATUS.Example.COM.:443",
            "localhost:",
        ] {
            check(&["status.example.com"], host, true);
        }
        check(&["Status.Example.Com."], "status.example.com", true);
    }

    #[test]
    fn other_names_and_what_is_no_name_do_not() {
        for host in [
            "",
            ":8080",
            ".",
            "..",
            "evil.example",
            "evil.example:8080",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "evil.example.status.example.com",
            "status.example.com.evil.example",
            "status.example.com..",
            "a@127.0.0.1",
            "127.0.0.1@evil.example",
            "127.0.0.1:evil",
            "127.0.0.1:80:80",
            "::1",
            "[::1",
            "[::1]evil",
            "[::1]:x",
            "[evil.example]",
            "[127.0.0.1]",
            "[fe80::1%eth0]",
            "2130706433",
            "0x7f.1",
            "127.1",
            "localhost,evil.example",
            "localhost evil.example",
            "http://localhost",
            "localhost/",
            "xn--lcalhost-54a",
            "*",
            "null",
        ] {
            check(&["status.example.com"], host, false);
        }
    }

    #[test]
    fn without_the_key_every_name_passes() {
        for host in ["", "evil.example", "status.example.com:8080"] {
            check(&[], host, true);
        }
    }
}
