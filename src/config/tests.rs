//! The promises of the configuration, through its public door.

use super::*;
use std::collections::BTreeSet;

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

fn least_file() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
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

/// A value other than the default for every key, so that one that is read but not used shows.
fn another_value(key: &Key, file: &str) -> String {
    let text = match key.name {
        "address" => "127.0.0.2".to_owned(),
        "task_manager_type" => "file".to_owned(),
        "time_zone" => "UTC".to_owned(),
        name if name.contains("_addr") => "http://other:99/p".to_owned(),
        name if name.ends_with("_file") || name.starts_with("storage_c") || name.starts_with("storage_k") => {
            file.to_owned()
        }
        _ => return another_of_kind(key),
    };
    serde_json::to_string(&text).unwrap()
}

fn another_of_kind(key: &Key) -> String {
    match (key.kind, key.default) {
        (Kind::Choice(choices), _) => format!("{:?}", choices[1]),
        (Kind::Number { min, max }, Fallback::Text(text)) => {
            let default: i64 = text.parse().unwrap();
            [min, max].into_iter().find(|other| *other != default).unwrap().to_string()
        }
        (Kind::Boolean, Fallback::Text(text)) => (text != "true").to_string(),
        (Kind::Servers, _) => "\"localhost:99\"".to_owned(),
        _ => "\"other\"".to_owned(),
    }
}

#[test]
fn every_key_of_the_synchronizer_acts() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "t").unwrap();
    let path = file.path().to_str().unwrap();
    let (cert, key) = pair();
    let extra = |name: &str| match name {
        "task_manager_type" => format!(",\"task_file\":{path:?}"),
        "task_file" => ",\"task_manager_type\":\"file\"".to_owned(),
        _ => String::new(),
    };
    let before = format!("{:?}", Config::from_json(&format!("{{{LEAST}}}")).unwrap());
    for entry in SYNCHRONIZER.keys.iter().filter(|entry| !entry.kind.is_ignored()) {
        let (cert, key) = (cert.path().to_str().unwrap(), key.path().to_str().unwrap());
        let members = match entry.name {
            "storage_key" | "storage_cert" => format!("\"storage_cert\":{cert:?},\"storage_key\":{key:?}"),
            "storage_ca" => format!("\"storage_ca\":{cert:?}"),
            "ca_file" | "server_cert_file" | "server_key_file" => {
                format!("\"ca_file\":{cert:?},\"server_cert_file\":{cert:?},\"server_key_file\":{key:?}")
            }
            name => format!("{name:?}:{}{}", another_value(entry, path), extra(name)),
        };
        let required: Vec<String> = [("cmdb_addr", "cmdb"), ("cmdb_user", "bcs"), ("paas_addr", "paas")]
            .iter()
            .filter(|(name, _)| *name != entry.name)
            .map(|(name, value)| format!("{name:?}:{value:?}"))
            .collect();
        let json = format!("{{{},{members}}}", required.join(","));
        let config = Config::from_json(&json).unwrap_or_else(|problems| panic!("{json}: {problems}"));
        let after = format!("{config:?}");
        assert_ne!(before, after, "{} changes nothing", entry.name);
    }
}

/// A certificate and the key that fits it.
fn pair() -> (tempfile::NamedTempFile, tempfile::NamedTempFile) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap());
    std::fs::write(cert.path(), made.cert.pem()).unwrap();
    std::fs::write(key.path(), made.signing_key.serialize_pem()).unwrap();
    (cert, key)
}

