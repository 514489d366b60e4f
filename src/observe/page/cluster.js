// The page of one cluster: its state, its last hour, what the CMDB refused, what changed last.

const LISTED = 200;

function plainTable(heads, lines, name) {
  const cell = (content, at) => el("td", { role: "cell", class: at ? name ?? "text wide" : "nowrap wide", "data-label": t(heads[at]) }, content);
  return el("div", { class: "sheet" }, el("table", { class: "cards", role: "table" },
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" },
      heads.map((key, at) => el("th", { scope: "col", role: "columnheader", class: at ? name : null }, t(key))))),
    el("tbody", { role: "rowgroup" }, lines.map((line) => el("tr", { role: "row" }, line.map(cell))))));
}

/** The page's frame; its parts are filled by `updateCluster`. */
function clusterPage(id) {
  const part = (name, title) => [title ? el("h2", {}, t(title)) : null, el("div", { id: name })];
  return [
    el("p", { class: "title" }, el("a", { href: "#/" }, "← " + t("back"))),
    el("div", { class: "title" }, el("h2", { id: "cluster-title", tabIndex: -1 }, id), el("span", { id: "cluster-state" }),
      el("div", { class: "buttons", id: "controls" })),
    ...part("cluster-problems"), ...part("facts"), ...part("chart", "chart"),
    el("section", { id: "held-section", hidden: true }, part("held", "facts.held")),
    ...part("rejected", "rejected.title"), el("section", { id: "documents-section", hidden: true }, part("documents", "documents.title")),
    ...part("changes", "changes.title"),
  ];
}

function updateCluster(id, cluster, history, { rejected, heldBack }, fleet) {
  if (!cluster) {
    const holder = fleet?.workers.find((worker) => worker.clusters.includes(id))?.instance;
    // The address is a link within its sentence, which is another one in each language.
    const [before, after] = t("held_by", { instance: "\n" }).split("\n");
    show(byId("cluster-problems"), { holder, id }, () => el("p", { class: "problem" }, t("not_here", { id }), " ",
      holder ? [before, linkAt(holder, id), after] : t("not_here_todo")));
    for (const part of ["controls", "facts", "chart", "held", "rejected", "documents", "changes", "cluster-state"]) show(byId(part), null, () => null);
    return;
  }
  const { state, sync_policy: policy } = cluster;
  show(byId("cluster-state"), { state, policy }, () => [statePill(state), " ",
    has("policy." + policy) ? el("span", { class: "pill warn" }, t("policy." + policy)) : null]);
  const { held_back_deletes: held } = cluster.full_sync;
  show(byId("controls"), { id, paused: cluster.state === "paused", held }, controls);
  const groups = problemsOf(cluster).map(({ kind, message }) => ({ kind, messages: message ? [message] : [], clusters: [] }));
  show(byId("cluster-problems"), groups, () => problemList(groups, true));
  updateFacts(facts(cluster));
  if (history) {
    const width = Math.max(280, byId("chart").clientWidth - 30);
    show(byId("chart"), { history, width }, () => historyChart(history, width));
    show(byId("changes"), { id, changes: history.changes }, changeTable);
  }
  if (rejected) show(byId("rejected"), { id, rejected }, rejectedTable);
  byId("held-section").hidden = !held;
  if (heldBack) show(byId("held"), heldBack, heldTable);
  byId("documents-section").hidden = !cluster.invalid_documents.count;
  show(byId("documents"), cluster.invalid_documents, documentTable);
}

