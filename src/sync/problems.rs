//! What is wrong with one cluster right now: shown while it lasts, logged when it begins and ends.

use super::snapshot::ProblemStatus;
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// What can be wrong. The first in this order is shown as `last_error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Problem {
    /// The business topology cannot be read.
    Topology,
    /// The business lacks the default set or module.
    DefaultModule,
    /// The last full sync failed.
    FullSync,
    /// There is no watch stream.
    Watch,
    /// A watch stream did not deliver what it should.
    MuteWatch,
    /// This sender shard gets no answer from its peer.
    Sender(usize),
    /// Records of a previous business cannot be removed.
    PreviousBusiness,
    /// A full sync would delete so much that it is held back.
    HeldBack,
    /// Documents of the storage that cannot be understood.
    Documents,
    /// Records of the CMDB that nothing can be done with.
    Records,
}

impl Problem {
    /// Whether the cluster is `degraded` by it. The others need somebody's attention; all else goes on.
    fn degrades(self) -> bool {
        !matches!(self, Self::Documents | Self::HeldBack | Self::Records)
    }
}

/// The problems of one cluster.
#[derive(Debug)]
pub(super) struct Problems {
    cluster: String,
    open: Mutex<BTreeMap<Problem, String>>,
}

impl Problems {
    pub fn new(cluster: &str) -> Self {
        Self { cluster: cluster.to_owned(), open: Mutex::default() }
    }

    /// Notes a problem whose causes the log names one by one.
    pub fn show(&self, problem: Problem, message: impl Into<String>) {
        self.open.lock().insert(problem, message.into());
    }

    /// Notes a problem; only a new one is logged.
    pub fn set(&self, problem: Problem, message: impl Into<String>) {
        let message = message.into();
        let mut open = self.open.lock();
        let shards = |open: &BTreeMap<Problem, String>| open.keys().any(|p| matches!(p, Problem::Sender(_)));
        let known = open.contains_key(&problem) || matches!(problem, Problem::Sender(_)) && shards(&open);
        if !known {
            log::warn!("cluster={} {message}", self.cluster);
        }
        open.insert(problem, message);
    }

    /// Notes that a problem is over; returns whether it was open.
    pub fn clear(&self, problem: Problem) -> bool {
        let mut open = self.open.lock();
        let was_open = open.remove(&problem).is_some();
        let others =
            matches!(problem, Problem::Sender(_)) && open.keys().any(|p| matches!(p, Problem::Sender(_)));
        if was_open && !others {
            log::info!("cluster={} over: {}", self.cluster, problem.words());
        }
        was_open
    }

    /// Whether any shard fails.
    pub fn any_sender(&self) -> bool {
        self.open.lock().keys().any(|problem| matches!(problem, Problem::Sender(_)))
    }

    /// Whether the cluster is degraded.
    pub fn degraded(&self) -> bool {
        self.open.lock().keys().any(|problem| problem.degrades())
    }

    /// Every problem, the most telling first; shards that fail count as one.
    pub fn all(&self) -> Vec<ProblemStatus> {
        let mut all: Vec<ProblemStatus> = Vec::new();
        for (problem, message) in self.open.lock().iter() {
            let kind = problem.kind();
            if all.last().is_none_or(|last| last.kind != kind) {
                all.push(ProblemStatus { kind, message: message.clone() });
            }
        }
        all
    }

    /// The most telling problem, in words.
    pub fn first(&self) -> Option<String> {
        self.open.lock().values().next().cloned()
    }
}

impl Problem {
    /// Its name in the status; the page tells by it what to do.
    fn kind(self) -> &'static str {
        match self {
            Self::Topology => "topology",
            Self::DefaultModule => "default_module",
            Self::FullSync => "full_sync",
            Self::Watch => "watch",
            Self::MuteWatch => "mute_watch",
            Self::Sender(_) => "cmdb_writes",
            Self::PreviousBusiness => "previous_business",
            Self::HeldBack => "held_back_deletes",
            Self::Documents => "documents",
            Self::Records => "records",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Topology => "the topology can be read again",
            Self::DefaultModule => "the default module is there",
            Self::FullSync => "full sync works again",
            Self::Watch => "the watch stream is open again",
            Self::MuteWatch => "the watch delivers again",
            Self::Sender(_) => "the CMDB takes writes again",
            Self::PreviousBusiness => "the previous business is clean",
            Self::HeldBack => "no deletes are held back",
            Self::Documents => "every document can be understood",
            Self::Records => "every record has a uuid",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_telling_problem_is_shown_until_it_is_over() {
        let problems = Problems::new("BCS-K8S-1");
        problems.set(Problem::Watch, "no stream");
        problems.set(Problem::FullSync, "storage refused");
        assert_eq!(problems.first().as_deref(), Some("storage refused"));
        assert!(problems.clear(Problem::FullSync));
        assert!(!problems.clear(Problem::FullSync));
        assert_eq!(problems.first().as_deref(), Some("no stream"));
        assert!(problems.degraded());
        problems.set(Problem::Sender(3), "no answer");
        problems.set(Problem::Sender(7), "no answer");
        let kinds: Vec<&str> = problems.all().iter().map(|problem| problem.kind).collect();
        assert_eq!(kinds, ["watch", "cmdb_writes"]);
        problems.clear(Problem::Sender(3));
        problems.clear(Problem::Sender(7));
        problems.clear(Problem::Watch);
        problems.set(Problem::Documents, "one is odd");
        problems.set(Problem::HeldBack, "many deletes");
        assert!(!problems.degraded());
        let kinds: Vec<&str> = problems.all().iter().map(|problem| problem.kind).collect();
        assert_eq!(kinds, ["held_back_deletes", "documents"]);
    }

    #[test]
    fn the_page_says_what_to_do_about_every_kind() {
        let words = include_str!("../observe/page/text.en.json");
        for problem in [
            Problem::Topology,
            Problem::DefaultModule,
            Problem::FullSync,
            Problem::Watch,
            Problem::MuteWatch,
            Problem::Sender(0),
            Problem::PreviousBusiness,
            Problem::HeldBack,
            Problem::Documents,
            Problem::Records,
        ] {
            assert!(words.contains(&format!("\"advice.{}\"", problem.kind())), "{problem:?}");
        }
    }
}
