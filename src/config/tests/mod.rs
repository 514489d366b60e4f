//! The promises of the configuration, through its public door.

mod rules;
mod secrets;
mod sources;
mod values;

use super::*;
use std::collections::BTreeSet;
use std::path::Path;
use tempfile::NamedTempFile;

/// The least a synchronizer needs.
const LEAST: &str = r#""cmdb_addr":"cmdb","cmdb_user":"bcs","paas_addr":"paas""#;

fn with(members: &str) -> String {
    format!("{{{LEAST},{members}}}")
}

fn good(members: &str) -> Config {
    Config::from_json(&with(members)).unwrap_or_else(|problems| panic!("{members}: {problems}"))
}

/// Expects exactly one problem, about `key`, that says `wanted`.
fn refused(json: &str, key: &str, wanted: &str) {
    let Problems(problems) = Config::from_json(json).map(|_| ()).unwrap_err();
    let [problem] = &problems[..] else { panic!("{json}: {problems:?}") };
    assert_eq!(problem.key, key, "{json}: {problem}");
    let text = problem.to_string();
    assert!(text.contains(wanted), "{json}: `{text}` lacks `{wanted}`");
}

fn wrong(members: &str, key: &str, wanted: &str) {
    refused(&with(members), key, wanted);
}

fn sources(file: Option<PathBuf>, variables: &[(&str, &str)], flags: &[(&str, &str)]) -> Sources {
    let owned = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
    Sources {
        file,
        environment: variables.iter().map(owned).collect(),
        flags: flags.iter().map(owned).collect(),
    }
}

fn least_file() -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{{{LEAST},\n\"port\":1111,\"v\":1}}")).unwrap();
    file
}

#[test]
fn the_least_configuration_has_the_documented_defaults() {
    let config = good("\"v\":3");
    assert_eq!(config.address.to_string(), "127.0.0.1");
    assert_eq!((config.port, config.metric_port), (8080, 8081));
    assert_eq!(config.zk, ["127.0.0.1:2181"]);
    assert_eq!(config.storage_zk, config.zk);
    assert_eq!(config.cmdb_addr, BaseUrl { origin: "http://cmdb".into(), prefix: "/api/v3".into() });
    assert_eq!(config.full_sync_interval, Duration::from_secs(600));
    assert_eq!(config.sync_policy, SyncPolicy::Sync);
    assert_eq!(config.text_limit, 2000);
    assert_eq!(config.admin_token, None);
}

#[test]
fn every_default_of_the_tables_is_of_its_kind() {
    for key in SYNCHRONIZER.keys.iter().chain(CONTAINER_SERVER.keys) {
        match key.default {
            Fallback::Required => {}
            Fallback::Text(text) => assert!(value::from_text(key.kind, text).is_ok(), "{}", key.name),
            Fallback::SameAs(other) => assert!(SYNCHRONIZER.key(other).is_some(), "{}", key.name),
        }
    }
}

#[test]
fn no_table_has_a_key_twice() {
    for program in [&SYNCHRONIZER, &CONTAINER_SERVER] {
        let names: BTreeSet<&str> = program.keys.iter().map(|key| key.name).collect();
        assert_eq!(names.len(), program.keys.len(), "{}", program.name);
    }
}

/// A certificate and the key that fits it.
fn pair() -> (NamedTempFile, NamedTempFile) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (NamedTempFile::new().unwrap(), NamedTempFile::new().unwrap());
    std::fs::write(cert.path(), made.cert.pem()).unwrap();
    std::fs::write(key.path(), made.signing_key.serialize_pem()).unwrap();
    (cert, key)
}

/// Files that keys can name.
struct Files {
    text: NamedTempFile,
    cert: NamedTempFile,
    key: NamedTempFile,
}

impl Files {
    fn new() -> Self {
        let (cert, key) = pair();
        let text = NamedTempFile::new().unwrap();
        std::fs::write(text.path(), "x").unwrap();
        Self { text, cert, key }
    }

    /// A value other than the default for a key, with what has to be given beside it.
    fn another(&self, key: &Key) -> Vec<(&'static str, String)> {
        let path = |file: &NamedTempFile| file.path().to_str().unwrap().to_owned();
        let (text, cert, private) = (path(&self.text), path(&self.cert), path(&self.key));
        match key.name {
            "address" => vec![("address", "127.0.0.2".to_owned())],
            "storage_ca" => vec![("storage_ca", cert)],
            "storage_cert" | "storage_key" => vec![("storage_cert", cert), ("storage_key", private)],
            "server_cert_file" | "server_key_file" => {
                vec![("server_cert_file", cert), ("server_key_file", private)]
            }
            "ca_file" => {
                vec![("ca_file", cert.clone()), ("server_cert_file", cert), ("server_key_file", private)]
            }
            "task_file" | "task_manager_type" => {
                vec![("task_manager_type", "file".to_owned()), ("task_file", text)]
            }
            "admin_token_file" | "topology_file" => vec![(key.name, text)],
            "time_zone" => vec![("time_zone", "Asia/Shanghai".to_owned())],
            name if name.contains("_addr") => vec![(name, "http://other:99/p".to_owned())],
            name => vec![(name, another_of_kind(key))],
        }
    }
}

fn another_of_kind(key: &Key) -> String {
    match (key.kind, key.default) {
        (Kind::Choice(choices), _) => choices[1].to_owned(),
        (Kind::Number { min, max }, Fallback::Text(text)) => {
            let default: i64 = text.parse().unwrap();
            [min, max].into_iter().find(|other| *other != default).unwrap().to_string()
        }
        (Kind::Boolean, Fallback::Text(text)) => (text != "true").to_string(),
        (Kind::Servers, _) => "localhost:99".to_owned(),
        (Kind::Secret, _) => "{\"env\":\"SECRET\"}".to_owned(),
        _ => "other".to_owned(),
    }
}

/// Gives each key of a program another value and expects another configuration: no key is read and
/// then forgotten.
fn every_key_acts(program: &Program, least: &[(&'static str, String)], load: fn(&Sources) -> String) {
    let files = Files::new();
    let configured = |extra: &[(&'static str, String)]| {
        let given: BTreeMap<&str, &str> =
            least.iter().chain(extra).map(|(key, value)| (*key, value.as_str())).collect();
        let flags: Vec<(&str, &str)> = given.into_iter().collect();
        load(&sources(None, &[("SECRET", "x")], &flags))
    };
    let before = configured(&[]);
    for key in program.keys.iter().filter(|key| !key.kind.is_ignored()) {
        assert_ne!(before, configured(&files.another(key)), "{} changes nothing", key.name);
    }
}

#[test]
fn every_key_of_the_synchronizer_acts() {
    let least = [("cmdb_addr", "cmdb"), ("cmdb_user", "bcs"), ("paas_addr", "paas")];
    let least = least.map(|(key, value)| (key, value.to_owned()));
    every_key_acts(&SYNCHRONIZER, &least, |sources| format!("{:?}", Config::load(sources).unwrap().config));
}

#[test]
fn every_key_of_the_container_server_acts() {
    let topology = NamedTempFile::new().unwrap();
    let file = topology.path().to_str().unwrap().to_owned();
    let load = |sources: &Sources| {
        // Two sources of topology are one too many.
        let mut sources = sources.clone();
        if sources.flags.iter().any(|(key, _)| key == "cmdb_addr") {
            sources.flags.retain(|(key, _)| key != "topology_file");
        }
        format!("{:?}", ContainerServerConfig::load(&sources).unwrap().config)
    };
    every_key_acts(&CONTAINER_SERVER, &[("topology_file", file)], load);
}
