//! Host names to socket addresses.
//!
//! ureq looks a name up before it asks its pool for a connection, on a thread of its own each time.
//! Here an address that is spelled out costs nothing, a name is remembered for a moment, and a
//! look-up does not outlast a shutdown.

use super::dial::ConnectFailure;
use crossbeam::channel::{Receiver, bounded, select};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// How long a looked-up name is used again: long enough that a thousand requests a second ask once,
/// short enough that a changed record is seen before an operator wonders.
const REMEMBER: Duration = Duration::from_secs(10);
/// Names remembered; more than a handful is not expected.
const REMEMBERED_NAMES: usize = 64;
/// Addresses used of one name; ureq holds 16.
const ADDRESSES: usize = 16;
/// `getaddrinfo` loads modules of the C library, which need more than the smallest stack.
const STACK: usize = 512 * 1024;

/// The resolver of one client.
#[derive(Debug)]
pub(super) struct Names {
    known: Mutex<HashMap<String, (Instant, Vec<SocketAddr>)>>,
    /// Disconnected once the client is shut down.
    stopped: Receiver<()>,
}

impl Names {
    pub(super) fn new(stopped: Receiver<()>) -> Self {
        Self { known: Mutex::new(HashMap::new()), stopped }
    }

    fn addresses(&self, host_port: &str, timeout: Duration) -> Result<Vec<SocketAddr>, ConnectFailure> {
        if let Ok(address) = host_port.parse() {
            return Ok(vec![address]);
        }
        if let Some((at, addresses)) = self.known.lock().get(host_port)
            && at.elapsed() < REMEMBER
        {
            return Ok(addresses.clone());
        }
        let found = self.look_up(host_port, timeout)?;
        let mut known = self.known.lock();
        if known.len() >= REMEMBERED_NAMES {
            known.clear();
        }
        known.insert(host_port.to_owned(), (Instant::now(), found.clone()));
        Ok(found)
    }

    /// `getaddrinfo` cannot be interrupted: its thread is left to end by itself when the time is up
    /// or the client is shut down.
    fn look_up(&self, host_port: &str, timeout: Duration) -> Result<Vec<SocketAddr>, ConnectFailure> {
        let unreachable = |reason: String| ConnectFailure::Unreachable(reason);
        let (sender, receiver) = bounded(1);
        let name = host_port.to_owned();
        thread::Builder::new()
            .name(format!("resolve {host_port}"))
            .stack_size(STACK)
            .spawn(move || sender.send(name.to_socket_addrs().map(Iterator::collect::<Vec<_>>)))
            .map_err(|error| unreachable(format!("no thread to look the name up: {error}")))?;
        let answer = select! {
            recv(receiver) -> answer => answer,
            recv(self.stopped) -> _ => return Err(unreachable("the client was shut down".to_owned())),
            default(timeout) => {
                let seconds = timeout.as_secs_f64();
                return Err(unreachable(format!("the name server did not answer within {seconds} s")));
            }
        };
        match answer {
            Ok(Ok(addresses)) if !addresses.is_empty() => Ok(addresses),
            Ok(Err(error)) => Err(unreachable(format!("the name is not known: {error}"))),
            _ => Err(unreachable("the name has no address".to_owned())),
        }
    }
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        _config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host_port = match (uri.scheme(), uri.authority()) {
            (Some(scheme), Some(authority)) => DefaultResolver::host_and_port(scheme, authority),
            _ => None,
        };
        let host_port = host_port.ok_or_else(|| ureq::Error::BadUri("no host or port".to_owned()))?;
        let mut resolved = self.empty();
        for address in self.addresses(&host_port, *timeout.after)?.into_iter().take(ADDRESSES) {
            resolved.push(address);
        }
        Ok(resolved)
    }
}