#[test]
fn a_value_of_the_wrong_kind_is_named_with_what_would_be_right() {
    for (members, key, wanted) in [
        ("\"port\":\"8080\"", "port", "a whole number from 0 to 65535; given \"8080\" (line 1)"),
        ("\"port\":65536", "port", "given 65536"),
        ("\"port\":-1", "port", "from 0"),
        ("\"port\":1.5", "port", "given 1.5"),
        ("\"port\":1e400", "port", "port"),
        ("\"port\":null", "port", "given null"),
        ("\"v\":[3]", "v", "whole number"),
        ("\"zk\":5", "zk", "host:port"),
        ("\"zk\":[\"a\",5]", "zk", "host:port"),
        ("\"zk\":\"a,,b\"", "zk", "host:port"),
        ("\"cmdb_supplier_id\":1.5", "cmdb_supplier_id", "a text or a whole number"),
        ("\"storage_verify_hostname\":\"true\"", "storage_verify_hostname", "true or false"),
        ("\"include_clusters\":{}", "include_clusters", "a list of texts"),
        ("\"include_clusters\":[\"\"]", "include_clusters", "none of them empty"),
        ("\"include_clusters\":[\"a[\"]", "include_clusters", "glob"),
        ("\"paas_env\":\"live\"", "paas_env", "empty, `test`, `uat`, `prod`, `debug`; given \"live\""),
        ("\"sync_policy\":\"none\"", "sync_policy", "`upsert-only`"),
        ("\"full_sync_interval\":9", "full_sync_interval", "from 10"),
        ("\"cluster_pull_interval\":9", "cluster_pull_interval", "from 10"),
        ("\"full_sync_interval\":99999999999999999999", "full_sync_interval", "whole number"),
        ("\"address\":\"localhost\"", "address", "must be an IP address"),
        ("\"time_zone\":\"Mars/Phobos\"", "time_zone", "IANA"),
        ("\"default_set\":\"\"", "default_set", "empty"),
        ("\"zk_user\":\"a:b\"", "zk_user", "colon"),
        ("\"cmdb_supplier_id\":\"a\\nb\"", "cmdb_supplier_id", "printable"),
    ] {
        wrong(members, key, wanted);
    }
}

#[test]
fn required_keys_are_reported_when_missing_or_empty() {
    let Problems(problems) = Config::from_json("{\"cmdb_user\":\"\"}").unwrap_err();
    let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["cmdb_addr", "cmdb_user", "paas_addr"]);
}

#[test]
fn all_problems_are_reported_at_once_and_each_key_once() {
    let Problems(problems) = Config::from_json(
        "{\"port\":true,\n\"zk\":\"a/b\",\n\"prot\":1,\n\"cmdb_addr\":\"ftp://x\",\"cmdb_user\":\"u\",\"task_manager_type\":\"file\"}",
    )
    .unwrap_err();
    let mut keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["cmdb_addr", "port", "prot", "task_file", "zk"]);
}

#[test]
fn an_unknown_key_names_the_nearest_one() {
    wrong("\"metrics_port\":1", "metrics_port", "did you mean `metric_port`?");
    wrong("\"cmdb-addr\":1", "cmdb-addr", "did you mean `cmdb_addr`?");
    wrong("\"\":1,\"port\":1", "", "");
    wrong("\"zzz\":1", "zzz", "--help");
}

#[test]
fn a_key_given_twice_is_an_error_that_names_both_lines() {
    wrong("\"port\":1,\n\"port\":2", "port", "given twice, first on line 1; keep one (line 2)");
}

#[test]
fn what_is_no_json_object_is_refused_as_a_whole() {
    for text in ["", "{", "[]", "\"secret\"", "5", "null", "{\"a\":1}}", "{\"port\":08}", "\u{feff}{}"] {
        let Problems(problems) = Config::from_json(text).unwrap_err();
        assert_eq!(problems.len(), 1, "{text}: {problems:?}");
        assert!(!problems[0].to_string().contains("secret"), "{text}");
    }
}

#[test]
fn deep_nesting_is_refused_without_harm() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(Config::from_json(&with(&format!("\"zk\":{deep}"))).is_err());
}

#[test]
fn flags_win_over_environment_over_file_over_defaults() {
    let file = least_file();
    let port = |variables: &[(&str, &str)], flags: &[(&str, &str)]| {
        Config::load(&sources(Some(file.path().into()), variables, flags)).unwrap().config.port
    };
    let variable = [("BKCMDB_SYNC_PORT", "2222"), ("OTHER_PORT", "x")];
    assert_eq!(port(&[], &[]), 1111);
    assert_eq!(port(&variable, &[]), 2222);
    assert_eq!(port(&variable, &[("port", "3333")]), 3333);
    assert_eq!(port(&[], &[("port", "3333"), ("port", "4444")]), 4444);
}

