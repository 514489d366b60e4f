//! The metric port: interface.md 4, in the text Prometheus reads.
//!
//! One table defines every metric: name, help, kind, and where its samples come from. All of them
//! are taken from one snapshot at the moment of the scrape.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::exposition;
use super::ports::Ports;
use super::process::ProcessCollector;
use crate::front::{Body, Front, Hosts, Limits, Meter, Request, Response};
use crate::http::{BUCKETS, OperationStats, Outcome, StatsSnapshot};
use crate::sync::numbers::{BOUNDS, ClusterNumbers, HistogramSnapshot, MetricsSource, Numbers};
use crate::sync::snapshot::{ClusterState, ClusterStatus, Status, StatusSource};

/// Prefix of the synchronizer's names.
const PREFIX: &str = "bkcmdb_sync";

/// The metric port at work; stops when dropped.
pub struct MetricsServer {
    front: Front,
}

impl MetricsServer {
    /// Serves `/metrics` on `listener` under the names `hosts`. `ports`: the synchronizer's others.
    ///
    /// # Errors
    /// As [`Front::start`].
    pub fn start(
        listener: TcpListener,
        status: Arc<dyn StatusSource>,
        numbers: Arc<dyn MetricsSource>,
        hosts: Hosts,
        ports: Vec<Meter>,
    ) -> io::Result<Self> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Scrape { status, numbers }));
        Self::serve(listener, registry, PREFIX, hosts, ports)
    }

    /// Serves any registry on `/metrics`, for a service with metrics of its own, which begin with
    /// `prefix`; what the process and the ports count comes with it.
    ///
    /// # Errors
    /// As [`Front::start`].
    pub fn serve(
        listener: TcpListener,
        mut registry: Registry,
        prefix: &'static str,
        hosts: Hosts,
        ports: Vec<Meter>,
    ) -> io::Result<Self> {
        let ports = Ports::new(prefix, ports);
        registry.register_collector(Box::new(ports.clone()));
        registry.register_collector(Box::new(ProcessCollector));
        let limits = Limits { body: 0, hosts, ..Limits::default() };
        let handler = Arc::new(move |request: Request| answer(&request, &registry));
        let front = Front::start("metrics", listener, None, limits, handler)?;
        ports.add(&front);
        Ok(Self { front })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.front.addr()
    }

    /// Stops, as [`Front::stop`].
    pub fn stop(self) {
        self.front.stop();
    }
}

fn answer(request: &Request, registry: &Registry) -> Response {
    if request.path != "/metrics" {
        return Response::error(404, "not_found", "metrics are at /metrics");
    }
    if !matches!(request.method.as_str(), "GET" | "HEAD") {
        let mut response = Response::error(405, "method_not_allowed", "this path takes GET, HEAD");
        response.headers.push(("allow", "GET, HEAD".into()));
        return response;
    }
    let mut page = String::new();
    match text::encode(&mut page, registry) {
        Ok(()) => {
            let (content_type, page) = exposition::negotiate(request.header("accept"), page);
            Response { status: 200, content_type, headers: Vec::new(), body: Body::Bytes(page.into_bytes()) }
        }
        Err(_) => Response::error(500, "internal", "the metrics could not be written"),
    }
}

/// Both sources, read at each scrape.
struct Scrape {
    status: Arc<dyn StatusSource>,
    numbers: Arc<dyn MetricsSource>,
}

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrape")
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let view = View { status: self.status.status(), numbers: self.numbers.numbers() };
        METRICS.iter().try_for_each(|metric| metric.encode(PREFIX, &view, &mut encoder))
    }
}

/// One moment.
struct View {
    status: Status,
    numbers: Numbers,
}

/// Labels of a sample.
pub(super) type Labels = Vec<(&'static str, String)>;

/// One sample.
pub(super) enum Value {
    Gauge(f64),
    Counter(u64),
    Info,
    /// Sum in seconds, count, and buckets that each count a duration once, without the last one.
    Histogram(f64, u64, Vec<(f64, u64)>),
}

impl Value {
    fn encode(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::Gauge(value) => encoder.encode_gauge(value),
            Self::Counter(value) => encoder.encode_counter::<NoLabelSet, u64, f64>(value, None),
            Self::Info => encoder.encode_info(&Labels::new()),
            Self::Histogram(sum, count, buckets) => {
                encoder.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None)
            }
        }
    }
}

/// What its samples are.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Gauge,
    Counter,
    Info,
    Histogram,
}

/// One metric of what a `View` shows. Counters are named without `_total` and the info without `_info`:
/// the format adds them.
pub(super) struct Metric<V: ?Sized> {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    samples: fn(&V) -> Vec<(Labels, Value)>,
}

