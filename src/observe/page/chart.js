// Two panels over one hour: writes as stacked bars, the longest lag as a line. Plain SVG.

const LEFT = 40, RIGHT = 8, PANEL = 96, GAP = 30, TOP = 16;

function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.flat(Infinity).filter((child) => child != null));
  return element;
}

/** A round number not below `value`, so that the axis can be read. */
function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
}

/** `width` is that of the place it is drawn in, so that its words are as large on every screen. */
function historyChart({ points, interval_seconds: interval, span_seconds: hour }, width) {
  const writes = (p) => p.created + p.updated + p.deleted;
  if (!points.length) return el("p", { class: "empty" }, t("chart.empty"));
  const total = points.reduce((sum, p) => sum + writes(p), 0);
  const longest = Math.max(...points.map((p) => p.lag_max_seconds ?? 0));
  const x = (seconds) => LEFT + (width - LEFT - RIGHT) * (1 - Math.min(Math.max(seconds, 0), hour) / hour);
  const summary = t("chart.summary", { writes: number(total), lag: longest ? span(longest) : "–" });
  const lagTop = TOP + PANEL + GAP;
  return [
    el("div", { class: "chart" },
      el("p", { class: "key" },
        ["create", "update", "delete"].map((kind) => el("span", { class: kind }, t("chart." + kind))),
        el("span", { class: "lag" }, t("chart.lag"))),
      svg("svg", { viewBox: `0 0 ${width} ${lagTop + PANEL + 22}`, role: "img", "aria-label": summary },
        frame(width, TOP, ceiling(Math.max(1, ...points.map(writes))), t("chart.writes", { seconds: interval })),
        points.map((point) => bars(point, x, interval, ceiling(Math.max(1, ...points.map(writes))))),
        frame(width, lagTop, ceiling(Math.max(0.1, longest)), t("chart.lag")),
        lagLine(points, x, interval, ceiling(Math.max(0.1, longest)), lagTop),
        (width < 500 ? [60, 30, 0] : [60, 45, 30, 15, 0]).map((minutes) => svg("text", { x: x(minutes * 60), y: lagTop + PANEL + 16, "text-anchor": minutes === 60 ? "start" : minutes ? "middle" : "end" },
          minutes ? t("chart.ago", { minutes }) : t("chart.now")))),
      el("p", {}, summary),
      historyTable(points)),
  ];
}

function frame(width, top, most, title) {
  const bottom = top + PANEL;
  return [
    svg("text", { x: LEFT, y: top - 5 }, title),
    ...[0, 0.5, 1].flatMap((part) => {
      const y = bottom - PANEL * part;
      return [svg("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: y, y2: y }),
        svg("text", { x: LEFT - 5, y: y + 4, "text-anchor": "end" }, Number((most * part).toPrecision(2)).toLocaleString("en"))];
    }),
  ];
}

function bars(point, x, interval, most) {
  let y = TOP + PANEL;
  const from = x(point.seconds_ago), width = Math.max(1.5, x(point.seconds_ago - interval) - from - 1);
  return [["create", point.created], ["update", point.updated], ["delete", point.deleted]].map(([name, count]) => {
    if (!count) return null;
    const height = Math.max(1, (PANEL * count) / most);
    y -= height;
    return svg("rect", { class: name, x: from, y, width, height });
  });
}

/** A line through neighbouring intervals; an interval without events breaks it. */
function lagLine(points, x, interval, most, top) {
  const shapes = [];
  let line = [], last = null;
  const end = () => { if (line.length > 1) shapes.push(svg("polyline", { class: "lag", points: line.join(" ") })); line = []; };
  for (const point of points) {
    if (point.lag_max_seconds == null) continue;
    if (last != null && last - point.seconds_ago > interval * 1.5) end();
    const at = [x(point.seconds_ago - interval / 2), top + PANEL - (PANEL * point.lag_max_seconds) / most];
    line.push(at.map((value) => value.toFixed(1)).join(","));
    shapes.push(svg("circle", { class: "dot", cx: at[0], cy: at[1], r: 2 }));
    last = point.seconds_ago;
  }
  end();
  return shapes;
}

function historyTable(points) {
  const heads = ["chart.when", "chart.create", "chart.update", "chart.delete", "chart.lag"];
  const row = (p) => [ago(p.seconds_ago), number(p.created), number(p.updated), number(p.deleted), p.lag_max_seconds ?? "–"];
  return el("details", {}, el("summary", {}, t("chart.table")), plainTable(heads, [...points].reverse().map(row), "num"));
}
