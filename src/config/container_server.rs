//! The container server's one pass of checks: values in, typed configuration out.

use super::draft::Draft;
use super::synchronizer::CMDB_PREFIX;
use super::{BaseUrl, ContainerServerConfig, TopologySource};
use std::path::PathBuf;

/// Checks everything; what is wrong is in the draft afterwards, and the result then without
/// meaning.
pub fn check(draft: &mut Draft<'_>) -> ContainerServerConfig {
    draft.ports_differ();
    ContainerServerConfig {
        address: draft.ip_address("address"),
        port: draft.number("port"),
        metric_port: draft.number("metric_port"),
        v: draft.number("v"),
        database: database(draft),
        topology: topology(draft),
        users: draft.list("users"),
        strict_fields: draft.boolean("strict_fields"),
        server_tls: draft.server_tls_files(),
        body_limit: draft.number("body_limit"),
        query_timeout: draft.seconds("query_timeout"),
        watch_retention: draft.seconds("watch_retention"),
        http_allowed_hosts: draft.host_names("http_allowed_hosts"),
    }
}

fn database(draft: &mut Draft<'_>) -> PathBuf {
    let path = draft.path("database");
    if path.is_none() {
        draft.refuse("database", "must be the path of a file");
    }
    path.unwrap_or_default()
}

fn topology(draft: &mut Draft<'_>) -> TopologySource {
    let file = draft.readable("topology_file");
    let cmdb = draft.base_url("cmdb_addr", CMDB_PREFIX);
    match (file, cmdb) {
        (Some(_), Some(_)) => {
            draft.refuse("cmdb_addr", "must not be given together with topology_file");
            TopologySource::Cmdb(BaseUrl::default())
        }
        (Some(file), None) => TopologySource::File(file),
        (None, Some(cmdb)) => TopologySource::Cmdb(cmdb),
        (None, None) => {
            if draft.is_sound("cmdb_addr") {
                draft.refuse(
                    "topology_file",
                    "is required, or cmdb_addr: sets and modules come from one of them",
                );
            }
            TopologySource::Cmdb(BaseUrl::default())
        }
    }
}
