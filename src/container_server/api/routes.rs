//! Which path is which call. Pure.

/// The prefixes calls may have.
pub const PREFIXES: [&str; 2] = ["/api/v3", "/container/v3"];

/// A call, as its path names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Changes pods of one business.
    Write(WriteCall),
    /// Pods of one business by filter.
    List,
    /// The tree of a business.
    Topology,
    /// The change feed.
    Watch,
}

/// The calls that change pods of one business; all have a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteCall {
    /// One new record.
    Create,
    /// Several.
    CreateMany,
    /// New values.
    Update,
    /// The end of records.
    Delete,
}

/// One path.
pub struct Route {
    /// Where it leads.
    pub call: Call,
    /// How it is named.
    pub endpoint: Endpoint,
}

/// What the outside knows of a call.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// Name in the metrics and in the OpenAPI document.
    pub operation: &'static str,
    /// HTTP method.
    pub method: &'static str,
    /// Path after the prefix; `{}` stands for the business.
    pub path: &'static str,
}

const fn route(call: Call, operation: &'static str, method: &'static str, path: &'static str) -> Route {
    Route { call, endpoint: Endpoint { operation, method, path } }
}

/// Every path but those about the server itself.
pub const ROUTES: [Route; 7] = [
    route(Call::Write(WriteCall::Create), "create", "POST", "/create/container/bk_biz_id/{}/pod"),
    route(
        Call::Write(WriteCall::CreateMany),
        "create_many",
        "POST",
        "/createmany/container/bk_biz_id/{}/pod",
    ),
    route(Call::Write(WriteCall::Update), "update", "PUT", "/update/container/bk_biz_id/{}/pod"),
    route(Call::Write(WriteCall::Delete), "delete", "DELETE", "/delete/container/bk_biz_id/{}/pod"),
    route(Call::List, "list", "POST", "/findmany/container/bk_biz_id/{}/pod"),
    route(Call::Topology, "topology", "POST", "/find/topoinst_with_statistics/biz/{}"),
    route(Call::Watch, "watch", "GET", "/watch/pods"),
];

/// The route a path takes, and the text in the place of the business.
pub fn find_route(path: &str) -> Option<(&'static Route, &str)> {
    let path = PREFIXES.iter().find_map(|prefix| path.strip_prefix(prefix))?;
    ROUTES.iter().find_map(|route| {
        let Some((before, after)) = route.endpoint.path.split_once("{}") else {
            return (path == route.endpoint.path).then_some((route, ""));
        };
        let biz = path.strip_prefix(before)?.strip_suffix(after)?;
        (!biz.contains('/')).then_some((route, biz))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_prefixes_lead_to_the_same_calls() {
        for prefix in PREFIXES {
            for route in &ROUTES {
                let biz = if route.endpoint.path.contains("{}") { "2" } else { "" };
                let path = format!("{prefix}{}", route.endpoint.path.replace("{}", "2"));
                let found = find_route(&path).map(|(route, biz)| (route.call, biz));
                assert_eq!(found, Some((route.call, biz)), "{path}");
            }
        }
        for path in
            ["/create/container/bk_biz_id/2/pod", "/api/v3", "/api/v3/create/container/bk_biz_id/2/x/pod"]
        {
            assert!(find_route(path).is_none(), "{path}");
        }
    }
}