impl<V: ?Sized> Metric<V> {
    /// Writes its samples, its name behind `prefix`.
    pub(super) fn encode(&self, prefix: &str, view: &V, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Gauge => MetricType::Gauge,
            Kind::Counter => MetricType::Counter,
            Kind::Info => MetricType::Info,
            Kind::Histogram => MetricType::Histogram,
        };
        let name = format!("{prefix}_{}", self.name);
        let mut family = encoder.encode_descriptor(&name, self.help, None, kind)?;
        for (labels, value) in (self.samples)(view) {
            match (value, labels.is_empty()) {
                (Value::Info, _) => family.encode_info(&labels)?,
                (value, true) => value.encode(&mut family)?,
                (value, false) => value.encode(&mut family.encode_family(&labels)?)?,
            }
        }
        Ok(())
    }
}

const METRICS: [Metric<View>; 27] = [
    metric("build", "The version at work", Kind::Info, |view| {
        vec![(vec![("version", escape(view.status.version))], Value::Info)]
    }),
    metric("is_master", "Whether this instance assigns clusters", Kind::Gauge, |view| {
        one(flag(view.status.role == "master"))
    }),
    metric("coordination_up", "Whether writes are allowed by coordination", Kind::Gauge, |view| {
        one(flag(view.status.coordination.state != "suspended"))
    }),
    metric("assigned_clusters", "Clusters of this instance", Kind::Gauge, |view| {
        one(Value::Gauge(view.status.clusters.len() as f64))
    }),
    metric("reassignments", "Clusters moved between workers", Kind::Counter, |view| {
        one(Value::Counter(view.numbers.reassignments))
    }),
    metric("events", "Watch events by what became of them", Kind::Counter, |view| {
        view.status.clusters.iter().flat_map(events).collect()
    }),
    metric("event_queue_length", "Pods with events waiting", Kind::Gauge, |view| {
        numbers(view, |cluster| Some(Value::Gauge(cluster.event_queue_length as f64)))
    }),
    metric("sender_queue_length", "Writes waiting for a sender", Kind::Gauge, |view| {
        statuses(view, |cluster| Value::Gauge(cluster.senders.queued as f64))
    }),
    metric("sync_lag_seconds", "From a storage event to its acknowledged write", Kind::Histogram, |view| {
        numbers(view, |cluster| Some(histogram(&cluster.sync_lag)))
    }),
    metric("full_sync_duration_seconds", "Time of full syncs", Kind::Histogram, |view| {
        numbers(view, |cluster| Some(histogram(&cluster.full_sync_duration)))
    }),
    metric(
        "full_sync_last_success_timestamp_seconds",
        "When the last full sync ended well",
        Kind::Gauge,
        |view| numbers(view, |cluster| cluster.full_sync_last_success.map(Value::Gauge)),
    ),
    metric("full_sync_changes", "Records changed by full syncs", Kind::Counter, full_sync_changes),
    metric("pods", "Recordable Pods on each side", Kind::Gauge, |view| {
        view.status.clusters.iter().flat_map(pods).collect()
    }),
    metric("rejected_pods", "Pods the CMDB refuses", Kind::Gauge, |view| {
        statuses(view, |cluster| Value::Gauge(cluster.pods.rejected as f64))
    }),
    metric("unusable_records", "Records of the CMDB without a uuid", Kind::Gauge, |view| {
        statuses(view, |cluster| Value::Gauge(cluster.pods.unusable as f64))
    }),
    metric("watch_connected", "Whether the watch stream is open", Kind::Gauge, |view| {
        statuses(view, |cluster| flag(cluster.watch.connected))
    }),
    metric("watch_reconnects", "Times the watch stream was renewed", Kind::Counter, |view| {
        statuses(view, |cluster| Value::Counter(cluster.watch.reconnects))
    }),
    metric("watch_missed", "Changes a connected watch did not deliver", Kind::Counter, |view| {
        statuses(view, |cluster| Value::Counter(cluster.watch.missed))
    }),
    metric("held_back_deletes", "Deletes the guard holds back", Kind::Gauge, |view| {
        statuses(view, |cluster| Value::Gauge(cluster.full_sync.held_back_deletes as f64))
    }),
    metric("paused", "Whether an operator paused the cluster", Kind::Gauge, |view| {
        statuses(view, |cluster| flag(cluster.state == ClusterState::Paused))
    }),
    metric("cmdb_requests", "Requests to the CMDB", Kind::Counter, |view| requests(&view.numbers.cmdb)),
    metric("cmdb_request_duration_seconds", "Time of requests to the CMDB", Kind::Histogram, |view| {
        view.numbers
            .cmdb
            .iter()
            .map(|(operation, stats)| (operation_label(operation), duration(stats)))
            .collect()
    }),
    metric("storage_requests", "Requests to bcs-storage", Kind::Counter, |view| {
        requests(&view.numbers.storage)
    }),
    metric("paas_requests", "Requests to paas-cc", Kind::Counter, |view| requests(&view.numbers.paas)),
    metric("zookeeper_sessions", "ZooKeeper sessions so far", Kind::Counter, |view| {
        one(Value::Counter(view.numbers.zookeeper_sessions))
    }),
    metric(
        "writes_refused_by_fence",
        "Writes not sent because lease or lock was in doubt",
        Kind::Counter,
        |view| one(Value::Counter(view.numbers.writes_refused_by_fence)),
    ),
    metric("ready", "Whether the instance is ready", Kind::Gauge, |view| one(flag(view.status.ready))),
];