#[test]
fn a_problem_says_where_the_value_came_from() {
    let file = least_file();
    std::fs::write(file.path(), format!("{{{LEAST},\n\"port\":\"x\"}}")).unwrap();
    let given = sources(Some(file.path().into()), &[("BKCMDB_SYNC_V", "y")], &[("metric_port", "z")]);
    let text = Config::load(&given).unwrap_err().to_string();
    for wanted in ["line 2", "environment variable BKCMDB_SYNC_V", "given z (flag)"] {
        assert!(text.contains(wanted), "`{text}` lacks `{wanted}`");
    }
}

#[test]
fn an_unknown_variable_with_our_prefix_is_an_error() {
    let given = sources(Some(least_file().into_temp_path().to_path_buf()), &[], &[]);
    assert!(Config::load(&given).unwrap_err().to_string().contains("cannot read configuration file"));
    let file = least_file();
    let given = sources(Some(file.path().into()), &[("BKCMDB_SYNC_SYNC_POLCY", "dry-run")], &[]);
    assert!(Config::load(&given).unwrap_err().to_string().contains("did you mean `sync_policy`?"));
}

#[test]
fn lists_are_separated_by_commas_or_json() {
    let file = least_file();
    let list = |text: &str| {
        Config::load(&sources(Some(file.path().into()), &[], &[("include_clusters", text)]))
            .unwrap()
            .config
            .include_clusters
    };
    assert_eq!(list("a, b"), ["a", "b"]);
    assert_eq!(list("[\"a\",\"{b,c}\"]"), ["a", "{b,c}"]);
    assert_eq!(list("[ab]*"), ["[ab]*"]);
    assert!(list("").is_empty());
    assert_eq!(good("\"include_clusters\":\"a,b\"").include_clusters, ["a", "b"]);
}

#[test]
fn cmdb_addresses_take_every_documented_form() {
    for (text, origin, prefix) in [
        ("127.0.0.1", "http://127.0.0.1", "/api/v3"),
        ("cmdb:8080", "http://cmdb:8080", "/api/v3"),
        ("http://cmdb", "http://cmdb", "/api/v3"),
        ("HTTPS://cmdb/", "https://cmdb", "/api/v3"),
        ("https://cmdb/container/v3/", "https://cmdb", "/container/v3"),
        ("::1", "http://[::1]", "/api/v3"),
        ("[::1]:80", "http://[::1]:80", "/api/v3"),
        ("http://[2001:db8::1]:80/x", "http://[2001:db8::1]:80", "/x"),
    ] {
        let url = url::parse_base_url(text, "/api/v3").unwrap_or_else(|reason| panic!("{text}: {reason}"));
        assert_eq!((url.origin.as_str(), url.prefix.as_str()), (origin, prefix), "{text}");
    }
}

#[test]
fn bad_addresses_are_refused() {
    for text in [
        "",
        "http://",
        ":80",
        "a:0",
        "a:65536",
        "a:+1",
        "a:",
        "a b",
        "ftp://a",
        "http://a/?x",
        "http://a#x",
        "[::1",
        "[::1]x",
        "[zz]",
        "a/b c",
        "http://a/é",
        "::1::",
        "a:1:2",
        "http://é",
    ] {
        assert!(url::parse_base_url(text, "").is_err(), "{text} was accepted");
    }
    assert!(url::parse_base_url(&"a".repeat(254), "").is_err());
}

#[test]
fn a_password_in_an_address_is_refused_and_not_shown() {
    let json = "{\"cmdb_addr\":\"http://u:hunter2@cmdb\",\"cmdb_user\":\"u\",\"paas_addr\":\"p\"}";
    let text = Config::from_json(json).unwrap_err().to_string();
    assert!(text.contains("user name or password") && !text.contains("hunter2"), "{text}");
}

#[test]
fn zookeeper_servers_take_commas_semicolons_and_lists() {
    let expected = ["127.0.0.1:2181", "localhost:9"];
    assert_eq!(good("\"zk\":\"127.0.0.1; localhost:9\"").zk, expected);
    assert_eq!(good("\"zk\":[\"127.0.0.1:2181\",\"localhost:9\"]").zk, expected);
    assert_eq!(good("\"zk\":\"[::1]:9\"").zk, ["[::1]:9"]);
}

