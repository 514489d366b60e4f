//! Somebody who is not of the fleet, and sees and changes what stands in ZooKeeper.

use crate::processes::{PATIENCE, SESSION};
use crate::zookeeper::{ZooKeepers, wait_for};
use bcs_bkcmdb_synchronizer::config::Secret;
use bcs_bkcmdb_synchronizer::coordination::{CallError, Client, Role, Servers, Session};
use serde_json::Value;

/// A session of its own. A call that is lost on the way is repeated.
pub struct Author(Session);

/// Those servers, as the open-source BCS signs in to them.
pub fn servers(zookeepers: &ZooKeepers) -> Servers {
    Servers {
        hosts: zookeepers.hosts(),
        user: String::new(),
        password: Secret::default(),
        session_timeout: SESSION,
    }
}

impl Author {
    /// A session with those servers.
    pub fn of(zookeepers: &ZooKeepers) -> Self {
        Self(Session::start(servers(zookeepers), Role::Reader).unwrap())
    }

    /// The same, signed in as a user.
    pub fn signed_in(zookeepers: &ZooKeepers, user: &str, password: &str) -> Self {
        let (user, password) = (user.to_owned(), Secret::new(password));
        Self(Session::start(Servers { user, password, ..servers(zookeepers) }, Role::Reader).unwrap())
    }

    /// The names of a node's children.
    pub fn children(&self, path: &str) -> Vec<String> {
        self.repeat(|client| client.children(path, false))
    }

    /// A node's data.
    pub fn read(&self, path: &str) -> Value {
        let (data, _) = self.repeat(|client| client.read(path, false));
        serde_json::from_slice(&data).unwrap()
    }

    /// Writes a node, which may be new.
    pub fn write(&self, path: &str, data: &str) {
        self.repeat(|client| client.ensure(path));
        self.repeat(|client| client.write(path, data.as_bytes(), None));
    }

    /// Deletes a node.
    pub fn delete(&self, path: &str) {
        self.repeat(|client| match client.delete(path, None) {
            Err(CallError::NoNode(_)) => Ok(()),
            other => other,
        });
    }

    #[track_caller]
    fn repeat<T>(&self, mut call: impl FnMut(&Client) -> Result<T, CallError>) -> T {
        let mut answer = None;
        wait_for("an answer of ZooKeeper", PATIENCE, || {
            answer = self.0.client().and_then(|client| call(&client).ok());
            answer.is_some()
        });
        answer.unwrap()
    }
}
