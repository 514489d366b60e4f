//! The permission to write is interrupted between a decision and its write.

use super::clock::Clock;
use super::controller::tests::{cluster, config, peers};
use super::reconciler::Common;
use super::sender::SenderShard;
use super::shared::Shared;
use super::timings::Timings;
use super::writes::Writes;
use crate::journal::Journal;
use crate::model::{Fence, Field, ObservedPod, Permit, PodRecord};
use crate::plan::{Cause, Failure, Fingerprinter, Order, Source, Step};
use crossbeam::channel::{Sender, bounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A fence that is up, and was down so many times.
struct Interrupted(AtomicU64);

impl Fence for Interrupted {
    fn permit(&self) -> Result<Permit, String> {
        Ok(Permit { epoch: self.epoch(), ..Permit::default() })
    }

    fn epoch(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A cluster that events may pass to, with a CMDB nobody can reach.
fn started() -> (Sender<()>, Arc<Interrupted>, Arc<Shared>) {
    let fence = Arc::new(Interrupted(AtomicU64::new(7)));
    let (stop, shared) = seeded("127.0.0.1:1", Arc::clone(&fence) as _);
    (stop, fence, shared)
}

/// A cluster that events may pass to, under that fence, with the CMDB at that address.
pub(super) fn seeded(cmdb: &str, fence: Arc<dyn Fence>) -> (Sender<()>, Arc<Shared>) {
    let config = config(cmdb);
    let common = Common {
        peers: peers(&config, Duration::from_secs(30)),
        config,
        clock: Clock::start(),
        timings: Timings::default(),
        deletes: Arc::new(Journal::start(None).unwrap()),
        fenced: Arc::default(),
        prints: Fingerprinter::new(1),
    };
    let (stop, stopped) = bounded(0);
    let epoch = fence.epoch();
    let shared = Shared::start(cluster(), fence, &common, stopped);
    shared.seed(epoch);
    (stop, shared)
}

fn record(uuid: &str) -> PodRecord {
    let mut record = PodRecord::default();
    (record.uuid, record.namespace, record.name) = (uuid.to_owned(), "ns".to_owned(), format!("web-{uuid}"));
    record.module_id = 41;
    record.set_text(Field::HostInnerIp, "10.0.0.1");
    record
}

/// The orders that follow from seeing the pod.
pub(super) fn seen(shared: &Shared, uuid: &str, source: Source) -> Vec<Order> {
    let (storage_id, record, shortened) = (format!("id-{uuid}"), record(uuid), Vec::new());
    let pod = ObservedPod { storage_id, version: Some(1), record, scheduled: true, shortened, key: None };
    shared.ledger.lock().observe(pod, source, None, Duration::ZERO).orders
}

#[test]
fn a_write_that_was_decided_before_an_interruption_gets_no_permit() {
    let (_stop, fence, shared) = started();
    let (epoch, record) = (shared.ledger.lock().epoch(), record("a"));
    let sent = |answer: Result<(), Failure>| matches!(answer, Err(Failure::Unreachable(_)));
    let attempts = |epoch: u64| {
        let writes = Writes::new(&shared, epoch);
        let many = writes.create_many(&[&record, &record]).map(drop);
        let update = writes.update(&record, &[Field::Status]);
        [sent(writes.create(&record)), sent(many), sent(update), sent(writes.make_way(2, "b"))]
    };
    assert_eq!(attempts(epoch), [true; 4]);
    fence.0.fetch_add(1, Relaxed);
    assert_eq!(attempts(epoch), [false; 4], "nobody has noticed yet");
    assert_eq!(shared.fenced.load(Relaxed), 4);
    assert!(sent(Writes::new(&shared, epoch).delete("a")), "what is gone stays gone");
    assert_eq!(attempts(epoch + 1), [true; 4]);
}

#[test]
fn a_sender_notices_an_interruption_before_its_next_write() {
    let (_stop, fence, shared) = started();
    let mut sender = SenderShard::new(&shared, 0);
    let late = seen(&shared, "a", Source::Event);
    sender.hear(late.clone());
    fence.0.fetch_add(1, Relaxed);
    assert_eq!(sender.decide(), Step::Wait(None));
    assert!(!shared.seeded.load(Relaxed), "no event passes");
    assert_eq!(shared.schedule.lock().take(shared.clock.now()), [Cause::Recovered]);
    sender.hear(late);
    assert_eq!(sender.decide(), Step::Wait(None));
    sender.hear(seen(&shared, "a", Source::Listing));
    assert_eq!(sender.decide(), Step::Create(vec!["a".to_owned()]));
}

#[test]
fn a_full_sync_from_before_an_interruption_opens_no_gate() {
    let (_stop, fence, shared) = started();
    fence.0.fetch_add(1, Relaxed);
    shared.check_epoch();
    shared.seed(7);
    assert!(!shared.seeded.load(Relaxed));
    shared.seed(8);
    assert!(shared.seeded.load(Relaxed));
    shared.check_epoch();
    assert!(shared.seeded.load(Relaxed), "one interruption counts once");
}
