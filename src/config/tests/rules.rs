//! Rules that concern several keys, and files that must fit.

use super::*;

#[test]
fn an_allowed_host_is_a_name_and_nothing_more() {
    for host in ["https://vm", "vm:8080", "vm/x", "v\u{f6}", "*.example.com"] {
        wrong(&format!("\"http_allowed_hosts\":[{host:?}]"), "http_allowed_hosts", "without scheme and port");
    }
    let config = good("\"http_allowed_hosts\":[\"status.example.com\",\"VM7\"]");
    assert_eq!(config.http_allowed_hosts, ["status.example.com", "VM7"]);
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
    let members =
        |cert: &Path, key: &Path| format!("\"server_cert_file\":{cert:?},\"server_key_file\":{key:?}");
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
    check(
        "{\"cmdb_addr\":\"c\",\"zk\":\"\"}",
        "zk: is not a key of the container server; it is one of the synchronizer",
    );
    let config = ContainerServerConfig::from_json("{\"cmdb_addr\":\"c\"}").unwrap();
    assert_eq!((config.port, config.metric_port, config.body_limit), (8090, 8091, 32 * 1024 * 1024));
    assert!(config.strict_fields && config.users.is_empty());
}

#[test]
fn asking_paas_without_credentials_is_worth_a_warning() {
    let warnings = |flags: &[(&str, &str)]| {
        let file = least_file();
        let given = sources(Some(file.path().into()), &[("SECRET", "x")], flags);
        Config::load(&given).unwrap().warnings.len()
    };
    let secret = "{\"env\":\"SECRET\"}";
    assert_eq!(warnings(&[]), 1);
    assert_eq!(warnings(&[("paas_app_code", "bcs")]), 1);
    assert_eq!(warnings(&[("paas_app_code", "bcs"), ("paas_app_secret", secret)]), 0);
    assert_eq!(warnings(&[("paas_access_token", secret)]), 0);
}
