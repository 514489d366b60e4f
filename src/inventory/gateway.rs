//! Asking paas-cc: credentials, the redirect some deployments answer with, and lists that come in
//! pages although all was asked for (protocol.md 4).

use super::InventoryError;
use super::paas_wire::{self, NoList};
use crate::config::{BaseUrl, Secret};
use crate::http::{self, HttpError, Method, Outcome, Request, RequestStats, excerpt};
use serde_json::json;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest answer that is read: 30,000 projects at 2 KiB.
const MAX_ANSWER: u64 = 64 << 20;
/// Elements asked for at once, where a list is cut into pages.
const PAGE: usize = 100;
/// Pages of one list; at the 20 elements of the smallest known page this is 20,000 of them.
const MAX_PAGES: usize = 1000;

/// How paas-cc is asked, and for what.
#[derive(Clone, Debug)]
pub struct PaasSettings {
    /// First segment of the path; empty: none.
    pub env: String,
    /// Only clusters of this environment; empty: all.
    pub cluster_env: String,
    /// App code, sent with the secret to the gateway.
    pub app_code: String,
    /// Its secret.
    pub app_secret: Secret,
    /// Sent instead of both, if there is one.
    pub access_token: Secret,
    /// Bound on one request.
    pub timeout: Duration,
}

/// paas-cc, as far as one list goes.
pub(super) struct Gateway {
    http: http::Client,
    origin: String,
    /// Prefix and environment, before every path.
    prefix: String,
    timeout: Duration,
    /// `X-Bkapi-Authorization`.
    authorization: Option<Secret>,
    /// The body that the original client sends with its GET.
    body: Option<Secret>,
    /// What must not come back in a message.
    secrets: [Secret; 2],
    stats: Arc<RequestStats>,
}

impl Gateway {
    pub(super) fn new(
        http: http::Client,
        base: BaseUrl,
        settings: PaasSettings,
        stats: Arc<RequestStats>,
    ) -> Self {
        let (code, secret) = (settings.app_code.as_str(), settings.app_secret.expose());
        let token = settings.access_token.expose();
        let (authorization, body) = if !token.is_empty() {
            (Some(json!({ "access_token": token })), None)
        } else if !code.is_empty() || !secret.is_empty() {
            let header = json!({ "bk_app_code": code, "bk_app_secret": secret });
            (Some(header), Some(json!({ "app_code": code, "app_secret": secret })))
        } else {
            (None, None)
        };
        let env = percent_encoding::utf8_percent_encode(&settings.env, percent_encoding::NON_ALPHANUMERIC);
        let prefix = if settings.env.is_empty() { base.prefix } else { format!("{}/{env}", base.prefix) };
        Self {
            http,
            origin: base.origin,
            prefix,
            timeout: settings.timeout,
            authorization: authorization.map(|json| Secret::new(json.to_string())),
            body: body.map(|json| Secret::new(json.to_string())),
            secrets: [settings.app_secret, settings.access_token],
            stats,
        }
    }

    /// All elements of a list as JSON, whether or not they come at once. An element that came
    /// twice is listed once.
    pub(super) fn list(&self, operation: &'static str, path: &str) -> Result<Vec<String>, InventoryError> {
        let mut query = "desire_all_data=1".to_owned();
        let mut items = Vec::new();
        let mut known = HashSet::new();
        let mut offset = 0;
        for _ in 0..MAX_PAGES {
            let (page, count) = self.counted(operation, &format!("{path}?{query}"))?;
            // All of it in one answer: what it repeats is there twice. Pages that shift repeat an element
            // in the place of another.
            let whole = offset == 0 && count.is_some_and(|count| page.len() >= count);
            offset += page.len();
            let before = items.len();
            items.extend(page.into_iter().filter(|item| known.insert(item.clone())));
            // Without a count the answer is all there is; with one, less than it is a page.
            if whole || count.is_none_or(|count| items.len() >= count) {
                return Ok(items);
            }
            if items.len() == before {
                break;
            }
            query = format!("limit={PAGE}&offset={offset}");
        }
        let reason = format!("the list is cut short: {} elements and no more to be had", items.len());
        Err(InventoryError::Malformed { path: path.to_owned(), reason })
    }

    /// One request, counted by how it went.
    fn counted(
        &self,
        operation: &'static str,
        path: &str,
    ) -> Result<(Vec<String>, Option<usize>), InventoryError> {
        let started = Instant::now();
        let result = self.page(path);
        let outcome = match &result {
            Ok(_) => Outcome::Ok,
            Err(InventoryError::Refused { .. }) => Outcome::Refused,
            Err(InventoryError::Http(error)) if error.is_timeout() => Outcome::Timeout,
            Err(_) => Outcome::Error,
        };
        self.stats.record(operation, outcome, started.elapsed());
        result
    }

