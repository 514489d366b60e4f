//! Removes a cluster's records from the businesses it belonged to before (design.md 4).

use super::problems::Problem;
use super::shared::Shared;
use super::snapshot::DeletedRecord;
use super::stats::Stats;
use super::writes::failure;
use crate::cmdb::{CmdbError, StoredRecord};
use crate::config::SyncPolicy;
use crate::plan::Proof;
use crate::pulse;
use std::sync::atomic::Ordering::Relaxed;

/// Turns that list records of which a delete finds none, before the next full sync is waited for. One or
/// two may be a sender that was faster, or a replica of the database that lags behind.
const FRUITLESS: usize = 3;

/// Removes what a listing of each previous business shows; a business without records is done and
/// told to coordination by the controller.
pub(super) fn clean(shared: &Shared) {
    if shared.policy != SyncPolicy::Sync {
        return;
    }
    let businesses = shared.previous_businesses.lock().clone();
    for biz in businesses {
        match clean_one(shared, biz) {
            Ok(true) => {
                shared.previous_businesses.lock().retain(|other| *other != biz);
                shared.cleaned_businesses.lock().push(biz);
                shared.problems.clear(Problem::PreviousBusiness);
                log::info!("cluster={} business {biz} holds no record of it any more", shared.cluster.id);
            }
            Ok(false) => return,
            Err(error) => {
                let message = format!("records in the previous business {biz}: {}", failure(error));
                shared.problems.set(Problem::PreviousBusiness, message);
                return;
            }
        }
    }
}

/// Whether the business was listed and empty in the end.
fn clean_one(shared: &Shared, biz: i64) -> Result<bool, CmdbError> {
    let mut fruitless = 0;
    loop {
        let mut records = Vec::new();
        let push = &mut |stored: StoredRecord| records.push(stored.record);
        let listed = shared.peers.cmdb.list_page(biz, &shared.cluster.id, 0, push)?.records;
        if listed == 0 {
            return Ok(true);
        }
        if fruitless == FRUITLESS {
            let message = format!("it lists {listed} records, and a delete of them finds none");
            return Err(CmdbError::Later { code: 0, message });
        }
        fruitless += 1;
        for record in records {
            if shared.stopping() || shared.paused.load(Relaxed) {
                return Ok(false);
            }
            pulse::beat();
            if shared.peers.cmdb.delete(&shared.scope_in(biz), &record.uuid)? == 0 {
                continue;
            }
            fruitless = 0;
            Stats::count(&shared.stats.deleted);
            log::info!("cluster={} uuid={} deleted from business {biz}", shared.cluster.id, record.uuid);
            shared.deletes.add(DeletedRecord {
                time: shared.clock.wall(shared.clock.now()),
                cluster_id: shared.cluster.id.clone(),
                uuid: record.uuid,
                namespace: record.namespace,
                name: record.name,
                proof: Proof::BusinessChanged.to_string(),
            });
        }
    }
}