/// A line of a table.
pub(super) const fn metric<V: ?Sized>(
    name: &'static str,
    help: &'static str,
    kind: Kind,
    samples: fn(&V) -> Vec<(Labels, Value)>,
) -> Metric<V> {
    Metric { name, help, kind, samples }
}

fn flag(value: bool) -> Value {
    Value::Gauge(f64::from(u8::from(value)))
}

fn one(value: Value) -> Vec<(Labels, Value)> {
    vec![(Vec::new(), value)]
}

fn cluster_label(id: &str) -> Labels {
    vec![("cluster", escape(id))]
}

fn operation_label(operation: &str) -> Labels {
    vec![("operation", escape(operation))]
}

/// A label value as the format wants it; the encoder writes it as it is.
pub(super) fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// One sample a cluster, from the status.
fn statuses(view: &View, value: fn(&ClusterStatus) -> Value) -> Vec<(Labels, Value)> {
    let samples = view.status.clusters.iter();
    samples.map(|cluster| (cluster_label(&cluster.cluster_id), value(cluster))).collect()
}

/// One sample a cluster, from the numbers, where there is one.
fn numbers(view: &View, value: fn(&ClusterNumbers) -> Option<Value>) -> Vec<(Labels, Value)> {
    let samples = view.numbers.clusters.iter();
    samples.filter_map(|(id, numbers)| Some((cluster_label(id), value(numbers)?))).collect()
}

/// One more label.
pub(super) fn labelled(mut labels: Labels, name: &'static str, value: &str) -> Labels {
    labels.push((name, value.to_owned()));
    labels
}

fn events(cluster: &ClusterStatus) -> Vec<(Labels, Value)> {
    let events = &cluster.watch.events;
    [
        ("add", events.add),
        ("change", events.change),
        ("delete", events.delete),
        ("suppressed", events.suppressed),
        ("stale", events.stale),
        ("unknown_delete", events.unknown_delete),
        ("invalid", events.invalid),
    ]
    .into_iter()
    .map(|(kind, count)| (labelled(cluster_label(&cluster.cluster_id), "type", kind), Value::Counter(count)))
    .collect()
}

fn pods(cluster: &ClusterStatus) -> [(Labels, Value); 2] {
    [("storage", cluster.pods.storage), ("cmdb", cluster.pods.cmdb)].map(|(side, count)| {
        (labelled(cluster_label(&cluster.cluster_id), "side", side), Value::Gauge(count as f64))
    })
}

fn full_sync_changes(view: &View) -> Vec<(Labels, Value)> {
    let of = |(id, numbers): (&String, &ClusterNumbers)| {
        let labels = cluster_label(id);
        ["create", "update", "delete"]
            .into_iter()
            .zip(numbers.full_sync_changes)
            .map(move |(action, count)| (labelled(labels.clone(), "action", action), Value::Counter(count)))
    };
    view.numbers.clusters.iter().flat_map(of).collect()
}

fn requests(stats: &StatsSnapshot) -> Vec<(Labels, Value)> {
    let of = |(operation, stats): (&&'static str, &OperationStats)| {
        let counts = Outcome::ALL.map(|outcome| (outcome, stats.count(outcome)));
        let labels = operation_label(operation);
        counts.map(|(outcome, count)| {
            (labelled(labels.clone(), "outcome", outcome.as_str()), Value::Counter(count))
        })
    };
    stats.iter().flat_map(of).collect()
}

fn histogram(snapshot: &HistogramSnapshot) -> Value {
    buckets(snapshot.sum, snapshot.count, BOUNDS.iter().copied().zip(snapshot.buckets))
}

fn duration(stats: &OperationStats) -> Value {
    buckets(stats.total.as_secs_f64(), stats.requests(), BUCKETS.iter().copied().zip(stats.buckets))
}

/// Adds the bucket without a bound: what is in none of the others.
fn buckets(sum: f64, count: u64, bounded: impl Iterator<Item = (f64, u64)>) -> Value {
    let mut buckets: Vec<(f64, u64)> = bounded.collect();
    let counted: u64 = buckets.iter().map(|(_, count)| count).sum();
    buckets.push((f64::MAX, count.saturating_sub(counted)));
    Value::Histogram(sum, count, buckets)
}
