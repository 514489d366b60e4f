//! Stands before the container server and checks what is written there against what is true.

use crate::world::cmdb::Call;
use bcs_bkcmdb_synchronizer::front::{Body, Response};
use bcs_bkcmdb_synchronizer::sandbox::storage::SimStorage;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

/// What the CMDB saw.
pub struct Witness {
    storage: SimStorage,
    seen: Mutex<Seen>,
}

/// Counts and violations so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Writes that were carried out.
    pub writes: usize,
    /// Of those, deletes.
    pub deletes: usize,
    /// Writes of somebody who had lost a cluster, which the container server refused.
    pub fenced: usize,
    /// What must never happen, in words.
    pub violations: Vec<String>,
    /// Per cluster the highest fence of a write that was answered, and whose it was.
    writers: BTreeMap<String, (i64, String)>,
}

impl Witness {
    /// Before a CMDB whose truth is that storage.
    pub fn new(storage: SimStorage) -> Self {
        Self { storage, seen: Mutex::default() }
    }

    /// What it saw.
    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    /// Sees a call before and after it is carried out.
    pub fn observe(&self, call: &Call, carry_out: &dyn Fn() -> Response) -> Response {
        if !call.is_write() {
            return carry_out();
        }
        let cluster = call.cluster();
        // Before: what arrives while another one's first write is under way may still be carried out.
        let known = self.lock().writers.get(cluster).cloned();
        let living = call.operation == "delete" && self.lives(cluster, call);
        let answer = carry_out();
        let accepted = code(&answer) == Some(0);
        let mut seen = self.lock();
        let Some(fence) = call.fence else {
            seen.violations.push(format!("a write without a fence: {call:?}"));
            return answer;
        };
        let stale = known.as_ref().is_some_and(|(highest, _)| fence < *highest);
        let foreign = known.as_ref().is_some_and(|(highest, user)| fence == *highest && *user != call.user);
        if accepted && (stale || foreign) {
            seen.violations.push(format!("{cluster}: {} wrote with {fence} after {known:?}", call.user));
        }
        if accepted && living {
            seen.violations.push(format!("{} deleted a living pod: {}", call.user, call.body));
        }
        seen.writes += usize::from(accepted);
        seen.deletes += usize::from(accepted && call.operation == "delete");
        seen.fenced += usize::from(!accepted && stale);
        let highest = seen.writers.entry(cluster.to_owned()).or_insert_with(|| (fence, call.user.clone()));
        if fence > highest.0 {
            *highest = (fence, call.user.clone());
        }
        answer
    }

    /// Whether the pod whose record is to be deleted lives now. Uids never come back here, so one
    /// that is gone stays gone, however late the delete arrives.
    fn lives(&self, cluster: &str, call: &Call) -> bool {
        let uid = &call.body["condition"]["bk_pod_uuid"];
        let documents = self.storage.documents(cluster);
        documents.iter().any(|document| document.data.pointer("/metadata/uid") == Some(uid))
    }
}

/// The code of the CMDB's answer.
fn code(answer: &Response) -> Option<i64> {
    let Body::Bytes(bytes) = &answer.body else { return None };
    serde_json::from_slice::<Value>(bytes).ok()?["bk_error_code"].as_i64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::pods;
    use bcs_bkcmdb_synchronizer::model::ClusterKind;
    use bcs_bkcmdb_synchronizer::sandbox::storage::Generation;
    use serde_json::json;

    /// Violations after these deletes, each of (user, fence, uid); `uid-web` lives.
    #[track_caller]
    fn check(deletes: &[(&str, Option<i64>, &str)], expected: usize) {
        let storage = SimStorage::new(1);
        storage.add_cluster("c", ClusterKind::K8s, Generation::New);
        storage.put("c", pods::pod("web", 1)).unwrap();
        let witness = Witness::new(storage);
        for (user, fence, uid) in deletes {
            let (operation, user) = ("delete".to_owned(), (*user).to_owned());
            let body = json!({"condition": {"bk_pod_uuid": uid, "bk_pod_cluster": "c"}});
            let call = Call { operation, user, fence: *fence, body };
            witness.observe(&call, &|| Response::json(200, &json!({"bk_error_code": 0})));
        }
        assert_eq!(witness.seen().violations.len(), expected, "{:?}", witness.seen());
    }

    #[test]
    fn it_sees_living_pods_deleted_and_writers_that_come_back() {
        check(&[("a", Some(1), "uid-old"), ("b", Some(2), "uid-older")], 0);
        check(&[("a", Some(1), "uid-web")], 1);
        check(&[("a", None, "uid-old")], 1);
        check(&[("a", Some(1), "x"), ("b", Some(2), "x"), ("a", Some(1), "x")], 1);
        check(&[("a", Some(1), "x"), ("b", Some(1), "x")], 1);
    }
}
