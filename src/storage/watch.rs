//! The watch stream of one cluster (protocol.md 1.3).
//!
//! The reader is prompt and keeps nothing: a slow one stalls the old generation of bcs-storage for
//! everybody. There is no resume; who opens a stream lists the cluster afterwards.

use super::client::{expect_ok, segment};
use super::{Client, EventReader, StorageError, WatchEvent, WatchStopper};
use crate::config::BaseUrl;
use crate::http::{self, HttpError, Method, Request};
use crate::model::ClusterKind;
use std::io::Read;
use std::sync::Arc;

/// All events of all namespaces, for ever.
const SUBSCRIPTION: &[u8] = br#"{"selfOnly":false,"maxEvents":0,"timeout":0,"mustDiff":""}"#;
/// A stream that is connected.
pub struct WatchStream {
    address: String,
    peer: String,
    body: Box<dyn Read + Send>,
    events: EventReader,
    ended: bool,
    stopper: WatchStopper,
    /// The connection ends with it.
    _http: Arc<http::Client>,
    client: Client,
}

impl Client {
    /// Opens a watch stream; `avoid` is an address to prefer any other to ([`WatchStream::address`]
    /// of a stream that stayed mute).
    ///
    /// The subscription begins some time after this returns (design.md 6).
    pub fn watch(
        &self,
        cluster: &str,
        kind: ClusterKind,
        avoid: Option<&str>,
    ) -> Result<WatchStream, StorageError> {
        self.watch_with(cluster, kind, avoid, &WatchStopper::new())
    }

    /// The same with a stopper that exists before the stream: it also ends the connecting.
    pub fn watch_with(
        &self,
        cluster: &str,
        kind: ClusterKind,
        avoid: Option<&str>,
        stopper: &WatchStopper,
    ) -> Result<WatchStream, StorageError> {
        let path = format!("/bcsstorage/v1/dynamic/watch/{}/{}", segment(cluster)?, kind.resource_type());
        let mut failure = StorageError::NoAddress;
        for address in self.ordered(cluster, avoid) {
            let open = || match self.open(&address, &path, stopper) {
                Err(_) if stopper.is_stopped() => Err(StorageError::Stopped),
                result => result,
            };
            match self.counted("watch", &address, open) {
                Err(error) if error.concerns_address() => failure = error,
                result => return result,
            }
        }
        Err(failure)
    }

    fn open(
        &self,
        address: &BaseUrl,
        path: &str,
        stopper: &WatchStopper,
    ) -> Result<WatchStream, StorageError> {
        let http = self.http_for_watch(stopper)?;
        let answer = http.send(&Request {
            method: Method::Post,
            url: &format!("{}{}{path}", address.origin, address.prefix),
            headers: &[("content-type", "application/json")],
            body: Some(SUBSCRIPTION),
            timeout: None,
            idle_timeout: Some(self.shared.settings.watch_idle_timeout),
        })?;
        // The body of a refusal is not waited for: only silence bounds a stream.
        let answer = expect_ok(answer, 0)?;
        Ok(WatchStream {
            address: address.origin.clone(),
            peer: answer.peer,
            body: answer.body,
            events: EventReader::default(),
            ended: false,
            stopper: stopper.clone(),
            _http: http,
            client: self.clone(),
        })
    }
}

impl WatchStream {
    /// Waits for the next event. `None`: the stream has ended, orderly or by a break event.
    ///
    /// What is no event is one of kind [`super::EventKind::Malformed`], and the stream goes on. An error
    /// (a broken connection, `watch_idle_timeout` without a byte, a stop) ends it.
    #[allow(clippy::should_implement_trait)] // an iterator cannot lend its items
    pub fn next(&mut self) -> Result<Option<WatchEvent<'_>>, StorageError> {
        if self.ended {
            return Ok(None);
        }
        let event = self.events.next(&mut self.body);
        self.ended = !matches!(event, Ok(Some(_)));
        if self.stopper.is_stopped() || self.client.is_stopped() {
            self.ended = true;
            return Err(StorageError::Stopped);
        }
        event.map_err(|error| HttpError::reading(&self.peer, &error).into())
    }

    /// The address it comes from.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What ends the stream from another thread.
    pub fn stopper(&self) -> WatchStopper {
        self.stopper.clone()
    }
}
