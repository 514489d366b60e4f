//! Promises of the command line and the configuration, held up by the real binary.

#![allow(clippy::unwrap_used)]

use bcs_bkcmdb_synchronizer::config::{Config, ContainerServerConfig, Environment, Sources};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

const LEAST: &str = r#""cmdb_addr":"cmdb","cmdb_user":"bcs","paas_addr":"paas","paas_access_token":"t""#;

/// A directory with a configuration file, in which the binary runs with an empty environment.
struct Bench {
    directory: TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Bench {
    fn new(configuration: impl AsRef<[u8]>) -> Self {
        let bench = Self { directory: tempfile::tempdir().unwrap(), variables: Vec::new() };
        bench.write("c.json", configuration);
        bench
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_bcs-bkcmdb-synchronizer"))
            .args(arguments)
            .current_dir(self.directory.path())
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .output()
            .unwrap()
    }

    /// Runs `check-config` with further flags; gives the exit code and everything it printed.
    fn check(&self, flags: &[&str]) -> (i32, String) {
        let arguments: Vec<&str> = ["check-config", "-f", "c.json"].iter().chain(flags).copied().collect();
        let output = self.run(&arguments);
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(text).unwrap())
    }
}

/// Expects exit code 2 and every one of `wanted` in the output.
fn refused(bench: &Bench, flags: &[&str], wanted: &[&str]) -> String {
    let (code, text) = bench.check(flags);
    assert_eq!(code, 2, "{text}");
    for part in wanted {
        assert!(text.contains(part), "`{part}` is missing in:\n{text}");
    }
    text
}

fn with(members: &str) -> String {
    format!("{{{LEAST},{members}}}")
}

/// The PEM texts of a self-signed certificate and its key.
fn pair() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

#[test]
fn a_good_configuration_exits_0() {
    let (code, text) = Bench::new(with("\"v\":3")).check(&[]);
    assert_eq!((code, text.trim()), (0, "configuration is good"));
}

#[test]
fn keys_that_no_longer_act_only_warn() {
    let (code, text) = Bench::new(with("\"log_dir\":\"/var/log\"")).check(&["--logtostderr"]);
    assert_eq!(code, 0);
    assert!(text.contains("warning: log_dir") && text.contains("warning: logtostderr"), "{text}");
}

#[test]
fn every_problem_is_printed_at_once_on_a_line_of_its_own() {
    let bench = Bench::new("{\"port\":\"x\",\n\"zoo\":1,\n\"prot\":2,\n\"cmdb_user\":\"\"}");
    let text = refused(
        &bench,
        &["--metric_port", "y"],
        &["port: must be", "c.json line 1", "prot: is not a key", "did you mean `port`?", "given y (flag)"],
    );
    assert_eq!(text.lines().count(), 7, "{text}");
}

#[test]
fn files_that_are_no_configuration_are_refused() {
    for (content, wanted) in [
        (&b""[..], "is not JSON"),
        (b"{\"port\":1", "is not JSON"),
        (b"[]", "must be one JSON object"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b"{\"cmdb_user\":\"\xff\"}", "byte 14 is wrong"),
        (b"<html></html>", "is not JSON"),
        (b"{\"port\":1,\"port\":2}", "given twice"),
    ] {
        refused(&Bench::new(content), &[], &[wanted]);
    }
    refused(&Bench::new(vec![b' '; 1024 * 1024 + 1]), &[], &["longer than 1048576 bytes"]);
}

