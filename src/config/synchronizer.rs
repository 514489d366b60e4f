//! The synchronizer's one pass of checks: values in, typed configuration out.

use super::draft::Draft;
use super::url::{is_loopback, parse_base_url, parse_server};
use super::{BaseUrl, Config, Secret, SyncPolicy, TaskManagerType};
use jiff::tz::TimeZone;
use std::net::IpAddr;
use std::path::PathBuf;

/// Prefix of the CMDB's API when the address names none (protocol.md 2).
pub(super) const CMDB_PREFIX: &str = "/api/v3";

/// Checks everything; what is wrong is in the draft afterwards, and the result then without
/// meaning.
pub fn check(draft: &mut Draft<'_>) -> Config {
    let address = draft.ip_address("address");
    let zk = servers(draft, "zk");
    reachable(draft, address, &zk);
    draft.ports_differ();
    let storage_zk = servers(draft, "storage_zk");
    let storage_addrs = storage_addrs(draft);
    if storage_addrs.is_empty() && storage_zk.is_empty() && draft.is_sound("storage_zk") {
        draft.refuse(
            "storage_addrs",
            "is required when there is no ZooKeeper to find bcs-storage by (storage_zk, zk)",
        );
    }
    let task_manager_type = task_manager_type(draft);
    let paas_addr = paas_addr(draft, &task_manager_type);
    let paas = credentials(draft, &task_manager_type);
    let mut config = Config {
        address,
        port: draft.number("port"),
        metric_port: draft.number("metric_port"),
        v: draft.number("v"),
        zk,
        storage_zk,
        storage_tls: draft.tls_files("storage_ca", "storage_cert", "storage_key"),
        cmdb_addr: draft.base_url("cmdb_addr", CMDB_PREFIX).unwrap_or_default(),
        cmdb_supplier_id: header(draft, "cmdb_supplier_id"),
        cmdb_user: header(draft, "cmdb_user"),
        paas_addr,
        paas_env: draft.text("paas_env"),
        paas_cluster_env: draft.text("paas_cluster_env"),
        paas_app_code: paas.app_code,
        paas_app_secret: paas.app_secret,
        paas_access_token: paas.access_token,
        cluster_pull_interval: draft.seconds("cluster_pull_interval"),
        full_sync_interval: draft.seconds("full_sync_interval"),
        task_manager_type,
        server_tls: draft.server_tls_files(),
        storage_addrs,
        storage_verify_hostname: draft.boolean("storage_verify_hostname"),
        storage_page_size: draft.number("storage_page_size"),
        storage_list_concurrency: draft.number("storage_list_concurrency"),
        include_clusters: globs(draft, "include_clusters"),
        exclude_clusters: globs(draft, "exclude_clusters"),
        zk_user: zk_user(draft),
        zk_password: draft.secret("zk_password"),
        zk_session_timeout: draft.seconds("zk_session_timeout"),
        reassign_delay: draft.seconds("reassign_delay"),
        senders_per_cluster: draft.number("senders_per_cluster"),
        event_queue_length: draft.number("event_queue_length"),
        cmdb_batch_size: draft.number("cmdb_batch_size"),
        cmdb_page_size: draft.number("cmdb_page_size"),
        cmdb_qps: draft.number("cmdb_qps"),
        cmdb_timeout: draft.seconds("cmdb_timeout"),
        storage_timeout: draft.seconds("storage_timeout"),
        paas_timeout: draft.seconds("paas_timeout"),
        watch_idle_timeout: draft.seconds("watch_idle_timeout"),
        modules_refresh_interval: draft.seconds("modules_refresh_interval"),
        default_set: named(draft, "default_set"),
        default_module: named(draft, "default_module"),
        cloud_id: draft.number("cloud_id"),
        time_zone: time_zone(draft),
        text_limit: draft.number("text_limit"),
        sync_policy: sync_policy(draft),
        dry_run_clusters: globs(draft, "dry_run_clusters"),
        delete_guard_percent: draft.number("delete_guard_percent"),
        delete_guard_min: draft.number("delete_guard_min"),
        shutdown_grace: draft.seconds("shutdown_grace"),
        admin_token: draft.secret_in_file("admin_token_file"),
        http_allowed_hosts: draft.host_names("http_allowed_hosts"),
        delete_journal: draft.path("delete_journal").or_else(|| draft.state_directory()),
        secret_files: Vec::new(),
    };
    config.secret_files = draft.take_secret_files();
    config
}

/// ZooKeeper servers as `host:port`.
fn servers(draft: &mut Draft<'_>, name: &str) -> Vec<String> {
    let given = draft.list(name);
    let parsed: Result<Vec<String>, String> = given.iter().map(|server| parse_server(server)).collect();
    parsed.unwrap_or_else(|reason| {
        draft.refuse(name, format!("each server must be host:port: {reason}"));
        Vec::new()
    })
}

