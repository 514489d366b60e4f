// What an operator may ask of a cluster. The service decides who may: with a token whoever has it,
// without one this machine only. The token stays in this variable and nowhere else.

let token = "";

function controls({ id, paused, held, waiting }) {
  if (waiting) return null;
  const button = (name, run, properties = {}) => el("button", { type: "button", "data-control": name, ...properties, on: { click: run } });
  const sync = button("sync", () => command(id, "sync", t("control.sync")));
  const pause = button(paused ? "resume" : "pause", async () => {
    if (paused) return command(id, "resume", t("control.resume"));
    if (await ask({ title: t("control.pause_title", { id }), text: t("control.pause_text") })) command(id, "pause", t("control.pause"));
  });
  sync.append(t("control.sync"));
  pause.append(t(paused ? "control.resume" : "control.pause"));
  if (!held) return [sync, pause];
  const words = t("control.approve", { count: number(held) });
  const approve = button("approve", async () => {
    const title = t("control.approve_title", { count: number(held) });
    if (await ask({ title, text: t("control.approve_text", { id }) })) command(id, "deletes/approve", words);
  }, { class: "danger" });
  approve.append(words);
  return [sync, pause, approve];
}

/** Sends a command, asking for the token if it is wanted, and says what came of it. */
async function command(id, action, words) {
  const headers = token ? { authorization: "Bearer " + token } : {};
  let why = "";
  try {
    const answer = await fetch(`/api/v1/clusters/${encodeURIComponent(id)}/${action}`, { method: "POST", headers, signal: AbortSignal.timeout(PATIENCE) });
    if (answer.status === 401) {
      token = (await ask({ title: t("control.token_title"), text: t("control.token_text"), field: t("control.token") })) || "";
      if (token) return command(id, action, words);
    }
    if (!answer.ok) why = (await answer.json()).error.message;
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
  byId("controls")?.parentElement.after(line);
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
