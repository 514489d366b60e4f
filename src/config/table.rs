//! The tables: every key of the synchronizer and of the container server (interface.md 2).

use super::key::{Fallback, Key, Kind, Program};

/// Keys of `run`, `check-config` and `sandbox`.
pub static SYNCHRONIZER: Program =
    Program { name: "synchronizer", env_prefix: "BKCMDB_SYNC_", keys: SYNCHRONIZER_KEYS };

/// Keys of `container-server`.
pub static CONTAINER_SERVER: Program =
    Program { name: "container server", env_prefix: "BKCMDB_CONTAINER_", keys: CONTAINER_SERVER_KEYS };

/// A year: longer intervals are mistakes (of the unit, mostly).
const MAX_SECONDS: i64 = 365 * 24 * 3600;
/// An hour: no single request is worth waiting longer for.
const MAX_TIMEOUT: i64 = 3600;

const fn text(name: &'static str, default: &'static str, help: &'static str) -> Key {
    Key { name, default: Fallback::Text(default), kind: Kind::Text, help }
}

const fn required(name: &'static str, kind: Kind, help: &'static str) -> Key {
    Key { name, default: Fallback::Required, kind, help }
}

const fn number(
    name: &'static str,
    default: &'static str,
    (min, max): (i64, i64),
    help: &'static str,
) -> Key {
    Key { name, default: Fallback::Text(default), kind: Kind::Number { min, max }, help }
}

const fn boolean(name: &'static str, default: &'static str, help: &'static str) -> Key {
    Key { name, default: Fallback::Text(default), kind: Kind::Boolean, help }
}

const fn choice(
    name: &'static str,
    default: &'static str,
    choices: &'static [&'static str],
    help: &'static str,
) -> Key {
    Key { name, default: Fallback::Text(default), kind: Kind::Choice(choices), help }
}

const fn list(name: &'static str, help: &'static str) -> Key {
    Key { name, default: Fallback::Text(""), kind: Kind::List, help }
}

const fn secret(name: &'static str, help: &'static str) -> Key {
    Key { name, default: Fallback::Text(""), kind: Kind::Secret, help }
}

/// A key of the original that no longer acts; `switch`: its flag took no value.
const fn ignored(name: &'static str, switch: bool) -> Key {
    Key { name, default: Fallback::Text(""), kind: Kind::Ignored { switch }, help: "no longer acts" }
}

/// Of both programs.
const ALLOWED_HOSTS: &str = "names the ports may be addressed by, beside IP addresses, localhost and the name of this machine, as a defence against DNS rebinding; empty: any";

const PORT: (i64, i64) = (0, u16::MAX as i64);

