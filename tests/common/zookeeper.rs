//! Real ZooKeeper servers for tests: Debian's package, in temporary directories, each on an address
//! of its own, so that no other program takes its ports while it does not run.
//!
//! Needs `java` and the jars of the package `zookeeper` in `/usr/share/java`.

#![allow(dead_code)] // every test file uses its own part of it

#[path = "frozen.rs"]
pub mod frozen;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take to serve, on a busy machine.
pub const START: Duration = Duration::from_secs(180);
/// Where each server is spoken to.
pub const PORT: u16 = 2181;

/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(10);
/// Time between two looks counts as this at most: in what is more the machine stood still, and with it
/// whatever is waited for.
const STALL: Duration = Duration::from_secs(1);

/// Waits until `condition` holds, and fails with `what` once that took longer than `limit`.
#[track_caller]
pub fn wait_for(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let (mut waited, mut looked) = (Duration::ZERO, Instant::now());
    while !condition() {
        assert!(waited <= limit, "not within {limit:?}: {what}");
        std::thread::sleep(LOOK);
        waited += looked.elapsed().min(STALL);
        looked = Instant::now();
    }
}

/// Servers that form one ZooKeeper: one alone, or an ensemble. Killed when dropped.
pub struct ZooKeepers {
    pub servers: Vec<Server>,
}

/// One server process.
pub struct Server {
    directory: TempDir,
    address: String,
    child: Option<Child>,
}

impl ZooKeepers {
    /// A single server that serves.
    pub fn single() -> Self {
        Self::start(1)
    }

    /// `count` servers that serve.
    pub fn start(count: usize) -> Self {
        let addresses: Vec<String> = (0..count).map(|_| own_address()).collect();
        let peers: String = (addresses.iter().zip(1..).filter(|_| count > 1))
            .map(|(address, id)| format!("server.{id}={address}:2888:3888\n"))
            .collect();
        let servers = addresses.into_iter().zip(1..).map(|(address, id)| Server::new(address, id, &peers));
        let mut all = Self { servers: servers.collect() };
        all.servers.iter_mut().for_each(Server::start);
        all.wait_until_serving();
        all
    }

    /// `host:port` of each.
    pub fn hosts(&self) -> Vec<String> {
        self.servers.iter().map(|server| server.host()).collect()
    }

    pub fn wait_until_serving(&self) {
        for server in self.servers.iter().filter(|server| server.child.is_some()) {
            let deadline = Instant::now() + START;
            while server.mode().is_none() {
                let log = || fs::read_to_string(server.path().join("log")).unwrap_or_default();
                assert!(Instant::now() < deadline, "ZooKeeper does not serve: {}", log());
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// Index of the leader of an ensemble.
    pub fn leader(&self) -> usize {
        let leads = |server: &Server| server.mode().as_deref() == Some("leader");
        let mut leader = None;
        wait_for("a leader", START, || {
            leader = self.servers.iter().position(leads);
            leader.is_some()
        });
        leader.unwrap()
    }

    /// Sessions all servers together know of.
    pub fn sessions(&self) -> usize {
        let mut reply = None;
        wait_for("an answer", START, || {
            reply = self.servers.iter().find_map(|server| server.ask("dump"));
            reply.is_some()
        });
        let reply = reply.unwrap();
        let sessions = reply.lines().take_while(|line| !line.starts_with("ephemeral"));
        sessions.filter(|line| line.trim_start().starts_with("0x")).count()
    }
}

impl Server {
    fn new(address: String, id: usize, peers: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        fs::create_dir(path.join("data")).unwrap();
        fs::write(path.join("data/myid"), id.to_string()).unwrap();
        let configuration = format!(
            "tickTime=200\ninitLimit=50\nsyncLimit=10\nminSessionTimeout=400\nmaxSessionTimeout=60000\n\
             dataDir={}\nclientPort={PORT}\nclientPortAddress={address}\nadmin.enableServer=false\n\
             4lw.commands.whitelist=*\nmaxClientCnxns=0\n{peers}",
            path.join("data").display()
        );
        fs::write(path.join("zoo.cfg"), configuration).unwrap();
        Self { directory, address, child: None }
    }

    /// `host:port`.
    pub fn host(&self) -> String {
        format!("{}:{PORT}", self.address)
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
        frozen::freeze(self.child.as_ref().unwrap().id());
    }

    /// Lets a frozen process go on.
    pub fn thaw(&self) {
        frozen::thaw(self.child.as_ref().unwrap().id());
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
        let mut stream = TcpStream::connect((&*self.address, PORT)).ok()?;
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

/// An address on loopback that neither another test nor any other program uses: its ports are free,
/// and stay so.
pub fn own_address() -> String {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let (process, number) = (std::process::id(), NEXT.fetch_add(1, SeqCst));
    format!("127.{}.{}.{number}", 64 + process / 250 % 128, process % 250)
}