/// Other instances and their ZooKeeper know this one by its address: one that means "here" on
/// every machine would make them all the same.
fn reachable(draft: &mut Draft<'_>, address: IpAddr, zk: &[String]) {
    let means_here = address.is_loopback() || address.is_unspecified();
    if let Some(server) = zk.iter().find(|server| means_here && !is_loopback(server)) {
        draft.refuse(
            "address",
            format!(
                "must be this machine's own address, because ZooKeeper at {server} is elsewhere; it is {address}"
            ),
        );
    }
}

fn storage_addrs(draft: &mut Draft<'_>) -> Vec<BaseUrl> {
    let mut parsed: Vec<BaseUrl> = Vec::new();
    for text in draft.list("storage_addrs") {
        match parse_base_url(&text, "") {
            Ok(url) if parsed.contains(&url) => {
                draft.warn(format!("storage_addrs: {} is listed twice", url.origin));
            }
            Ok(url) => parsed.push(url),
            Err(reason) => draft.refuse("storage_addrs", format!("each must be a base URL: {reason}")),
        }
    }
    parsed
}

fn task_manager_type(draft: &mut Draft<'_>) -> TaskManagerType {
    if draft.text("task_manager_type") != "file" {
        if draft.is_given("task_file") && draft.is_sound("task_manager_type") {
            draft.warn("task_file: is not read, because task_manager_type is paas");
        }
        return TaskManagerType::Paas;
    }
    match draft.readable("task_file") {
        Some(path) => TaskManagerType::File(path),
        None => {
            draft.refuse("task_file", "is required with task_manager_type file");
            TaskManagerType::File(PathBuf::new())
        }
    }
}

fn paas_addr(draft: &mut Draft<'_>, clusters_from: &TaskManagerType) -> Option<BaseUrl> {
    let url = draft.base_url("paas_addr", "");
    let needed = *clusters_from == TaskManagerType::Paas && draft.is_sound("task_manager_type");
    if url.is_none() && needed {
        draft.refuse("paas_addr", "is required with task_manager_type paas");
    }
    url
}

/// What paas-cc is shown (protocol.md 4).
struct Credentials {
    app_code: String,
    app_secret: Secret,
    access_token: Secret,
}

fn credentials(draft: &mut Draft<'_>, clusters_from: &TaskManagerType) -> Credentials {
    let credentials = Credentials {
        app_code: draft.text("paas_app_code"),
        app_secret: draft.secret("paas_app_secret"),
        access_token: draft.secret("paas_access_token"),
    };
    let by_code = !credentials.app_code.is_empty() && !credentials.app_secret.is_empty();
    if *clusters_from == TaskManagerType::Paas && credentials.access_token.is_empty() && !by_code {
        draft.warn(
            "paas_app_secret: paas-cc is asked without credentials; \
             give paas_app_code and paas_app_secret, or paas_access_token",
        );
    }
    credentials
}

/// A text that travels in an HTTP header.
fn header(draft: &mut Draft<'_>, name: &str) -> String {
    let text = draft.text(name);
    if text.is_empty() {
        draft.refuse(name, "must not be empty");
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
        draft.refuse(name, "must be printable ASCII: it is sent as an HTTP header");
    }
    text
}

/// A text that must not be empty.
fn named(draft: &mut Draft<'_>, name: &str) -> String {
    let text = draft.text(name);
    if text.is_empty() {
        draft.refuse(name, "must not be empty");
    }
    text
}

fn globs(draft: &mut Draft<'_>, name: &str) -> Vec<String> {
    let globs = draft.list(name);
    for text in &globs {
        if let Err(error) = globset::Glob::new(text) {
            draft.refuse(name, format!("each must be a cluster id or a glob: {}", error.kind()));
        }
    }
    globs
}

fn zk_user(draft: &mut Draft<'_>) -> String {
    let user = draft.text("zk_user");
    if user.contains(':') {
        draft.refuse("zk_user", "must not have a colon: digest authentication separates by it");
    }
    user
}

fn time_zone(draft: &mut Draft<'_>) -> TimeZone {
    let name = draft.text("time_zone");
    match name.as_str() {
        "UTC" => TimeZone::UTC,
        "local" => TimeZone::try_system().unwrap_or_else(|error| {
            draft.warn(format!("time_zone: the zone of this machine is unknown, UTC is taken: {error}"));
            TimeZone::UTC
        }),
        _ => TimeZone::get(&name).unwrap_or_else(|_| {
            draft.refuse(
                "time_zone",
                "must be local, UTC or an IANA name such as Asia/Shanghai that this machine knows (package tzdata)",
            );
            TimeZone::UTC
        }),
    }
}

fn sync_policy(draft: &Draft<'_>) -> SyncPolicy {
    match draft.text("sync_policy").as_str() {
        "upsert-only" => SyncPolicy::UpsertOnly,
        "dry-run" => SyncPolicy::DryRun,
        _ => SyncPolicy::Sync,
    }
}
