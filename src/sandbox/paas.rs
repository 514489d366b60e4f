//! A simulated paas-cc: projects and their clusters (protocol.md 4), with the paging trap, both
//! shapes of `data`, the redirect of some deployments, and errors to inject.

use super::request::{Query, limits, segments};
use crate::front::{Body, Front, Handler, Request, Response};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

/// What a listing without `desire_all_data=1` is cut to when it names no `limit`.
const PAGE: usize = 10;
/// "Bad request", the code of refusals.
const REFUSED: i64 = 2_001_400;

/// A project.
#[derive(Clone, Debug, Default)]
pub struct SimProject {
    /// `project_id`.
    pub id: String,
    /// `cc_app_id`: the CMDB business; 0: not bound to one.
    pub bk_biz_id: i64,
    /// `is_offlined`.
    pub offlined: bool,
    /// Its clusters.
    pub clusters: Vec<SimCluster>,
}

/// A cluster of a project.
#[derive(Clone, Debug, Default)]
pub struct SimCluster {
    /// `cluster_id`.
    pub id: String,
    /// `environment`: `stag`, `debug` or `prod`.
    pub environment: String,
    /// `type`; `None`: the member is missing.
    pub kind: Option<String>,
    /// `disabled`.
    pub disabled: bool,
}

/// What a request meets instead of the true answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaasFault {
    /// `result: false` with HTTP 200.
    Refuse,
    /// A gateway's status with an HTML page.
    Gateway(u16),
    /// `data: null`.
    DataNull,
    /// Half of the true answer.
    Truncated,
    /// Half of the entries, although everything was asked for; `count` tells the truth.
    Short,
}

/// One request, as it arrived.
#[derive(Clone, Debug)]
pub struct PaasRequest {
    /// Path.
    pub path: String,
    /// Query.
    pub query: String,
    /// `X-Bkapi-Authorization`.
    pub authorization: String,
    /// Body.
    pub body: Vec<u8>,
}

#[derive(Default)]
struct State {
    projects: Vec<SimProject>,
    always_paged: bool,
    redirects: bool,
    faults: BTreeMap<String, PaasFault>,
    requests: Vec<PaasRequest>,
}

/// A simulated paas-cc. Clones share everything.
#[derive(Clone, Default)]
pub struct SimPaas {
    state: Arc<Mutex<State>>,
}

impl SimPaas {
    /// A paas-cc without projects.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces all projects.
    pub fn set_projects(&self, projects: Vec<SimProject>) {
        self.state.lock().projects = projects;
    }

    /// Whether projects come as `{"count","results"}` even to who asks for all of them.
    pub fn always_paged(&self, paged: bool) {
        self.state.lock().always_paged = paged;
    }

    /// Whether the clusters are found only under the path without its last slash, and the other
    /// one redirects there.
    pub fn redirects(&self, redirects: bool) {
        self.state.lock().redirects = redirects;
    }

    /// What the project list meets from now on; `None`: nothing.
    pub fn fail_projects(&self, fault: Option<PaasFault>) {
        self.fail("", fault);
    }

    /// What the clusters of a project meet from now on; `None`: nothing.
    pub fn fail_clusters(&self, project: &str, fault: Option<PaasFault>) {
        self.fail(project, fault);
    }

    fn fail(&self, key: &str, fault: Option<PaasFault>) {
        let faults = &mut self.state.lock().faults;
        match fault {
            Some(fault) => faults.insert(key.to_owned(), fault),
            None => faults.remove(key),
        };
    }

    /// What was asked since the last call of this.
    pub fn take_requests(&self) -> Vec<PaasRequest> {
        std::mem::take(&mut self.state.lock().requests)
    }

    /// Serves `listener` until the server is dropped.
    pub fn serve(&self, listener: TcpListener) -> io::Result<PaasServer> {
        let front = Front::start("sim-paas", listener, None, limits(), Arc::new(self.clone()))?;
        Ok(PaasServer { front })
    }
}

/// A simulated paas-cc at work on a port; stops when dropped.
pub struct PaasServer {
    front: Front,
}