#[test]
fn an_address_that_means_here_needs_a_zookeeper_that_is_here() {
    let elsewhere = "\"zk\":\"127.0.0.1:2181,10.0.0.1:2181\"";
    wrong(elsewhere, "address", "ZooKeeper at 10.0.0.1:2181 is elsewhere; it is 127.0.0.1");
    wrong(&format!("{elsewhere},\"address\":\"0.0.0.0\""), "address", "given \"0.0.0.0\"");
    wrong(&format!("{elsewhere},\"address\":\"::\""), "address", "elsewhere");
    assert_eq!(good(&format!("{elsewhere},\"address\":\"10.0.0.5\"")).address.to_string(), "10.0.0.5");
    good("\"zk\":\"localhost:1,[::1]:2\"");
}

#[test]
fn without_zookeeper_storage_addresses_are_needed() {
    wrong("\"zk\":\"\"", "storage_addrs", "is required");
    let config = good("\"zk\":\"\",\"storage_addrs\":[\"https://a:1\",\"b\"]");
    assert!(config.zk.is_empty() && config.storage_zk.is_empty());
    assert_eq!(config.storage_addrs.len(), 2);
    good("\"zk\":\"\",\"storage_zk\":\"10.0.0.1\"");
}

#[test]
fn ports_must_differ_unless_the_system_chooses_them() {
    wrong("\"port\":9,\"metric_port\":9", "metric_port", "differ");
    good("\"port\":0,\"metric_port\":0");
}

#[test]
fn clusters_come_from_paas_or_from_a_file() {
    refused("{\"cmdb_addr\":\"c\",\"cmdb_user\":\"u\"}", "paas_addr", "required with task_manager_type paas");
    let file = least_file();
    let path = file.path().to_str().unwrap();
    let json = format!(
        "{{\"cmdb_addr\":\"c\",\"cmdb_user\":\"u\",\"task_manager_type\":\"file\",\"task_file\":{path:?}}}"
    );
    let config = Config::from_json(&json).unwrap();
    assert_eq!(config.task_manager_type, TaskManagerType::File(file.path().into()));
    wrong("\"task_manager_type\":\"file\"", "task_file", "required");
    wrong("\"task_manager_type\":\"file\",\"task_file\":\"/none/such\"", "task_file", "No such file");
    wrong("\"task_manager_type\":\"file\",\"task_file\":\"/\"", "task_file", "not a directory");
}

#[test]
fn keys_that_no_longer_act_only_warn() {
    let file = least_file();
    std::fs::write(file.path(), format!("{{{LEAST},\"log_dir\":\"/x\",\"insecure_port\":[]}}")).unwrap();
    let given = sources(Some(file.path().into()), &[], &[("alsologtostderr", "true")]);
    let warnings = Config::load(&given).unwrap().warnings;
    assert_eq!(warnings.len(), 3, "{warnings:?}");
}

#[test]
fn secrets_are_found_in_file_variable_and_credential() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("token"), "hunter2\n").unwrap();
    let file = least_file();
    let token = |text: &str| {
        let credentials = directory.path().to_str().unwrap();
        let variables = [("CREDENTIALS_DIRECTORY", credentials), ("TOKEN", "hunter2")];
        let given = sources(Some(file.path().into()), &variables, &[("paas_access_token", text)]);
        Config::load(&given).map(|loaded| loaded.config.paas_access_token.expose().to_owned())
    };
    let path = directory.path().join("token");
    assert_eq!(token(&format!("{{\"file\":{path:?}}}")).unwrap(), "hunter2");
    assert_eq!(token("{\"env\":\"TOKEN\"}").unwrap(), "hunter2");
    assert_eq!(token("{\"credential\":\"token\"}").unwrap(), "hunter2");
    for (text, wanted) in [
        ("hunter2", "must not stand on the command line"),
        ("{\"env\":\"NONE\"}", "NONE is not set"),
        ("{\"file\":\"/none/such\"}", "cannot read the secret from /none/such"),
        ("{\"credential\":\"../token\"}", "without a slash"),
        ("{\"credential\":\"\"}", "must be a text, or an object"),
        ("{\"env\":\"TOKEN\",\"file\":\"x\"}", "must be a text, or an object"),
        ("{\"hunter2\":\"TOKEN\"}", "must be a text, or an object"),
    ] {
        let problem = token(text).unwrap_err().to_string();
        assert!(problem.contains(wanted) && !problem.contains("hunter2"), "{text}: {problem}");
    }
}

