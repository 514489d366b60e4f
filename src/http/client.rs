//! The client: a pool of connections on ureq.
//!
//! A failure before the first byte of a request is told apart from one after it: the resolver and
//! the dialer mark their own errors, and everything else happened with the request under way.

use super::answer::{BodyReader, Response};
use super::dial::{ConnectFailure, Dialer, SendLimit};
use super::names::Names;
use super::{HttpError, Method, Request, handshake};
use crate::pulse;
use crossbeam::channel::{Sender, bounded};
use parking_lot::Mutex;
use rustls::ClientConfig;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use ureq::http::{self, Uri, header};

/// An idle connection is used again for this long; peers keep theirs for 60 s and more, and a
/// connection that was closed meanwhile is noticed before it is used.
const IDLE_AGE: Duration = Duration::from_secs(60);
/// Bound on connecting where the options name none.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Peers of one client: addresses of one service.
const PEERS: usize = 16;
/// Per connection: thousands of watches must not cost ureq's 256 KiB each.
const INPUT_BUFFER: usize = 32 * 1024;
const OUTPUT_BUFFER: usize = 16 * 1024;
/// Bound on the head of an answer: it has to fit into the input buffer.
const RESPONSE_HEAD: usize = 24 * 1024;

/// What a client is made of.
#[derive(Clone, Default)]
pub struct Options {
    /// TLS for `https` URLs; none: `https` is an error.
    pub tls: Option<Arc<ClientConfig>>,
    /// Idle connections kept per peer.
    pub idle_connections: usize,
    /// Bound on connecting (name look-up, TCP and TLS), and on the head of a stream; zero: 10 s.
    pub connect_timeout: Duration,
    /// Do not offer gzip (watch streams).
    pub identity: bool,
}

/// A pool of keep-alive connections. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    agent: ureq::Agent,
    connect_timeout: Duration,
    /// Dropped by [`Client::shutdown`], which ends name look-ups.
    running: Arc<Mutex<Option<Sender<()>>>>,
}

impl Client {
    /// A client without connections yet.
    pub fn new(options: &Options) -> Self {
        let connect_timeout =
            if options.connect_timeout.is_zero() { CONNECT_TIMEOUT } else { options.connect_timeout };
        let idle = options.idle_connections.max(1);
        let config = ureq::Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
            .accept_encoding(if options.identity { "identity" } else { "gzip" })
            .max_idle_connections_per_host(idle)
            .max_idle_connections(idle.saturating_mul(PEERS))
            .max_idle_age(IDLE_AGE)
            .input_buffer_size(INPUT_BUFFER)
            .output_buffer_size(OUTPUT_BUFFER)
            .max_response_header_size(RESPONSE_HEAD)
            .timeout_resolve(Some(connect_timeout))
            .timeout_connect(Some(connect_timeout))
            .build();
        let (running, stopped) = bounded(0);
        let dialer = Dialer { tls: options.tls.clone() };
        let agent = ureq::Agent::with_parts(config, dialer, Names::new(stopped));
        Self { agent, connect_timeout, running: Arc::new(Mutex::new(Some(running))) }
    }

    /// Sends a request and returns once the head of the answer is here.
    pub fn send(&self, request: &Request<'_>) -> Result<Response, HttpError> {
        let target = Target::of(request.url)?;
        // Without a bound on the whole each step up to the head has its own.
        pulse::within(request.timeout.unwrap_or(self.connect_timeout * 4));
        let result = match request.body {
            Some(body) => self.run(request, body),
            // A length of 0 is what peers expect of a method that usually has a body.
            None if matches!(request.method, Method::Post | Method::Put) => self.run(request, &[][..]),
            None => self.run(request, ()),
        };
        pulse::beat();
        let answer = result.map_err(|error| self.classify(error, &target, request))?;
        let location = answer.headers().get(header::LOCATION);
        Ok(Response {
            status: answer.status().as_u16(),
            location: location.and_then(|value| value.to_str().ok()).map(str::to_owned),
            length: answer.body().content_length(),
            body: Box::new(BodyReader {
                inner: answer.into_body().into_reader(),
                whole: request.timeout.unwrap_or(self.connect_timeout),
                silence: request.idle_timeout.unwrap_or(self.connect_timeout),
            }),
            peer: target.peer,
        })
    }