const SYNCHRONIZER_KEYS: &[Key] = &[
    text(
        "address",
        "127.0.0.1",
        "IP address the status service and the metrics listen on; also this instance's address in ZooKeeper",
    ),
    number("port", "8080", PORT, "port of the status service; 0 takes any free one"),
    number("metric_port", "8081", PORT, "port of the Prometheus metrics; 0 takes any free one"),
    number(
        "v",
        "3",
        (0, 100),
        "log level: 0 warnings, 1-3 information, 4 debug, 5 and above trace; RUST_LOG wins",
    ),
    Key {
        name: "zk",
        default: Fallback::Text("127.0.0.1:2181"),
        kind: Kind::Servers,
        help: "own ZooKeeper, host:port, several separated by commas; empty: standalone, this instance does every cluster",
    },
    Key {
        name: "storage_zk",
        default: Fallback::SameAs("zk"),
        kind: Kind::Servers,
        help: "ZooKeeper in which bcs-storage registers",
    },
    text("storage_ca", "", "PEM file of the CA that signed the certificates of bcs-storage"),
    text("storage_key", "", "PEM file of the private key shown to bcs-storage"),
    text("storage_cert", "", "PEM file of the certificate shown to bcs-storage"),
    required(
        "cmdb_addr",
        Kind::Text,
        "CMDB: host, host:port or URL; a path in the URL is the API prefix, none means /api/v3",
    ),
    Key {
        name: "cmdb_supplier_id",
        default: Fallback::Text("0"),
        kind: Kind::TextOrNumber,
        help: "supplier account sent to the CMDB",
    },
    required("cmdb_user", Kind::Text, "user name sent to the CMDB"),
    text("paas_addr", "", "paas-cc: host, host:port or URL; required with task_manager_type paas"),
    choice(
        "paas_env",
        "",
        &["", "test", "uat", "prod", "debug"],
        "bk-paas environment: test, uat, prod or debug; empty leaves the path segment out",
    ),
    choice(
        "paas_cluster_env",
        "",
        &["", "stag", "debug", "prod"],
        "only clusters of this environment: stag, debug or prod; empty: all",
    ),
    text("paas_app_code", "", "app code for paas-cc"),
    secret("paas_app_secret", "app secret for paas-cc"),
    number(
        "cluster_pull_interval",
        "600",
        (10, MAX_SECONDS),
        "seconds between pulls of the cluster inventory",
    ),
    number(
        "full_sync_interval",
        "600",
        (10, MAX_SECONDS),
        "seconds between full synchronisations of a cluster",
    ),
    choice("task_manager_type", "paas", &["paas", "file"], "where clusters are learnt from: paas or file"),
    text("task_file", "", "for task_manager_type file: JSON list of clusters; read again when it changes"),
    text("ca_file", "", "PEM file of the CA of client certificates; given: the status service requires one"),
    text("server_cert_file", "", "PEM file of the certificate of the status service; given: it speaks HTTPS"),
    text("server_key_file", "", "PEM file of the private key of the status service"),
    list("storage_addrs", "base URLs of bcs-storage; not empty: no discovery through ZooKeeper"),
    boolean(
        "storage_verify_hostname",
        "false",
        "also compare the host name in the certificate of bcs-storage; its chain is always verified",
    ),
    // bcs-storage, new generation, has 3000 as its own page size.
    number("storage_page_size", "500", (1, 3000), "documents per page of a listing"),
    number(
        "storage_list_concurrency",
        "4",
        (1, 64),
        "full listings at the same time per bcs-storage address",
    ),
    secret("paas_access_token", "access token for paas-cc; sent instead of app code and secret"),
    list("include_clusters", "cluster ids (globs) to work on; empty: all"),
    list("exclude_clusters", "cluster ids (globs) to leave alone"),
    text(
        "zk_user",
        "",
        "user of ZooKeeper's digest authentication; empty with an empty password is the default of BCS",
    ),
    secret("zk_password", "password of ZooKeeper's digest authentication"),
    // ZooKeeper grants between 2 and 20 ticks of 2 s unless told otherwise.
    number("zk_session_timeout", "20", (4, 600), "seconds until ZooKeeper gives a silent instance up"),
    number(
        "reassign_delay",
        "10",
        (0, MAX_TIMEOUT),
        "seconds a vanished worker keeps its clusters before they move",
    ),
    number("senders_per_cluster", "10", (1, 256), "sender shards per cluster"),
    number(
        "event_queue_length",
        "10000",
        (1, 1_000_000),
        "pods with events waiting, per cluster; more than that turn into a full synchronisation",
    ),
    number("cmdb_batch_size", "100", (1, 1000), "pods per create-many call"),
    // Front ends of the CMDB cap a page at 500: a longer one would look like the last one.
    number("cmdb_page_size", "500", (1, 500), "records per page of a listing"),
    number("cmdb_qps", "1000", (0, 1_000_000), "requests a second to the CMDB, whole instance; 0: no limit"),
    number("cmdb_timeout", "30", (1, MAX_TIMEOUT), "seconds for one request to the CMDB"),
    number(
        "storage_timeout",
        "30",
        (1, MAX_TIMEOUT),
        "seconds for one request to bcs-storage (not for the watch stream)",
    ),
    number("paas_timeout", "30", (1, MAX_TIMEOUT), "seconds for one request to paas-cc"),
    number(
        "watch_idle_timeout",
        "900",
        (10, MAX_SECONDS),
        "seconds of silence after which a watch stream is renewed",
    ),
    number(
        "modules_refresh_interval",
        "100",
        (10, MAX_SECONDS),
        "seconds between reads of a business's topology",
    ),
    text("default_set", "bkbcs", "set of a pod whose annotations match no module"),
    text("default_module", "bkbcs", "module of a pod whose annotations match no module"),
    number("cloud_id", "0", (0, i64::MAX), "bk_cloud_id of every record"),
    text("time_zone", "local", "zone of times in the CMDB: an IANA name, local or UTC"),
    number("text_limit", "2000", (0, 16 * 1024 * 1024), "bytes of a long text field; 0: no limit"),
    choice(
        "sync_policy",
        "sync",
        &["sync", "upsert-only", "dry-run"],
        "sync, upsert-only (never deletes) or dry-run (writes nothing, counts and logs)",
    ),
    list(
        "dry_run_clusters",
        "cluster ids (globs) for which nothing is written, as with dry-run, whatever sync_policy is",
    ),
    number(
        "delete_guard_percent",
        "30",
        (0, 100),
        "a full synchronisation that would delete more than this percentage of a cluster's records and more than delete_guard_min is held back",
    ),
    number(
        "delete_guard_min",
        "50",
        (0, u32::MAX as i64),
        "deletes that are never held back, see delete_guard_percent",
    ),
    number("shutdown_grace", "10", (0, MAX_TIMEOUT), "seconds to finish queued writes on SIGTERM"),
    text(
        "admin_token_file",
        "",
        "file with the bearer token for POST calls; without it they are allowed from loopback only",
    ),
    list("http_allowed_hosts", ALLOWED_HOSTS),
    text(
        "delete_journal",
        "",
        "directory in which every delete is noted for 30 days; empty: STATE_DIRECTORY if systemd sets it, else deletes are kept in memory only",
    ),
    ignored("log_dir", false),
    ignored("log_max_size", false),
    ignored("log_max_num", false),
    ignored("logtostderr", true),
    ignored("alsologtostderr", true),
    ignored("stderrthreshold", false),
    ignored("vmodule", false),
    ignored("log_backtrace_at", false),
    ignored("pid_dir", false),
    ignored("local_ip", false),
    ignored("client_cert_file", false),
    ignored("client_key_file", false),
    ignored("external_ip", false),
    ignored("external_port", false),
    ignored("insecure_address", false),
    ignored("insecure_port", false),
];

