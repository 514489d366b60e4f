// What is wrong, the worst first, each with what to do about it. One entry per kind: a bcs-storage
// that is down must not fill the page with a thousand lines.

// Kinds from the worst to the mildest, and how they look.
const KINDS = {
  coordination: "bad", no_master: "bad", unassigned: "bad", discovery: "bad", cmdb_writes: "bad", topology: "bad",
  full_sync: "bad", watch: "bad", mute_watch: "bad", default_module: "bad", suspended: "bad", held_back_deletes: "warn",
  rejected: "warn", fleet: "warn", worker_gone: "warn", previous_business: "warn", configuration: "warn", restart: "warn", certificate: "warn", journal: "warn",
  clock: "warn", versions: "warn", documents: "warn", records: "warn", other: "warn",
  waiting: "warn", stopping: "note", paused: "note", left: "note",
};
const NAMED = 6;

/** Problems of one cluster, as `{kind, message}`. */
function problemsOf(cluster) {
  const found = [...cluster.problems];
  if (cluster.pods.rejected) found.push({ kind: "rejected", message: "" });
  if (cluster.state === "suspended" || cluster.state === "paused") found.push({ kind: cluster.state, message: "" });
  return found;
}

function problemsOfFleet({ master, workers, unassigned, left }, mode) {
  const found = [];
  if (mode === "zookeeper" && workers.length && !master) found.push({ kind: "no_master", message: "" });
  for (const worker of workers) {
    if (!worker.alive) found.push({ kind: "worker_gone", message: worker.instance });
  }
  if (unassigned.length) found.push({ kind: "unassigned", message: listed(unassigned) });
  if (left.length) found.push({ kind: "left", message: listed(left) });
  return found;
}

function listed(names) {
  const rest = names.length - NAMED;
  return names.slice(0, NAMED).join(", ") + (rest > 0 ? " " + t("more", { count: number(rest) }) : "");
}

/** Everything by kind: `[{kind, messages, clusters}]`, the worst first. */
function groupProblems(status, fleet) {
  const groups = new Map();
  const add = ({ kind, message }, cluster) => {
    if (!groups.has(kind)) groups.set(kind, { kind, messages: [], clusters: [] });
    const group = groups.get(kind);
    if (cluster) group.clusters.push(cluster);
    if (message && group.messages.length < 3 && !group.messages.includes(message)) group.messages.push(message);
  };
  for (const problem of status.instance_problems) add(problem);
  if (fleet) problemsOfFleet(fleet, status.mode).forEach((problem) => add(problem));
  for (const cluster of status.clusters) {
    for (const problem of problemsOf(cluster)) add(problem, cluster.cluster_id);
  }
  const rank = Object.keys(KINDS);
  const place = (kind) => (rank.includes(kind) ? rank.indexOf(kind) : rank.indexOf("other"));
  return [...groups.values()].sort((a, b) => place(a.kind) - place(b.kind));
}

/** The list of problems; `ofCluster` leaves the names of clusters out. */
function problemList(groups, ofCluster) {
  if (!groups.length) return el("p", { class: "fine" }, t("no_problems"));
  return el("ul", { class: "problems" }, groups.map((group) => problemCard(group, ofCluster)));
}

function problemCard({ kind, messages, clusters }, ofCluster) {
  const known = has("problem." + kind) ? kind : "other";
  const many = clusters.length > 1 ? el("span", { class: "pill" }, t("clusters_count", { count: number(clusters.length) })) : null;
  return el("li", { class: "problem " + (KINDS[kind] ?? KINDS.other), "data-kind": kind },
    el("h3", {}, t("problem." + known), many),
    messages.map((message) => el("p", { class: "message", title: language === "en" ? null : message }, said(message))),
    ofCluster || !clusters.length ? null : namedClusters(clusters, kind),
    el("p", { class: "todo" }, el("b", {}, t("todo")), " ", t("advice." + known)));
}

function namedClusters(clusters, kind) {
  const rest = clusters.length - NAMED;
  const showAll = () => { view.kind = kind; location.hash = "#/"; refresh(); byId("clusters-title")?.focus(); };
  return el("p", { class: "chips" }, clusters.slice(0, NAMED).map(clusterLink),
    rest > 0 ? el("span", {}, t("more", { count: number(rest) })) : null,
    rest > 0 ? el("button", { type: "button", on: { click: showAll } }, t("show_them")) : null);
}