/** Everything worth a line, by section: `[title, [[name, value]…]]`. */
function facts(cluster) {
  const { pods, watch, full_sync: sync, senders } = cluster;
  const three = (of) => [of.created, of.updated, of.deleted].map(number).join(" / ");
  const events = watch.events.add + watch.events.change + watch.events.delete;
  return [
    ["facts.pods", [["storage", number(pods.storage)], ["cmdb", number(pods.cmdb)], ["facts.pending", number(pods.pending)],
      ["rejected", number(pods.rejected)], ["facts.degraded", number(pods.degraded)], ["facts.unscheduled", number(pods.unscheduled)]]],
    ["facts.watch", [["facts.connected", t(watch.connected ? "connected" : "disconnected")], ["facts.last_event", ago(watch.last_event_seconds_ago)],
      ["facts.events", number(events)], ["facts.suppressed", number(watch.events.suppressed)],
      ["facts.reconnects", number(watch.reconnects)], ["facts.missed", number(watch.missed)]]],
    ["facts.sync", [["facts.outcome", t("outcome." + sync.last_outcome)], ["facts.finished", ago(secondsSince(sync.last_finished_at))],
      ["facts.took", span(sync.last_duration_seconds)], ["facts.changes", three(sync)], ["facts.held", number(sync.held_back_deletes)]]],
    ["facts.senders", [["facts.written", three(senders)], ["lag", span(cluster.lag_seconds)], ["facts.queued", number(queue(cluster))],
      ["facts.in_flight", number(senders.in_flight)], ["facts.retries", number(senders.retries)]]],
    ["facts.cluster", [["business", String(cluster.bk_biz_id)], ["facts.project", cluster.project_id], ["facts.kind", cluster.kind]]],
  ];
}

function updateFacts(sections) {
  const names = sections.map(([title, lines]) => [title, lines.map(([name]) => name)]);
  show(byId("facts"), names, () => el("div", { class: "facts" }, names.map(([title, lines]) => el("section", {},
    el("h3", {}, t(title)), el("dl", {}, lines.flatMap((name) => [el("dt", {}, t(name)), el("dd")]))))));
  const values = sections.flatMap(([, lines]) => lines.map(([, value]) => value));
  byId("facts").querySelectorAll("dd").forEach((place, at) => setText(place, values[at]));
}

function rejectedTable({ id, rejected }) {
  if (!rejected.length) return el("p", { class: "empty" }, t("rejected.none"));
  const heads = ["rejected.pod", "rejected.kind", "rejected.field", "rejected.code", "rejected.why", "rejected.since"];
  const lines = rejected.map((record) => [podName(record), t("kind." + record.kind), record.field || "–",
    record.code ? String(record.code) : "–", said(record.message), clockTime(record.since)]);
  const all = el("a", { href: `/api/v1/clusters/${encodeURIComponent(id)}/rejected` }, "JSON");
  const first = rejected.length < LISTED ? null : el("p", { class: "dim" }, t("rejected.first", { shown: number(rejected.length) }), " ", all);
  return [plainTable(heads, lines), first];
}

const heldTable = (records) => plainTable(["rejected.pod", "rejected.since"], records.map((record) => [podName(record), clockTime(record.since)]));

function documentTable({ count, first }) {
  const lines = first.map((one) => [one.name ? podName({ ...one, uuid: one.storage_id }) : one.storage_id || "–", said(one.reason), clockTime(one.since)]);
  return [el("p", { class: "dim" }, t("documents.count", { count: number(count) })), plainTable(["documents.what", "rejected.why", "rejected.since"], lines)];
}

function changeTable({ id, changes }) {
  const deletes = el("p", { class: "empty" }, el("a", { href: "/api/v1/deletes?cluster=" + encodeURIComponent(id) }, t("changes.deletes")));
  if (!changes.length) return [el("p", { class: "empty" }, t("changes.none")), deletes];
  const heads = ["changes.when", "changes.action", "changes.pod", "changes.why"];
  const lines = changes.map((change) => [clockTime(change.time), t("action." + change.action), podName(change),
    said(change.proof) ?? (change.lag_seconds == null ? t("by_full_sync") : span(change.lag_seconds))]);
  return [plainTable(heads, lines), deletes];
}

const podName = ({ namespace, name, uuid }) => el("span", { title: uuid }, namespace + "/" + name);