const CONTAINER_SERVER_KEYS: &[Key] = &[
    text("address", "127.0.0.1", "IP address the API and the metrics listen on"),
    number("port", "8090", PORT, "port of the API; 0 takes any free one"),
    number("metric_port", "8091", PORT, "port of the Prometheus metrics; 0 takes any free one"),
    number(
        "v",
        "3",
        (0, 100),
        "log level: 0 warnings, 1-3 information, 4 debug, 5 and above trace; RUST_LOG wins",
    ),
    text("database", "./container-server.db", "SQLite file that holds the records"),
    text("topology_file", "", "JSON file with the businesses, sets and modules; this or cmdb_addr"),
    text("cmdb_addr", "", "CMDB to ask for sets and modules: host, host:port or URL; this or topology_file"),
    list("users", "user names that are accepted; empty: any"),
    boolean("strict_fields", "true", "apply the strict rules for labels, annotations, addresses and lengths"),
    text("ca_file", "", "PEM file of the CA of client certificates; given: the API requires one"),
    text("server_cert_file", "", "PEM file of the certificate of the API; given: it speaks HTTPS"),
    text("server_key_file", "", "PEM file of the private key of the API"),
    number("body_limit", "33554432", (1024, 1 << 30), "largest request body in bytes"),
    number("query_timeout", "30", (1, MAX_TIMEOUT), "seconds one read of the database may take"),
    number("watch_retention", "3600", (1, 30 * 24 * 3600), "seconds a change stays in the change feed"),
    list("http_allowed_hosts", ALLOWED_HOSTS),
];
