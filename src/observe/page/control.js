// What an operator may ask of a cluster. The service decides who may: with a token whoever has it,
// without one this machine only. The token stays in this variable and nowhere else.

let token = "";

function button(name, textContent, run, properties = {}) {
  return el("button", { type: "button", "data-control": name, textContent, ...properties, on: { click: run } });
}

/** Buttons for every cluster of this instance at once. */
function controlsOfAll(count) {
  return el("p", { class: "buttons" }, ["sync", "pause", "resume"].map((name) => {
    const words = t(`control.${name}_all`);
    return button(name + "-all", words, async () => {
      if (await ask({ title: words + "?", text: t("control.all_text", { count: number(count) }) })) command("/api/v1/" + name, words);
    });
  }));
}

/** Buttons for one cluster. */
function controls({ id, paused, held }) {
  const send = (action, words) => command(`/api/v1/clusters/${encodeURIComponent(id)}/${action}`, words);
  const sync = button("sync", t("control.sync"), () => send("sync", t("control.sync")));
  const resume = button("resume", t("control.resume"), () => send("resume", t("control.resume")));
  const pause = button("pause", t("control.pause"), async () => {
    if (await ask({ title: t("control.pause_title", { id }), text: t("control.pause_text") })) send("pause", t("control.pause"));
  });
  const approval = t("control.approve", { count: number(held) });
  const approve = button("approve", approval, async () => {
    const title = t("control.approve_title", { count: number(held) });
    if (await ask({ title, text: t("control.approve_text", { id }) })) send("deletes/approve", approval);
  }, { class: "danger" });
  return [sync, paused ? resume : pause, held ? approve : null];
}

/** Sends a command, asking for the token if it is wanted, and says what came of it. */
async function command(path, words) {
  const headers = token ? { authorization: "Bearer " + token } : {};
  let why = "";
  try {
    const answer = await fetch(path, { method: "POST", headers, signal: AbortSignal.timeout(PATIENCE) });
    if (answer.status === 401) {
      token = (await ask({ title: t("control.token_title"), text: t("control.token_text"), field: t("control.token") })) || "";
      if (token) return command(path, words);
    }
    if (!answer.ok) why = said((await answer.json()).error.message);
  } catch (error) {
    why = error.message;
  }
  notice(why ? t("control.failed", { why }) : t("control.done", { what: words }), Boolean(why));
  poll();
}

/** Shows a sentence for a while, and tells it to screen readers. */
function notice(text, failed) {
  say(text);
  const line = el("p", { class: failed ? "stale" : "fine", id: "notice" }, text);
  byId("notice")?.remove();
  byId("controls").parentElement.after(line);
  setTimeout(() => line.remove(), 15000);
}

/** A question in a dialog: resolves to true or the text of the field, or to null. */
function ask({ title, text, field }) {
  const dialog = byId("dialog"), input = byId("dialog-input");
  setText(byId("dialog-title"), title);
  setText(byId("dialog-text"), text);
  setText(byId("dialog-label"), field ?? "");
  setText(byId("dialog-yes"), t("yes"));
  setText(byId("dialog-no"), t("no"));
  byId("dialog-field").hidden = !field;
  input.value = "";
  return new Promise((resolve) => {
    let answer = null;
    byId("dialog-form").onsubmit = (event) => {
      event.preventDefault();
      answer = field ? input.value : true;
      dialog.close();
    };
    byId("dialog-no").onclick = () => dialog.close();
    dialog.onclose = () => { input.value = ""; resolve(answer); };
    dialog.showModal();
    (field ? input : byId("dialog-no")).focus();
  });
}
