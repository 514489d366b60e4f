//! What `diff` found, as text and as JSON.

use super::comparison::{FieldChange, Verdict};
use super::looks::Candidate;
use super::{DRIFT, FAILED, GOOD, count};
use crate::config::printable;
use crate::model::Cluster;
use serde::Serialize;
use std::fmt::Write;

/// The whole result.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// `equal`, `drift` or `failed`: the worst of the clusters'.
    outcome: &'static str,
    /// Why nothing was compared at all.
    error: Option<String>,
    clusters: Vec<ClusterReport>,
}

/// One cluster of it.
#[derive(Debug, Default, Serialize)]
pub(super) struct ClusterReport {
    pub cluster_id: String,
    pub bk_biz_id: i64,
    outcome: &'static str,
    error: Option<String>,
    pub pods: Pods,
    create: Vec<Difference>,
    update: Vec<Difference>,
    delete: Vec<Difference>,
}

/// How many pods there are, as listed.
#[derive(Debug, Default, Serialize)]
pub(super) struct Pods {
    /// In bcs-storage, with a host.
    pub storage: usize,
    /// In the CMDB.
    pub cmdb: usize,
    /// Without a host: not recorded.
    pub unscheduled: usize,
    /// Without a module: not recorded.
    pub unplaced: usize,
    /// Documents that cannot be understood.
    pub invalid: usize,
    /// Recorded with what the CMDB refuses left out.
    pub repaired: usize,
    /// Records in the CMDB without a uuid, which are left as they are; not part of `cmdb`.
    pub unusable: usize,
}

/// A pod that differs.
#[derive(Debug, Serialize)]
struct Difference {
    uuid: String,
    namespace: String,
    name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fields: Vec<FieldChange>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<String>,
}

impl ClusterReport {
    /// Nothing is known yet.
    pub fn new(cluster: &Cluster) -> Self {
        Self { cluster_id: cluster.id.clone(), bk_biz_id: cluster.bk_biz_id, ..Self::default() }
    }

    /// The cluster was read, or why not.
    pub fn end(&mut self, error: Option<String>) {
        let differences = self.create.len() + self.update.len() + self.delete.len();
        self.outcome = match (&error, differences) {
            (Some(_), _) => "failed",
            (None, 0) => "equal",
            (None, _) => "drift",
        };
        self.error = error;
    }

    /// Notes what reading a pod again came to.
    pub fn note(&mut self, candidate: Candidate, verdict: Verdict) {
        let Candidate { uuid, namespace, name, .. } = candidate;
        let mut difference = Difference { uuid, namespace, name, fields: Vec::new(), proof: None };
        match verdict {
            Verdict::Same => {}
            Verdict::Repaired => self.pods.repaired += 1,
            Verdict::Create => self.create.push(difference),
            Verdict::Update(fields) => {
                difference.fields = fields;
                self.update.push(difference);
            }
            Verdict::Delete(proof) => {
                difference.proof = Some(proof.to_string());
                self.delete.push(difference);
            }
        }
    }

    fn to_text(&self, text: &mut String) {
        let Self { create, update, delete, pods, .. } = self;
        let mut say = |line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        let whose = format!("{} (business {})", printable(&self.cluster_id), self.bk_biz_id);
        if let Some(error) = &self.error {
            return say(format!("{whose}: not compared: {}", printable(error)));
        }
        let mut aside = String::new();
        for (number, what) in [
            (pods.unscheduled, "without a host"),
            (pods.unplaced, "without a module in the business"),
            (pods.invalid, "not understood"),
            (pods.repaired, "recorded without what the CMDB refuses"),
            (pods.unusable, "in the CMDB without a uuid"),
        ] {
            if number > 0 {
                let _ = write!(aside, "; {number} {what}");
            }
        }
        if create.is_empty() && update.is_empty() && delete.is_empty() {
            return say(format!("{whose}: equal, {}{aside}", count(pods.storage, "pod")));
        }
        let (creates, updates, deletes) = (create.len(), update.len(), delete.len());
        say(format!("{whose}: {creates} to create, {updates} to update, {deletes} to delete{aside}"));
        for (verb, list) in [("create", create), ("update", update), ("delete", delete)] {
            for Difference { uuid, namespace, name, fields, proof } in list {
                let because = proof.as_ref().map(|proof| format!(": {proof}")).unwrap_or_default();
                say(printable(&format!("  {verb} {namespace}/{name} {uuid}{because}")));
                for FieldChange { field, cmdb, storage } in fields {
                    say(format!("    {field}: {cmdb} -> {storage}"));
                }
            }
        }
    }
}

impl Report {
    /// The worst of the clusters' outcomes counts.
    pub fn new(clusters: Vec<ClusterReport>) -> Self {
        let any = |outcome| clusters.iter().any(|report| report.outcome == outcome);
        let outcome = if any("failed") {
            "failed"
        } else if any("drift") {
            "drift"
        } else {
            "equal"
        };
        Self { outcome, error: None, clusters }
    }

    /// It could not begin.
    pub fn failed(error: &dyn std::error::Error) -> Self {
        Self { outcome: "failed", error: Some(error.to_string()), clusters: Vec::new() }
    }

    /// The exit code that says so.
    pub fn exit_code(&self) -> i32 {
        match self.outcome {
            "failed" => FAILED,
            "drift" => DRIFT,
            _ => GOOD,
        }
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        self.clusters.iter().for_each(|cluster| cluster.to_text(&mut text));
        match self.outcome {
            "drift" => {
                text.push_str("the service carries this out at its next full sync, `sync` does it now\n")
            }
            _ if self.clusters.is_empty() => text.push_str("the inventory has no cluster\n"),
            _ => {}
        }
        text
    }
}
