//! What is measured: the four things done for each pod or byte.

use crate::document::{converter, pod};
use bcs_bkcmdb_synchronizer::convert::Converter;
use bcs_bkcmdb_synchronizer::model::{Modules, Observation, ObservedPod};
use bcs_bkcmdb_synchronizer::plan::{Fingerprinter, Ledger, Moment, Source};
use bcs_bkcmdb_synchronizer::storage::{Splitter, VALUE_LIMIT};
use std::hint::black_box;

/// Bytes that arrive together.
const CHUNK: usize = 16 * 1024;

/// A thing that is done again and again.
pub type Case = Box<dyn FnMut()>;

/// A case by its name, and what prepares it.
pub type Named = (&'static str, fn() -> Case);

/// Every case.
pub const ALL: [Named; 4] =
    [("framing", framing), ("convert", convert), ("hashing", hashing), ("diff", diff)];

/// Finding the ends of eight events in a stream.
fn framing() -> Case {
    let event = format!(r#"{{"type":3,"value":{}}}"#, document());
    let stream = event.repeat(8).into_bytes();
    let mut splitter = Splitter::new(VALUE_LIMIT);
    Box::new(move || {
        let mut found = 0;
        for mut chunk in stream.chunks(CHUNK) {
            while !chunk.is_empty() {
                let (taken, complete) = splitter.feed(chunk);
                found += usize::from(complete && splitter.value().is_ok());
                chunk = &chunk[taken..];
            }
        }
        assert_eq!(found, 8);
    })
}

/// A document of 6 KB into a record.
fn convert() -> Case {
    let (document, converter, modules) = (document(), converter(), Modules::default());
    Box::new(move || {
        black_box(observe(&converter, &document, &modules));
    })
}

/// The fingerprint of a record.
fn hashing() -> Case {
    let (prints, pod) = (Fingerprinter::new(1), observed());
    Box::new(move || {
        black_box(prints.of(black_box(&pod.record)));
    })
}

/// A listed pod that did not change against the ledger.
fn diff() -> Case {
    let (prints, pod) = (Fingerprinter::new(1), observed());
    let mut ledger = Ledger::new(prints, 1);
    ledger.observe(pod.clone(), Source::Listing, None, Moment::ZERO);
    ledger.written(&pod.record.uuid, prints.of(&pod.record), false);
    Box::new(move || {
        let decision = ledger.observe(pod.clone(), Source::Listing, None, Moment::ZERO);
        assert!(black_box(decision).orders.is_empty());
    })
}

fn document() -> String {
    let head = r#""_id":"5f0c1f0e8d3b4a0001a1b2c3","clusterId":"BCS-K8S-10000","resourceType":"Pod""#;
    format!(r#"{{{head},"namespace":"shop","resourceName":"web","data":{}}}"#, pod())
}

fn observed() -> ObservedPod {
    observe(&converter(), &document(), &Modules::default())
}

fn observe(converter: &Converter, document: &str, modules: &Modules) -> ObservedPod {
    match converter.document(document.as_bytes(), modules) {
        Ok(Observation::Pod(pod)) => *pod,
        other => panic!("not a pod: {other:?}"),
    }
}
