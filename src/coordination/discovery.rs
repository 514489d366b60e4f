//! Where bcs-storage is, as it registers itself in ZooKeeper (protocol.md 5).
//!
//! Yields plain URLs, in the order of registration. What was known stays known while ZooKeeper does
//! not answer: a storage does not go away because its registry does. An empty registry is
//! different: then there is none.

use super::client::CallError;
use super::layout::{self, ServerInfo};
use super::link::Servers;
use super::looker::Looker;
use super::session::{DISCOVERY, Role, Session};
use crossbeam::channel::bounded;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Time between two looks when nothing wakes us, and after a failed one.
const CHECK: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(500);

/// Follows the registrations of bcs-storage. Stops when dropped.
pub struct Discovery {
    known: Arc<Known>,
    session: Arc<Session>,
    looker: Mutex<Looker>,
}

#[derive(Default)]
struct Known {
    urls: Mutex<Arc<Vec<String>>>,
    problem: Mutex<Option<String>>,
}

impl Discovery {
    /// Starts with a session of its own, which only reads.
    ///
    /// # Errors
    /// The machine grants no thread.
    pub fn start(servers: Servers) -> io::Result<Self> {
        let session = Arc::new(Session::start(servers, Role::Reader)?);
        let (wake, woken) = bounded(1);
        session.subscribe(layout::STORAGES, wake);
        let known = Arc::new(Known::default());
        let (seen, asked) = (Arc::clone(&known), Arc::clone(&session));
        let mut left_out = BTreeSet::new();
        let looker = Looker::start("discovery", woken, move || match look(&asked, &mut left_out) {
            Ok(None) => CHECK,
            Ok(Some(urls)) => {
                seen.take(urls);
                CHECK
            }
            Err(error) => {
                *seen.problem.lock() = Some(format!("{DISCOVERY}{error}"));
                RETRY
            }
        })?;
        Ok(Self { known, session, looker: Mutex::new(looker) })
    }

    /// `scheme://ip:port` of every registered bcs-storage, each once.
    pub fn urls(&self) -> Arc<Vec<String>> {
        Arc::clone(&self.known.urls.lock())
    }

    /// What is wrong, in words, and that it is wrong here: the session of coordination may say the same.
    pub fn problem(&self) -> Option<String> {
        let session = self.session.problem().map(|problem| format!("{DISCOVERY}{problem}"));
        session.or_else(|| self.known.problem.lock().clone())
    }

    /// What is wrong with its threads, in words.
    pub fn trouble(&self) -> Option<String> {
        self.session.trouble().or_else(|| self.looker.lock().trouble())
    }

    /// Stops the threads and ends the session.
    pub fn stop(&self) {
        self.looker.lock().stop();
        self.session.stop();
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Known {
    fn take(&self, found: Vec<String>) {
        let none =
            found.is_empty().then(|| format!("no bcs-storage is registered under {}", layout::STORAGES));
        *self.problem.lock() = none;
        let mut urls = self.urls.lock();
        if **urls != found {
            log::info!("bcs-storage is at {found:?}");
            *urls = Arc::new(found);
        }
    }
}

/// The URLs registered now; `None` without a session. `left_out` are the nodes without an address
/// that were told of already.
fn look(session: &Session, left_out: &mut BTreeSet<String>) -> Result<Option<Vec<String>>, CallError> {
    let Some(client) = session.client() else { return Ok(None) };
    let names = match client.children(layout::STORAGES, true) {
        Ok(names) => names,
        Err(CallError::NoNode(_)) => {
            client.watch(layout::STORAGES)?;
            Vec::new()
        }
        Err(error) => return Err(error),
    };
    let mut urls: Vec<String> = Vec::new();
    let mut nameless = BTreeSet::new();
    for name in layout::in_order(names) {
        let path = layout::child(layout::STORAGES, &name);
        let url = match client.read(&path, false) {
            Ok((data, _)) => ServerInfo::parse(&data).and_then(|info| info.url()),
            Err(CallError::NoNode(_)) => continue,
            Err(error) => return Err(error),
        };
        match url {
            Some(url) if urls.contains(&url) => {}
            Some(url) => urls.push(url),
            None => drop(nameless.insert(path)),
        }
    }
    for path in nameless.difference(left_out) {
        log::warn!("{path} names no address and is left out");
    }
    *left_out = nameless;
    Ok(Some(urls))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn a_problem_of_its_session_says_whose_it_is() {
        let hosts = vec!["127.0.0.1:1".to_owned()];
        let (user, password, session_timeout) = (String::new(), Secret::new(""), Duration::from_secs(1));
        let discovery = Discovery::start(Servers { hosts, user, password, session_timeout }).unwrap();
        let problem = discovery.problem().unwrap();
        assert!(problem.starts_with("discovery of bcs-storage: "), "{problem}");
    }
}
