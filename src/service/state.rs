//! What the service shows of itself: status, health, readiness and numbers, taken from its parts.

use super::VERSION;
use super::parts::Requests;
use crate::coordination::{Coordination, Discovery};
use crate::journal::{DeletePage, DeleteQuery};
use crate::reload::Problem;
use crate::sync::numbers::{MetricsSource, Numbers};
use crate::sync::snapshot::{
    ClusterHistory, ClusterStatus, Control, ControlOutcome, Coordination as CoordinationSnapshot,
    DeletedRecord, Health, HeldBackDelete, ProblemStatus, RejectedRecord, Status, StatusSource,
};
use crate::sync::{Clock, Controller};
use crate::warnings::Warnings;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// What status and metrics are taken from.
pub(super) struct State {
    pub(super) instance: String,
    pub(super) clock: Clock,
    pub(super) controller: Arc<Controller>,
    pub(super) coordination: Arc<dyn Coordination>,
    /// Who finds bcs-storage, unless its addresses are configured.
    pub(super) discovery: Option<Arc<Discovery>>,
    pub(super) requests: Requests,
    pub(super) warnings: Warnings,
    /// What is wrong with the configuration as it was read again.
    pub(super) reload_problem: Mutex<Option<Problem>>,
    pub(super) stopping: Mutex<bool>,
}

impl State {
    /// What is wrong with the instance itself.
    fn instance_problems(&self) -> Vec<ProblemStatus> {
        let coordination = self.coordination.status();
        let kind = if coordination.state == "suspended" { "coordination" } else { "fleet" };
        let stopping = self.stopping.lock().then(|| ("stopping", "stopping".to_owned()));
        let discovery = self.discovery.as_ref().and_then(|discovery| discovery.problem());
        stopping
            .into_iter()
            .chain(coordination.problems.into_iter().map(|message| (kind, message)))
            .chain(discovery.map(|message| ("discovery", message)))
            .chain(self.reload_problem.lock().clone().map(|problem| match problem {
                Problem::NotInForce(message) => ("configuration", message),
                Problem::Restart(message) => ("restart", message),
            }))
            .chain(self.controller.journal_problem().map(|message| ("journal", message)))
            .map(|(kind, message)| ProblemStatus { kind, message })
            .chain(self.warnings.all())
            .collect()
    }
}

impl StatusSource for State {
    fn status(&self) -> Status {
        let coordination = self.coordination.status();
        let readiness = self.readiness();
        Status {
            instance: self.instance.clone(),
            version: VERSION,
            started_at: self.clock.wall(Duration::ZERO),
            mode: coordination.mode,
            role: coordination.role,
            ready: readiness.ok,
            problems: readiness.problems,
            instance_problems: self.instance_problems(),
            coordination: CoordinationSnapshot {
                state: coordination.state,
                last_heartbeat_seconds_ago: coordination.last_heartbeat_seconds_ago,
            },
            clusters: self.controller.clusters(),
        }
    }

    fn cluster(&self, id: &str) -> Option<ClusterStatus> {
        self.controller.cluster(id)
    }

    fn rejected(&self, id: &str) -> Option<Vec<RejectedRecord>> {
        self.controller.rejected(id)
    }

    fn history(&self, id: &str) -> Option<ClusterHistory> {
        self.controller.history(id)
    }

    fn held_back(&self, id: &str) -> Option<Vec<HeldBackDelete>> {
        self.controller.held_back(id)
    }

    fn deletes(&self) -> Vec<DeletedRecord> {
        self.controller.deletes()
    }

    fn delete_page(&self, query: &DeleteQuery) -> DeletePage {
        self.controller.delete_page(query)
    }

    fn assignment(&self) -> serde_json::Value {
        serde_json::to_value(self.coordination.assignment()).unwrap_or_default()
    }

    fn health(&self) -> Health {
        let mut health = self.controller.health();
        let coordination = self.coordination.status();
        health.problems.extend(coordination.fatal);
        let discovery = self.discovery.as_ref().and_then(|discovery| discovery.trouble());
        for trouble in coordination.thread_troubles.into_iter().chain(discovery) {
            health.problems.push(format!("coordination: {trouble}; restart the service"));
        }
        health.ok = health.problems.is_empty();
        health
    }

    fn readiness(&self) -> Health {
        let mut readiness = self.controller.readiness();
        let coordination = self.coordination.status();
        if coordination.state == "suspended" {
            readiness.ok = false;
        }
        let of_instance = self.instance_problems().into_iter().map(|problem| problem.message);
        readiness.problems.splice(0..0, of_instance);
        if *self.stopping.lock() {
            readiness.ok = false;
        }
        readiness
    }

    fn control(&self, id: &str, control: Control) -> ControlOutcome {
        self.controller.control(id, control)
    }

    fn control_all(&self, control: Control) -> Vec<String> {
        self.controller.control_all(control)
    }
}

impl MetricsSource for State {
    fn numbers(&self) -> Numbers {
        let coordination = self.coordination.status();
        let mut numbers = Numbers {
            cmdb: self.requests.cmdb.snapshot(),
            storage: self.requests.storage.snapshot(),
            paas: self.requests.paas.snapshot(),
            reassignments: coordination.reassignments,
            zookeeper_sessions: coordination.sessions,
            ..Numbers::default()
        };
        self.controller.add_numbers(&mut numbers);
        numbers
    }
}
