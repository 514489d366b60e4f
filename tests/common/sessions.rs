//! Sessions as a member of the fleet has them, to the servers of a test.

#![allow(dead_code)] // every test file uses its own part of it

use super::zookeeper::{START, ZooKeepers, wait_for};
use bcs_bkcmdb_synchronizer::config::Secret;
use bcs_bkcmdb_synchronizer::coordination::layout::ServerInfo;
use bcs_bkcmdb_synchronizer::coordination::{Client, Role, Servers, Session};
use std::sync::Arc;
use std::time::Duration;

/// The session timeout these ask for: no busy machine stands still for so long, and no session ends but
/// for what a test does to it.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// That of a session which is to end.
pub const SHORT: Duration = Duration::from_secs(2);

pub fn servers(zookeepers: &ZooKeepers) -> Servers {
    Servers {
        hosts: zookeepers.hosts(),
        user: String::new(),
        password: Secret::default(),
        session_timeout: TIMEOUT,
    }
}

pub fn info(port: u16) -> ServerInfo {
    ServerInfo {
        ip: "127.0.0.1".to_owned(),
        port,
        hostname: "test".to_owned(),
        scheme: "http".to_owned(),
        version: "1".to_owned(),
        pid: std::process::id(),
        ..ServerInfo::default()
    }
}

pub fn member(zookeepers: &ZooKeepers, port: u16) -> Session {
    Session::start(servers(zookeepers), Role::Member(info(port))).unwrap()
}

/// The same servers for a session of that timeout.
pub fn servers_for(zookeepers: &ZooKeepers, session_timeout: Duration) -> Servers {
    Servers { session_timeout, ..servers(zookeepers) }
}

/// The client of a session that has one.
#[track_caller]
pub fn client(session: &Session) -> Arc<Client> {
    wait_for("a session", START, || session.client().is_some() && session.connected());
    session.client().unwrap()
}
