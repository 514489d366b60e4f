//! A process that stands still and is not told, as in a paused virtual machine.

#![allow(dead_code)] // every test file uses its own part of it

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a busy machine may take to stop its threads.
const PATIENCE: Duration = Duration::from_secs(60);

/// Stops every thread of the process.
#[track_caller]
pub fn freeze(pid: u32) {
    signal(pid, "-STOP");
    // On a busy machine its threads go on for a moment after `kill` has ended.
    let stopped = |task: fs::DirEntry| {
        // One that has ended meanwhile runs no more either.
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        status.is_empty() || status.contains("State:\tT")
    };
    let deadline = Instant::now() + PATIENCE;
    while !fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten().all(stopped) {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: every thread of {pid} is stopped");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Lets it go on.
#[track_caller]
pub fn thaw(pid: u32) {
    signal(pid, "-CONT");
}

#[track_caller]
fn signal(pid: u32, signal: &str) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}
