//! The client: one request at a time to one of several addresses, and the point read.
//!
//! An address that cannot be reached, or that answers with a server error, is passed over for the
//! next one; any other answer is the answer. Every exchange has a bound in time, and
//! [`Client::stop`] ends all of them at once.

use super::addresses::{Addresses, Health};
use super::permits::Permits;
use super::{Settings, StorageError, VALUE_LIMIT, WatchStopper, wire};
use crate::config::BaseUrl;
use crate::http::{self, HttpError, Method, Outcome, Request, RequestStats, Response};
use crate::model::ClusterKind;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What may stand in a path segment or a query value as it is.
const PLAIN: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b',');
/// Connecting takes no longer than this, whatever `storage_timeout` allows for an answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections kept per address: a listing, and point reads beside it.
const IDLE_CONNECTIONS: usize = 4;
/// An answer to a point read: one document and its envelope.
const POINT_READ_LIMIT: u64 = VALUE_LIMIT as u64 + 64 * 1024;
/// Bytes read of an answer that is shown as an error.
const ERROR_BODY: u64 = 1024;

/// Reads bcs-storage. Clones share everything, also [`Client::stop`].
#[derive(Clone)]
pub struct Client {
    pub(super) shared: Arc<Shared>,
    http: Arc<http::Client>,
    stopper: WatchStopper,
}

/// What all scopes of one client have in common.
pub(super) struct Shared {
    addresses: Arc<dyn Addresses>,
    tls: Option<Arc<rustls::ClientConfig>>,
    pub(super) settings: Settings,
    stats: Arc<RequestStats>,
    pub(super) health: Health,
    pub(super) permits: Arc<Permits>,
}

impl Client {
    /// A client without connections yet; requests are counted in `stats` as `list`, `get`, `watch`.
    pub fn new(
        addresses: Arc<dyn Addresses>,
        tls: Option<Arc<rustls::ClientConfig>>,
        settings: Settings,
        stats: Arc<RequestStats>,
    ) -> Self {
        let permits = Arc::new(Permits::new(settings.list_concurrency));
        Self::over(Arc::new(Shared { addresses, tls, settings, stats, health: Health::default(), permits }))
    }

    /// A client that is stopped by itself; addresses, their health, the bound on listings and the
    /// statistics are shared. One for each cluster ends that cluster's reads without the others'.
    pub fn scoped(&self) -> Self {
        Self::over(self.shared.clone())
    }

    /// Ends every exchange of this client, its listings and its watches, in whatever thread they
    /// are; they and all later ones fail with [`StorageError::Stopped`].
    pub fn stop(&self) {
        self.stopper.stop();
        self.shared.permits.wake();
    }

    /// Whether any address is known: discovery takes a moment.
    pub fn has_address(&self) -> bool {
        !self.shared.addresses.snapshot().is_empty()
    }

