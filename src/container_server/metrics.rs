//! What the container server counts: `bkcmdb_container_*` (interface.md 4).

use super::codes;
use super::store::Store;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Prefix of every name.
pub const PREFIX: &str = "bkcmdb_container";
/// Upper bounds of the latency buckets, seconds: from a cached read to a slow disk.
const BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

type RequestLabels = [(&'static str, &'static str); 2];
type OperationLabels = [(&'static str, &'static str); 1];

/// Counts of calls.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    durations: Family<OperationLabels, Histogram, fn() -> Histogram>,
}

impl Metrics {
    /// All zero.
    pub fn new() -> Self {
        let durations: fn() -> Histogram = || Histogram::new(BUCKETS);
        Self { requests: Family::default(), durations: Family::new_with_constructor(durations) }
    }

    /// One call is done: `code` is its `bk_error_code`.
    pub fn count(&self, operation: &'static str, code: i64, took: Duration) {
        let labels = [("operation", operation), ("outcome", outcome(code))];
        self.requests.get_or_create(&labels).inc();
        self.durations.get_or_create(&[("operation", operation)]).observe(took.as_secs_f64());
    }

    /// Everything of this server, for the metrics port.
    pub fn registry(&self, store: Arc<Store>) -> Registry {
        let mut all = Registry::default();
        let registry = all.sub_registry_with_prefix(PREFIX);
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Version of the program", build);
        registry.register("requests", "Calls by outcome", self.requests.clone());
        let durations = self.durations.clone();
        registry.register("request_duration_seconds", "Time from request to answer", durations);
        registry.register_collector(Box::new(StoreCollector(store)));
        all
    }
}

/// `refused`: the caller's or the record's fault; `error`: ours or the CMDB's.
fn outcome(code: i64) -> &'static str {
    match code {
        0 => "ok",
        codes::BUSY
        | codes::MODULE_QUERY
        | codes::SELECT_FAILED
        | codes::INSERT_FAILED
        | codes::UPDATE_FAILED
        | codes::DELETE_FAILED => "error",
        _ => "refused",
    }
}

/// The store's numbers, taken at each scrape.
struct StoreCollector(Arc<Store>);

impl fmt::Debug for StoreCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreCollector")
    }
}

impl Collector for StoreCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // A database that cannot be read shows as absent numbers, and in /healthz.
        let Ok(numbers) = self.0.statistics() else { return Ok(()) };
        let mut metric =
            |name: &str, help: &str, metric: &dyn Encode| metric.encode_as(&mut encoder, name, help);
        metric("pods", "Records stored", &ConstGauge::new(numbers.pods))?;
        metric("flushes", "Commits flushed to the disk", &ConstCounter::new(numbers.flushes))?;
        metric("writes", "Writes that shared those flushes", &ConstCounter::new(numbers.writes))?;
        metric("change_sequence", "Number of the last change", &ConstGauge::new(numbers.sequence))?;
        let help = "Writes refused for their fence, by what it was";
        let mut family = encoder.encode_descriptor("fences_refused", help, None, MetricType::Counter)?;
        [("old", numbers.old_fences), ("future", numbers.future_fences)].into_iter().try_for_each(
            |(reason, count)| ConstCounter::new(count).encode(family.encode_family(&[("reason", reason)])?),
        )
    }
}

/// A metric of either kind, encoded under its name.
trait Encode {
    fn encode_as(&self, encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str) -> fmt::Result;
}

impl<M: EncodeMetric> Encode for M {
    fn encode_as(&self, encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str) -> fmt::Result {
        self.encode(encoder.encode_descriptor(name, help, None, self.metric_type())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_tell_whose_fault_it_was() {
        for (code, wanted) in [(0, "ok"), (codes::DUPLICATE, "refused"), (codes::INSERT_FAILED, "error")] {
            assert_eq!(outcome(code), wanted);
        }
    }
}
