//! What the listeners of a service count, under the names of that service.

use super::metrics::{Kind, Labels, Metric, Value, escape, labelled, metric};
use crate::front::{Counters, Front, Meter};
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use std::fmt;
use std::sync::Arc;

/// The ports of a service; more may come while it is scraped.
#[derive(Clone)]
pub struct Ports {
    prefix: &'static str,
    meters: Arc<Mutex<Vec<Meter>>>,
}

impl Ports {
    /// Those of a service whose metrics begin with `prefix`.
    pub fn new(prefix: &'static str, meters: Vec<Meter>) -> Self {
        Self { prefix, meters: Arc::new(Mutex::new(meters)) }
    }

    /// One more.
    pub fn add(&self, front: &Front) {
        self.meters.lock().push(front.meter());
    }
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ports")
    }
}

impl Collector for Ports {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let read = |meter: &Meter| (escape(meter.name()), meter.counters());
        let ports: Vec<Port> = self.meters.lock().iter().map(read).collect();
        METRICS.iter().try_for_each(|metric| metric.encode(self.prefix, &ports, &mut encoder))
    }
}

/// A port's name, and what it has counted.
type Port = (String, Counters);

const METRICS: [Metric<[Port]>; 4] = [
    metric("port_connections", "Open connections", Kind::Gauge, |ports| {
        each(ports, |counters| Value::Gauge(counters.open as f64))
    }),
    metric("port_accepted", "Connections accepted, refused ones included", Kind::Counter, |ports| {
        each(ports, |counters| Value::Counter(counters.accepted))
    }),
    metric("port_refused", "Connections and requests that were not served", Kind::Counter, |ports| {
        let of = |(name, counters): &Port| {
            let labels = vec![("port", name.clone())];
            counters
                .refusals()
                .map(|(reason, count)| (labelled(labels.clone(), "reason", reason), Value::Counter(count)))
        };
        ports.iter().flat_map(of).collect()
    }),
    metric("port_panics", "Requests that failed inside", Kind::Counter, |ports| {
        each(ports, |counters| Value::Counter(counters.panics))
    }),
];

/// One sample a port.
fn each(ports: &[Port], value: fn(&Counters) -> Value) -> Vec<(Labels, Value)> {
    ports.iter().map(|(name, counters)| (vec![("port", name.clone())], value(counters))).collect()
}
