//! The real binary at work as a container server.
#![allow(dead_code, clippy::unwrap_used)] // Each test file uses its own part; all of it is test.

use super::container::{Caller, config};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

/// The binary on a free port; killed when dropped.
pub struct Process {
    child: Child,
    pub caller: Caller,
    /// Address of its metrics.
    pub metrics: String,
    log: Option<JoinHandle<Vec<String>>>,
}

impl Process {
    /// Starts it with its files in `directory`.
    pub fn start(directory: &Path, extra: Value) -> Self {
        Self::start_with(&[], directory, extra)
    }

    /// The same with further variables in its environment.
    pub fn start_with(variables: &[(&str, &str)], directory: &Path, extra: Value) -> Self {
        let file = directory.join("config.json");
        std::fs::write(&file, config(directory, extra).to_string()).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_bcs-bkcmdb-synchronizer"))
            .args(["container-server", "--config"])
            .arg(&file)
            .env_remove("RUST_LOG")
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let line = log.find_map(|line| line.split_once("API on ").map(|(_, rest)| rest.to_owned()));
        let line = line.unwrap();
        let (address, metrics) = line.split_once(", metrics on ").unwrap();
        let (caller, metrics) = (Caller::new(format!("http://{address}")), metrics.trim().to_owned());
        // The log goes on being read, so that the server never waits for its reader.
        let log = std::thread::spawn(move || log.collect());
        Self { child, caller, metrics, log: Some(log) }
    }

    /// SIGKILL; a server that is gone already is as good.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM; whether it ended as it should.
    pub fn terminate(&mut self) -> bool {
        self.signal("-TERM");
        self.child.wait().unwrap().success()
    }

    pub fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Kills it and returns what it logged after its start.
    pub fn into_log(mut self) -> Vec<String> {
        self.kill();
        self.log.take().unwrap().join().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs `container-server` with further arguments beside it: whether it succeeded, and what it
/// printed.
pub fn command(directory: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_bcs-bkcmdb-synchronizer"))
        .args(["container-server", "--config"])
        .arg(directory.join("config.json"))
        .args(arguments)
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}
