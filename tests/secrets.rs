//! No secret is in anything the program puts out, wherever the secret was configured and whatever went
//! wrong: log and terminal, pages and API, metrics, files, ZooKeeper, errors, at the most talkative level.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests fail by panicking.

mod container;
mod peer;
#[path = "container/process.rs"]
mod process;
mod program;
mod world;
#[path = "common/zookeeper.rs"]
mod zookeeper;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bcs_bkcmdb_synchronizer::config::{Secret, TlsFiles};
use bcs_bkcmdb_synchronizer::coordination::{Client, Role, Servers, Session};
use bcs_bkcmdb_synchronizer::http::{self, Method, Options, Request, tls};
use bcs_bkcmdb_synchronizer::sandbox::paas::{PaasServer, SimCluster, SimPaas, SimProject};
use bcs_bkcmdb_synchronizer::sandbox::storage::Generation;
use peer::Peer;
use peer::certificates::Authority;
use program::Program;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use world::cmdb::Fault;
use world::pods::pod;
use world::{CLUSTER, PATIENCE, World, listen, wait_until};
use zookeeper::ZooKeepers;

/// Part of every secret here; what follows says where it was.
const SECRET: &str = "s3cret";
/// Has the libraries talk too, TLS and HTTP among them.
const LIBRARIES: [(&str, &str); 1] = [("RUST_LOG", "trace")];
/// The keys that are secrets.
const KEYS: [&str; 3] = ["paas_app_secret", "paas_access_token", "zk_password"];

/// Fails and shows the lines in which a secret stands.
#[track_caller]
fn check(what: &str, output: &str) {
    let found: Vec<&str> = output.lines().filter(|line| line.contains(SECRET)).collect();
    assert!(found.is_empty(), "{what}: {found:#?}");
}

/// How a private key could show in a text: its secret bytes, and what the file has of them.
fn forms(key: &Path) -> Vec<String> {
    // PKCS#8 of an elliptic curve has its 32 secret bytes from this one on.
    const SECRET_BYTES: usize = 36;
    let pem = fs::read_to_string(key).unwrap();
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = BASE64_STANDARD.decode(&body).unwrap();
    let secret = &der[SECRET_BYTES..SECRET_BYTES + 8];
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let bytes = format!("{secret:?}");
    // Three bytes are four letters; lines of the file end after 64.
    let letters = |from: usize| body[from..from + 12].to_owned();
    vec![
        letters(SECRET_BYTES / 3 * 4),
        letters(64),
        hex.to_uppercase(),
        hex,
        bytes[1..bytes.len() - 1].into(),
    ]
}

/// Fails if a private key shows in a text, and says which key and how, not where.
#[track_caller]
fn check_keys(keys: &[&Path], what: &str, output: &str) {
    for key in keys {
        for (form, shown) in forms(key).iter().enumerate() {
            assert!(!output.contains(shown.as_str()), "{what}: {} in form {form}", key.display());
        }
    }
}

/// What a client with a certificate gets over HTTPS.
fn ask(files: &TlsFiles, url: &str) -> String {
    let tls = Some(tls::client_config(files, false).unwrap());
    let client = http::Client::new(&Options { tls, ..Options::default() });
    let headers =
        [("BK_User", "admin"), ("HTTP_BLUEKING_SUPPLIER_ID", "0"), ("HTTP_BK_SUPPLIER_ACCOUNT", "0")];
    let request = Request {
        method: Method::Get,
        url,
        headers: &headers,
        body: None,
        timeout: Some(PATIENCE),
        idle_timeout: None,
    };
    String::from_utf8(client.send(&request).unwrap().bytes(1 << 24).unwrap()).unwrap()
}

/// What the container server shows Prometheus.
fn metrics_of(server: &process::Process) -> String {
    let caller = container::Caller::new(format!("http://{}", server.metrics));
    let (_, metrics) = caller.raw(Method::Get, "/metrics", b"").unwrap();
    let metrics = String::from_utf8(metrics).unwrap();
    assert!(metrics.contains("bkcmdb_container_"), "{metrics}");
    metrics
}

