//! The CMDB of a test world: a real container server with its database, and a gate before it that
//! counts and keeps every request and can answer in its place.

use super::{PATIENCE, listen, listen_again, wait_until};
use bcs_bkcmdb_synchronizer::config::ContainerServerConfig;
use bcs_bkcmdb_synchronizer::container_server::ContainerServer;
use bcs_bkcmdb_synchronizer::front::{Body, Front, Handler, Limits, Request, Response};
use bcs_bkcmdb_synchronizer::http::{self, Client, Method};
use bcs_bkcmdb_synchronizer::model::Modules;
use bcs_bkcmdb_synchronizer::sandbox::census;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The businesses of the topology to begin with.
pub const BUSINESSES: [i64; 2] = [2, 3];
/// Calls that change something.
const WRITES: [&str; 4] = ["create", "createmany", "update", "delete"];
/// How often a hanging answer looks whether it still should.
const HANG_TICK: Duration = Duration::from_millis(50);

/// What the gate does instead of passing a request on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// HTTP 500.
    Error500,
    /// A proxy's page with HTTP 200.
    Html,
    /// HTTP 200 without a body.
    Empty,
    /// `bk_error_code` -1: system busy.
    Busy,
    /// `bk_error_code` 9900403: the user has no permission.
    NoPermission,
    /// The head of an answer and then nothing, for as long as the client waits.
    Hang,
    /// It is carried out, and then the connection breaks.
    LoseAnswer,
}

/// A request that came to the gate.
#[derive(Clone, Debug)]
pub struct Call {
    /// `create`, `createmany`, `update`, `delete`, `findmany` or `find` (topology).
    pub operation: String,
    /// Who sent it: `BK_User`.
    pub user: String,
    /// The number of its fence, if it names one.
    pub fence: Option<i64>,
    /// Its body.
    pub body: Value,
}

impl Call {
    /// Whether it changes something.
    pub fn is_write(&self) -> bool {
        WRITES.contains(&self.operation.as_str())
    }

    /// The cluster whose records it changes.
    pub fn cluster(&self) -> &str {
        let places = ["/condition/bk_pod_cluster", "/pod/bk_pod_cluster", "/pod_list/0/bk_pod_cluster"];
        places.iter().find_map(|place| self.body.pointer(place)?.as_str()).unwrap_or_default()
    }
}

/// A fault, for some calls, for so many times.
struct Rule {
    operations: &'static [&'static str],
    fault: Fault,
    left: usize,
}

/// Sees a call that is passed on to the container server, and passes it on.
pub type Witness = dyn Fn(&Call, &dyn Fn() -> Response) -> Response + Send + Sync;

struct Gate {
    client: Client,
    witness: Mutex<Option<Arc<Witness>>>,
    target: Mutex<String>,
    rules: Mutex<Vec<Rule>>,
    calls: Mutex<Vec<Call>>,
}

/// The CMDB.
pub struct Cmdb {
    directory: PathBuf,
    addr: SocketAddr,
    gate: Arc<Gate>,
    front: Option<Front>,
    server: Option<ContainerServer>,
    topology: Mutex<Value>,
}

impl Cmdb {
    /// Starts it with its files in `directory`: businesses 2 and 3, each with the default module
    /// and (`game`, `login`).
    pub fn start(directory: &Path) -> Self {
        let client = Client::new(&http::Options { idle_connections: 64, ..http::Options::default() });
        let gate = Arc::new(Gate {
            client,
            witness: Mutex::default(),
            target: Mutex::default(),
            rules: Mutex::default(),
            calls: Mutex::default(),
        });
        let listener = listen();
        let addr = listener.local_addr().unwrap();
        let business = |biz: i64| business(biz, &["bkbcs/bkbcs", "game/login"]);
        let topology = json!({"businesses": BUSINESSES.map(business)});
        let mut cmdb = Self {
            directory: directory.to_owned(),
            addr,
            gate,
            front: None,
            server: None,
            topology: Mutex::default(),
        };
        cmdb.set_topology(topology);
        cmdb.serve(listener);
        cmdb
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its address with the API prefix.
    pub fn url(&self) -> String {
        format!("http://{}/api/v3", self.addr)
    }

    /// Ends it; connections are refused from now on.
    pub fn kill(&mut self) {
        self.front = None;
        self.server = None;
    }

    /// It is back on its port, with its records.
    pub fn restart(&mut self) {
        self.serve(listen_again(self.addr));
    }

    fn serve(&mut self, listener: TcpListener) {
        let config = json!({"port": 0, "metric_port": 0, "database": self.directory.join("records.db"),
            "topology_file": self.directory.join("topology.json")});
        let config = ContainerServerConfig::from_json(&config.to_string()).unwrap();
        let server = ContainerServer::start(&config, listen(), listen()).unwrap();
        *self.gate.target.lock() = format!("http://{}", server.addr());
        self.server = Some(server);
        let limits = Limits { body: 32 << 20, connections: 1000, ..Limits::default() };
        let handler: Arc<dyn Handler> = self.gate.clone();
        self.front = Some(Front::start("cmdb-gate", listener, None, limits, handler).unwrap());
    }

    // ---- what it has -----------------------------------------------------------------------

    /// All records of a business, past the gate.
    pub fn records(&self, biz: i64) -> Result<Vec<Value>, String> {
        if self.server.is_none() {
            return Err("the CMDB is down".to_owned());
        }
        census::records(&self.gate.client, &format!("{}/api/v3", self.gate.target.lock().clone()), biz)
    }

    /// The record of a uuid, past the gate.
    pub fn find(&self, biz: i64, uuid: &str) -> Option<Value> {
        self.records(biz).unwrap().into_iter().find(|record| record["bk_pod_uuid"] == uuid)
    }

    /// A call of somebody else, past the gate; it must succeed.
    #[track_caller]
    pub fn call(&self, method: Method, path: &str, body: &Value) -> Value {
        let url = format!("{}/api/v3{path}", self.gate.target.lock().clone());
        let headers = [
            ("Content-Type", "application/json"),
            ("BK_User", "other"),
            ("HTTP_BLUEKING_SUPPLIER_ID", "0"),
            ("HTTP_BK_SUPPLIER_ACCOUNT", "0"),
        ];
        let body = body.to_string();
        let request = http::Request {
            method,
            url: &url,
            headers: &headers,
            body: Some(body.as_bytes()),
            timeout: Some(PATIENCE),
            idle_timeout: None,
        };
        let answer = self.gate.client.send(&request).unwrap().bytes(1 << 30).unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["bk_error_code"], 0, "{answer}");
        answer
    }

