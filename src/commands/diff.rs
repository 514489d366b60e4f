//! `diff`: what a full sync would change, without changing anything.
//!
//! Reads only, one request at a time to each side and no more than `--qps` a second, takes no lock:
//! a fleet at work does not notice. What is on its way to the CMDB while this looks is no drift, so
//! each difference of the two listings is read again, as often as `looks` says, before it counts.

use super::comparison::{Seen, Verdict, compare};
use super::diff_report::{ClusterReport, Pods, Report};
use super::looks::{Candidate, Glimpse, Looks};
use super::pace::Pace;
use super::progress::Progress;
use super::{clusters, not_begun, peers, print};
use crate::cli::SelectionArgs;
use crate::cmdb::CmdbError;
use crate::config::Config;
use crate::convert::{Converter, Settings};
use crate::model::{Cluster, Modules, Observation};
use crate::plan::{Fingerprinter, Ledger, Moment, Order, Proof, Source};
use crate::storage::StorageError;
use crate::sync::Peers;
use std::collections::BTreeMap;
use std::time::Duration;

/// Between two looks: what is on its way to the CMDB has usually arrived after this time.
const IN_FLIGHT: Duration = Duration::from_secs(2);

/// Why a cluster could not be compared.
#[derive(Debug, thiserror::Error)]
enum DiffError {
    #[error("{0}")]
    Cmdb(#[from] CmdbError),
    #[error("{0}")]
    Storage(#[from] StorageError),
}

/// `diff`; returns the exit code.
pub fn diff(config: &Config, flags: &SelectionArgs) -> i32 {
    let (clusters, peers) = match clusters(config, &flags.clusters).and_then(|all| Ok((all, peers(config)?)))
    {
        Ok(found) => found,
        Err(error) => return not_begun(&error, flags.output, &Report::failed(&error)),
    };
    let mut progress = Progress::new();
    let reports: Vec<ClusterReport> = clusters
        .iter()
        .map(|cluster| Looker::new(config, &peers, cluster, flags.qps).report(&mut progress))
        .collect();
    progress.end();
    let report = Report::new(reports);
    print(flags.output, &report, || report.to_text(), report.exit_code())
}

/// Looks at one cluster.
struct Looker<'a> {
    peers: &'a Peers,
    cluster: &'a Cluster,
    converter: Converter,
    pace: Pace,
}

impl<'a> Looker<'a> {
    fn new(config: &Config, peers: &'a Peers, cluster: &'a Cluster, qps: u32) -> Self {
        let converter = Converter::new(cluster.kind, Settings::from(config));
        Self { peers, cluster, converter, pace: Pace::new(qps) }
    }

    fn report(mut self, progress: &mut Progress) -> ClusterReport {
        let mut report = ClusterReport::new(self.cluster);
        let compared = self.compare(&mut report, progress);
        report.end(compared.err().map(|error| error.to_string()));
        report
    }

    fn compare(&mut self, report: &mut ClusterReport, progress: &mut Progress) -> Result<(), DiffError> {
        let modules = self.peers.cmdb.topology(self.cluster.bk_biz_id)?;
        let mut candidates = self.list(&modules, report, progress)?;
        let mut looks = Looks::new(candidates.len());
        while !candidates.is_empty() {
            std::thread::sleep(IN_FLIGHT);
            let open = self.look(&mut looks, candidates, &modules, report, progress)?;
            let (different, moving) = looks.judge(open);
            different.into_iter().for_each(|(candidate, verdict)| report.note(candidate, verdict));
            candidates = moving;
        }
        Ok(())
    }

    // ---- both listings ---------------------------------------------------------------------

    /// Lists both sides; what may differ.
    fn list(
        &mut self,
        modules: &Modules,
        report: &mut ClusterReport,
        progress: &mut Progress,
    ) -> Result<Vec<Candidate>, DiffError> {
        let mut ledger = Ledger::new(Fingerprinter::new(fastrand::u64(..)), fastrand::u64(..));
        ledger.begin_full_sync();
        self.list_cmdb(&mut ledger, &mut report.pods, progress)?;
        ledger.end_stored();
        let mut differing = self.list_storage(&mut ledger, modules, report, progress)?;
        let missing = ledger.missing(Moment::ZERO);
        differing.extend(missing.recorded.into_iter().chain(missing.doomed));
        let counts = ledger.counts();
        report.pods.storage = counts.storage;
        report.pods.unscheduled = counts.unscheduled;
        report.pods.unplaced = counts.rejected;
        let candidate = |Order { uuid, namespace, name, .. }: Order| {
            let (space, own) = ledger.key_of(&uuid).unwrap_or((&namespace, &name));
            let key = (space.to_owned(), own.to_owned());
            (uuid.clone(), Candidate::new(uuid, namespace, name, key))
        };
        let by_uuid: BTreeMap<String, Candidate> = differing.into_iter().map(candidate).collect();
        Ok(by_uuid.into_values().collect())
    }