impl PaasServer {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.front.addr()
    }

    /// Its URL, as in `paas_addr`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr())
    }
}

impl Handler for SimPaas {
    fn handle(&self, request: Request) -> Response {
        let mut state = self.state.lock();
        remember(&mut state.requests, &request);
        let path = segments(&request.path);
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        // The environment may stand in front: /prod/projects/.
        let path = if path.first() == Some(&"projects") { &path[..] } else { path.get(1..).unwrap_or(&[]) };
        let query = Query::parse(&request.query);
        match (request.method.as_str(), path) {
            ("GET", ["projects", ""]) => state.list_projects(&query),
            ("GET", ["projects", _, "clusters", ""]) if state.redirects => redirect(&request),
            ("GET", ["projects", project, "clusters"]) if state.redirects => {
                state.list_clusters(project, &query)
            }
            ("GET", ["projects", project, "clusters", ""]) => state.list_clusters(project, &query),
            _ => html(404),
        }
    }
}

impl State {
    fn list_projects(&self, query: &Query) -> Response {
        let project = |project: &SimProject| {
            json!({"project_id": project.id, "name": format!("project {}", project.id),
                "cc_app_id": project.bk_biz_id, "kind": 1, "is_offlined": project.offlined})
        };
        let all = self.projects.iter().map(project).collect();
        self.answer("", all, query, self.always_paged || !wants_all(query))
    }

    fn list_clusters(&self, id: &str, query: &Query) -> Response {
        let Some(project) = self.projects.iter().find(|project| project.id == id) else {
            return refused("project not found");
        };
        let cluster = |cluster: &SimCluster| {
            let mut shown = json!({"cluster_id": cluster.id, "project_id": id, "status": "normal",
                "environment": cluster.environment, "disabled": cluster.disabled});
            if let Some(kind) = &cluster.kind {
                shown["type"] = kind.as_str().into();
            }
            shown
        };
        self.answer(id, project.clusters.iter().map(cluster).collect(), query, true)
    }

    /// `all` as the query asks for it, or what a fault makes of it.
    fn answer(&self, key: &str, mut all: Vec<Value>, query: &Query, paged: bool) -> Response {
        let fault = self.faults.get(key).copied();
        let count = all.len();
        if fault == Some(PaasFault::Short) {
            all.truncate(count / 2);
        } else if !wants_all(query) {
            let offset = query.count("offset").unwrap_or(0);
            let limit = query.count("limit").ok().filter(|limit| *limit > 0).unwrap_or(PAGE);
            all = all.into_iter().skip(offset).take(limit).collect();
        }
        let results = if all.is_empty() { Value::Null } else { all.into() };
        let data = match (fault, paged) {
            (Some(PaasFault::DataNull), _) => Value::Null,
            (_, true) => json!({"count": count, "results": results}),
            (_, false) => results,
        };
        match fault {
            Some(PaasFault::Refuse) => refused("told to refuse"),
            Some(PaasFault::Gateway(status)) => html(status),
            _ => {
                let mut answer = success(&data);
                if let (Some(PaasFault::Truncated), Body::Bytes(body)) = (fault, &mut answer.body) {
                    body.truncate(body.len() / 2);
                }
                answer
            }
        }
    }
}

fn wants_all(query: &Query) -> bool {
    query.text("desire_all_data") == "1"
}

/// Keeps the request for tests; more than a thousand nobody reads.
fn remember(requests: &mut Vec<PaasRequest>, request: &Request) {
    if requests.len() < 1000 {
        requests.push(PaasRequest {
            path: request.path.clone(),
            query: request.query.clone(),
            authorization: request.header("x-bkapi-authorization").unwrap_or_default().to_owned(),
            body: request.body.clone(),
        });
    }
}

fn redirect(request: &Request) -> Response {
    let path = request.path.trim_end_matches('/');
    let location =
        if request.query.is_empty() { path.to_owned() } else { format!("{path}?{}", request.query) };
    Response { headers: vec![("Location", location)], ..html(301) }
}

