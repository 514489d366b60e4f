//! Stands before the container server and checks what is written there against what is true.

use crate::late::Late;
use crate::world::cmdb::Call;
use bcs_bkcmdb_synchronizer::front::{Body, Response};
use bcs_bkcmdb_synchronizer::sandbox::storage::SimStorage;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

/// The answer to a write under a fence that is no longer in force.
pub const FENCED: (u16, i64) = (409, 1_118_499);
/// What only a write is answered that has passed the fence: done, or a duplicate, or not found.
const PASSED: [i64; 3] = [0, 1_199_014, 1_199_019];

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
    /// Writes of somebody who had lost a cluster, which the container server refused for that.
    pub fenced: usize,
    /// What must never happen, in words.
    pub violations: Vec<String>,
    /// Per cluster the highest fence of a write that passed, and whose it was.
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

    /// Whether another instance has written for the cluster of a late write, under a higher fence.
    pub fn has_seen_successor(&self, late: &Late) -> bool {
        let seen = self.lock();
        let last = seen.writers.get(&late.cluster);
        last.is_some_and(|(highest, user)| *highest > late.fence && *user != late.user)
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
        let code = code(&answer);
        let (accepted, passed) = (code == Some(0), code.is_some_and(|code| PASSED.contains(&code)));
        let mut seen = self.lock();
        let Some(fence) = call.fence else {
            seen.violations.push(format!("a write without a fence: {call:?}"));
            return answer;
        };
        let stale = known.as_ref().is_some_and(|(highest, _)| fence < *highest);
        let foreign = known.as_ref().is_some_and(|(highest, user)| fence == *highest && *user != call.user);
        if passed && (stale || foreign) {
            seen.violations.push(format!("{cluster}: {} wrote with {fence} after {known:?}", call.user));
        }
        if accepted && living {
            seen.violations.push(format!("{} deleted a living pod: {}", call.user, call.body));
        }
        seen.writes += usize::from(accepted);
        seen.deletes += usize::from(accepted && call.operation == "delete");
        seen.fenced += usize::from(stale && code.map(|code| (answer.status, code)) == Some(FENCED));
        // What never came to the container server's database has told it nothing.
        if passed {
            let last = seen.writers.entry(cluster.to_owned()).or_insert_with(|| (fence, call.user.clone()));
            if fence > last.0 {
                *last = (fence, call.user.clone());
            }
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

    /// User, fence, and the uid that is deleted; `uid-web` lives.
    type Delete<'a> = (&'a str, Option<i64>, &'a str);
    const DONE: (u16, i64) = (200, 0);

    /// After these deletes, each with its answer.
    fn after(deletes: &[(Delete<'_>, (u16, i64))]) -> Seen {
        let storage = SimStorage::new(1);
        storage.add_cluster("c", ClusterKind::K8s, Generation::New);
        storage.put("c", pods::pod("web", 1)).unwrap();
        let witness = Witness::new(storage);
        for ((user, fence, uid), (status, code)) in deletes {
            let (operation, user) = ("delete".to_owned(), (*user).to_owned());
            let body = json!({"condition": {"bk_pod_uuid": uid, "bk_pod_cluster": "c"}});
            let call = Call { operation, user, fence: *fence, body };
            witness.observe(&call, &|| Response::json(*status, &json!({"bk_error_code": code})));
        }
        witness.seen()
    }

    /// Violations after these deletes, each carried out.
    #[track_caller]
    fn check(deletes: &[Delete<'_>], expected: usize) {
        let seen = after(&deletes.iter().map(|delete| (*delete, DONE)).collect::<Vec<_>>());
        assert_eq!(seen.violations.len(), expected, "{seen:?}");
    }

    #[test]
    fn it_sees_living_pods_deleted_and_writers_that_come_back() {
        check(&[("a", Some(1), "uid-old"), ("b", Some(2), "uid-older")], 0);
        check(&[("a", Some(1), "uid-web")], 1);
        check(&[("a", None, "uid-old")], 1);
        check(&[("a", Some(1), "x"), ("b", Some(2), "x"), ("a", Some(1), "x")], 1);
        check(&[("a", Some(1), "x"), ("b", Some(1), "x")], 1);
    }

    #[test]
    fn a_late_write_must_be_refused_for_its_fence_not_for_what_it_meets() {
        let late = |answer| after(&[(("b", Some(2), "x"), DONE), (("a", Some(1), "x"), answer)]);
        for (answer, fenced, violations) in [
            (FENCED, 1, 0),
            (DONE, 0, 1),
            ((200, 1_199_019), 0, 1),
            ((200, 1_199_014), 0, 1),
            ((502, -1), 0, 0),
        ] {
            let seen = late(answer);
            assert_eq!((seen.fenced, seen.violations.len()), (fenced, violations), "{answer:?}: {seen:?}");
        }
    }

    #[test]
    fn a_write_that_never_came_to_the_database_makes_nobody_late() {
        let seen = after(&[(("b", Some(2), "x"), (502, -1)), (("a", Some(1), "x"), DONE)]);
        assert_eq!((seen.fenced, seen.violations.len()), (0, 0), "{seen:?}");
    }
}
