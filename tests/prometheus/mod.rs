//! A real Prometheus that scrapes one address each second, and `promtool` beside it. The server and
//! its data are gone when it is dropped.

#![allow(clippy::unwrap_used)] // Helpers of tests fail by panicking.

use crate::world::wait_until;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// How long Prometheus may take for anything, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `promtool`, with a text on its standard input.
pub fn promtool(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// A Prometheus at work.
pub struct Prometheus {
    child: Child,
    agent: ureq::Agent,
    address: String,
    _directory: TempDir,
}

impl Prometheus {
    /// Scrapes `target` with these alert rules loaded.
    pub fn start(target: SocketAddr, rules: &Path) -> Self {
        let directory = tempfile::Builder::new().prefix("bkcmdb-prometheus-").tempdir().unwrap();
        let file = directory.path().join("prometheus.yml");
        let job = format!("{{job_name: bkcmdb-synchronizer, static_configs: [{{targets: ['{target}']}}]}}");
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{}']\nscrape_configs: [{job}]\n",
            rules.display()
        );
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()));
        command.arg("--web.listen-address=127.0.0.1:0").stderr(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let line = log.find(|line| line.contains("\"Listening on\"")).unwrap();
        let address = line.rsplit_once("address=").unwrap().1.to_owned();
        // The log goes on being read, so that the server never waits for its reader.
        std::thread::spawn(move || log.for_each(drop));
        let agent = ureq::Agent::config_builder().proxy(None).http_status_as_error(false).build().into();
        let prometheus = Self { child, agent, address, _directory: directory };
        wait_until("Prometheus is ready", PATIENCE, || {
            let answer = prometheus.agent.get(format!("http://{}/-/ready", prometheus.address)).call();
            answer.is_ok_and(|answer| answer.status() == 200)
        });
        prometheus
    }

    /// A call of its API: `data` of the answer, which must be a success.
    #[track_caller]
    pub fn get(&self, path: &str, query: &[(&str, &str)]) -> Value {
        let request = self.agent.get(format!("http://{}/api/v1/{path}", self.address));
        let mut answer = request.query_pairs(query.iter().copied()).call().unwrap();
        let mut value: Value = serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
        assert_eq!(value["status"], "success", "{query:?}: {value}");
        value["data"].take()
    }

    /// What an expression gives now.
    #[track_caller]
    pub fn query(&self, expression: &str) -> Vec<Value> {
        self.get("query", &[("query", expression)])["result"].as_array().unwrap().clone()
    }

    /// Waits until an expression gives something.
    #[track_caller]
    pub fn wait_for(&self, expression: &str) {
        wait_until(expression, PATIENCE, || !self.query(expression).is_empty());
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
