//! What the threads make of the core beside them: when a sender says that nothing is left, and which
//! settings the delete guard has.

use super::interruptions::{seeded, seen};
use crate::front::{Front, Limits, Request, Response};
use crate::model::NoFence;
use crate::plan::{Order, OrderKind, Source};
use crossbeam::channel::{RecvTimeoutError, TryRecvError, bounded};
use serde_json::json;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Longer than anything takes that does not hang.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_sender_says_that_nothing_is_left_once_its_last_write_is_answered() {
    let ((come, came), (answer, answers)) = (bounded(2), bounded::<()>(2));
    let created =
        json!({"result": true, "bk_error_code": 0, "bk_error_msg": "", "permission": null, "data": {}});
    let handler = move |_: Request| {
        let _ = come.send(());
        let _ = answers.recv_timeout(PATIENCE);
        Response::json(200, &created)
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let cmdb = Front::start("cmdb", listener, None, Limits::default(), Arc::new(handler)).unwrap();
    let (_stop, shared) = seeded(&cmdb.addr().to_string(), Arc::new(NoFence));
    shared.send(0, seen(&shared, "a", Source::Listing));
    came.recv_timeout(PATIENCE).expect("the first write");
    shared.send(0, seen(&shared, "b", Source::Listing));
    let flushed = shared.flush().remove(0);
    assert_eq!(flushed.try_recv(), Err(TryRecvError::Empty), "a write is on its way, another one waits");
    answer.send(()).unwrap();
    came.recv_timeout(PATIENCE).expect("the second write");
    assert_eq!(flushed.try_recv(), Err(TryRecvError::Empty), "the second write is on its way");
    answer.send(()).unwrap();
    assert_eq!(flushed.recv_timeout(PATIENCE), Ok::<(), RecvTimeoutError>(()));
    assert_eq!(shared.stats.created.load(Relaxed), 2);
}

#[test]
fn held_back_deletes_wait_for_the_configured_interval() {
    let (_stop, shared) = seeded("127.0.0.1:1", Arc::new(NoFence));
    let interval = shared.config.full_sync_interval;
    let held_back = |now: Duration| {
        let kind = OrderKind::Verify { missing: true };
        let order = |uuid: usize| Order {
            uuid: uuid.to_string(),
            namespace: "ns".into(),
            name: "n".into(),
            kind: kind.clone(),
        };
        let missing = (0..=shared.config.delete_guard_min).map(order).collect();
        shared.guard.lock().decide(missing, shared.config.delete_guard_min + 1, true, now).held_back
    };
    let all = shared.config.delete_guard_min + 1;
    assert_eq!([Duration::ZERO, interval / 2].map(held_back), [all; 2]);
    assert_eq!(held_back(interval), 0);
}
