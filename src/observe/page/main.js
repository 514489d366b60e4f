// Asks for the state again and again, and brings the page to it. Nothing is asked while nobody looks.

const PATIENCE = 10000;
const FLEET_EVERY = 10000;
const state = { status: null, fleet: null, fleetAt: 0, history: null, rejected: null, heldBack: [], listsSign: "", shown: "", problems: null };
let timer = 0, asking = false;

async function get(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
  if (!answer.ok) throw new Error("HTTP " + answer.status);
  const date = Date.parse(answer.headers.get("date") ?? "");
  if (date && Math.abs(date - Date.now()) > 5000) skew = date - Date.now();
  return answer.json();
}

/** The cluster whose page is open, from the part of the address after `#`. */
function openCluster() {
  const found = location.hash.match(/^#\/clusters\/(.+)$/);
  try { return found && decodeURIComponent(found[1]); } catch { return null; }
}

async function poll() {
  clearTimeout(timer);
  if (asking) return;
  asking = true;
  try {
    if (!document.hidden || !state.status) await load();
    byId("stale").hidden = true;
    state.staleSince = null;
  } catch (error) {
    state.staleSince ??= new Date();
    setText(byId("stale"), t("stale", { time: state.staleSince.toLocaleTimeString(), why: error.message }));
    byId("stale").hidden = false;
  }
  asking = false;
  // Many clusters make long answers: they may be a little older.
  timer = setTimeout(poll, (state.status?.clusters.length ?? 0) > 200 ? 5000 : 2000);
}

async function load() {
  state.status = await get("/api/v1/status");
  if (Date.now() - state.fleetAt > FLEET_EVERY) {
    state.fleet = await get("/api/v1/assignment");
    state.fleetAt = Date.now();
  }
  const id = openCluster();
  const cluster = id && state.status.clusters.find((one) => one.cluster_id === id);
  if (cluster) await loadCluster(cluster);
  refresh();
}

async function loadCluster({ cluster_id: id, pods, full_sync: sync }) {
  const path = "/api/v1/clusters/" + encodeURIComponent(id);
  state.history = await get(path + "/history");
  // The lists may be long: they are read again when they may have changed, and now and then.
  const sign = [id, pods.rejected, pods.degraded, sync.count, sync.held_back_deletes, Math.floor(Date.now() / FLEET_EVERY)].join();
  if (sign !== state.listsSign) {
    state.rejected = (await get(`${path}/rejected?limit=${LISTED}`)).rejected;
    state.heldBack = sync.held_back_deletes ? (await get(`${path}/deletes?limit=${LISTED}`)).held_back : [];
    state.listsSign = sign;
  }
}

/** Brings the page to the state. */
function refresh() {
  const { status, fleet } = state;
  if (!status) return;
  const id = openCluster();
  const place = language + (id === null ? "" : "/" + id);
  if (place !== state.shown) open(place, id);
  heading(status);
  if (id !== null) {
    const cluster = status.clusters.find((one) => one.cluster_id === id);
    const lists = state.listsSign.startsWith(id + ",") ? state : {};
    updateCluster(id, cluster, state.history?.cluster_id === id ? state.history : null, lists, fleet);
    return;
  }
  show(byId("tiles"), tiles(status), tileList);
  const groups = groupProblems(status, fleet);
  show(byId("problems"), groups, problemList);
  if (state.problems !== null && state.problems !== groups.length) {
    say(groups.length ? t("problems_said", { count: groups.length }) : t("no_problems"));
  }
  state.problems = groups.length;
  show(byId("instances"), { fleet, self: status.instance }, instanceTable);
  updateClusters(status.clusters);
}

/** Another page, or another language: everything is built anew. */
function open(place, id) {
  const first = state.shown === "";
  state.shown = place;
  rows.clear();
  root.lang = language === "zh" ? "zh-CN" : "en";
  setText(byId("skip"), t("skip"));
  setText(byId("home"), t("title"));
  setText(byId("language"), t("other_language"));
  byId("language").lang = language === "zh" ? "en" : "zh-CN";
  setText(byId("json-assignment"), t("json.assignment"));
  setText(byId("json-deletes"), t("json.deletes"));
  document.title = (id === null ? "" : id + " · ") + t("title");
  const section = (name) => el("section", { "aria-labelledby": name + "-title" }, el("h2", { id: name + "-title" }, t(name)), el("div", { id: name }));
  const content = id === null
    ? [el("div", { id: "tiles" }), section("problems"), section("instances"), clusterSection()]
    : clusterPage(id);
  byId("content").replaceChildren(...content.flat().filter((child) => child != null));
  if (!first) (byId("cluster-title") ?? byId("content")).focus();
}

function heading(status) {
  setText(byId("ready"), t(status.ready ? "ready" : "not_ready"));
  setClass(byId("ready"), "pill " + (status.ready ? "good" : "bad"));
  setText(byId("about"), t("about", {
    instance: status.instance, version: status.version, role: t("role." + status.role), uptime: span(secondsSince(status.started_at)),
    mode: t("mode." + status.mode, { state: t("coordination." + status.coordination.state) }),
  }));
}

function tiles({ clusters }) {
  const sum = (of) => clusters.reduce((total, cluster) => total + of(cluster), 0);
  const live = sum((cluster) => (cluster.state === "live" ? 1 : 0));
  const lags = clusters.map((cluster) => cluster.lag_seconds).filter((lag) => lag != null);
  return [
    ["tile.live", `${number(live)} / ${number(clusters.length)}`], ["tile.storage", number(sum((c) => c.pods.storage))],
    ["tile.cmdb", number(sum((c) => c.pods.cmdb))], ["tile.pending", number(sum((c) => c.pods.pending))],
    ["tile.rejected", number(sum((c) => c.pods.rejected))], ["tile.lag", lags.length ? span(Math.max(...lags)) : "–"],
  ];
}

const tileList = (list) => el("dl", { class: "tiles" }, list.map(([name, value]) => el("div", { class: "tile" }, el("dt", {}, t(name)), el("dd", {}, value))));

byId("skip").addEventListener("click", (event) => { event.preventDefault(); byId("content").focus(); });
byId("language").addEventListener("click", () => {
  language = language === "zh" ? "en" : "zh";
  store.set("language", language);
  refresh();
  byId("language").focus();
});
addEventListener("resize", refresh);
addEventListener("hashchange", () => { refresh(); poll(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(); });
poll();
