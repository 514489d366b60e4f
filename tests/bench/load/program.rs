//! The service as a process of its own, so that its memory and its time on a core are its own.

use super::document::cluster_id;
use bcs_bkcmdb_synchronizer::http::{Client, Method, Options, Request};
use serde_json::{Value, json};
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The program: the one that was built with this benchmark, or another build to compare with.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
/// Linux counts the time of processes in hundredths of a second.
const TICK: Duration = Duration::from_millis(10);
/// How long anything may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running service; killed when dropped.
pub struct Program {
    child: Child,
    directory: TempDir,
    status: SocketAddr,
    client: Client,
    /// When it was started.
    pub started: Instant,
}

/// What the kernel says about it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Time on a core since its start.
    pub cpu: Duration,
    /// Memory in use, bytes.
    pub resident: u64,
    /// The most it used since [`Program::reset_peak`].
    pub peak: u64,
    pub threads: u64,
}

/// Measures another build of the program.
pub fn measure(program: PathBuf) {
    // Said once, before anything is measured.
    let _ = PROGRAM.set(program);
}

/// The file of the program that is measured.
pub fn program() -> &'static Path {
    PROGRAM.get_or_init(|| env!("CARGO_BIN_EXE_bcs-bkcmdb-synchronizer").into())
}

impl Program {
    /// Starts it for `clusters` clusters of these peers; `keys` are further configuration keys.
    pub fn start(storage: SocketAddr, cmdb: SocketAddr, clusters: u32, keys: &Value) -> Self {
        let directory = TempDir::new().expect("a writable temporary directory");
        let tasks: Vec<Value> = (0..clusters)
            .map(|cluster| json!({"projectid": "p", "clusterid": cluster_id(cluster), "bk_biz_id": 2}))
            .collect();
        let task_file = directory.path().join("tasks.json");
        fs::write(&task_file, Value::from(tasks).to_string()).expect("a writable temporary directory");
        let (status, metrics) = (free_port(), free_port());
        // One full sync follows `cmdb_timeout` after a cluster was taken over: it is over before what is
        // measured begins.
        let mut config = json!({
            "cmdb_timeout": 5,
            "zk": "", "port": status.port(), "metric_port": metrics.port(), "task_manager_type": "file",
            "task_file": task_file, "storage_addrs": [format!("http://{storage}")],
            "cmdb_addr": format!("http://{cmdb}"), "cmdb_user": "bcs",
        });
        for (key, value) in keys.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        let file = directory.path().join("config.json");
        fs::write(&file, config.to_string()).expect("a writable temporary directory");
        let log = fs::File::create(directory.path().join("log")).expect("a writable temporary directory");
        let started = Instant::now();
        let child = Command::new(program())
            .arg("--config")
            .arg(file)
            // As its unit does.
            .env("MALLOC_ARENA_MAX", "2")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the program starts");
        Self { child, directory, status, client: Client::new(&Options::default()), started }
    }

    /// How long it took from its start until its port took a connection.
    pub fn time_to_listening(&self) -> Duration {
        let listens = || TcpStream::connect(self.status).is_ok();
        self.wait_every(Duration::from_micros(500), "listening", listens);
        self.started.elapsed()
    }

    /// Waits for a condition, looking now and then.
    pub fn wait(&self, what: &str, condition: impl FnMut() -> bool) {
        self.wait_every(Duration::from_millis(5), what, condition);
    }

    fn wait_every(&self, poll: Duration, what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition() {
            if Instant::now() > deadline {
                let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(20).collect();
                panic!("{what}: not within {PATIENCE:?}; its last words: {last:#?}");
            }
            std::thread::sleep(poll);
        }
    }

    /// Waits until every cluster is `live`; how many are.
    pub fn wait_until_live(&self, clusters: u32) -> u32 {
        let mut live = 0;
        self.wait_every(Duration::from_millis(100), "live", || {
            live = self.clusters().iter().filter(|cluster| cluster["state"] == "live").count();
            live == clusters as usize
        });
        live as u32
    }

    /// The clusters as its status shows them.
    pub fn clusters(&self) -> Vec<Value> {
        let status = self.ask(Method::Get, "/api/v1/status").unwrap_or_default();
        status["clusters"].as_array().cloned().unwrap_or_default()
    }

    /// Runs one full sync of every cluster and waits until all are over.
    pub fn full_sync(&self, clusters: u32) {
        let counts = || -> Vec<u64> {
            self.clusters().iter().filter_map(|cluster| cluster["full_sync"]["count"].as_u64()).collect()
        };
        let before = counts();
        for cluster in 0..clusters {
            self.ask(Method::Post, &format!("/api/v1/clusters/{}/sync", cluster_id(cluster)));
        }
        self.wait_every(Duration::from_millis(200), "a full sync of every cluster", || {
            counts().iter().zip(&before).all(|(now, before)| now > before)
        });
    }

    fn ask(&self, method: Method, path: &str) -> Option<Value> {
        let request = Request {
            method,
            url: &format!("http://{}{path}", self.status),
            headers: &[],
            body: None,
            timeout: Some(Duration::from_secs(10)),
            idle_timeout: None,
        };
        let bytes = self.client.send(&request).ok()?.bytes(1 << 26).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// What it used so far.
    pub fn usage(&self) -> Usage {
        let read =
            |file: &str| fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap_or_default();
        let stat = read("stat");
        // The second field is the name in brackets, which may hold blanks.
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u32>().ok()).unwrap_or(0);
        let status = read("status");
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        Usage {
            cpu: TICK * (ticks(11) + ticks(12)),
            resident: number("VmRSS") * 1024,
            peak: number("VmHWM") * 1024,
            threads: number("Threads"),
        }
    }

    /// Forgets the peak of its memory.
    pub fn reset_peak(&self) {
        let _ = fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port nobody listens on at the moment.
fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound listener has an address")
}
