//! paas-cc as a source: projects, then the clusters of each, with the last good answer of every
//! project kept.

use super::gateway::{Gateway, PaasSettings};
use super::paas_wire::{self, Project, Verdict};
use super::{Inventory, InventoryError, Source};
use crate::config::BaseUrl;
use crate::http::{self, RequestStats, excerpt};
use crate::model::Cluster;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Projects in a row that get no answer at all before the rest is not asked any more: with
/// timeouts of 30 s a pull of hundreds of projects would otherwise take hours.
const GIVE_UP_AFTER: usize = 3;

/// paas-cc, and what it last said.
pub struct PaasSource {
    gateway: Gateway,
    cluster_env: String,
    /// Whether the list of projects was ever read.
    started: bool,
    /// The last good answer of each project.
    good: BTreeMap<String, Vec<Cluster>>,
}

impl PaasSource {
    /// A source that was not asked yet.
    pub fn new(http: http::Client, base: BaseUrl, settings: PaasSettings, stats: Arc<RequestStats>) -> Self {
        let cluster_env = settings.cluster_env.clone();
        let gateway = Gateway::new(http, base, settings, stats);
        Self { gateway, cluster_env, started: false, good: BTreeMap::new() }
    }

    /// What is known, as an answer to a pull.
    fn known(&self, report: Report) -> Inventory {
        let clusters = self.good.values().flatten().cloned().collect();
        Inventory::new(clusters, report.complete, report.problems)
    }

    /// Asks for the clusters of each project; what fails keeps its last good answer.
    ///
    /// Returns the first error if nobody answered.
    fn ask_all(&mut self, projects: &[Project], report: &mut Report) -> Option<InventoryError> {
        let mut first_error = None;
        let mut answered = false;
        let mut silent = 0;
        for (index, project) in projects.iter().enumerate() {
            match self.clusters(project, report) {
                Ok(clusters) => {
                    answered = true;
                    silent = 0;
                    self.good.insert(project.id.clone(), clusters);
                }
                Err(error) => {
                    silent = if matches!(error, InventoryError::Http(_)) { silent + 1 } else { 0 };
                    report.fail(format!("project {}: {error}", project.id));
                    first_error.get_or_insert(error);
                }
            }
            let left = projects.len() - index - 1;
            if silent == GIVE_UP_AFTER && left > 0 {
                report.fail(format!("{left} projects were not asked after {silent} without an answer"));
                break;
            }
        }
        first_error.filter(|_| !answered)
    }

    /// The clusters of one project.
    fn clusters(&self, project: &Project, report: &mut Report) -> Result<Vec<Cluster>, InventoryError> {
        let items = self.gateway.list("clusters", &format!("/projects/{}/clusters/", project.id))?;
        let mut clusters = Vec::with_capacity(items.len());
        for item in &items {
            match paas_wire::cluster(item, project, &self.cluster_env) {
                Verdict::Take(cluster) => clusters.push(cluster),
                Verdict::Skip => {
                    log::debug!("paas-cc: left out by its own fields: {}", excerpt(item.as_bytes()))
                }
                Verdict::Refuse(reason) => report.problems.push(format!("project {}: {reason}", project.id)),
                Verdict::Unreadable(reason) => {
                    let path = format!("/projects/{}/clusters/", project.id);
                    return Err(InventoryError::Malformed { path, reason });
                }
            }
        }
        Ok(clusters)
    }
}

impl Source for PaasSource {
    fn pull(&mut self) -> Result<Inventory, InventoryError> {
        let mut report = Report { complete: true, problems: Vec::new() };
        let items = match self.gateway.list("projects", "/projects/") {
            Ok(items) => items,
            Err(error) if self.started => {
                report.fail(format!("{error}; the last good answers stay in force"));
                return Ok(self.known(report));
            }
            Err(error) => return Err(error),
        };
        let projects = projects(&items, &mut report);
        if report.complete {
            // An unreadable project may be any of them, so none is forgotten then.
            self.good.retain(|id, _| projects.iter().any(|project| project.id == *id));
        }
        let failure = self.ask_all(&projects, &mut report);
        match failure {
            Some(error) if !self.started => Err(error),
            _ => {
                self.started = true;
                Ok(self.known(report))
            }
        }
    }
}

/// How a pull goes.
struct Report {
    complete: bool,
    problems: Vec<String>,
}

impl Report {
    /// Something is not known.
    fn fail(&mut self, problem: String) {
        self.complete = false;
        self.problems.push(problem);
    }
}

/// The projects that concern us, each id once.
fn projects(items: &[String], report: &mut Report) -> Vec<Project> {
    let mut projects: BTreeMap<String, Project> = BTreeMap::new();
    for item in items {
        match paas_wire::project(item) {
            Verdict::Take(project) => match projects.get(&project.id) {
                Some(first) if first.biz != project.biz => {
                    report.fail(format!(
                        "project {} has two businesses, {} and {}",
                        project.id, first.biz, project.biz
                    ));
                }
                Some(_) => {}
                None => drop(projects.insert(project.id.clone(), project)),
            },
            Verdict::Skip => log::debug!("paas-cc: left out by its own fields: {}", excerpt(item.as_bytes())),
            Verdict::Refuse(reason) => report.problems.push(reason),
            Verdict::Unreadable(reason) => report.fail(reason),
        }
    }
    projects.into_values().collect()
}
