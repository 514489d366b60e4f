//! A test that runs again in namespaces of its own, so that nothing of the machine is touched. That
//! needs no privileges where users may have namespaces.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

/// Set in the test that runs inside.
const INSIDE: &str = "BKCMDB_TEST_INSIDE";

/// Whether this is the one inside.
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs a test of this program again inside; `namespace` is an option of `unshare`.
#[track_caller]
pub fn run_inside(namespace: &str, test: &str) {
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let mut command = Command::new("unshare");
    command.args((!root).then_some("--map-root-user")).arg(namespace);
    command.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
    let output = command.env(INSIDE, "1").output().unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success() && text[0].contains("1 passed"), "{}", text.concat());
}

/// Runs a command of the machine that must succeed.
#[track_caller]
pub fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
