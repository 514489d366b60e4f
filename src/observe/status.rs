//! The status service: the routes of interface.md 3.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::json;

use super::access::{self, Denied};
use super::page;
use crate::config::Secret;
use crate::front::{Front, Handler, Hosts, Limits, Meter, Request, Response};
use crate::journal::DeleteQuery;
use crate::sync::snapshot::{Control, ControlOutcome, Health, StatusSource};

/// The status service at work; stops when dropped.
pub struct StatusServer {
    front: Front,
    routes: Arc<Routes>,
}

impl StatusServer {
    /// Serves `source` on `listener` under the names `hosts`. Without `token` only loopback peers may steer.
    ///
    /// # Errors
    /// As [`Front::start`].
    pub fn start(
        listener: TcpListener,
        tls: Option<Arc<rustls::ServerConfig>>,
        token: Option<Secret>,
        hosts: Hosts,
        source: Arc<dyn StatusSource>,
    ) -> io::Result<Self> {
        let limits = Limits { body: 64 * 1024, hosts, ..Limits::default() };
        let routes = Arc::new(Routes { token: RwLock::new(token), source });
        let handler: Arc<dyn Handler> = routes.clone();
        Ok(Self { front: Front::start("status", listener, tls, limits, handler)?, routes })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.front.addr()
    }

    /// Another certificate, and another token, from now on.
    pub fn renew(&self, tls: Option<Arc<rustls::ServerConfig>>, token: Option<Secret>) {
        if let Some(tls) = tls {
            self.front.set_tls(tls);
        }
        *self.routes.token.write() = token;
    }

    /// What the port counts.
    pub fn meter(&self) -> Meter {
        self.front.meter()
    }

    /// Stops, as [`Front::stop`].
    pub fn stop(self) {
        self.front.stop();
    }
}

/// What a path means.
#[derive(Debug, PartialEq, Eq)]
enum Route {
    Page,
    Health,
    Ready,
    Status,
    Assignment,
    Deletes,
    Cluster(String),
    Rejected(String),
    History(String),
    HeldBack(String),
    Control(String, Control),
    ControlAll(Control),
}

impl Route {
    fn parse(path: &str) -> Option<Self> {
        Some(match path {
            "/" => Self::Page,
            "/healthz" => Self::Health,
            "/readyz" => Self::Ready,
            "/api/v1/status" => Self::Status,
            "/api/v1/assignment" => Self::Assignment,
            "/api/v1/deletes" => Self::Deletes,
            "/api/v1/sync" => Self::ControlAll(Control::Sync),
            "/api/v1/pause" => Self::ControlAll(Control::Pause),
            "/api/v1/resume" => Self::ControlAll(Control::Resume),
            _ => return Self::parse_cluster(path.strip_prefix("/api/v1/clusters/")?),
        })
    }

    fn parse_cluster(rest: &str) -> Option<Self> {
        let (id, action) = rest.split_once('/').map_or((rest, None), |(id, action)| (id, Some(action)));
        let id = percent_encoding::percent_decode_str(id).decode_utf8().ok()?.into_owned();
        if id.is_empty() {
            return None;
        }
        Some(match action {
            None => Self::Cluster(id),
            Some("rejected") => Self::Rejected(id),
            Some("deletes") => Self::HeldBack(id),
            Some("history") => Self::History(id),
            Some("sync") => Self::Control(id, Control::Sync),
            Some("deletes/approve") => Self::Control(id, Control::ApproveDeletes),
            Some("pause") => Self::Control(id, Control::Pause),
            Some("resume") => Self::Control(id, Control::Resume),
            Some(_) => return None,
        })
    }

    /// Methods, as the `Allow` header names them.
    fn allowed(&self) -> &'static str {
        if matches!(self, Self::Control(..) | Self::ControlAll(_)) { "POST" } else { "GET, HEAD" }
    }
}

struct Routes {
    token: RwLock<Option<Secret>>,
    source: Arc<dyn StatusSource>,
}

impl Handler for Routes {
    fn handle(&self, request: Request) -> Response {
        let mut response = self.answer(&request);
        response.headers.push(("cache-control", "no-store".into()));
        response.headers.push(("x-content-type-options", "nosniff".into()));
        response
    }
}

