//! A container server on free ports with a database of its own, and a caller of it.
#![allow(dead_code, clippy::unwrap_used)] // Each test file uses its own part; all of it is test.

use bcs_bkcmdb_synchronizer::config::ContainerServerConfig;
use bcs_bkcmdb_synchronizer::container_server::ContainerServer;
use bcs_bkcmdb_synchronizer::http::{Client, Method, Options, Request};
use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Businesses 2 (sets 11 with module 41, 12 with 42 and 43) and 3 (set 21 with module 51).
pub fn topology() -> Value {
    let module = |id: i64| json!({"bk_module_id": id, "bk_module_name": format!("module-{id}")});
    let set = |id: i64, modules: &[i64]| {
        let modules: Vec<_> = modules.iter().map(|id| module(*id)).collect();
        json!({"bk_set_id": id, "bk_set_name": format!("set-{id}"), "modules": modules})
    };
    json!({"businesses": [
        {"bk_biz_id": 2, "bk_biz_name": "demo", "sets": [set(11, &[41]), set(12, &[42, 43])]},
        {"bk_biz_id": 3, "bk_biz_name": "other", "sets": [set(21, &[51])]}]})
}

/// A record every rule accepts.
pub fn pod(name: &str) -> Value {
    json!({"bk_module_id": 41, "bk_cloud_id": 0, "bk_host_innerip": "10.0.0.1", "bk_pod_name": name,
        "bk_pod_namespace": "default", "bk_pod_cluster": "BCS-K8S-00001", "bk_pod_uuid": format!("uid-{name}"),
        "bk_pod_workloadtype": "Pod", "bk_pod_workloadname": name})
}

/// The same with some fields set; `null` stands as it is.
pub fn pod_with(name: &str, fields: Value) -> Value {
    let mut pod = pod(name);
    for (key, value) in fields.as_object().unwrap() {
        pod[key] = value.clone();
    }
    pod
}

/// A caller with headers of its own.
#[derive(Clone)]
pub struct Caller {
    pub client: Client,
    pub base: String,
    pub headers: Vec<(String, String)>,
}

impl Caller {
    pub fn new(base: String) -> Self {
        let client = Client::new(&Options {
            tls: None,
            idle_connections: 16,
            connect_timeout: PATIENCE,
            identity: false,
        });
        let headers =
            [("BK_User", "admin"), ("HTTP_BLUEKING_SUPPLIER_ID", "0"), ("HTTP_BK_SUPPLIER_ACCOUNT", "0")];
        let headers = headers.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        Self { client, base, headers }
    }

    /// The same with one header set to another value, or left out.
    pub fn with(&self, name: &str, value: Option<&str>) -> Self {
        let mut other = self.clone();
        other.headers.retain(|(key, _)| key != name);
        other.headers.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        other
    }

    pub fn raw(&self, method: Method, path: &str, body: &[u8]) -> Result<(u16, Vec<u8>), String> {
        let url = format!("{}{path}", self.base);
        let headers: Vec<_> =
            self.headers.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let request = Request {
            method,
            url: &url,
            headers: &headers,
            body: (method != Method::Get).then_some(body),
            timeout: Some(2 * PATIENCE),
            idle_timeout: None,
        };
        let response = self.client.send(&request).map_err(|error| error.to_string())?;
        let status = response.status;
        response.bytes(1 << 30).map(|bytes| (status, bytes)).map_err(|error| error.to_string())
    }

    pub fn call(&self, method: Method, path: &str, body: &Value) -> Value {
        let (_, answer) = self.raw(method, &format!("/api/v3{path}"), body.to_string().as_bytes()).unwrap();
        serde_json::from_slice(&answer).unwrap()
    }

    pub fn create(&self, biz: i64, pod: &Value) -> Value {
        self.call(Method::Post, &format!("/create/container/bk_biz_id/{biz}/pod"), &json!({"pod": pod}))
    }

    pub fn create_many(&self, biz: i64, pods: &[Value]) -> Value {
        self.call(
            Method::Post,
            &format!("/createmany/container/bk_biz_id/{biz}/pod"),
            &json!({"pod_list": pods}),
        )
    }

    pub fn update(&self, biz: i64, condition: Value, data: Value) -> Value {
        let body = json!({"condition": condition, "data": data});
        self.call(Method::Put, &format!("/update/container/bk_biz_id/{biz}/pod"), &body)
    }

    pub fn delete(&self, biz: i64, condition: Value) -> Value {
        let body = json!({"condition": condition});
        self.call(Method::Delete, &format!("/delete/container/bk_biz_id/{biz}/pod"), &body)
    }

    pub fn list(&self, biz: i64, body: Value) -> Value {
        self.call(Method::Post, &format!("/findmany/container/bk_biz_id/{biz}/pod"), &body)
    }

    /// The names a list call returns, in its order.
    pub fn names(&self, biz: i64, body: Value) -> Vec<String> {
        let answer = self.list(biz, body);
        assert_eq!(answer["bk_error_code"], 0, "{answer}");
        let info = answer["data"]["info"].as_array().unwrap();
        info.iter().map(|pod| pod["bk_pod_name"].as_str().unwrap().to_owned()).collect()
    }

    /// One record by uuid, `Null` if there is none.
    pub fn find(&self, biz: i64, uuid: &str) -> Value {
        let rules = json!([{"field": "bk_pod_uuid", "operator": "equal", "value": uuid}]);
        let answer = self.list(biz, json!({"pod_property_filter": {"condition": "AND", "rules": rules}}));
        answer["data"]["info"][0].clone()
    }
}

/// A server that is gone, with its database, when dropped.
pub struct Server {
    pub caller: Caller,
    pub metrics: Caller,
    pub directory: TempDir,
    pub server: Option<ContainerServer>,
}

impl Server {
    pub fn start(extra: Value) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), extra)
    }

    pub fn start_in(directory: TempDir, extra: Value) -> Self {
        let config = ContainerServerConfig::from_json(&config(directory.path(), extra).to_string()).unwrap();
        let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
        let server = ContainerServer::start(&config, bind(), bind()).unwrap();
        let caller = Caller::new(format!("http://{}", server.addr()));
        let metrics = Caller::new(format!("http://{}", server.metric_addr()));
        Self { caller, metrics, directory, server: Some(server) }
    }
}

/// A configuration whose files are in `directory`.
pub fn config(directory: &Path, extra: Value) -> Value {
    let topology_file = directory.join("topology.json");
    std::fs::write(&topology_file, topology().to_string()).unwrap();
    let mut config = json!({"port": 0, "metric_port": 0, "topology_file": topology_file,
        "database": directory.join("records.db")});
    for (key, value) in extra.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}
