//! Changes to one pod or taskgroup, real or invented: whatever it lacks stays as it is.

use jiff::Timestamp;
use serde_json::{Value, json};

/// `metadata.namespace`.
pub(super) fn namespace(pod: &Value) -> &str {
    metadata(pod, "namespace")
}

/// `metadata.name`.
pub(super) fn name(pod: &Value) -> &str {
    metadata(pod, "name")
}

/// What tells one pod from another: the uid; a taskgroup has none, but its name.
pub(super) fn identity(pod: &Value) -> &str {
    match metadata(pod, "uid") {
        "" => name(pod),
        uid => uid,
    }
}

fn metadata<'a>(pod: &'a Value, member: &str) -> &'a str {
    pod["metadata"][member].as_str().unwrap_or_default()
}

fn is_taskgroup(pod: &Value) -> bool {
    pod.get("rcname").is_some()
}

/// A change the CMDB must learn: a host for who waits, a phase, a restart, a label, an end.
pub(super) fn change_status(pod: &mut Value, rng: &mut fastrand::Rng, now: Timestamp) {
    if is_taskgroup(pod) {
        let status = ["Running", "Starting", "Failed", "Finished"][rng.usize(..4)];
        pod["lastStatus"] = std::mem::replace(&mut pod["status"], status.into());
        pod["lastUpdateTime"] = now.to_string().into();
        return;
    }
    match rng.u8(..5) {
        _ if pod["status"]["hostIP"].as_str().unwrap_or_default().is_empty() => schedule(pod, rng, now),
        0 => set(pod, &["metadata", "deletionTimestamp"], now.to_string().into()),
        1 => set(pod, &["metadata", "labels", "revision"], rng.u32(..1000).to_string().into()),
        2 => set(pod, &["status", "phase"], ["Running", "Failed", "Succeeded"][rng.usize(..3)].into()),
        _ => restart(pod, now),
    }
    grow_version(pod, rng);
}

/// A change no field of the CMDB shows.
pub(super) fn make_noise(pod: &mut Value, rng: &mut fastrand::Rng, now: Timestamp) {
    if is_taskgroup(pod) {
        pod["reportTime"] = now.to_string().into();
        return;
    }
    match pod.pointer_mut("/status/conditions/0") {
        Some(Value::Object(condition)) => {
            drop(condition.insert("lastProbeTime".into(), now.to_string().into()))
        }
        _ => set(pod, &["metadata", "generation"], rng.u32(1..).into()),
    }
    grow_version(pod, rng);
}

/// Another pod under the same name; a taskgroup gets another name, which is its identity.
pub(super) fn reincarnate(pod: &mut Value, rng: &mut fastrand::Rng, now: Timestamp) {
    set(pod, &["metadata", "creationTimestamp"], now.to_string().into());
    if is_taskgroup(pod) {
        rename(pod, rng);
        return;
    }
    set(pod, &["metadata", "uid"], uuid(rng).into());
    if let Some(Value::Object(metadata)) = pod.get_mut("metadata") {
        metadata.remove("deletionTimestamp");
    }
    grow_version(pod, rng);
}

/// A sibling's name.
pub(super) fn rename(pod: &mut Value, rng: &mut fastrand::Rng) {
    let name = name(pod);
    let name = match (is_taskgroup(pod), name.rsplit_once('.'), name.rsplit_once('-')) {
        (true, Some((stem, _)), _) => format!("{stem}.{}", rng.u64(1 << 60..1 << 61)),
        (false, _, Some((stem, _))) => format!("{stem}-{}", suffix(rng)),
        _ => format!("{name}-{}", suffix(rng)),
    };
    set(pod, &["metadata", "name"], name.into());
}

/// Gives a waiting pod its host.
fn schedule(pod: &mut Value, rng: &mut fastrand::Rng, now: Timestamp) {
    set(pod, &["status", "hostIP"], host_ip(rng).into());
    set(pod, &["status", "podIP"], pod_ip(rng).into());
    set(pod, &["status", "phase"], "Running".into());
    set(pod, &["status", "startTime"], now.to_string().into());
}

