//! What a new configuration changes, and what it takes to put that in force. Pure.

use crate::config::Config;
use std::mem::discriminant;

/// What it takes to put a changed key in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It holds from now on, without any other effect.
    AtOnce,
    /// The inventory is asked by it at the next pull.
    Inventory,
    /// Every cluster begins anew with it, with a full sync.
    Clusters,
    /// The status service takes new connections by it.
    StatusService,
    /// The service must be restarted.
    Restart,
}

/// A key, or several that are one value.
pub struct Entry {
    /// Its name in the configuration.
    pub name: &'static str,
    /// What a change takes.
    pub effect: Effect,
    same: fn(&Config, &Config) -> bool,
    /// Writes the value of the first into the second.
    keep: fn(&Config, &mut Config),
}

/// Entries of one effect: `name => field`, or `name` where they are alike.
macro_rules! entries {
    ($effect:ident: $($name:ident $(=> $field:ident)?),+ $(,)?) => {
        &[$(Entry {
            name: stringify!($name),
            effect: Effect::$effect,
            same: entries!(@same $name $($field)?),
            keep: entries!(@keep $name $($field)?),
        }),+]
    };
    (@same $name:ident) => { |a: &Config, b: &Config| a.$name == b.$name };
    (@same $name:ident $field:ident) => { |a: &Config, b: &Config| a.$field == b.$field };
    (@keep $name:ident) => { |from: &Config, to: &mut Config| to.$name.clone_from(&from.$name) };
    (@keep $name:ident $field:ident) => { |from: &Config, to: &mut Config| to.$field.clone_from(&from.$field) };
}

/// Where clusters are learnt from.
fn keep_source(from: &Config, to: &mut Config) {
    to.task_manager_type.clone_from(&from.task_manager_type);
}

/// Every key, by effect.
const ENTRIES: &[&[Entry]] = &[
    entries!(AtOnce: v, full_sync_interval, modules_refresh_interval, cmdb_qps, delete_guard_percent, delete_guard_min),
    entries!(Inventory: cluster_pull_interval, include_clusters, exclude_clusters, paas_addr, paas_env,
        paas_cluster_env, paas_app_code, paas_app_secret, paas_access_token, paas_timeout),
    &[Entry {
        name: "task_file",
        effect: Effect::Inventory,
        same: |a, b| {
            a.task_manager_type == b.task_manager_type
                || discriminant(&a.task_manager_type) != discriminant(&b.task_manager_type)
        },
        keep: keep_source,
    }],
    entries!(Clusters: cmdb_addr, cmdb_supplier_id, cmdb_user, storage_ca => storage_tls, storage_cert => storage_tls,
        storage_key => storage_tls, storage_verify_hostname, storage_page_size, storage_list_concurrency,
        senders_per_cluster, event_queue_length, cmdb_batch_size, cmdb_page_size, cmdb_timeout, storage_timeout,
        watch_idle_timeout, default_set, default_module, cloud_id, time_zone, text_limit, sync_policy,
        dry_run_clusters, shutdown_grace),
    entries!(StatusService: ca_file => server_tls, server_cert_file => server_tls, server_key_file => server_tls,
        admin_token_file => admin_token),
    entries!(Restart: address, port, metric_port, zk, storage_zk, storage_addrs, zk_user, zk_password,
        zk_session_timeout, reassign_delay, delete_journal, http_allowed_hosts),
    &[Entry {
        name: "task_manager_type",
        effect: Effect::Restart,
        same: |a, b| discriminant(&a.task_manager_type) == discriminant(&b.task_manager_type),
        keep: keep_source,
    }],
    // From HTTP to HTTPS or back: whoever speaks to the port must know.
    &[Entry {
        name: "server_cert_file",
        effect: Effect::Restart,
        same: |a, b| a.server_tls.cert.is_some() == b.server_tls.cert.is_some(),
        keep: |from, to| to.server_tls.clone_from(&from.server_tls),
    }],
];

/// The entries in which two configurations differ.
pub fn changed(old: &Config, new: &Config) -> Vec<&'static Entry> {
    ENTRIES.iter().flat_map(|entries| entries.iter()).filter(|entry| !(entry.same)(old, new)).collect()
}

/// What can be put in force of `wanted` while `running` is: all but what needs a restart, which would
/// else come in with whatever is made from the configuration for another key.
pub fn without_restart(running: &Config, mut wanted: Config) -> Config {
    for entry in ENTRIES.iter().flat_map(|entries| entries.iter()) {
        if entry.effect == Effect::Restart && !(entry.same)(running, &wanted) {
            (entry.keep)(running, &mut wanted);
        }
    }
    wanted
}

/// Names of those with that effect, each once.
pub fn names(changed: &[&Entry], effect: Effect) -> Vec<&'static str> {
    let mut names: Vec<&str> =
        changed.iter().filter(|entry| entry.effect == effect).map(|entry| entry.name).collect();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SYNCHRONIZER;
    use std::collections::BTreeSet;

    fn config(keys: &str) -> Config {
        let text = format!(
            r#"{{"zk":"","storage_addrs":["http://127.0.0.1:1"],"cmdb_addr":"127.0.0.1:1","cmdb_user":"u",
                "paas_addr":"127.0.0.1:1"{keys}}}"#
        );
        Config::from_json(&text).unwrap()
    }

    #[test]
    fn every_key_of_the_configuration_has_an_effect() {
        let known: BTreeSet<&str> =
            ENTRIES.iter().flat_map(|entries| entries.iter()).map(|e| e.name).collect();
        for key in SYNCHRONIZER.keys.iter().filter(|key| !key.kind.is_ignored()) {
            assert!(known.contains(key.name), "{}", key.name);
        }
    }

    #[test]
    fn a_changed_key_is_found_with_what_it_takes() {
        let check = |keys: &str, effect, names_wanted: &[&str]| {
            let changed = changed(&config(""), &config(keys));
            assert_eq!(names(&changed, effect), names_wanted, "{keys}");
            assert!(changed.iter().all(|entry| entry.effect == effect), "{keys}");
        };
        check(r#","v":4,"cmdb_qps":10"#, Effect::AtOnce, &["v", "cmdb_qps"]);
        check(r#","exclude_clusters":["a"]"#, Effect::Inventory, &["exclude_clusters"]);
        check(r#","paas_access_token":"t""#, Effect::Inventory, &["paas_access_token"]);
        check(r#","sync_policy":"dry-run""#, Effect::Clusters, &["sync_policy"]);
        check(r#","port":1,"reassign_delay":1"#, Effect::Restart, &["port", "reassign_delay"]);
        check("", Effect::Restart, &[]);
    }
}
