//! The status page: one HTML document that needs nothing from elsewhere.
//!
//! It is whole without JavaScript and reloads itself then; with it, a small script replaces the
//! content in place. All text from outside is escaped, and the policy lets nothing else run.

use crate::front::{Body, Response};
use crate::sync::snapshot::{ClusterState, ClusterStatus, Status};

const STYLE: &str = "\
body{font:15px/1.4 system-ui,sans-serif;margin:1.5rem;color:#1b1f24;background:#fff}\
h1{font-size:1.3rem;margin:0 0 .3rem}h2{font-size:1.05rem;margin:1.4rem 0 .4rem}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #d0d7de;vertical-align:top}\
th{font-weight:600;background:#f6f8fa}.n{text-align:right;font-variant-numeric:tabular-nums}\
.bad{color:#a40e26;font-weight:600}.warn{color:#7a4e00;font-weight:600}.good{color:#116329}.dim{color:#57606a}\
.problems{border-left:4px solid #a40e26;padding:.2rem 0 .2rem 2rem;margin:.5rem 0;background:#fff1f0}\
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}th{background:#161b22}th,td{border-color:#30363d}\
.bad{color:#ff8182}.warn{color:#e3b341}.good{color:#56d364}.dim{color:#8d96a0}.problems{background:#2d1215}a{color:#79b8ff}}";

/// Fetches the page again and puts its `main` in place of ours; says so when that fails.
const SCRIPT: &str = "\
setInterval(async()=>{if(document.hidden)return;const note=document.getElementById('note');\
try{const answer=await fetch('/',{cache:'no-store'});if(!answer.ok)throw new Error('HTTP '+answer.status);\
const next=new DOMParser().parseFromString(await answer.text(),'text/html').querySelector('main');\
if(next)document.querySelector('main').replaceWith(next);note.textContent='';}\
catch(error){note.textContent='No answer since '+new Date().toLocaleTimeString()+': '+error.message;}},3000);";

/// The page as an answer, under a policy that lets only our own style and script in.
pub fn response(status: &Status) -> Response {
    let Some(nonce) = nonce() else {
        return Response::error(500, "internal", "the system gives no random numbers");
    };
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    Response {
        status: 200,
        content_type: "text/html; charset=utf-8",
        headers: vec![("content-security-policy", policy), ("referrer-policy", "no-referrer".into())],
        body: Body::Bytes(html(status, &nonce).into_bytes()),
    }
}

/// A fresh value that nobody can guess.
fn nonce() -> Option<String> {
    let mut bytes = [0; 16];
    rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes).ok()?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn html(status: &Status, nonce: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style nonce=\"{nonce}\">{STYLE}</style>\
         <noscript><meta http-equiv=\"refresh\" content=\"10\"></noscript></head>\n\
         <body><p id=\"note\" class=\"bad\" role=\"status\"></p>\n<main>{main}</main>\n\
         <script nonce=\"{nonce}\">{SCRIPT}</script></body></html>\n",
        title = escape(&format!("{} · Pod synchronizer", status.instance)),
        main = main(status),
    )
}

fn main(status: &Status) -> String {
    let readiness =
        if status.ready { "<span class=good>ready</span>" } else { "<span class=bad>not ready</span>" };
    let mut html = format!(
        "<h1>Pods of bcs-storage in the CMDB: {readiness}</h1><p class=dim>{} · version {} · {} · {} · coordination {} · \
         since {} · <a href=\"/api/v1/status\">JSON</a></p>",
        escape(&status.instance),
        escape(status.version),
        escape(status.mode),
        escape(status.role),
        escape(status.coordination.state),
        escape(&status.started_at),
    );
    html.push_str(&problems(status));
    html.push_str(&clusters(&status.clusters));
    html
}

/// What is wrong comes first: of the instance, then of its clusters what readiness does not name.
fn problems(status: &Status) -> String {
    let of_instance = status.problems.iter().map(|problem| escape(problem));
    let of_clusters = status.clusters.iter().filter_map(|cluster| {
        let error = cluster.last_error.as_ref()?;
        if status.problems.iter().any(|problem| problem.contains(error)) {
            return None;
        }
        Some(format!("{}: {}", escape(&cluster.cluster_id), escape(error)))
    });
    let items: String = of_instance.chain(of_clusters).map(|problem| format!("<li>{problem}</li>")).collect();
    if items.is_empty() { String::new() } else { format!("<h2>Problems</h2><ul class=problems>{items}</ul>") }
}

