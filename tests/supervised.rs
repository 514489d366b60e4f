//! What the real binary tells a service manager that listens: ready although every peer is down, signs
//! of life while it works and none while it is frozen, and that it stops.

#![allow(clippy::unwrap_used)]

#[path = "common/frozen.rs"]
mod frozen;
mod program;
mod world;

use bcs_bkcmdb_synchronizer::sandbox::storage::Generation;
use program::Program;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
/// How long the service manager waits for a sign of life; one comes four times as often.
const WATCHDOG: Duration = Duration::from_secs(2);

/// A service manager with one service.
struct Manager {
    /// Its socket and the service's files.
    directory: TempDir,
    socket: UnixDatagram,
    service: Child,
}

impl Manager {
    /// Starts a command with a configuration in which `DIR` stands for a directory of its own.
    fn start(command: &str, configuration: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        let configuration = configuration.replace("DIR", directory.path().to_str().unwrap());
        std::fs::write(file("c.json"), configuration).unwrap();
        std::fs::write(file("empty-list.json"), "[]").unwrap();
        std::fs::write(file("topology.json"), r#"{"businesses":[]}"#).unwrap();
        let socket = UnixDatagram::bind(file("notify")).unwrap();
        // The process that is watched is the shell, which becomes the program.
        let script = r#"WATCHDOG_PID=$$ exec "$0" "$@""#;
        let service = Command::new("sh")
            .args(["-c", script, env!("CARGO_BIN_EXE_bcs-bkcmdb-synchronizer"), command, "-f"])
            .arg(file("c.json"))
            .env("NOTIFY_SOCKET", file("notify"))
            .env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { directory, socket, service }
    }

    /// The next message within `patience` that holds `part`.
    fn hears(&self, part: &str, patience: Duration) -> Option<String> {
        let deadline = Instant::now() + patience;
        let mut message = [0; 4096];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.socket.set_read_timeout(Some(left)).unwrap();
            match self.socket.recv(&mut message) {
                Ok(length) => {
                    let text = String::from_utf8_lossy(&message[..length]);
                    if text.contains(part) {
                        return Some(text.into_owned());
                    }
                }
                Err(error) => assert!(matches!(
                    error.kind(),
                    // The last one: this process was frozen meanwhile.
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                )),
            }
        }
    }

    /// Forgets what the service has said so far.
    fn forget(&self) {
        self.socket.set_nonblocking(true).unwrap();
        while self.socket.recv(&mut [0; 4096]).is_ok() {}
        self.socket.set_nonblocking(false).unwrap();
    }

    fn ask_to_stop(&self) {
        let pid = self.service.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = self.service.kill();
        let _ = self.service.wait();
    }
}

fn check(command: &str, configuration: &str, line: &str) {
    let mut manager = Manager::start(command, configuration);
    assert!(manager.hears("READY=1", PATIENCE).is_some(), "{command} is not ready");
    let sign = manager.hears(line, PATIENCE);
    assert!(sign.is_some_and(|sign| sign.contains("WATCHDOG=1")), "{command} does not say {line:?}");
    for _ in 0..3 {
        assert!(manager.hears("WATCHDOG=1", PATIENCE).is_some(), "{command} lives and does not say so");
    }
    frozen::freeze(manager.service.id());
    manager.forget();
    assert_eq!(manager.hears("WATCHDOG=1", WATCHDOG), None, "{command} is frozen");
    frozen::thaw(manager.service.id());
    assert!(manager.hears("WATCHDOG=1", PATIENCE).is_some(), "{command} works again");
    manager.ask_to_stop();
    assert!(manager.hears("STOPPING=1", PATIENCE).unwrap().contains("EXTEND_TIMEOUT_USEC="));
    assert!(manager.service.wait().unwrap().success());
}

#[test]
fn the_synchronizer_is_ready_and_alive_although_every_peer_is_down() {
    let configuration = r#"{"zk":"","port":0,"metric_port":0,"storage_addrs":["http://127.0.0.1:1"],
        "cmdb_addr":"http://127.0.0.1:1","cmdb_user":"bcs","task_manager_type":"file","task_file":"DIR/empty-list.json"}"#;
    check("run", configuration, "STATUS=master, 0 of 0 clusters live");
}

#[test]
fn a_drain_that_was_made_longer_while_the_service_ran_is_asked_for_when_it_ends() {
    let configuration = r#"{"zk":"","port":0,"metric_port":0,"storage_addrs":["http://127.0.0.1:1"],"shutdown_grace":1,
        "cmdb_addr":"http://127.0.0.1:1","cmdb_user":"bcs","task_manager_type":"file","task_file":"DIR/empty-list.json"}"#;
    let mut manager = Manager::start("run", configuration);
    assert!(manager.hears("READY=1", PATIENCE).is_some());
    let file = manager.directory.path().join("c.json");
    let changed = std::fs::read_to_string(&file).unwrap();
    // The port shows when the file was read again.
    let changed = changed.replace(r#""port":0"#, r#""port":1"#).replace(r#"_grace":1"#, r#"_grace":100"#);
    std::fs::write(file, changed).unwrap();
    assert!(manager.hears("port changed in the configuration", PATIENCE).is_some());
    manager.ask_to_stop();
    let stopping = manager.hears("STOPPING=1", PATIENCE).unwrap();
    assert!(stopping.contains("EXTEND_TIMEOUT_USEC=120000000"), "{stopping}");
    assert!(manager.service.wait().unwrap().success());
}

#[test]
fn the_synchronizer_is_ready_and_alive_although_zookeeper_is_down() {
    let configuration = r#"{"zk":"127.0.0.1:1","port":0,"metric_port":0,"cmdb_addr":"http://127.0.0.1:1",
        "cmdb_user":"bcs","task_manager_type":"file","task_file":"DIR/empty-list.json"}"#;
    check("run", configuration, "STATUS=worker, 0 of 0 clusters live; ");
}

#[test]
fn the_container_server_is_ready_and_alive() {
    let configuration =
        r#"{"port":0,"metric_port":0,"database":"DIR/records.db","topology_file":"DIR/topology.json"}"#;
    check("container-server", configuration, "STATUS=0 pods");
}

#[test]
fn what_is_under_way_when_the_service_freezes_goes_on_afterwards() {
    let program = Program::start(world::World::single(Generation::New));
    let connect = |begun: &str| {
        let mut stream = TcpStream::connect(&program.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(begun.as_bytes()).unwrap();
        stream
    };
    let answers = |stream: &mut TcpStream| {
        let mut start = [0; 12];
        stream.read_exact(&mut start).is_ok() && start.starts_with(b"HTTP/1.1 ")
    };
    // One that was served and is idle, one whose request has begun to arrive.
    let mut served = connect("HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        served.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    let mut begun = connect("GET /healthz HTTP/1.1\r\nHo");
    frozen::freeze(program.child.id());
    frozen::thaw(program.child.id());
    begun.write_all(b"st: a\r\n\r\n").unwrap();
    assert!(answers(&mut begun), "the request had begun");
    served.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(answers(&mut served), "the connection was idle");
}
