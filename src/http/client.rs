//! The client: a pool of connections on ureq.

use super::{HttpError, Method, Request, Response};
use rustls::ClientConfig;
use std::sync::Arc;
use std::time::Duration;

/// What a client is made of.
#[derive(Clone, Default)]
pub struct Options {
    /// TLS for `https` URLs; none: `https` is an error.
    pub tls: Option<Arc<ClientConfig>>,
    /// Idle connections kept per peer.
    pub idle_connections: usize,
    /// Bound on connecting, and on the head of a stream.
    pub connect_timeout: Duration,
    /// Do not offer gzip (watch streams).
    pub identity: bool,
}

/// A pool of keep-alive connections. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    agent: ureq::Agent,
}

impl Client {
    /// A client without connections yet.
    pub fn new(options: &Options) -> Self {
        let agent = ureq::Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .max_idle_connections_per_host(options.idle_connections.max(1))
            .timeout_connect(Some(options.connect_timeout))
            .build()
            .new_agent();
        Self { agent }
    }

    /// Sends a request and returns once the head of the answer is here.
    pub fn send(&self, request: &Request<'_>) -> Result<Response, HttpError> {
        let _ = (&self.agent, Method::Get);
        Err(HttpError::Invalid { url: request.url.to_owned(), reason: "not implemented".to_owned() })
    }

    /// Ends every exchange of this client and its clones, also one that is being read by another
    /// thread; no request succeeds afterwards.
    pub fn shutdown(&self) {
        self.agent.clone().shutdown();
    }
}