    /// As [`send`](Self::send), but no byte leaves after `deadline`, a time since boot
    /// (`CLOCK_BOOTTIME`): a pause of the process or the machine does not stretch it.
    ///
    /// # Errors
    /// Past the deadline [`HttpError::Timeout`]: a part of the request may have left before.
    pub fn send_before(
        &self,
        deadline: Option<Duration>,
        request: &Request<'_>,
    ) -> Result<Response, HttpError> {
        let _limit = SendLimit::set(deadline);
        self.send(request)
    }

    /// Ends every exchange of this client and its clones, also one that is being read by another
    /// thread, and one that is still looking for its peer; no request succeeds afterwards.
    pub fn shutdown(&self) {
        *self.running.lock() = None;
        self.agent.clone().shutdown();
    }

    fn run(
        &self,
        request: &Request<'_>,
        body: impl ureq::AsSendBody,
    ) -> Result<http::Response<ureq::Body>, ureq::Error> {
        let method = match request.method {
            Method::Get => http::Method::GET,
            Method::Post => http::Method::POST,
            Method::Put => http::Method::PUT,
            Method::Delete => http::Method::DELETE,
        };
        let mut builder = http::Request::builder().method(method).uri(request.url);
        for (name, value) in request.headers {
            builder = builder.header(*name, *value);
        }
        // A stream has no bound as a whole: then each step up to the head has one.
        let step = if request.timeout.is_some() { None } else { Some(self.connect_timeout) };
        let configured = self
            .agent
            .configure_request(builder.body(body)?)
            .timeout_global(request.timeout)
            .timeout_per_read(request.idle_timeout)
            .timeout_send_request(step)
            .timeout_send_body(step)
            .timeout_recv_response(step)
            .build();
        self.agent.run(configured)
    }

    fn classify(&self, error: ureq::Error, target: &Target, request: &Request<'_>) -> HttpError {
        let peer = target.peer.clone();
        let invalid = |reason: String| HttpError::Invalid { url: target.shown.clone(), reason };
        match error {
            ureq::Error::Other(inner) => match inner.downcast::<ConnectFailure>().map(|failure| *failure) {
                Ok(ConnectFailure::Unreachable(reason)) => HttpError::Unreachable { peer, reason },
                Ok(ConnectFailure::Tls(reason)) => HttpError::Tls { peer, reason },
                Err(other) => HttpError::Broken { peer, reason: other.to_string() },
            },
            ureq::Error::Timeout(reason) => {
                let bound = match reason {
                    ureq::Timeout::PerRead => request.idle_timeout,
                    _ => request.timeout,
                };
                let seconds = bound.unwrap_or(self.connect_timeout).as_secs_f64();
                HttpError::Timeout { peer, seconds }
            }
            ureq::Error::BadUri(reason) => invalid(reason),
            ureq::Error::Http(error) => invalid(error.to_string()),
            ureq::Error::Io(error) => self.classify_io(error, peer),
            other => HttpError::Broken { peer, reason: other.to_string() },
        }
    }

    fn classify_io(&self, error: io::Error, peer: String) -> HttpError {
        if let Some(reason) = handshake::refusal(&error) {
            return HttpError::Tls { peer, reason };
        }
        // This kind is the pool's own answer after a shutdown, before it gives a connection away; an
        // exchange that was under way ends with another one.
        if error.kind() == io::ErrorKind::NotConnected && self.running.lock().is_none() {
            return HttpError::Unreachable { peer, reason: "the client was shut down".to_owned() };
        }
        HttpError::Broken { peer, reason: error.to_string() }
    }
}

/// What of a URL may be shown.
struct Target {
    /// `host:port`.
    peer: String,
    /// The URL without user, password and query.
    shown: String,
}

impl Target {
    fn of(url: &str) -> Result<Self, HttpError> {
        let without_query = url.split(['?', '#']).next().unwrap_or_default();
        let shown = match (without_query.split_once("://"), without_query.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://{rest}"),
            _ => without_query.to_owned(),
        };
        let invalid = |reason: &str| HttpError::Invalid { url: shown.clone(), reason: reason.to_owned() };
        let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| invalid(&error.to_string()))?;
        let default_port = match uri.scheme_str() {
            Some("http") => 80,
            Some("https") => 443,
            _ => return Err(invalid("it has to begin with http:// or https://")),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| invalid("it has no host"))?;
        let peer = format!("{host}:{}", uri.port_u16().unwrap_or(default_port));
        Ok(Self { peer, shown })
    }
}
