//! What tests may break: answers, streams, listings.

use super::Shared;
use super::collection::Event;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// In place of a cluster id: all of them, also unknown ones.
pub const EVERY: &str = "*";

/// Which requests a fault meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// The listing of a cluster.
    List,
    /// The point read of one pod.
    Get,
    /// The watch of a cluster, when it begins.
    Watch,
    /// All of these.
    Any,
}

/// What happens instead of the true answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `result: false` with HTTP 200; a watch ends with a break event.
    Refuse,
    /// HTTP 500.
    Error500,
    /// A proxy's HTML page with HTTP 200.
    Html,
    /// The true answer, cut in the middle; for a watch an event that never ends.
    Truncated,
    /// `result: true`, `data: null`.
    DataNull,
    /// `result: true`, `data: {}`.
    DataObject,
    /// `result: true`, `data: []`: an empty listing by error.
    Empty,
    /// The head of an answer, and then nothing for ever.
    Hang,
    /// The connection breaks in the middle of the answer.
    Close,
    /// The true answer, this much later.
    Delay(Duration),
}

/// How open streams end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// With `{"type":-1,"value":null}`.
    Break,
    /// With the connection.
    Cut,
}

#[derive(Default)]
pub(super) struct FaultTable {
    rules: Vec<Rule>,
    muted: BTreeSet<String>,
    dropping: BTreeMap<String, usize>,
}

struct Rule {
    cluster: String,
    call: Call,
    fault: Fault,
    left: Option<usize>,
}

impl FaultTable {
    /// The fault this request meets, counting it.
    pub(super) fn meet(&mut self, cluster: &str, call: Call) -> Option<Fault> {
        let meets = |rule: &Rule| {
            (rule.cluster == EVERY || rule.cluster == cluster)
                && (rule.call == Call::Any || rule.call == call)
                && rule.left != Some(0)
        };
        let rule = self.rules.iter_mut().find(|rule| meets(rule))?;
        rule.left = rule.left.map(|left| left - 1);
        Some(rule.fault)
    }

    /// Whether an event reaches the watchers of a cluster, counting the ones that do not.
    pub(super) fn lets_pass(&mut self, cluster: &str) -> bool {
        if self.muted.contains(EVERY) || self.muted.contains(cluster) {
            return false;
        }
        match self.dropping.get_mut(cluster) {
            Some(left) if *left > 0 => {
                *left -= 1;
                false
            }
            _ => true,
        }
    }
}

/// Breaks a simulated storage; effects last until [`Faults::clear`] unless they say otherwise.
pub struct Faults<'a> {
    pub(super) shared: &'a Arc<Shared>,
}

impl Faults<'_> {
    /// Every such call of `cluster` (or [`EVERY`]) meets `fault`; of several rules the first counts.
    pub fn set(&self, cluster: &str, call: Call, fault: Fault) {
        self.rule(cluster, call, fault, None);
    }

    /// The next `times` such calls meet `fault`.
    pub fn next(&self, cluster: &str, call: Call, fault: Fault, times: usize) {
        self.rule(cluster, call, fault, Some(times));
    }

    fn rule(&self, cluster: &str, call: Call, fault: Fault, left: Option<usize>) {
        let rule = Rule { cluster: cluster.to_owned(), call, fault, left };
        self.shared.state.lock().faults.rules.push(rule);
    }

    /// Takes back all faults, raw documents and duplicates; what hangs goes on hanging.
    pub fn clear(&self) {
        let mut state = self.shared.state.lock();
        state.faults = FaultTable::default();
        for collection in state.clusters.values_mut() {
            collection.raw.clear();
            collection.duplicates = false;
        }
    }

    /// Watches of `cluster` (or [`EVERY`]) stay connected and tell nothing from now on.
    pub fn mute(&self, cluster: &str) {
        self.shared.state.lock().faults.muted.insert(cluster.to_owned());
    }

    /// The next `count` events of `cluster` reach nobody.
    pub fn drop_events(&self, cluster: &str, count: usize) {
        self.shared.state.lock().faults.dropping.insert(cluster.to_owned(), count);
    }

    /// Ends the open streams of `cluster` (or [`EVERY`]).
    pub fn end_streams(&self, cluster: &str, end: StreamEnd) {
        self.shared.tell(cluster, &Event::End(end == StreamEnd::Break));
    }

    /// Sends these bytes to the watchers of `cluster` as if they were an event.
    pub fn raw_event(&self, cluster: &str, bytes: impl Into<Vec<u8>>) {
        self.shared.tell(cluster, &Event::Raw(bytes.into()));
    }

    /// Listings of `cluster` show these bytes in place of a document, behind all others.
    pub fn raw_document(&self, cluster: &str, bytes: impl Into<Vec<u8>>) {
        if let Some(collection) = self.shared.state.lock().clusters.get_mut(cluster) {
            collection.raw.push(bytes.into());
        }
    }

    /// Listings of `cluster` show every document twice.
    pub fn duplicate_documents(&self, cluster: &str) {
        if let Some(collection) = self.shared.state.lock().clusters.get_mut(cluster) {
            collection.duplicates = true;
        }
    }
}
