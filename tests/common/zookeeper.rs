//! Real ZooKeeper servers for tests: Debian's package, on free ports, in temporary directories.
//!
//! Needs `java` and the jars of the package `zookeeper` in `/usr/share/java`.

#![allow(dead_code)] // every test file uses its own part of it

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take to serve, on a busy machine.
pub const START: Duration = Duration::from_secs(60);

/// Waits until `condition` holds, and fails with `what` after `limit`.
#[track_caller]
pub fn wait_for(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Servers that form one ZooKeeper: one alone, or an ensemble. Killed when dropped.
pub struct ZooKeepers {
    pub servers: Vec<Server>,
}

/// One server process.
pub struct Server {
    directory: TempDir,
    pub port: u16,
    child: Option<Child>,
}

impl ZooKeepers {
    /// A single server that serves.
    pub fn single() -> Self {
        Self::start(1)
    }

    /// `count` servers that serve.
    pub fn start(count: usize) -> Self {
        let ports: Vec<[u16; 3]> = (0..count).map(|_| free_ports()).collect();
        let peers: String = (ports.iter().enumerate().filter(|_| count > 1))
            .map(|(index, [_, quorum, election])| {
                format!("server.{}=127.0.0.1:{quorum}:{election}\n", index + 1)
            })
            .collect();
        let servers =
            ports.iter().enumerate().map(|(index, [port, ..])| Server::new(*port, index + 1, &peers));
        let mut all = Self { servers: servers.collect() };
        all.servers.iter_mut().for_each(Server::start);
        all.wait_until_serving();
        all
    }

    /// `host:port` of each.
    pub fn hosts(&self) -> Vec<String> {
        self.servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect()
    }

    pub fn wait_until_serving(&self) {
        wait_for("ZooKeeper serves", START, || {
            self.servers.iter().all(|server| server.child.is_none() || server.mode().is_some())
        });
    }

    /// Index of the leader of an ensemble.
    pub fn leader(&self) -> usize {
        self.servers.iter().position(|server| server.mode().as_deref() == Some("leader")).unwrap()
    }

    /// Sessions all servers together know of.
    pub fn sessions(&self) -> usize {
        let reply = self.servers.iter().find_map(|server| server.ask("dump")).unwrap();
        let sessions = reply.lines().take_while(|line| !line.starts_with("ephemeral"));
        sessions.filter(|line| line.trim_start().starts_with("0x")).count()
    }
}

impl Server {
    fn new(port: u16, id: usize, peers: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        fs::create_dir(path.join("data")).unwrap();
        fs::write(path.join("data/myid"), id.to_string()).unwrap();
        let configuration = format!(
            "tickTime=200\ninitLimit=50\nsyncLimit=10\nminSessionTimeout=400\nmaxSessionTimeout=60000\n\
             dataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n\
             4lw.commands.whitelist=*\nmaxClientCnxns=0\n{peers}",
            path.join("data").display()
        );
        fs::write(path.join("zoo.cfg"), configuration).unwrap();
        Self { directory, port, child: None }
    }

    /// Starts the process; returns at once.
    pub fn start(&mut self) {
        let log = fs::File::create(self.path().join("log")).unwrap();
        let child = Command::new("java")
            .args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"])
            .args(["-cp", "/usr/share/java/*", "org.apache.zookeeper.server.quorum.QuorumPeerMain"])
            .arg(self.path().join("zoo.cfg"))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .expect("java and the package zookeeper are installed");
        self.child = Some(child);
    }

    /// Kills the process; the data directory stays.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Forgets everything. The server must not run.
    pub fn wipe(&self) {
        let _ = fs::remove_dir_all(self.path().join("data/version-2"));
    }

    /// Stops the process without ending it: it accepts connections and never answers.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets a frozen process go on.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// `standalone`, `leader` or `follower`, once it serves.
    pub fn mode(&self) -> Option<String> {
        let reply = self.ask("srvr")?;
        Some(reply.lines().find_map(|line| line.strip_prefix("Mode: "))?.to_owned())
    }

    /// The answer to a four letter word.
    pub fn ask(&self, word: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        stream.write_all(word.as_bytes()).ok()?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).ok()?;
        Some(reply)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Three ports nobody has at the moment.
fn free_ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