/// Everything a run of the program printed. `variables` are its environment beside the test's own.
fn run(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_bcs-bkcmdb-synchronizer"))
        .args(arguments)
        .env_remove("RUST_LOG")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// A paas-cc that tells of the world's cluster.
fn paas() -> (SimPaas, PaasServer) {
    let paas = SimPaas::new();
    paas.set_projects(vec![SimProject {
        id: "project".into(),
        bk_biz_id: world::BIZ,
        clusters: vec![SimCluster { id: CLUSTER.into(), ..SimCluster::default() }],
        ..SimProject::default()
    }]);
    let server = paas.serve(listen()).unwrap();
    (paas, server)
}

fn servers(zookeepers: &ZooKeepers) -> Servers {
    Servers {
        hosts: zookeepers.hosts(),
        user: "bcs".into(),
        password: Secret::new("s3cret-zookeeper"),
        session_timeout: Duration::from_secs(4),
    }
}

/// Names and data of every node, by somebody with the same user.
fn nodes(zookeepers: &ZooKeepers) -> String {
    fn walk(client: &Client, path: &str, all: &mut String) {
        let data = client.read(path, false).map(|(data, _)| data).unwrap_or_default();
        *all += &format!("{path} {}\n", String::from_utf8_lossy(&data));
        for child in client.children(path, false).unwrap_or_default() {
            walk(client, &format!("{}/{child}", path.trim_end_matches('/')), all);
        }
    }
    let session = Session::start(servers(zookeepers), Role::Reader).unwrap();
    let mut all = String::new();
    wait_until("a session", PATIENCE, || {
        session.client().map(|client| walk(&client, "/", &mut all)).is_some()
    });
    all
}

/// The text of every file below a directory, with its name.
fn files(directory: &Path) -> String {
    let read =
        |path: &Path| format!("{} {}\n", path.display(), String::from_utf8_lossy(&fs::read(path).unwrap()));
    fs::read_dir(directory).unwrap().map(|entry| read(&entry.unwrap().path())).collect()
}

#[test]
fn no_secret_is_in_anything_the_service_puts_out() {
    let zookeepers = ZooKeepers::single();
    let (paas, server) = paas();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let journal = directory.path().join("journal");
    let world = World::single(Generation::New).with(json!({
        "v": 100, "zk": zookeepers.hosts(), "zk_session_timeout": 4, "zk_user": "bcs",
        "zk_password": {"file": file("zk", "s3cret-zookeeper")}, "task_manager_type": "paas", "paas_addr": server.url(),
        "paas_app_code": "code", "paas_app_secret": "s3cret-app", "admin_token_file": file("token", "s3cret-admin"),
        "delete_journal": journal, "cluster_pull_interval": 10,
    }));
    world.put(pod("web-0", 1));
    world.put(pod("web-1", 1));
    let mut program = Program::start(world);
    wait_until("the pods are recorded", PATIENCE, || program.cluster("/pods/cmdb") == 2);
    let asked = paas.take_requests().iter().any(|request| request.authorization.contains("s3cret-app"));
    assert!(asked, "the secret is in use");
    program.world.delete("web-1");
    wait_until("it is in the journal", PATIENCE, || files(&journal).contains("web-1"));

    // Faults, so that errors have something to say.
    paas.fail_projects(Some(bcs_bkcmdb_synchronizer::sandbox::paas::PaasFault::Refuse));
    program.world.cmdb.break_all(Fault::NoPermission);
    program.world.put(pod("web-2", 1));
    wait_until("both are told", PATIENCE, || {
        program.problems().contains("paas-cc")
            && program.cluster("/last_error").to_string().contains("9900403")
    });
    program.world.cmdb.heal();
    let cluster = format!("/api/v1/clusters/{CLUSTER}");
    let of_cluster = ["", "/rejected", "/deletes", "/history"].map(|end| format!("{cluster}{end}"));
    let pages =
        ["/", "/healthz", "/readyz", "/api/v1/status", "/api/v1/assignment", "/api/v1/deletes", "/none"];
    for path in pages.iter().copied().chain(of_cluster.iter().map(String::as_str)) {
        check(path, &program.text(Method::Get, path, &[("Authorization", "Bearer s3cret-admin")]));
    }
    for token in ["Bearer s3cret-admin", "Bearer s3cret-wrong", "Basic s3cret-basic"] {
        for path in [
            "/api/v1/pause",
            "/api/v1/resume",
            &format!("{cluster}/sync"),
            &format!("{cluster}/deletes/approve"),
        ] {
            check(path, &program.text(Method::Post, path, &[("Authorization", token)]));
        }
    }
    let log = program.log();
    let metrics =
        log.split("metrics on ").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap().to_owned();
    let status = std::mem::replace(&mut program.address, metrics);
    let metrics = program.text(Method::Get, "/metrics", &[]);
    assert!(metrics.contains("bkcmdb_sync_pods"), "{metrics}");
    check("metrics", &metrics);
    program.address = status;
    let mut all = String::new();
    wait_until("its lock is there", PATIENCE, || {
        all = nodes(&zookeepers);
        all.contains("bkcmdb-synchronizer/lock/")
    });
    check("ZooKeeper", &all);
    check("the journal", &files(&journal));

    // Commands beside it, and a broken file, which is quoted in parts.
    let config = program.path("synchronizer.json");
    let config = ["--config", config.to_str().unwrap()];
    for command in [
        &["check-config", "--connect"][..],
        &["check-config", "--connect", "--output", "json"],
        &["diff"],
        &["diff", "--output", "json"],
        &["sync"],
        &["sync", "--output", "json"],
        &["purge", "--cluster", CLUSTER, "--biz", "2", "--yes", "--output", "json"],
    ] {
        let said = run(&[&config, command].concat(), &[]);
        assert!(!said.is_empty());
        check(command[0], &said);
    }
    program
        .change(json!({"paas_app_secret": {"s3cret-key": "s3cret-value"}, "zk_password": ["s3cret-list"]}));
    wait_until("the problem shows", PATIENCE, || program.problems().contains("paas_app_secret"));
    check("the broken configuration", &program.problems());
    check("check-config", &run(&[&config[..], &["check-config"]].concat(), &[]));
    assert!(program.log().contains("DEBUG"), "the log is talkative");
    check("the log", &program.log());
    check("stdout", &fs::read_to_string(program.path("stdout")).unwrap());
}

#[test]
fn no_private_key_is_in_anything_either_program_puts_out() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let (storage, status) = (ours.issue("storage"), ours.issue("status"));
    let (client, operator, stranger) =
        (ours.issue("client"), ours.issue("operator"), theirs.issue("stranger"));
    let key = |files: &TlsFiles| files.key.clone().unwrap();
    let (client_key, status_key, other_key) = (key(&client), key(&status), key(&stranger));
    let keys = [client_key.as_path(), status_key.as_path(), other_key.as_path()];
    let operator = ours.trusting(operator);

    // A bcs-storage without pods that wants to know its clients.
    let peer = Peer::start_tls(tls::server_config(&ours.trusting(storage)).unwrap(), |mut connection| {
        while let Some(request) = connection.request() {
            if request.method == "POST" && connection.begin_stream() {
                return connection.wait_for_end();
            }
            connection.answer(200, r#"{"result":true,"code":0,"message":"","data":[]}"#);
        }
    });
    let world = World::single(Generation::New).with(json!({
        "v": 100, "storage_addrs": [peer.origin()], "storage_ca": ours.ca, "storage_cert": client.cert,
        "storage_key": client.key, "ca_file": ours.ca, "server_cert_file": status.cert,
        "server_key_file": status.key,
    }));
    let mut program = Program::start(world);
    let at = |path: &str| ask(&operator, &format!("https://{}{path}", program.address));
    wait_until("it is in step with the storage", PATIENCE, || at("/api/v1/status").contains("\"live\""));
    for path in ["/", "/healthz", "/readyz", "/api/v1/status", "/api/v1/assignment"] {
        check_keys(&keys, path, &at(path));
    }
    let status_address = program.address.clone();
    let log = program.log();
    program.address = log.split("metrics on ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    check_keys(&keys, "metrics", &program.text(Method::Get, "/metrics", &[]));

    // Keys that do not fit, that nobody trusts, that stand where the path of their file should.
    let config = program.path("synchronizer.json");
    let config = ["--config", config.to_str().unwrap()];
    let pasted = fs::read_to_string(&other_key).unwrap();
    for (change, telling) in [
        (json!({}), "rustls::client"),
        (json!({"storage_key": stranger.key}), "does not fit"),
        (json!({"storage_cert": stranger.cert, "storage_key": stranger.key}), "FAILED bcs-storage"),
        (json!({"storage_key": pasted}), "storage_key: cannot be read"),
        (json!({"storage_key": client.cert}), "no private key in it"),
    ] {
        program.change(change);
        let said = run(&[&config[..], &["check-config", "--connect"]].concat(), &LIBRARIES);
        assert!(said.contains(telling), "{telling}: {said}");
        check_keys(&keys, telling, &said);
        check_keys(&keys, "diff", &run(&[&config[..], &["diff"]].concat(), &LIBRARIES));
    }
    wait_until("the problem shows", PATIENCE, || {
        ask(&operator, &format!("https://{status_address}/api/v1/status")).contains("no private key in it")
    });
    check_keys(&keys, "the problem", &ask(&operator, &format!("https://{status_address}/api/v1/status")));
    let log = program.log();
    assert!(log.contains("DEBUG"), "the log is talkative");
    check_keys(&keys, "the log", &log);
    check_keys(&keys, "stdout", &fs::read_to_string(program.path("stdout")).unwrap());

    let directory = tempfile::tempdir().unwrap();
    let secured =
        json!({"v": 100, "ca_file": ours.ca, "server_cert_file": status.cert, "server_key_file": status.key});
    let server = process::Process::start_with(&LIBRARIES, directory.path(), secured);
    let api = server.caller.base.replace("http://", "https://");
    for path in ["/healthz", "/openapi.json", "/none"] {
        check_keys(&keys, path, &ask(&operator, &format!("{api}{path}")));
    }
    let refused = tls::client_config(&ours.trusting(stranger), false).unwrap();
    let refused = http::Client::new(&Options { tls: Some(refused), ..Options::default() });
    let url = format!("{api}/healthz");
    let request = Request {
        method: Method::Get,
        url: &url,
        headers: &[],
        body: None,
        timeout: Some(PATIENCE),
        idle_timeout: None,
    };
    check_keys(&keys, "a handshake that fails", &refused.send(&request).err().unwrap().to_string());
    check_keys(&keys, "metrics of the container server", &metrics_of(&server));
    check_keys(&keys, "log of the container server", &server.into_log().join("\n"));
}

#[test]
fn no_secret_is_shown_wherever_it_was_configured() {
    let directory = tempfile::tempdir().unwrap();
    let credentials = directory.path().to_str().unwrap();
    let good = json!({"zk": "127.0.0.1:1", "cmdb_addr": "127.0.0.1:1", "cmdb_user": "u", "paas_addr": "127.0.0.1:1",
        "paas_app_code": "code", "paas_app_secret": "s3cret-default", "storage_addrs": ["http://127.0.0.1:1"]});
    for key in KEYS {
        let secret = |place: &str| format!("s3cret-{key}-{place}");
        fs::write(directory.path().join(key), secret("file")).unwrap();
        let variable = format!("BKCMDB_SYNC_{}", key.to_uppercase());
        let (at_key, by_name) = (secret("variable"), secret("named-variable"));
        let variables = [("CREDENTIALS_DIRECTORY", credentials), ("NAMED", by_name.as_str())];
        let with_key = [variables[0], variables[1], (variable.as_str(), at_key.as_str())];
        let places = [
            ("text", json!(secret("text"))),
            ("file", json!({"file": directory.path().join(key)})),
            ("credential", json!({"credential": key})),
            ("named variable", json!({"env": "NAMED"})),
            ("variable", Value::Null),
        ];
        for (place, value) in places {
            let variables = if value.is_null() { &with_key[..] } else { &variables };
            let mut config = good.clone();
            if !value.is_null() {
                config[key] = value;
            }
            // Good, then wrong in another key, then no JSON any more.
            let (whole, mut wrong) = (config.to_string(), config.clone());
            wrong["no_such_key"] = json!(1);
            for (text, good) in
                [(whole.as_str(), true), (&wrong.to_string(), false), (&whole[..whole.len() - 1], false)]
            {
                let file = directory.path().join("config.json");
                fs::write(&file, text).unwrap();
                let said =
                    run(&["check-config", "--config", file.to_str().unwrap(), "--v", "100"], variables);
                assert_eq!(said.contains("good"), good, "{key} {place}: {said}");
                check(&format!("{key} as {place}"), &said);
            }
        }
        // On the command line it is refused, and not repeated.
        let said = run(&["check-config", &format!("--{key}"), &secret("flag")], &[]);
        assert!(said.contains("must not stand on the command line"), "{said}");
        check(&format!("{key} as a flag"), &said);
    }
    let said = run(&["check-config", "--cmdb_addr", "http://user:s3cret-address@cmdb"], &[]);
    check("a password in an address", &said);
}

#[test]
fn no_name_of_a_user_or_key_is_in_what_the_container_server_and_the_packages_files_say() {
    let directory = tempfile::tempdir().unwrap();
    let server = process::Process::start(directory.path(), json!({"users": ["s3cret-user"], "v": 100}));
    let mut said = String::new();
    for user in [Some("s3cret-user"), Some("somebody"), None] {
        let caller = server.caller.with("BK_User", user);
        for (method, path) in [
            (Method::Post, "/api/v3/findmany/container/bk_biz_id/2/pod"),
            (Method::Get, "/openapi.json"),
            (Method::Get, "/healthz"),
            (Method::Get, "/none"),
        ] {
            let (_, body) = caller.raw(method, path, br#"{"page":{"start":0,"limit":1}}"#).unwrap();
            said += &String::from_utf8(body).unwrap();
        }
    }
    check("the API", &said);
    check("the metrics", &metrics_of(&server));
    check("the log", &server.into_log().join("\n"));
    for shell in ["bash", "zsh", "fish"] {
        check(shell, &run(&["completions", shell], &[("BKCMDB_SYNC_ZK_PASSWORD", "s3cret-environment")]));
    }
    for command in [&["man"][..], &["man", "sync"], &["--help"]] {
        check("man", &run(command, &[("BKCMDB_SYNC_ZK_PASSWORD", "s3cret-environment")]));
    }
}