#[test]
fn a_missing_file_is_named_with_where_it_was_looked_for() {
    let bench = Bench::new("");
    let output = bench.run(&["run", "-f", "none.json"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text.contains("none.json") && text.contains("looked in"), "{text}");
    assert_eq!(bench.run(&["-f", "/"]).status.code(), Some(2));
}

#[test]
fn without_a_file_the_way_to_name_one_is_told() {
    let output = Bench::new("").run(&[]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && text.contains("name it with -f FILE"), "{text}");
}

#[test]
fn commands_refuse_a_bad_configuration_with_exit_2() {
    let bench = Bench::new("{}");
    let commands = [
        &[][..],
        &["run"],
        &["check-config"],
        &["check-config", "--connect"],
        &["diff"],
        &["sync"],
        &["purge", "--cluster", "c", "--biz", "2", "--yes"],
        &["container-server"],
        &["container-server", "backup", "copy.db"],
        &["container-server", "check"],
    ];
    for command in commands {
        let output = bench.run(&[&["-f", "c.json"], command].concat());
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{command:?} {text}");
        assert!(text.contains("is required") && output.stdout.is_empty(), "{command:?} {text}");
    }
}

#[test]
fn a_configuration_is_judged_in_json_too() {
    let bench = Bench::new(with("\"v\":1"));
    let check = || {
        let output = bench.run(&["check-config", "-f", "c.json", "--output", "json"]);
        (output.status.code(), serde_json::from_slice::<Value>(&output.stdout).unwrap())
    };
    let (code, good) = check();
    let wanted = json!({"ok": true, "problems": [], "warnings": [], "peers": []});
    assert_eq!((code, good), (Some(0), wanted.clone()));
    bench.write("c.json", with("\"v\":\"x\",\"pid_dir\":\"/run\""));
    let (code, mut bad) = check();
    let problem = json!({"key": "v", "reason": "must be a whole number from 0 to 100", "given": "\"x\"",
        "origin": "c.json line 1"});
    assert_eq!(bad["problems"].take(), json!([problem]));
    assert_eq!((code, &bad["ok"]), (Some(2), &json!(false)));
}

#[test]
fn flags_win_over_environment_over_file() {
    let mut bench = Bench::new(with("\"full_sync_interval\":1"));
    refused(&bench, &[], &["c.json line 1"]);
    bench.variables.push(("BKCMDB_SYNC_FULL_SYNC_INTERVAL", "2".to_owned()));
    let (code, _) = bench.check(&["--full_sync_interval", "30"]);
    // What is wrong in a source that loses is wrong all the same.
    assert_eq!(code, 2);
    fs::write(bench.directory.path().join("c.json"), with("\"port\":9,\"metric_port\":10")).unwrap();
    bench.variables = vec![("BKCMDB_SYNC_PORT", "10".to_owned())];
    refused(&bench, &[], &["metric_port: must differ from port, which is 10 too"]);
    assert_eq!(bench.check(&["--port", "11"]).0, 0);
}

#[cfg(unix)]
#[test]
fn values_that_are_not_utf8_are_refused() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let bench = Bench::new(with("\"v\":3"));
    let wrong = OsStr::from_bytes(b"\xff");
    let mut command = Command::new(env!("CARGO_BIN_EXE_bcs-bkcmdb-synchronizer"));
    command.args(["check-config", "-f", "c.json"]).current_dir(bench.directory.path());
    let output = command.env("BKCMDB_SYNC_CMDB_USER", wrong).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("must be valid UTF-8"));
    let output = command.env_remove("BKCMDB_SYNC_CMDB_USER").arg("--cmdb_user").arg(wrong).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn no_secret_ever_reaches_the_output() {
    let bench = Bench::new(
        "{\"paas_app_secret\":[\"hunter2\"],\"zk_password\":{\"hunter2\":\"x\"},\"cmdb_addr\":\"http://u:hunter2@c\",\
         \"paas_app_secrt\":\"hunter2\",\"paas_access_token\":\"hunter2\",\"paas_access_token\":\"hunter2\"}",
    );
    let flags = ["--zk_password", "hunter2"];
    let text = refused(&bench, &flags, &["zk_password", "command line", "did you mean `paas_app_secret`?"]);
    assert!(!text.contains("hunter2"), "{text}");
    for line in [
        &["--paas_app_secrt=hunter2"][..],
        &["--paas_app_secrt", "hunter2"],
        &["--v=1", "--zk_pasword=hunter2"],
    ] {
        let output = bench.run(line);
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(!text.contains("hunter2"), "{line:?}: {text}");
    }
}