impl Routes {
    fn answer(&self, request: &Request) -> Response {
        let Some(route) = Route::parse(&request.path) else {
            return Response::error(404, "not_found", "no such path; GET /api/v1/status has the whole state");
        };
        let allowed = route.allowed();
        if !allowed.split(", ").any(|method| method == request.method) {
            let message = format!("this path takes {allowed}");
            let mut response = Response::error(405, "method_not_allowed", &message);
            response.headers.push(("allow", allowed.into()));
            return response;
        }
        match route {
            Route::Page => page::response(request.header("accept-language")),
            Route::Health => health(&self.source.health()),
            Route::Ready => health(&self.source.readiness()),
            Route::Status => Response::json(200, &self.source.status()),
            Route::Assignment => Response::json(200, &self.source.assignment()),
            Route::Deletes => match DeleteQuery::parse(&request.query) {
                Ok(query) => Response::json(200, &self.source.delete_page(&query)),
                Err(message) => Response::error(400, "bad_query", &message),
            },
            Route::Cluster(id) => match self.source.cluster(&id) {
                Some(cluster) => Response::json(200, &cluster),
                None => unknown(&id),
            },
            Route::Rejected(id) => match self.source.rejected(&id) {
                Some(mut rejected) => {
                    rejected.truncate(limit(&request.query));
                    Response::json(200, &json!({"cluster_id": id, "rejected": rejected}))
                }
                None => unknown(&id),
            },
            Route::HeldBack(id) => match self.source.held_back(&id) {
                Some(mut held_back) => {
                    held_back.truncate(limit(&request.query));
                    Response::json(200, &json!({"cluster_id": id, "held_back": held_back}))
                }
                None => unknown(&id),
            },
            Route::History(id) => match self.source.history(&id) {
                Some(history) => Response::json(200, &history),
                None => unknown(&id),
            },
            Route::Control(id, control) => match access::check(self.token.read().as_ref(), request) {
                Ok(()) => self.control(&id, control, request),
                Err(denied) => deny(&denied),
            },
            Route::ControlAll(control) => match access::check(self.token.read().as_ref(), request) {
                Ok(()) => self.control_all(control, request),
                Err(denied) => deny(&denied),
            },
        }
    }

    fn control_all(&self, control: Control, request: &Request) -> Response {
        log::info!("{control:?} of every cluster asked for by {}", request.peer.ip());
        let clusters = self.source.control_all(control);
        Response::json(202, &json!({"clusters": clusters, "accepted": true}))
    }

    fn control(&self, id: &str, control: Control, request: &Request) -> Response {
        match self.source.control(id, control) {
            ControlOutcome::Accepted => {
                log::info!("cluster={id} {control:?} asked for by {}", request.peer.ip());
                Response::json(202, &json!({"cluster_id": id, "accepted": true}))
            }
            ControlOutcome::UnknownCluster => unknown(id),
        }
    }
}

/// The most entries a query like `limit=200` wants; without one, all.
fn limit(query: &str) -> usize {
    let wanted = query.split('&').find_map(|part| part.strip_prefix("limit="));
    wanted.and_then(|wanted| wanted.parse().ok()).unwrap_or(usize::MAX)
}

fn health(health: &Health) -> Response {
    Response::json(if health.ok { 200 } else { 503 }, health)
}

fn unknown(id: &str) -> Response {
    let message =
        format!("this instance does not have cluster {id}; GET /api/v1/assignment tells which one does");
    Response::error(404, "unknown_cluster", &message)
}

fn deny(denied: &Denied) -> Response {
    match denied {
        Denied::Token => {
            let message = "send the token of admin_token_file as Authorization: Bearer TOKEN";
            let mut response = Response::error(401, "unauthorized", message);
            response.headers.push(("www-authenticate", "Bearer".into()));
            response
        }
        Denied::NotLocal(message) => Response::error(403, "forbidden", message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_no_number_limits_nothing() {
        for (query, expected) in [
            ("", usize::MAX),
            ("limit=5", 5),
            ("a=1&limit=0", 0),
            ("limit=-1", usize::MAX),
            ("limit=", usize::MAX),
        ] {
            assert_eq!(limit(query), expected, "{query}");
        }
    }

    #[test]
    fn paths_mean_what_the_interface_says() {
        let id = || "BCS-K8S-1".to_string();
        for (path, expected) in [
            ("/", Some(Route::Page)),
            ("/healthz", Some(Route::Health)),
            ("/api/v1/clusters/BCS-K8S-1", Some(Route::Cluster(id()))),
            ("/api/v1/clusters/BCS%2dK8S%2D1/rejected", Some(Route::Rejected(id()))),
            (
                "/api/v1/clusters/BCS-K8S-1/deletes/approve",
                Some(Route::Control(id(), Control::ApproveDeletes)),
            ),
            ("/api/v1/clusters/", None),
            ("/api/v1/clusters//sync", None),
            ("/api/v1/clusters/%ff", None),
            ("/api/v1/clusters/a/b", None),
            ("/healthz/", None),
            ("//", None),
            ("/../etc/passwd", None),
        ] {
            assert_eq!(Route::parse(path), expected, "{path}");
        }
    }
}