#[test]
fn no_secret_is_printed_by_a_configuration_or_its_problems() {
    let config = good("\"paas_app_secret\":\"hunter2\",\"zk_password\":\"hunter2\"");
    assert!(!format!("{config:?}").contains("hunter2"));
    let text = Config::from_json(&with("\"paas_app_secret\":[\"hunter2\"]")).unwrap_err().to_string();
    assert!(text.contains("paas_app_secret") && !text.contains("hunter2"), "{text}");
}

#[test]
fn the_admin_token_is_read_from_its_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    wrong(&format!("\"admin_token_file\":{path:?}"), "admin_token_file", "is empty");
    std::fs::write(file.path(), "hunter2\r\n").unwrap();
    let config = good(&format!("\"admin_token_file\":{path:?}"));
    assert_eq!(config.admin_token.unwrap().expose(), "hunter2");
}

#[test]
fn a_certificate_needs_its_key_and_a_key_its_certificate() {
    let (cert, key) = pair();
    let (cert, key) = (cert.path().to_str().unwrap(), key.path().to_str().unwrap());
    wrong(&format!("\"storage_cert\":{cert:?}"), "storage_key", "required with storage_cert");
    wrong(&format!("\"server_key_file\":{key:?}"), "server_cert_file", "required with server_key_file");
    wrong(&format!("\"ca_file\":{cert:?}"), "server_cert_file", "required with ca_file");
    wrong("\"storage_ca\":\"./none.pem\"", "storage_ca", "looked in ");
    wrong(&format!("\"storage_ca\":{key:?}"), "storage_ca", "no certificate in it");
}

#[test]
fn a_key_that_is_encrypted_or_of_another_certificate_is_refused() {
    let ((cert, _), (_, other)) = (pair(), pair());
    let members = |cert: &std::path::Path, key: &std::path::Path| {
        format!("\"server_cert_file\":{cert:?},\"server_key_file\":{key:?}")
    };
    wrong(&members(cert.path(), other.path()), "server_key_file", "does not fit the certificate");
    wrong(&members(other.path(), other.path()), "server_cert_file", "no certificate in it");
    wrong(&members(cert.path(), cert.path()), "server_key_file", "no private key in it");
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";
    std::fs::write(other.path(), encrypted).unwrap();
    wrong(&members(cert.path(), other.path()), "server_key_file", "openssl pkey");
}

#[test]
fn the_container_server_needs_one_source_of_topology() {
    let check = |json: &str, wanted: &str| {
        let text = ContainerServerConfig::from_json(json).unwrap_err().to_string();
        assert!(text.contains(wanted), "{json}: {text}");
    };
    check("{}", "topology_file: is required, or cmdb_addr");
    check("{\"topology_file\":\"/none\"}", "topology_file: cannot be read");
    check("{\"cmdb_addr\":\"c\",\"database\":\"\"}", "database: must be the path");
    check("{\"cmdb_addr\":\"c\",\"zk\":\"\"}", "zk: is not a key of the container server");
    let config = ContainerServerConfig::from_json("{\"cmdb_addr\":\"c\"}").unwrap();
    assert_eq!((config.port, config.metric_port, config.body_limit), (8090, 8091, 32 * 1024 * 1024));
    assert!(config.strict_fields && config.users.is_empty());
}

#[test]
fn messages_stay_on_one_line_and_short() {
    let long = format!("\"port\":\"{}\\n\"", "x".repeat(1000));
    let text = Config::from_json(&with(&long)).unwrap_err().to_string();
    assert!(text.lines().count() == 1 && text.len() < 250, "{text}");
    assert_eq!(printable("a\u{1b}[31m\nb"), "a\\u{1b}[31m\\nb");
}
