//! The program itself between the peers of a world, with a configuration file that can be changed.

#![allow(dead_code)] // Each test file uses its own part.

#[path = "../common/secrets.rs"]
mod secrets;

use crate::world::{PATIENCE, World, wait_until};
use bcs_bkcmdb_synchronizer::config::TlsFiles;
use bcs_bkcmdb_synchronizer::http::{Client, HttpError, Method, Options, Request, tls};
use serde_json::Value;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// The program at work with a configuration that can be changed. Killed when dropped.
pub struct Program {
    pub world: World,
    directory: TempDir,
    config: Value,
    pub child: Child,
    pub address: String,
}

impl Program {
    pub fn start(world: World) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = world.config().clone();
        let file = directory.path().join("synchronizer.json");
        fs::write(&file, config.to_string()).unwrap();
        let log = directory.path().join("log");
        let child = Command::new(env!("CARGO_BIN_EXE_bcs-bkcmdb-synchronizer"))
            .args(["--config", file.to_str().unwrap()])
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(File::create(directory.path().join("stdout")).unwrap())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut program = Self { world, directory, config, child, address: String::new() };
        wait_until("it listens", PATIENCE, || {
            let log = program.log();
            let address = log.split("status on ").nth(1).and_then(|rest| rest.split(',').next());
            program.address = address.unwrap_or_default().to_owned();
            !program.address.is_empty()
        });
        program
    }

    /// Changes keys of the file.
    pub fn change(&mut self, keys: Value) {
        for (key, value) in keys.as_object().unwrap() {
            self.config[key] = value.clone();
        }
        self.write(&self.config.to_string());
    }

    /// Replaces the file as an editor does.
    pub fn write(&self, text: &str) {
        let file = self.path("synchronizer.json");
        fs::write(file.with_extension("new"), text).unwrap();
        fs::rename(file.with_extension("new"), file).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    #[track_caller]
    pub fn wait_logged(&self, words: &str) {
        wait_until(&format!("{words}\n{}", self.log()), PATIENCE, || self.log().contains(words));
    }

    pub fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        trusted: Option<TlsFiles>,
    ) -> Result<(u16, Value), HttpError> {
        let tls = trusted.map(|files| tls::client_config(&files, false).unwrap());
        let client = Client::new(&Options { tls, ..Options::default() });
        let request =
            Request { method, url, headers, body: None, timeout: Some(PATIENCE), idle_timeout: None };
        let answer = client.send(&request)?;
        let status = answer.status;
        Ok((status, serde_json::from_slice(&answer.bytes(1 << 24)?).unwrap_or_default()))
    }

    /// An answer as it is, head of the status line aside.
    pub fn text(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> String {
        let url = format!("http://{}{path}", self.address);
        let client = Client::new(&Options::default());
        let request =
            Request { method, url: &url, headers, body: None, timeout: Some(PATIENCE), idle_timeout: None };
        String::from_utf8(client.send(&request).unwrap().bytes(1 << 24).unwrap()).unwrap()
    }

    pub fn status(&self) -> Value {
        let url = format!("http://{}/api/v1/status", self.address);
        self.send(Method::Get, &url, &[], None).map(|(_, body)| body).unwrap_or_default()
    }

    pub fn cluster(&self, pointer: &str) -> Value {
        self.status().pointer(&format!("/clusters/0{pointer}")).cloned().unwrap_or_default()
    }

    #[track_caller]
    pub fn wait_cluster(&self, pointer: &str, wanted: Value) {
        wait_until(&format!("{pointer} {wanted}\n{}", self.log()), PATIENCE, || {
            self.cluster(pointer) == wanted
        });
    }

    pub fn problems(&self) -> String {
        self.status()["instance_problems"].to_string()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        secrets::check_file(&self.path("log"));
    }
}