    fn list_cmdb(
        &mut self,
        ledger: &mut Ledger,
        pods: &mut Pods,
        progress: &mut Progress,
    ) -> Result<(), DiffError> {
        progress.begin(format!("{}: listing the CMDB", self.cluster.id), None);
        let mut after = Some(0);
        while let Some(last) = after {
            self.pace.wait();
            let biz = self.cluster.bk_biz_id;
            let page = self.peers.cmdb.list_page(biz, &self.cluster.id, last, &mut |stored| {
                ledger.stored(&stored.record);
            })?;
            pods.cmdb += page.records - page.unusable.count;
            pods.unusable += page.unusable.count;
            progress.at(pods.cmdb);
            after = page.next;
        }
        Ok(())
    }

    fn list_storage(
        &mut self,
        ledger: &mut Ledger,
        modules: &Modules,
        report: &mut ClusterReport,
        progress: &mut Progress,
    ) -> Result<Vec<Order>, DiffError> {
        progress.begin(format!("{}: listing bcs-storage", self.cluster.id), None);
        let mut orders = Vec::new();
        let mut all = 0;
        let Cluster { id, kind, .. } = self.cluster;
        let mut listing = self.peers.storage.listing(id, *kind, self.converter.projection())?;
        loop {
            self.pace.wait();
            let page =
                listing.next_page(&mut |document| match self.converter.document(document, modules) {
                    Ok(Observation::Pod(pod)) => {
                        orders.extend(ledger.observe(*pod, Source::Listing, None, Moment::ZERO).orders);
                    }
                    Ok(Observation::Deleted(_)) => {}
                    Err(_) => report.pods.invalid += 1,
                })?;
            let Some(documents) = page else { return Ok(orders) };
            all += documents;
            progress.at(all);
        }
    }

    // ---- each difference -------------------------------------------------------------------

    /// Reads each candidate on both sides; those that still differ.
    fn look(
        &mut self,
        looks: &mut Looks,
        candidates: Vec<Candidate>,
        modules: &Modules,
        report: &mut ClusterReport,
        progress: &mut Progress,
    ) -> Result<Vec<Candidate>, DiffError> {
        let doing = format!("{}: reading differences again", self.cluster.id);
        progress.begin(doing, Some(candidates.len()));
        let mut open = Vec::new();
        for (done, candidate) in candidates.into_iter().enumerate() {
            progress.at(done);
            let glimpse = self.read(&candidate, modules)?;
            match glimpse.verdict {
                Verdict::Repaired => report.note(candidate, Verdict::Repaired),
                _ => open.extend(looks.take(candidate, glimpse)),
            }
        }
        Ok(open)
    }

    fn read(&mut self, candidate: &Candidate, modules: &Modules) -> Result<Glimpse, DiffError> {
        let Cluster { id, kind, bk_biz_id, .. } = self.cluster;
        self.pace.wait();
        // In this order: a pod that changes in between looks behind, and is read once more.
        let (namespace, name) = &candidate.key;
        let document = self.peers.storage.get(id, *kind, namespace, name)?;
        let stored = self.peers.cmdb.find_by_uuid(*bk_biz_id, &candidate.uuid)?;
        let stored = stored.filter(|stored| stored.cluster == *id).map(|stored| stored.record);
        let mut version = None;
        let seen = match document.map(|document| self.converter.document(&document, modules)) {
            None | Some(Ok(Observation::Deleted(_))) => Seen::Gone(Proof::Gone),
            Some(Ok(Observation::Pod(pod))) if pod.record.uuid == candidate.uuid => {
                version = pod.version;
                Seen::Pod(pod)
            }
            Some(Ok(Observation::Pod(pod))) => Seen::Gone(Proof::Superseded { by: pod.record.uuid }),
            // It is there; the service would leave its record as it is.
            Some(Err(_)) => return Ok(Glimpse { version, verdict: Verdict::Same }),
        };
        Ok(Glimpse { version, verdict: compare(stored.as_ref(), seen) })
    }
}