    /// The document of one pod, or `None` if bcs-storage says there is none (protocol.md 1.2).
    ///
    /// `None` is the proof a delete needs: whatever is unclear is an error.
    pub fn get(
        &self,
        cluster: &str,
        kind: ClusterKind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Vec<u8>>, StorageError> {
        let path = format!(
            "/bcsstorage/v1/{}/dynamic/namespace_resources/clusters/{}/namespaces/{}/{}/{}",
            kind.as_str(),
            segment(cluster)?,
            segment(namespace)?,
            kind.resource_type(),
            segment(name)?,
        );
        let mut failure = StorageError::NoAddress;
        for address in self.ordered(cluster, None) {
            let read = || {
                let answer = self.fetch(&address, &path)?;
                let peer = answer.peer.clone();
                wire::judge_point_read(&peer, &answer.bytes(POINT_READ_LIMIT)?, namespace, name)
            };
            match self.counted("get", &address, read) {
                Err(error) if error.concerns_address() => failure = error,
                result => return result,
            }
        }
        Err(failure)
    }

    /// The addresses in the order to try them.
    pub(super) fn ordered(&self, cluster: &str, avoid: Option<&str>) -> Vec<BaseUrl> {
        self.shared.health.order(self.shared.addresses.snapshot(), cluster, avoid)
    }

    /// Runs one exchange with `address`, counts it, and remembers an address that failed.
    pub(super) fn counted<T>(
        &self,
        operation: &'static str,
        address: &BaseUrl,
        exchange: impl FnOnce() -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        if self.is_stopped() {
            return Err(StorageError::Stopped);
        }
        let started = Instant::now();
        let result = exchange();
        if result.is_err() && self.is_stopped() || matches!(result, Err(StorageError::Stopped)) {
            return Err(StorageError::Stopped);
        }
        let outcome = result.as_ref().map_or_else(StorageError::outcome, |_| Outcome::Ok);
        self.shared.stats.record(operation, outcome, started.elapsed());
        if result.as_ref().is_err_and(|error| error.concerns_address() || outcome == Outcome::Timeout) {
            self.shared.health.mark_bad(address);
        }
        result
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopper.is_stopped()
    }

    /// An answer with status 200 to a GET of `path`.
    pub(super) fn fetch(&self, address: &BaseUrl, path: &str) -> Result<Response, StorageError> {
        let answer = self.http.send(&Request {
            method: Method::Get,
            url: &format!("{}{}{path}", address.origin, address.prefix),
            headers: &[],
            body: None,
            timeout: Some(self.shared.settings.timeout),
            idle_timeout: None,
        })?;
        expect_ok(answer, ERROR_BODY)
    }

    /// An HTTP client for one watch: nothing else waits for its connection, and it is stopped by
    /// `stopper` and by this client.
    pub(super) fn http_for_watch(&self, stopper: &WatchStopper) -> Result<Arc<http::Client>, StorageError> {
        let client = Arc::new(self.shared.http(true));
        self.stopper.adopt(&client)?;
        stopper.adopt(&client)?;
        Ok(client)
    }

    fn over(shared: Arc<Shared>) -> Self {
        let http = Arc::new(shared.http(false));
        let stopper = WatchStopper::new();
        // A fresh stopper takes anyone.
        let _ = stopper.adopt(&http);
        Self { shared, http, stopper }
    }
}

impl Shared {
    fn http(&self, for_watch: bool) -> http::Client {
        http::Client::new(&http::Options {
            tls: self.tls.clone(),
            idle_connections: IDLE_CONNECTIONS,
            connect_timeout: self.settings.timeout.min(CONNECT_TIMEOUT),
            identity: for_watch,
        })
    }
}

/// An answer with status 200, or the error that shows at most `body` bytes of another one.
pub(super) fn expect_ok(answer: Response, body: u64) -> Result<Response, StorageError> {
    if answer.status == 200 {
        return Ok(answer);
    }
    let excerpt = match &answer.location {
        Some(location) => format!("a redirect to {}, which is not followed", without_query(location)),
        None => {
            let mut bytes = Vec::new();
            // The status is the error; a body that breaks off adds nothing to it.
            let _ = answer.body.take(body).read_to_end(&mut bytes);
            Some(http::excerpt(&bytes)).filter(|text| !text.is_empty()).unwrap_or("(no body)".to_owned())
        }
    };
    Err(StorageError::Status { peer: answer.peer, status: answer.status, excerpt })
}

/// What of a redirect's target may be shown: queries carry tokens.
fn without_query(location: &str) -> String {
    http::excerpt(location.split(['?', '#']).next().unwrap_or_default().as_bytes())
}

/// A path segment, percent-encoded. An empty one, `.` or `..` would ask for another resource.
pub(super) fn segment(text: &str) -> Result<String, StorageError> {
    if matches!(text, "" | "." | "..") {
        let reason = format!("`{text}` cannot be part of a path");
        return Err(HttpError::Invalid { url: "a bcs-storage resource".to_owned(), reason }.into());
    }
    Ok(query(text))
}

/// A query value, percent-encoded.
pub(super) fn query(text: &str) -> String {
    utf8_percent_encode(text, &PLAIN).to_string()
}

impl StorageError {
    /// Whether another address may do better: this one cannot be reached, hangs up, or answers with
    /// a server error.
    pub fn concerns_address(&self) -> bool {
        match self {
            Self::Http(error) => matches!(
                error,
                HttpError::Unreachable { .. } | HttpError::Tls { .. } | HttpError::Broken { .. }
            ),
            Self::Status { status, .. } => *status >= 500,
            _ => false,
        }
    }

    fn outcome(&self) -> Outcome {
        match self {
            Self::Http(error) if error.is_timeout() => Outcome::Timeout,
            Self::Refused { .. } => Outcome::Refused,
            _ => Outcome::Error,
        }
    }
}
