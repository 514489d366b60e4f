//! No secret of the configuration is in anything the program puts out, at the most talkative level.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests fail by panicking.

mod program;
mod world;

use bcs_bkcmdb_synchronizer::http::Method;
use bcs_bkcmdb_synchronizer::sandbox::storage::Generation;
use program::Program;
use serde_json::json;
use std::fs;
use std::process::Command;
use world::pods::pod;
use world::{PATIENCE, World, wait_until};

/// Part of every secret here.
const SECRET: &str = "s3cret";

#[test]
fn no_secret_is_in_a_log_a_page_an_error_or_a_metric() {
    let token = tempfile::NamedTempFile::new().unwrap();
    fs::write(token.path(), "s3cret-admin").unwrap();
    let world = World::single(Generation::New).with(json!({
        "v": 100, "admin_token_file": token.path(), "paas_app_code": "code", "paas_app_secret": "s3cret-app",
        "paas_access_token": "s3cret-token", "zk_user": "bcs", "zk_password": "s3cret-zk",
    }));
    world.put(pod("web-0", 1));
    let mut program = Program::start(world);
    wait_until("the pod is recorded", PATIENCE, || program.cluster("/pods/cmdb") == 1);
    let mut output = String::new();
    for path in ["/", "/healthz", "/readyz", "/api/v1/status", "/api/v1/assignment", "/api/v1/deletes"] {
        output += &program.text(Method::Get, path, &[]);
    }
    for token in ["s3cret-admin", "s3cret-wrong"] {
        let header = format!("Bearer {token}");
        output += &program.text(Method::Post, "/api/v1/sync", &[("Authorization", &header)]);
    }
    // A broken file quotes what is wrong with it, but no secret.
    program.change(json!({"paas_app_secret": {"s3cret": "s3cret"}, "zk_password": ["s3cret"]}));
    wait_until("the problem shows", PATIENCE, || program.problems().contains("paas_app_secret"));
    output += &program.problems();
    let file = program.path("synchronizer.json");
    let checked = Command::new(env!("CARGO_BIN_EXE_bcs-bkcmdb-synchronizer"))
        .args(["check-config", "--config", file.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(checked.status.code(), Some(2));
    output += &String::from_utf8([checked.stdout, checked.stderr].concat()).unwrap();
    assert!(program.log().contains("TRACE") || program.log().contains("DEBUG"), "the log is talkative");
    output += &program.log();
    let found: Vec<&str> = output.lines().filter(|line| line.contains(SECRET)).collect();
    assert!(found.is_empty(), "{found:#?}");
}