fn success(data: &Value) -> Response {
    Response::json(
        200,
        &json!({"code": 0, "result": true, "message": "success", "request_id": "sim", "data": data}),
    )
}

fn refused(message: &str) -> Response {
    Response::json(
        200,
        &json!({"code": REFUSED, "result": false, "message": message, "request_id": "sim", "data": null}),
    )
}

fn html(status: u16) -> Response {
    let body = Body::Bytes(format!("<html><body><h1>{status}</h1></body></html>").into_bytes());
    Response { status, content_type: "text/html", headers: Vec::new(), body }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paas() -> SimPaas {
        let cluster = |number| SimCluster { id: format!("BCS-K8S-{number}"), ..SimCluster::default() };
        let paas = SimPaas::new();
        paas.set_projects(vec![
            SimProject {
                id: "p".into(),
                bk_biz_id: 2,
                clusters: (0..25).map(cluster).collect(),
                offlined: false,
            },
            SimProject { id: "q".into(), ..SimProject::default() },
        ]);
        paas
    }

    fn get(paas: &SimPaas, path: &str, query: &str) -> (u16, Value) {
        let response = paas.handle(Request {
            method: "GET".into(),
            path: path.into(),
            query: query.into(),
            headers: vec![("x-bkapi-authorization".into(), "{}".into())],
            body: b"{}".to_vec(),
            peer: ([127, 0, 0, 1], 1).into(),
        });
        let Body::Bytes(body) = response.body else { panic!("a stream") };
        (response.status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    fn shown(answer: &Value) -> (usize, u64) {
        let results = answer["data"]["results"].as_array().map_or(0, Vec::len);
        (results, answer["data"]["count"].as_u64().unwrap())
    }

    #[test]
    fn a_cluster_list_is_cut_unless_all_of_it_is_wanted() {
        let (paas, path) = (paas(), "/prod/projects/p/clusters/");
        for (query, expected) in
            [("", PAGE), ("desire_all_data=1", 25), ("limit=20&offset=20", 5), ("offset=90", 0)]
        {
            assert_eq!(shown(&get(&paas, path, query).1), (expected, 25), "{query}");
        }
        assert_eq!(
            get(&paas, "/projects/q/clusters/", "desire_all_data=1").1["data"]["results"],
            Value::Null
        );
    }

    #[test]
    fn projects_come_in_either_shape() {
        let paas = paas();
        assert_eq!(get(&paas, "/projects/", "desire_all_data=1").1["data"][0]["cc_app_id"], 2);
        assert_eq!(shown(&get(&paas, "/projects/", "").1), (2, 2));
        paas.always_paged(true);
        assert_eq!(shown(&get(&paas, "/projects/", "desire_all_data=1").1), (2, 2));
    }

    #[test]
    fn some_deployments_redirect_to_the_path_without_a_slash() {
        let paas = paas();
        paas.redirects(true);
        assert_eq!(get(&paas, "/projects/p/clusters/", "desire_all_data=1").0, 301);
        assert_eq!(shown(&get(&paas, "/projects/p/clusters", "desire_all_data=1").1), (25, 25));
    }

    #[test]
    fn faults_meet_one_project_only_and_end() {
        let paas = paas();
        let ask = |project: &str| get(&paas, &format!("/projects/{project}/clusters/"), "desire_all_data=1");
        paas.fail_clusters("p", Some(PaasFault::Short));
        assert_eq!(shown(&ask("p").1), (12, 25));
        paas.fail_clusters("p", Some(PaasFault::Refuse));
        assert_eq!(ask("p").1["result"], false);
        paas.fail_clusters("p", Some(PaasFault::Gateway(502)));
        assert_eq!((ask("p").0, ask("q").0), (502, 200));
        paas.fail_clusters("p", Some(PaasFault::Truncated));
        assert_eq!(ask("p").1, Value::Null);
        paas.fail_clusters("p", None);
        assert_eq!(ask("p").1["result"], true);
        assert_eq!(paas.take_requests().len(), 6);
    }
}
