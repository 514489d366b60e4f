//! `GET …/watch/pods`: the change feed for consumers, by long polling.
//!
//! An answer comes as soon as there is a change after `since`, or after `timeout` seconds without
//! one; its `sequence` is the `since` of the next call. Who has no number yet leaves `since` out,
//! is told the current one at once, lists everything, and goes on from that number.

use super::answer::Seat;
use super::api::envelope_value;
use super::codes::{self, Fault};
use super::store::{ChangePage, Position, Store};
use crate::front::{Body, Response};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

/// Consumers that may wait at the same time; each has a thread while it does.
const WAITING: usize = 256;
/// How long a call waits if it does not say.
const DEFAULT_TIMEOUT: u64 = 25;
/// How long a call may wait.
const LONGEST_TIMEOUT: u64 = 60;
/// How often a waiting call looks whether its client, or the server, is still there.
const LOOK: Duration = Duration::from_millis(500);
/// How long it lets changes go by after a look that found none of interest: else each commit for one
/// business would make the consumers of all others read.
const REST: Duration = Duration::from_millis(50);

/// What a consumer asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    since: Option<i64>,
    biz: Option<i64>,
    timeout: Duration,
}

impl Watch {
    /// Reads the query: `since`, `bk_biz_id`, `timeout` (seconds). All may be left out.
    pub fn parse(query: &str) -> Result<Self, Fault> {
        let mut watch = Self { since: None, biz: None, timeout: Duration::from_secs(DEFAULT_TIMEOUT) };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "since" => watch.since = Some(number(name, value)?),
                "bk_biz_id" => watch.biz = Some(number(name, value)?),
                "timeout" => {
                    let seconds = number(name, value)?.unsigned_abs().min(LONGEST_TIMEOUT);
                    watch.timeout = Duration::from_secs(seconds);
                }
                _ => {}
            }
        }
        Ok(watch)
    }
}

fn number(name: &str, value: &str) -> Result<i64, Fault> {
    let number = value.parse().ok().filter(|number: &i64| *number >= 0);
    number.ok_or_else(|| Fault::new(codes::INVALID, format!("{name} must be an integer, 0 or above")))
}

/// The feed as the API serves it.
pub struct Watches {
    store: Arc<Store>,
    taken: Arc<AtomicUsize>,
}

impl Watches {
    /// Nobody waits yet.
    pub fn new(store: Arc<Store>) -> Self {
        Self { store, taken: Arc::default() }
    }

    /// Answers at once what can be; else with a body that comes when there is something in it.
    pub fn answer(&self, account: String, watch: Watch) -> Result<Response, Fault> {
        let Some(since) = watch.since else {
            let page = ChangePage { sequence: self.store.sequence(), changes: Vec::new() };
            return Ok(Response::json(200, &envelope_value(Ok(json!(page)))));
        };
        let page = look(&self.store, &account, watch.biz, since)?;
        if !page.changes.is_empty() || watch.timeout.is_zero() {
            return Ok(Response::json(200, &envelope_value(Ok(json!(page)))));
        }
        let seat = Seat::take(&self.taken, WAITING)?;
        let store = self.store.clone();
        let body = Box::new(move |out: &mut dyn Write| {
            let deadline = Instant::now() + watch.timeout;
            let outcome = wait(&store, &account, watch.biz, page, deadline, out)?;
            drop(seat);
            serde_json::to_writer(out, &envelope_value(outcome)).map_err(io::Error::from)
        });
        Ok(Response {
            status: 200,
            content_type: "application/json",
            headers: Vec::new(),
            body: Body::Stream(body),
        })
    }
}

/// Waits from `page`, an empty one, until there is a change of interest, or the deadline.
fn wait(
    store: &Store,
    account: &str,
    biz: Option<i64>,
    mut page: ChangePage,
    deadline: Instant,
    out: &mut dyn Write,
) -> io::Result<Result<Value, Fault>> {
    while page.changes.is_empty() && Instant::now() < deadline && !store.has_ended_waiting() {
        if store.wait_for_change(page.sequence, deadline.min(Instant::now() + LOOK)) {
            match look(store, account, biz, page.sequence) {
                Ok(next) if next.changes.is_empty() => {
                    page = next;
                    std::thread::sleep(REST);
                }
                Ok(next) => page = next,
                Err(fault) => return Ok(Err(fault)),
            }
        }
        // Fails when the client has gone or the server stops.
        out.flush()?;
    }
    Ok(Ok(json!(page)))
}

fn look(store: &Store, account: &str, biz: Option<i64>, since: i64) -> Result<ChangePage, Fault> {
    match store.changes(account, biz, since)? {
        Position::Page(page) => Ok(page),
        Position::Lost { oldest, latest } => {
            let message = format!(
                "changes after {since} are not all here (there are {oldest} to {latest}): list everything, then \
                 watch from the sequence that a call without since tells"
            );
            Err(Fault::new(codes::NOT_FOUND, message).with_status(410))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container_server::rules::Rules;
    use crate::container_server::store::{Scope, Times};

    /// Counts the turns of a wait: it flushes in each.
    #[derive(Default)]
    struct Turns(usize);

    impl Write for Turns {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            self.0 += 1;
            Ok(())
        }
    }

    #[test]
    fn the_changes_of_one_business_do_not_keep_the_consumers_of_another_busy() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("a.db"), Times::default()).unwrap();
        let rules = Rules::new(true).unwrap();
        let (time, mut turns, mut writes) = (Duration::from_secs(2), Turns::default(), 0);
        let waited = std::thread::scope(|scope| {
            let waits = scope.spawn(|| {
                let page = ChangePage { sequence: 0, changes: Vec::new() };
                let outcome = wait(&store, "0", Some(3), page, Instant::now() + time, &mut turns);
                outcome.unwrap().unwrap()["sequence"].as_i64().unwrap()
            });
            while !waits.is_finished() {
                writes += 1;
                let name = writes.to_string();
                let pod = json!({"bk_module_id": 1, "bk_cloud_id": 0, "bk_pod_name": name, "bk_pod_namespace": "n",
                    "bk_pod_cluster": "c", "bk_pod_uuid": name, "bk_pod_workloadtype": "Pod", "bk_pod_workloadname": "w"});
                let row = rules.record(2, pod.as_object().unwrap()).unwrap();
                let scope = Scope { account: "0".to_owned(), biz: 2 };
                store.create(&scope, None, vec![row]).unwrap()[0].clone().unwrap();
            }
            waits.join().unwrap()
        });
        assert!(writes > 60 && waited > 0, "{writes} writes, seen up to {waited}");
        assert!(turns.0 <= 45, "{} turns, {writes} writes", turns.0);
    }

    #[test]
    fn a_query_is_numbers() {
        let watch = Watch::parse("since=5&bk_biz_id=2&timeout=999999&colour=red").unwrap();
        let longest = Duration::from_secs(LONGEST_TIMEOUT);
        assert_eq!(watch, Watch { since: Some(5), biz: Some(2), timeout: longest });
        assert_eq!(Watch::parse("").unwrap().since, None);
        for bad in ["since=", "since", "since=-1", "since=x", "bk_biz_id=1.5", "timeout=99999999999999999999"]
        {
            assert_eq!(Watch::parse(bad).map_err(|fault| fault.code), Err(codes::INVALID), "{bad}");
        }
    }
}