#[test]
fn keys_and_secrets_that_every_user_can_read_are_warned_about() {
    let (cert, key) = pair();
    let tls = r#""server_cert_file":"cert.pem","server_key_file":"key.pem","admin_token_file":"token""#;
    let storage = r#""storage_cert":"cert.pem","storage_key":"storage.pem""#;
    let bench = Bench::new(with(&format!(r#"{tls},{storage},"zk_password":{{"file":"password"}}"#)));
    let secrets = [
        ("server_key_file", bench.write("key.pem", &key)),
        ("storage_key", bench.write("storage.pem", &key)),
        ("admin_token_file", bench.write("token", "t")),
        ("zk_password", bench.write("password", "p")),
    ];
    bench.write("cert.pem", cert);
    for (mode, warned) in [(0o600, false), (0o640, false), (0o644, true), (0o602, true)] {
        for (name, path) in &secrets {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            let (code, text) = bench.check(&[]);
            assert_eq!(code, 0, "{text}");
            assert_eq!(text.contains(&format!("warning: {name}: every user")), warned, "{mode:o} {text}");
        }
    }
}

#[test]
fn both_services_warn_in_their_log_about_a_key_that_every_user_can_read() {
    let (cert, key) = pair();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = format!("--port={}", taken.local_addr().unwrap().port());
    let bench = Bench::new(with(r#""zk":"","storage_addrs":["storage"]"#));
    bench.write("cs.json", r#"{"cmdb_addr":"cmdb","metric_port":0}"#);
    bench.write("cert.pem", cert);
    let key = bench.write("key.pem", key);
    // Neither gets further than its port, which is taken.
    for service in [&["run", "-f", "c.json"][..], &["container-server", "-f", "cs.json"]] {
        for (mode, warned) in [(0o640, false), (0o644, true)] {
            fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
            let tls = [&port, "--server_cert_file=cert.pem", "--server_key_file=key.pem"];
            let output = bench.run(&[service, &tls].concat());
            let text = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{text}");
            let line = text.lines().find(|line| line.contains("server_key_file: every user"));
            assert_eq!(line.is_some_and(|line| line.contains("WARN")), warned, "{mode:o} {text}");
        }
    }
}

#[test]
fn certificates_and_keys_are_checked_before_anything_starts() {
    let ((cert, key), (_, other)) = (pair(), pair());
    let members = "\"server_cert_file\":\"cert.pem\",\"server_key_file\":\"key.pem\"";
    let bench = Bench::new(with(members));
    refused(
        &bench,
        &[],
        &["server_cert_file: cannot be read", "server_key_file: cannot be read", "looked in"],
    );
    bench.write("cert.pem", &cert);
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";
    for (content, wanted) in [
        (other.as_str(), "does not fit the certificate"),
        (encrypted, "encrypted"),
        ("", "no private key in it"),
        (&cert, "no private key in it"),
    ] {
        bench.write("key.pem", content);
        refused(&bench, &[], &["server_key_file: ", wanted]);
    }
    bench.write("key.pem", &key);
    assert_eq!(bench.check(&[]).0, 0);
    bench.write("cert.pem", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
    refused(&bench, &[], &["server_cert_file: ", "not a usable certificate"]);
}

/// The example of the original's documentation, key by key and file by file.
#[test]
fn a_file_of_the_original_loads_as_it_is() {
    let bench = Bench::new(
        r#"{"address":"127.0.0.1","port":8888,"metric_port":9999,"v":3,"zk":"127.0.0.1:2181",
            "storage_zk":"127.0.0.1:2181","storage_ca":"./ca.cert","storage_key":"./server.key",
            "storage_cert":"./server.cert","cmdb_addr":"127.0.0.1","cmdb_supplier_id":0,"cmdb_user":"bcs",
            "paas_addr":"127.0.0.1","paas_env":"test","paas_cluster_env":"debug","paas_app_code":"bcs",
            "paas_app_secret":"xxxxxxxxx"}"#,
    );
    refused(&bench, &[], &["storage_ca: cannot be read", "storage_key", "storage_cert", "looked in"]);
    let (cert, key) = pair();
    bench.write("ca.cert", &cert);
    bench.write("server.cert", &cert);
    let key = bench.write("server.key", &key);
    fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
    let (code, text) = bench.check(&[]);
    assert_eq!((code, text.trim()), (0, "configuration is good"));
}

#[test]
fn the_examples_are_good() {
    let load = |name: &str| {
        let environment = Environment::from([("PAAS_APP_SECRET".to_owned(), "x".to_owned())]);
        let file = Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name));
        Sources { file, environment, flags: Vec::new() }
    };
    for name in ["synchronizer.json", "standalone.json"] {
        let loaded = Config::load(&load(name)).unwrap_or_else(|problems| panic!("{name}: {problems}"));
        assert_eq!(loaded.warnings, Vec::<String>::new(), "{name}");
    }
    ContainerServerConfig::load(&load("container-server.json")).unwrap();
    for name in ["topology.json", "tasks.json"] {
        let path = load(name).file.unwrap();
        serde_json::from_slice::<serde_json::Value>(&fs::read(path).unwrap()).unwrap();
    }
}

#[test]
fn help_version_completions_and_man_page_exit_0() {
    let bench = Bench::new("");
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["completions", "bash"],
        &["man"],
        &["man", "sync"],
        &["sandbox", "--help"],
    ] {
        let output = bench.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn what_cannot_start_exits_1_and_says_why_on_one_line_of_the_log() {
    let topology = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/topology.json");
    let mut bench = Bench::new(format!("{{\"topology_file\":{topology:?}}}"));
    let arguments =
        ["container-server", "-f", "c.json", "--port=0", "--metric_port=0", "--database=none\nsuch/x.db"];
    let output = bench.run(&arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("ERROR") && text.contains("none\\nsuch"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    bench.variables.push(("RUST_LOG", "off".to_owned()));
    assert!(bench.run(&arguments).stderr.is_empty());
}
