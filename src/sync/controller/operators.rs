//! What the controller shows, and what operators ask of it. Nothing here starts or stops a cluster.

use super::slot::Slot;
use super::{Controller, Paused};
use crate::journal::{DeletePage, DeleteQuery};
use crate::sync::history::History;
use crate::sync::numbers::Numbers;
use crate::sync::snapshot::{
    ClusterHistory, ClusterStatus, Control, ControlOutcome, DeletedRecord, Health, HeldBackDelete,
    RejectedRecord,
};
use crossbeam::channel::TryRecvError;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

impl Controller {
    /// Every cluster of this instance, by id.
    pub fn clusters(&self) -> Vec<ClusterStatus> {
        let config = Arc::clone(&self.common().config);
        self.slots.lock().values().map(|slot| slot.status(&config)).collect()
    }

    /// One cluster.
    pub fn cluster(&self, id: &str) -> Option<ClusterStatus> {
        let config = Arc::clone(&self.common().config);
        self.slots.lock().get(id).map(|slot| slot.status(&config))
    }

    /// Refused records of one cluster.
    pub fn rejected(&self, id: &str) -> Option<Vec<RejectedRecord>> {
        match self.slots.lock().get(id)? {
            Slot::Running(reconciler) => Some(reconciler.rejected()),
            Slot::Waiting { .. } => Some(Vec::new()),
        }
    }

    /// The last hour of one cluster.
    pub fn history(&self, id: &str) -> Option<ClusterHistory> {
        match self.slots.lock().get(id)? {
            Slot::Running(reconciler) => Some(reconciler.history()),
            Slot::Waiting { .. } => Some(History::default().snapshot(id, self.common().clock)),
        }
    }

    /// Deletes of one cluster that are held back.
    pub fn held_back(&self, id: &str) -> Option<Vec<HeldBackDelete>> {
        match self.slots.lock().get(id)? {
            Slot::Running(reconciler) => Some(reconciler.held_back()),
            Slot::Waiting { .. } => Some(Vec::new()),
        }
    }

    /// The last deletes, newest first.
    pub fn deletes(&self) -> Vec<DeletedRecord> {
        self.common().deletes.last()
    }

    /// One page of the delete journal.
    pub fn delete_page(&self, query: &DeleteQuery) -> DeletePage {
        self.common().deletes.page(query)
    }

    /// What is wrong with the delete journal, in words.
    pub fn journal_problem(&self) -> Option<String> {
        self.common().deletes.problem()
    }

    /// Carries out an operator's request.
    pub fn control(&self, id: &str, control: Control) -> ControlOutcome {
        let slots = self.slots.lock();
        let Some(slot) = slots.get(id) else { return ControlOutcome::UnknownCluster };
        match control {
            Control::Pause => _ = self.paused.lock().clusters.insert(id.to_owned()),
            Control::Resume => self.resume(id, slots.keys()),
            Control::Sync | Control::ApproveDeletes => {}
        }
        // One that waits for its lock begins with a full sync, and has nothing to approve.
        if let Slot::Running(reconciler) = slot {
            reconciler.control(control);
        }
        ControlOutcome::Accepted
    }

    /// Takes one cluster out of what is paused, also where all of them were.
    fn resume<'a>(&self, id: &str, all: impl Iterator<Item = &'a String>) {
        let mut paused = self.paused.lock();
        if std::mem::take(&mut paused.all) {
            paused.clusters.extend(all.cloned());
        }
        paused.clusters.remove(id);
    }

    /// Carries out an operator's request about every cluster, those that come later included; the
    /// ids of those that are here.
    pub fn control_all(&self, control: Control) -> Vec<String> {
        let slots = self.slots.lock();
        if matches!(control, Control::Pause | Control::Resume) {
            *self.paused.lock() = Paused { all: control == Control::Pause, clusters: BTreeSet::new() };
        }
        for slot in slots.values() {
            if let Slot::Running(reconciler) = slot {
                reconciler.control(control);
            }
        }
        slots.keys().cloned().collect()
    }

    /// Whether the controller and every thread of every cluster live, and none of these hangs.
    pub fn health(&self) -> Health {
        let slots = self.slots.lock();
        let broken = slots.iter().filter(|(_, slot)| matches!(slot, Slot::Running(r) if !r.is_whole()));
        let mut problems: Vec<String> =
            broken.map(|(id, _)| format!("cluster {id} lost a thread: restart the service")).collect();
        let now = Instant::now();
        for (id, slot) in slots.iter() {
            let Slot::Running(reconciler) = slot else { continue };
            let stuck = reconciler.stuck(now);
            problems.extend(stuck.map(|what| format!("cluster {id}: {what}; restart the service")));
        }
        problems.extend(self.pulses.stuck(now).map(|what| format!("{what}; restart the service")));
        if self.alive.try_recv() == Err(TryRecvError::Disconnected) {
            problems.push("the controller has ended: restart the service".to_owned());
        }
        Health { ok: problems.is_empty(), problems }
    }

    /// Whether every assigned cluster had a first outcome; what fails is named.
    pub fn readiness(&self) -> Health {
        let slots = self.slots.lock();
        let mut ok = self.assigned.load(Relaxed);
        let mut problems = Vec::new();
        if !ok {
            problems.push("the assigned clusters are not known yet".to_owned());
        }
        for (id, slot) in slots.iter() {
            match slot {
                Slot::Running(reconciler) => {
                    if !reconciler.had_outcome() {
                        ok = false;
                        problems.push(format!("cluster {id} had no full sync yet"));
                    } else if let Some(problem) = reconciler.problem() {
                        problems.push(format!("cluster {id}: {problem}"));
                    }
                }
                Slot::Waiting { why, .. } => {
                    ok = false;
                    let why = why.as_deref().unwrap_or("its lock is not ours yet");
                    problems.push(format!("cluster {id} waits: {why}"));
                }
            }
        }
        Health { ok, problems }
    }

    /// Numbers of the clusters, for the metrics.
    pub fn add_numbers(&self, numbers: &mut Numbers) {
        numbers.writes_refused_by_fence = self.common().fenced.load(Relaxed);
        for (id, slot) in self.slots.lock().iter() {
            if let Slot::Running(reconciler) = slot {
                numbers.clusters.insert(id.clone(), reconciler.numbers());
            }
        }
    }
}
