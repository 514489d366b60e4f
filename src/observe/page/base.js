// Words, numbers and elements. Text from outside only ever becomes a text node: no markup is parsed
// anywhere on this page.

const root = document.documentElement;
const byId = (id) => document.getElementById(id);
const store = {
  get(key) { try { return localStorage.getItem(key); } catch { return null; } },
  set(key, value) { try { localStorage.setItem(key, value); } catch { /* private mode: not remembered */ } },
};

let language = TEXT[store.get("language")] ? store.get("language") : root.lang.startsWith("zh") ? "zh" : "en";

/** The words for a key, with values put in; the key itself if there are none. */
function t(key, values = {}) {
  const words = TEXT[language][key] ?? key;
  return words.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

const has = (key) => key in TEXT[language];
// Formatters are dear to make and cheap to use; a long table needs thousands of numbers.
const numbers = new Intl.NumberFormat("en");
const number = (value) => numbers.format(value ?? 0);

/** A span of seconds in one unit. */
function span(seconds) {
  if (seconds == null) return "–";
  if (seconds < 10) return t("seconds", { n: Number(seconds.toFixed(seconds < 1 ? 2 : 1)) });
  if (seconds < 120) return t("seconds", { n: Math.round(seconds) });
  if (seconds < 7200) return t("minutes", { n: Math.round(seconds / 60) });
  if (seconds < 172800) return t("hours", { n: Math.round(seconds / 3600) });
  return t("days", { n: Math.round(seconds / 86400) });
}

// What the instance's clock is ahead of this browser's, in milliseconds, by the Date of its answers.
let skew = 0;

function secondsSince(time) {
  return time ? Math.max(0, (Date.now() + skew - Date.parse(time)) / 1000) : null;
}

function ago(seconds) {
  if (seconds == null) return t("never");
  return seconds < 1 ? t("just_now") : t("ago", { time: span(seconds) });
}

/** An element: properties, `class`, attributes with a dash or a role, listeners in `on`, then children. */
function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value == null) continue;
    if (name === "on") for (const [event, run] of Object.entries(value)) element.addEventListener(event, run);
    else if (name === "class") element.className = value;
    else if (name.includes("-") || name === "role" || name === "scope") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.flat(Infinity).filter((child) => child != null));
  return element;
}

/** Changes a text only if it is another one, so that selections and screen readers are left alone. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function setClass(element, name) {
  if (element.className !== name) element.className = name;
}

/** Builds the content of an element anew, but only if what it shows has changed. */
function show(element, data, build) {
  const sign = language + JSON.stringify(data);
  if (element.dataset.sign === sign) return;
  element.dataset.sign = sign;
  const parts = () => [...element.querySelectorAll("a, button, summary")];
  const focused = parts().indexOf(document.activeElement), unfolded = element.querySelector("details")?.open;
  element.replaceChildren(...[build(data)].flat().filter((child) => child != null));
  // Whoever works with the keyboard, or has unfolded something, finds it as it was.
  if (focused >= 0) parts()[focused]?.focus({ preventScroll: true });
  if (unfolded && element.querySelector("details")) element.querySelector("details").open = true;
}

/** Tells screen readers. */
const say = (text) => setText(byId("said"), text);

/** A moment in the reader's own time zone. */
const clockTime = (time) => new Date(time).toLocaleString(language === "zh" ? "zh-CN" : "en-GB", { dateStyle: "short", timeStyle: "medium" });

const clusterHash = (id) => "#/clusters/" + encodeURIComponent(id);
const clusterLink = (id) => el("a", { href: clusterHash(id) }, id);
/** The page of a cluster at another instance; its address stays text if it is none. */
const linkAt = (instance, id) => /^[\w.:[\]-]+$/.test(instance)
  ? el("a", { href: `${location.protocol}//${instance}/${clusterHash(id)}` }, instance) : instance;

const COLOURS = {
  live: "good", syncing: "note", waiting: "warn", paused: "warn", degraded: "bad", suspended: "bad", stopping: "warn",
};
const statePill = (state) => el("span", { class: "pill " + (COLOURS[state] ?? "") }, t("state." + state));
