// The instances of the fleet and who holds what.

const HELD_NAMED = 12;

function instanceTable({ fleet, self }) {
  if (!fleet) return el("p", { class: "empty" }, t("loading"));
  const heads = ["instance", "instance.role", "instance.alive", "instance.version", "instance.clusters"];
  return el("div", { class: "sheet" }, el("table", { class: "cards", role: "table" },
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" },
      heads.map((key) => el("th", { scope: "col", role: "columnheader" }, t(key))))),
    el("tbody", { role: "rowgroup" }, fleet.workers.map((worker) => instanceRow(worker, fleet.master, self)))));
}

function instanceRow({ instance, alive, version, clusters }, master, self) {
  const cell = (key, ...content) => el("td", { role: "cell", "data-label": t(key) }, ...content);
  return el("tr", { role: "row" },
    el("th", { scope: "row", role: "rowheader" }, instance,
      instance === self ? el("span", { class: "dim" }, " (" + t("instance.here") + ")") : null),
    cell("instance.role", t(instance === master ? "role.master" : "role.worker")),
    cell("instance.alive", el("span", { class: "pill " + (alive ? "good" : "bad") }, t(alive ? "alive" : "gone"))),
    cell("instance.version", version || "–"),
    el("td", { role: "cell", class: "wide" }, heldClusters(clusters)));
}

/** The names if they are few, else how many and the names on demand. */
function heldClusters(clusters) {
  if (!clusters.length) return t("nothing_assigned");
  const names = clusters.flatMap((id) => [clusterLink(id), " "]);
  if (clusters.length <= HELD_NAMED) return el("span", {}, names);
  const rest = el("p", { class: "chips" });
  const fill = () => { if (!rest.childNodes.length) rest.append(...names); };
  return el("details", { on: { toggle: fill } }, el("summary", {}, t("clusters_count", { count: number(clusters.length) })), rest);
}