/// The most troubled first, then by name.
fn clusters(clusters: &[ClusterStatus]) -> String {
    if clusters.is_empty() {
        return "<h2>Clusters</h2><p>This instance has no clusters.</p>".into();
    }
    let mut sorted: Vec<&ClusterStatus> = clusters.iter().collect();
    sorted.sort_by_key(|cluster| (trouble(cluster.state), &cluster.cluster_id));
    let rows: String = sorted.into_iter().map(row).collect();
    format!(
        "<h2>Clusters ({})</h2><table><thead><tr><th>Cluster</th><th>State</th><th class=n>Business</th>\
         <th class=n>Storage</th><th class=n>CMDB</th><th class=n>Pending</th><th class=n>Rejected</th>\
         <th class=n>Degraded</th><th class=n>Unscheduled</th><th>Watch</th><th>Last full sync</th>\
         <th class=n>Held back deletes</th></tr></thead><tbody>{rows}</tbody></table>",
        clusters.len()
    )
}

/// Rank of a state, and with it its colour.
fn trouble(state: ClusterState) -> u8 {
    match state {
        ClusterState::Degraded => 0,
        ClusterState::Suspended => 1,
        ClusterState::Paused => 2,
        ClusterState::Waiting => 3,
        ClusterState::Syncing => 4,
        ClusterState::Stopping => 5,
        ClusterState::Live => 6,
    }
}

fn row(cluster: &ClusterStatus) -> String {
    let class = match trouble(cluster.state) {
        0..=1 => "bad",
        2..=5 => "warn",
        _ => "good",
    };
    let state = serde_json::to_value(cluster.state).unwrap_or_default();
    let path: String =
        percent_encoding::utf8_percent_encode(&cluster.cluster_id, percent_encoding::NON_ALPHANUMERIC)
            .collect();
    let mut row = format!(
        "<tr><td><a href=\"/api/v1/clusters/{path}\">{}</a> <span class=dim>{}</span></td><td class={class}>{}</td>\
         <td class=n>{}</td>",
        escape(&cluster.cluster_id),
        escape(cluster.kind),
        escape(state.as_str().unwrap_or_default()),
        cluster.bk_biz_id,
    );
    let pods = &cluster.pods;
    let refused = format!("/api/v1/clusters/{path}/rejected");
    row.extend([
        number(pods.storage),
        number(pods.cmdb),
        number(pods.pending),
        trouble_number(pods.rejected, &refused),
        trouble_number(pods.degraded, &refused),
        number(pods.unscheduled),
        format!("<td>{}</td><td>{}</td>", watch(cluster), full_sync(cluster)),
        trouble_number(cluster.full_sync.held_back_deletes, &format!("/api/v1/clusters/{path}")),
    ]);
    row.push_str("</tr>");
    row
}

fn number(count: usize) -> String {
    format!("<td class=n>{count}</td>")
}

/// A number that should be 0, with a link to what is behind it.
fn trouble_number(count: usize, link: &str) -> String {
    match count {
        0 => number(count),
        _ => format!("<td class=\"n warn\"><a href=\"{link}\">{count}</a></td>"),
    }
}

fn watch(cluster: &ClusterStatus) -> String {
    match (cluster.watch.connected, cluster.watch.last_event_seconds_ago) {
        (false, _) => "<span class=bad>not connected</span>".into(),
        (true, Some(seconds)) => format!("event {seconds:.0} s ago"),
        (true, None) => "connected, no event yet".into(),
    }
}

fn full_sync(cluster: &ClusterStatus) -> String {
    let sync = &cluster.full_sync;
    let class = if sync.last_outcome == "ok" { "good" } else { "warn" };
    let mut text = format!("<span class={class}>{}</span>", escape(sync.last_outcome));
    if let Some(at) = &sync.last_finished_at {
        text.push_str(&format!(" {}", escape(at)));
    }
    if let Some(seconds) = sync.last_duration_seconds {
        text.push_str(&format!(" ({seconds:.1} s)"));
    }
    text
}

/// Text as HTML, in content and in quoted attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(character),
        }
    }
    escaped
}
