//! Whatever fits the served OpenAPI document, and much that does not, gets an answer that the
//! document announces, and never one that is the server's own fault.
//!
//! schemathesis makes the requests. It is installed beside the build output if it is not there, which
//! takes Python with `venv` and a package index. `BKCMDB_FUZZ_CASES` sets how many requests it makes up
//! for each operation beside the systematic ones (20 if unset).

#![allow(clippy::unwrap_used)] // All of it is test.

mod container;
#[path = "container/process.rs"]
mod process;
#[path = "common/python.rs"]
mod python;

use bcs_bkcmdb_synchronizer::http::Method;
use process::{Process, command};
use python::{programs, run};
use serde_json::json;
use std::path::Path;
use std::process::Command;

const FUZZ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openapi");
/// What is looked at in each answer; the first is ours, in `hooks.py`.
const CHECKS: &str = "no_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,unsupported_method";

#[test]
fn no_request_made_from_the_openapi_document_is_answered_with_a_failure_of_the_server() {
    let cases = std::env::var("BKCMDB_FUZZ_CASES").unwrap_or_else(|_| "20".to_owned());
    let fuzzer = programs("schemathesis", &Path::new(FUZZ).join("requirements.txt")).join("schemathesis");
    let directory = tempfile::tempdir().unwrap();
    let server = Process::start(directory.path(), json!({"strict_fields": false}));
    let mut command_line = Command::new(fuzzer);
    command_line
        .current_dir(directory.path())
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONPATH", FUZZ)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg("run")
        .arg(format!("{}/openapi.json", server.caller.base))
        .args(["--no-color", "--continue-on-failure", "--seed", "1", "--phases", "coverage,fuzzing"])
        .args(["--checks", CHECKS, "--max-examples", &cases, "--request-timeout", "60"]);
    for (name, value) in &server.caller.headers {
        command_line.args(["--header", &format!("{name}:{value}")]);
    }
    let report = run(&mut command_line, "the fuzzer found something");
    println!("{report}");
    let (status, health) = server.caller.raw(Method::Get, "/healthz", b"").unwrap();
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&health));
    let log = server.into_log();
    assert!(!log.iter().any(|line| line.contains("panicked")), "{log:#?}");
    let (sound, found) = command(directory.path(), &["check"]);
    assert!(sound && found.contains("the database is sound"), "{found}");
}