fn restart(pod: &mut Value, now: Timestamp) {
    if let Some(Value::Object(status)) = pod.pointer_mut("/status/containerStatuses/0") {
        let count = status.get("restartCount").and_then(Value::as_u64).unwrap_or(0);
        status.insert("restartCount".into(), (count + 1).into());
        status.insert("state".into(), json!({"running": {"startedAt": now.to_string()}}));
    }
}

/// `metadata.resourceVersion` grows with every write; one that is no number stays.
fn grow_version(pod: &mut Value, rng: &mut fastrand::Rng) {
    let version = pod["metadata"]["resourceVersion"].as_str().unwrap_or("0").parse::<u64>();
    if let Ok(version) = version {
        let grown = version.saturating_add(rng.u64(1..50));
        set(pod, &["metadata", "resourceVersion"], grown.to_string().into());
    }
}

/// Sets a nested member, making objects on the way where there is none.
fn set(value: &mut Value, path: &[&str], new: Value) {
    match (path, value) {
        ([], value) => *value = new,
        ([first, rest @ ..], Value::Object(object)) => {
            set(object.entry(*first).or_insert(Value::Null), rest, new);
        }
        ([first, rest @ ..], value) => {
            *value = json!({*first: null});
            set(&mut value[*first], rest, new);
        }
    }
}

/// A random version 4 UUID.
pub(super) fn uuid(rng: &mut fastrand::Rng) -> String {
    let (high, low) = (rng.u64(..), rng.u64(..));
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 48 & 0x3fff | 0x8000,
        low & 0xffff_ffff_ffff
    )
}

/// Five characters, as controllers append them to names.
pub(super) fn suffix(rng: &mut fastrand::Rng) -> String {
    const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    (0..5).map(|_| char::from(SAFE[rng.usize(..SAFE.len())])).collect()
}

/// An address of one of a few hundred hosts.
pub(super) fn host_ip(rng: &mut fastrand::Rng) -> String {
    format!("10.0.{}.{}", rng.u8(1..4), rng.u8(1..100))
}

/// An address of the pod network.
pub(super) fn pod_ip(rng: &mut fastrand::Rng) -> String {
    format!("172.20.{}.{}", rng.u8(..), rng.u8(1..255))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_pod_lacks_no_change_fails() {
        let now = Timestamp::UNIX_EPOCH;
        let mut rng = fastrand::Rng::with_seed(5);
        let odd = [
            json!({"metadata": {"name": "a", "namespace": "b"}}),
            json!({"metadata": {"name": "a", "labels": [], "resourceVersion": "x"}, "status": null}),
            json!({"metadata": {"name": "a"}, "status": {"hostIP": "1", "containerStatuses": {}, "conditions": [1]}}),
            json!({"metadata": {"name": "a", "labels": "none"}, "status": {"hostIP": "1", "containerStatuses": [null]}}),
            json!({"metadata": {"name": "a"}, "spec": 1, "status": "Running"}),
            json!({"metadata": {"name": "a"}, "rcname": null}),
        ];
        for mut pod in odd {
            for _ in 0..20 {
                for edit in [change_status, make_noise, reincarnate] {
                    edit(&mut pod, &mut rng, now);
                }
                rename(&mut pod, &mut rng);
            }
        }
    }

    #[test]
    fn noise_grows_the_version_and_changes_nothing_the_cmdb_knows() {
        let mut rng = fastrand::Rng::with_seed(5);
        let mut pod =
            json!({"metadata": {"resourceVersion": "41"}, "status": {"conditions": [{"type": "Ready"}]}});
        make_noise(&mut pod, &mut rng, Timestamp::UNIX_EPOCH);
        let version: u64 = pod["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
        assert!(version > 41);
        assert!(pod["status"]["conditions"][0]["lastProbeTime"].is_string());
    }

    #[test]
    fn uuids_look_like_uuids() {
        let uuid = uuid(&mut fastrand::Rng::with_seed(1));
        let lengths: Vec<_> = uuid.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{uuid}");
    }
}