    /// Somebody else creates a record.
    #[track_caller]
    pub fn create(&self, biz: i64, pod: Value) {
        self.call(Method::Post, &format!("/create/container/bk_biz_id/{biz}/pod"), &json!({"pod": pod}));
    }

    /// Somebody else deletes a record.
    #[track_caller]
    pub fn delete(&self, biz: i64, uuid: &str) {
        let condition = json!({"condition": {"bk_pod_uuid": uuid}});
        self.call(Method::Delete, &format!("/delete/container/bk_biz_id/{biz}/pod"), &condition);
    }

    /// Replaces the topology.
    pub fn set_topology(&self, topology: Value) {
        let path = self.directory.join("topology.new");
        std::fs::write(&path, topology.to_string()).unwrap();
        std::fs::rename(path, self.directory.join("topology.json")).unwrap();
        *self.topology.lock() = topology;
    }

    /// The modules of each business, as the judge wants them.
    pub fn modules(&self) -> BTreeMap<i64, Modules> {
        let topology = self.topology.lock();
        let mut all = BTreeMap::new();
        for business in topology["businesses"].as_array().unwrap() {
            let mut modules = Modules::default();
            for set in business["sets"].as_array().unwrap() {
                for module in set["modules"].as_array().unwrap() {
                    modules.insert(
                        set["bk_set_name"].as_str().unwrap(),
                        module["bk_module_name"].as_str().unwrap(),
                        module["bk_module_id"].as_i64().unwrap(),
                    );
                }
            }
            all.insert(business["bk_biz_id"].as_i64().unwrap(), modules);
        }
        all
    }

    /// Has `witness` see every further call that no fault answers.
    pub fn set_witness(&self, witness: Arc<Witness>) {
        *self.gate.witness.lock() = Some(witness);
    }

    /// Its lists show the record of that uuid without one.
    pub fn blank_uuid(&self, uuid: &str) {
        let shown = format!("\"bk_pod_uuid\":\"{uuid}\"");
        self.set_witness(Arc::new(move |call, pass_on| {
            let response = pass_on();
            match response.body {
                Body::Bytes(bytes) if call.operation == "findmany" => {
                    let text = String::from_utf8(bytes).unwrap().replace(&shown, "\"bk_pod_uuid\":null");
                    Response { body: Body::Bytes(text.into_bytes()), ..response }
                }
                body => Response { body, ..response },
            }
        }));
    }

    // ---- what comes to it ------------------------------------------------------------------

    /// Every further request meets the fault.
    pub fn break_all(&self, fault: Fault) {
        self.break_next(&[], fault, usize::MAX);
    }

    /// The next `times` of these operations (none: of all) meet the fault.
    pub fn break_next(&self, operations: &'static [&'static str], fault: Fault, times: usize) {
        self.gate.rules.lock().push(Rule { operations, fault, left: times });
    }

    /// All faults are over; what hangs goes on hanging.
    pub fn heal(&self) {
        self.gate.rules.lock().clear();
    }

    /// Every request so far.
    pub fn calls(&self) -> Vec<Call> {
        self.gate.calls.lock().clone()
    }

    /// Every request so far that changes something.
    pub fn writes(&self) -> Vec<Call> {
        self.calls().into_iter().filter(Call::is_write).collect()
    }

    /// Requests by operation.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        self.gate
            .calls
            .lock()
            .iter()
            .for_each(|call| *counts.entry(call.operation.clone()).or_default() += 1);
        counts
    }

    /// Waits until a request of that operation came.
    #[track_caller]
    pub fn wait_for_call(&self, operation: &str) {
        let came = || self.gate.calls.lock().iter().any(|call| call.operation == operation);
        wait_until(&format!("a {operation} request"), PATIENCE, came);
    }
}