    fn page(&self, path: &str) -> Result<(Vec<String>, Option<usize>), InventoryError> {
        let body = self.get(path)?;
        let path = path.to_owned();
        match paas_wire::list(&body) {
            Ok(list) => Ok((list.items.into_iter().map(str::to_owned).collect(), list.count)),
            Err(NoList::Refused { code, message }) => {
                Err(InventoryError::Refused { path, code, message: self.shown(message.as_bytes()) })
            }
            Err(NoList::Malformed(reason)) => {
                let reason = format!("{}: {}", self.shown(reason.as_bytes()), self.shown(&body));
                Err(InventoryError::Malformed { path, reason })
            }
        }
    }

    /// The body of an answer with status 200, after at most one redirect on the same host.
    fn get(&self, path: &str) -> Result<Vec<u8>, InventoryError> {
        let mut url = format!("{}{}{path}", self.origin, self.prefix);
        let mut redirected = false;
        loop {
            let (status, location, body) = self.send(&url)?;
            match (status, location) {
                (200, _) => return Ok(body),
                (301 | 302 | 303 | 307 | 308, Some(location)) if !redirected => {
                    url = same_host(&self.origin, &location).ok_or_else(|| {
                        let target = self.shown(location.as_bytes());
                        let hint =
                            format!("redirect to {target}, where credentials are not sent: set paas_addr");
                        status_error(path, status, hint)
                    })?;
                    redirected = true;
                }
                _ => return Err(status_error(path, status, self.shown(&body))),
            }
        }
    }

    fn send(&self, url: &str) -> Result<(u16, Option<String>, Vec<u8>), HttpError> {
        let mut headers = vec![("Accept", "application/json")];
        if let Some(authorization) = &self.authorization {
            headers.push(("X-Bkapi-Authorization", authorization.expose()));
        }
        if self.body.is_some() {
            headers.push(("Content-Type", "application/json"));
        }
        let response = self.http.send(&Request {
            method: Method::Get,
            url,
            headers: &headers,
            body: self.body.as_ref().map(|body| body.expose().as_bytes()),
            timeout: Some(self.timeout),
            idle_timeout: None,
        })?;
        let (status, location) = (response.status, response.location.clone());
        Ok((status, location, response.bytes(MAX_ANSWER)?))
    }

    /// The beginning of a foreign text, without our secrets: gateways like to repeat the request
    /// they refuse.
    fn shown(&self, text: &[u8]) -> String {
        let secrets = self.secrets.iter().filter(|secret| !secret.is_empty());
        // Before it is cut, or the first half of a secret could remain.
        let clean = secrets.fold(String::from_utf8_lossy(text).into_owned(), |text, secret| {
            text.replace(secret.expose(), "(secret)")
        });
        excerpt(clean.as_bytes())
    }
}

fn status_error(path: &str, status: u16, excerpt: String) -> InventoryError {
    InventoryError::Status { path: path.to_owned(), status, excerpt }
}

/// The URL a redirect leads to, on our origin; `None` where it leads anywhere else. Only the path
/// is ever taken from the peer.
fn same_host(origin: &str, location: &str) -> Option<String> {
    let location = location.split('#').next().unwrap_or_default().trim();
    let path = if location.starts_with('/') && !location.starts_with("//") {
        location
    } else {
        let (scheme, _) = origin.split_once("://")?;
        let absolute = match location.strip_prefix("//") {
            Some(rest) => format!("{scheme}://{rest}"),
            None => location.to_owned(),
        };
        let (_, authority) = absolute.split_once("://")?;
        let end = absolute.len() - authority.len() + authority.find(['/', '?']).unwrap_or(authority.len());
        if normalized(&absolute[..end])? != normalized(origin)? {
            return None;
        }
        &location[location.len() - (absolute.len() - end)..]
    };
    let slash = if path.starts_with('/') { "" } else { "/" };
    Some(format!("{origin}{slash}{path}"))
}

/// Scheme and authority in one spelling: lower case, the scheme's own port left out.
fn normalized(origin: &str) -> Option<String> {
    let lower = origin.to_ascii_lowercase();
    let (scheme, authority) = lower.split_once("://")?;
    let own_port = if scheme == "https" { ":443" } else { ":80" };
    Some(format!("{scheme}://{}", authority.strip_suffix(own_port).unwrap_or(authority)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_stays_on_our_origin() {
        let check = |location: &str, expected: Option<&str>| {
            assert_eq!(same_host("http://paas:80", location).as_deref(), expected, "{location}");
        };
        check("/prod/projects?x=1", Some("http://paas:80/prod/projects?x=1"));
        check("http://PAAS/a?b", Some("http://paas:80/a?b"));
        check("http://paas:80/a#c", Some("http://paas:80/a"));
        check("//paas/a", Some("http://paas:80/a"));
        check("http://paas", Some("http://paas:80/"));
        check("http://paas?x=1", Some("http://paas:80/?x=1"));
        check("/\\evil", Some("http://paas:80/\\evil"));
        for elsewhere in [
            "http://evil/a",
            "https://paas/a",
            "http://paas:8080/a",
            "//evil/a",
            "http://paas@evil/a",
            "http://paas:80\\@evil/a",
            "http://paas.evil/a",
            "projects/",
            "",
            "http:///a",
        ] {
            check(elsewhere, None);
        }
    }
}
