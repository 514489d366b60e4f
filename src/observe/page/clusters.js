// The table of clusters: sorted and filtered here, so that a thousand of them need no request. A row
// is made once per cluster; later answers only change the texts that differ.

const view = { sort: "state", descending: false, search: "", state: "", only: false, kind: "" };
const TROUBLE = ["degraded", "suspended", "paused", "waiting", "stopping", "syncing", "live"];

// Each column: its key, what it is sorted by, what it shows, and its class.
const COLUMNS = [
  { key: "cluster", by: (c) => c.cluster_id },
  { key: "state", by: (c) => TROUBLE.indexOf(c.state) - (problemsOf(c).length ? 0.5 : 0) },
  { key: "business", by: (c) => c.bk_biz_id, text: (c) => String(c.bk_biz_id), name: "num" },
  { key: "storage", by: (c) => c.pods.storage, text: (c) => number(c.pods.storage), name: "num" },
  { key: "cmdb", by: (c) => c.pods.cmdb, text: (c) => number(c.pods.cmdb), name: "num" },
  { key: "lag", by: (c) => c.lag_seconds ?? -1, text: (c) => span(c.lag_seconds), name: "num nowrap" },
  { key: "queue", by: queue, text: (c) => number(queue(c)), name: "num" },
  { key: "full_sync", by: (c) => c.full_sync.last_finished_at ?? "", text: lastSync, name: "nowrap wide" },
  { key: "rejected", by: (c) => c.pods.rejected, text: (c) => number(c.pods.rejected), name: "num" },
];

function queue(cluster) {
  return cluster.watch.queued + cluster.senders.queued;
}

function lastSync({ full_sync: sync }) {
  if (sync.last_outcome === "never") return t("outcome.never");
  return t("outcome." + sync.last_outcome) + ", " + ago(secondsSince(sync.last_finished_at));
}

/** The section with its tools and an empty table; made once per language. */
function clusterSection() {
  const search = el("input", { type: "search", id: "search", value: view.search, placeholder: t("search_hint"), on: { input: (e) => change({ search: e.target.value }) } });
  const states = el("select", { id: "state", on: { change: (e) => change({ state: e.target.value }) } },
    el("option", { value: "" }, t("all_states")), TROUBLE.map((state) => el("option", { value: state }, t("state." + state))));
  states.value = view.state;
  const only = el("input", { type: "checkbox", id: "only", checked: view.only, on: { change: (e) => change({ only: e.target.checked }) } });
  return el("section", { "aria-labelledby": "clusters-title" },
    el("h2", { id: "clusters-title", tabIndex: -1 }, t("clusters")),
    el("div", { class: "tools", role: "search" },
      el("label", {}, t("search") + " ", search), el("label", {}, t("state") + " ", states),
      el("label", { class: "check" }, only, " " + t("only_problems")),
      el("button", { type: "button", id: "kind", hidden: true, on: { click: () => change({ kind: "" }) } }),
      el("span", { id: "shown", class: "dim" })),
    el("div", { class: "tools" }, el("div", { id: "controls" })),
    el("div", { class: "sheet" },
      el("table", { class: "cards", role: "table", "aria-labelledby": "clusters-title" },
        el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, COLUMNS.map(headCell))),
        el("tbody", { role: "rowgroup", id: "rows" })),
      el("p", { class: "empty", id: "no-rows", hidden: true })));
}

function headCell({ key, name }) {
  return el("th", { scope: "col", role: "columnheader", class: name?.includes("num") ? "num" : null, "data-key": key, "aria-sort": "none" },
    el("button", { type: "button", on: { click: () => sortBy(key) } }, t(key)));
}

function sortBy(key) {
  change({ descending: view.sort === key ? !view.descending : false, sort: key });
  say(t("sorted", { column: t(key), direction: t(view.descending ? "descending" : "ascending") }));
}

function change(what) {
  Object.assign(view, what);
  refresh();
}

function visible(cluster) {
  if (view.state && cluster.state !== view.state) return false;
  if (view.only && !problemsOf(cluster).length) return false;
  if (view.kind && !problemsOf(cluster).some((problem) => problem.kind === view.kind)) return false;
  const words = view.search.trim().toLowerCase().split(/\s+/);
  const text = [cluster.cluster_id, cluster.bk_biz_id, cluster.project_id].join(" ").toLowerCase();
  return words.every((word) => text.includes(word));
}

/** Sorted by the chosen column, then by name. What is sorted by is worked out once for each. */
function sorted(clusters) {
  const { by } = COLUMNS.find((column) => column.key === view.sort);
  const less = (x, y) => (x < y ? -1 : x > y ? 1 : 0);
  const turn = view.descending ? -1 : 1;
  return clusters.map((cluster) => ({ cluster, value: by(cluster) }))
    .sort((a, b) => turn * less(a.value, b.value) || less(a.cluster.cluster_id, b.cluster.cluster_id))
    .map(({ cluster }) => cluster);
}

const rows = new Map();

/** Brings the table to what the status says. */
function updateClusters(clusters) {
  const shown = sorted(clusters.filter(visible));
  const body = byId("rows");
  const wanted = shown.map((cluster) => updateRow(cluster));
  const known = new Set(clusters.map((cluster) => cluster.cluster_id));
  for (const id of rows.keys()) if (!known.has(id)) rows.delete(id);
  const same = wanted.length === body.children.length && wanted.every((row, at) => body.children[at] === row);
  if (!same) body.replaceChildren(...wanted);
  for (const head of body.parentElement.querySelectorAll("th[data-key]")) {
    const sort = head.dataset.key !== view.sort ? "none" : view.descending ? "descending" : "ascending";
    if (head.getAttribute("aria-sort") !== sort) head.setAttribute("aria-sort", sort);
  }
  setText(byId("shown"), t("shown", { shown: number(shown.length), count: number(clusters.length) }));
  show(byId("controls"), clusters.length, controlsOfAll);
  byId("kind").hidden = !view.kind;
  if (view.kind) setText(byId("kind"), t("problem." + (has("problem." + view.kind) ? view.kind : "other")) + " ✕");
  byId("no-rows").hidden = shown.length > 0;
  setText(byId("no-rows"), t(clusters.length ? "no_match" : "no_clusters"));
}

function updateRow(cluster) {
  let row = rows.get(cluster.cluster_id);
  if (!row) {
    row = newRow(cluster);
    rows.set(cluster.cluster_id, row);
  }
  const [, state, ...cells] = row.children;
  setText(state.firstChild, t("state." + cluster.state));
  setClass(state.firstChild, "pill " + (COLOURS[cluster.state] ?? ""));
  COLUMNS.slice(2).forEach((column, at) => setText(cells[at], column.text(cluster)));
  setClass(cells[cells.length - 1], cluster.pods.rejected ? "num warn" : "num");
  return row;
}

function newRow({ cluster_id: id }) {
  const cells = COLUMNS.slice(2).map(({ key, name }) => el("td", { role: "cell", class: name, "data-label": t(key) }));
  return el("tr", { role: "row" },
    el("th", { scope: "row", role: "rowheader" }, clusterLink(id)),
    el("td", { role: "cell", "data-label": t("state") }, el("span", {})), cells);
}