/// A business of a topology file; modules are written `set/module`.
pub fn business(biz: i64, modules: &[&str]) -> Value {
    let mut sets: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (module, number) in modules.iter().zip(1..) {
        let (set, module) = module.split_once('/').unwrap();
        let id = biz * 100 + number;
        sets.entry(set).or_default().push(json!({"bk_module_id": id, "bk_module_name": module}));
    }
    let set = |((name, modules), number): ((&str, Vec<Value>), i64)| json!({"bk_set_id": biz * 10 + number, "bk_set_name": name, "modules": modules});
    let sets: Vec<_> = sets.into_iter().zip(1..).map(set).collect();
    json!({"bk_biz_id": biz, "bk_biz_name": format!("business {biz}"), "sets": sets})
}

impl Gate {
    /// The fault this operation meets, counting it.
    fn meet(&self, operation: &str) -> Option<Fault> {
        let mut rules = self.rules.lock();
        let meets = |rule: &&mut Rule| {
            rule.left > 0 && (rule.operations.is_empty() || rule.operations.contains(&operation))
        };
        let rule = rules.iter_mut().find(meets)?;
        rule.left -= 1;
        Some(rule.fault)
    }

    fn pass_on(&self, call: &Call, request: &Request) -> Response {
        let witness = self.witness.lock().clone();
        match witness {
            Some(witness) => witness(call, &|| self.ask(request)),
            None => self.ask(request),
        }
    }

    fn ask(&self, request: &Request) -> Response {
        let method = match request.method.as_str() {
            "POST" => Method::Post,
            "PUT" => Method::Put,
            "DELETE" => Method::Delete,
            _ => Method::Get,
        };
        let url = format!("{}{}", self.target.lock().clone(), request.path);
        let kept = |name: &str| !["host", "connection", "content-length", "accept-encoding"].contains(&name);
        let headers: Vec<(&str, &str)> = request
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .filter(|(name, _)| kept(name))
            .collect();
        let body = (!request.body.is_empty()).then_some(&request.body[..]);
        let request = http::Request {
            method,
            url: &url,
            headers: &headers,
            body,
            timeout: Some(PATIENCE),
            idle_timeout: None,
        };
        let answer = self.client.send(&request).and_then(|answer| {
            let status = answer.status;
            answer.bytes(1 << 30).map(|bytes| (status, bytes))
        });
        match answer {
            Ok((status, bytes)) => plain(status, bytes),
            Err(error) => plain(502, error.to_string().into_bytes()),
        }
    }
}

/// The gate itself, in the hands of its listener.
impl Handler for Gate {
    fn handle(&self, request: Request) -> Response {
        let operation = request.path.split('/').nth(3).unwrap_or_default().to_owned();
        let body = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
        let user = request.header("bk_user").unwrap_or_default().to_owned();
        let fence = request.header("x-bkcmdb-fence").and_then(|fence| fence.rsplit(':').next()?.parse().ok());
        let call = Call { operation, user, fence, body };
        self.calls.lock().push(call.clone());
        match self.meet(&call.operation) {
            None => self.pass_on(&call, &request),
            Some(Fault::Error500) => plain(500, b"internal error".to_vec()),
            Some(Fault::Html) => plain(200, b"<html><body>Please log in</body></html>".to_vec()),
            Some(Fault::Empty) => plain(200, Vec::new()),
            Some(Fault::Busy) => refusal(-1, "system busy"),
            Some(Fault::NoPermission) => refusal(9_900_403, "no permission"),
            Some(Fault::Hang) => stream(HANG_TICK),
            Some(Fault::LoseAnswer) => {
                self.pass_on(&call, &request);
                stream(Duration::ZERO)
            }
        }
    }
}

/// The head of an answer, then nothing for as long as the client stays; without a tick the
/// connection breaks at once.
fn stream(tick: Duration) -> Response {
    let body = Body::Stream(Box::new(move |out| {
        while !tick.is_zero() {
            out.flush()?;
            std::thread::sleep(tick);
        }
        Err(io::ErrorKind::ConnectionAborted.into())
    }));
    Response { status: 200, content_type: "application/json", headers: Vec::new(), body }
}

fn refusal(code: i64, message: &str) -> Response {
    let answer = json!({"result": false, "bk_error_code": code, "bk_error_msg": message, "data": null});
    Response::json(200, &answer)
}

fn plain(status: u16, body: Vec<u8>) -> Response {
    Response { status, content_type: "application/json", headers: Vec::new(), body: Body::Bytes(body) }
}
