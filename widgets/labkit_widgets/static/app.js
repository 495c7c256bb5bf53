// One widget on one page: draws its view, sends what a person does, and tells when a run is done.

const PAGES = { form: formPage, run: runPage, runs: runsPage, compare: comparePage };

/** What belongs to this page alone: what is typed, folded, picked. `set` draws anew. */
function pageState(draw, send) {
  const ids = new Map();
  const own = freshId();
  const ui = {
    picked: [],
    sort: { key: "started", down: true },
    shown: ROWS_AT_ONCE,
    set: (changes) => { Object.assign(ui, changes); draw(); },
    id: (key) => { if (!ids.has(key)) ids.set(key, freshId()); return ids.get(key); },
    name: (words) => `${own}-${words}`,
    page: crypto.getRandomValues(new Uint32Array(2)).join("-"),
    beginUpload: (file, purpose) => {
      ui.set({ upload: { file, share: 0 } });
      send({ do: "upload", name: file.name, size: file.size, purpose, page: ui.page });
    },
  };
  return ui;
}

async function carryOn(ui, send, place) {
  if (place.page !== ui.page || !ui.upload) return;
  try {
    await uploadFile(ui.upload.file, place, (share) => ui.set({ upload: { ...ui.upload, share } }));
    send({ do: "uploaded", ticket: place.ticket });
  } catch (error) {
    const why = error instanceof TypeError ? "the server does not answer." : error.message;
    send({ do: "upload_failed", ticket: place.ticket, why });
  }
  ui.set({ upload: null });
}

/** A notice on the page's title, and by the browser where it was allowed. */
function tellDone(run) {
  const words = { done: "is done", stopped: "was stopped", failed: "failed" }[run.status.state] || "has ended";
  if (document.hidden) {
    const mark = "● ";
    document.title = mark + document.title;
    const restore = () => {
      if (document.hidden) return;
      document.title = document.title.replace(mark, "");
      document.removeEventListener("visibilitychange", restore);
    };
    document.addEventListener("visibilitychange", restore);
  }
  if ("Notification" in window && Notification.permission === "granted") new Notification(`${run.name} ${words}`);
}

function hasEnded(before, now) {
  return before && now && before.id === now.id && before.status && now.status && !before.status.ended && now.status.ended;
}

function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "labkit";
  el.append(root);
  let seen = model.get("view");
  const send = (act) => model.send(act);
  const draw = () => {
    const view = model.get("view");
    const page = PAGES[view.page];
    patch(root, [h("div.lk-page", { key: `${view.page} ${view.run ? view.run.id : ""}` },
      view.notice && h("div.lk-notice", { role: "alert" }, message(view.notice.kind, view.notice.text), button("Close", () => send({ do: "dismiss" }), { kind: "small" })),
      view[view.page] ? page(view, ui, send) : busy(view.notice ? "" : "One moment …"))]);
    root.dataset.page = view.page;
  };
  const ui = pageState(draw, send);
  const changed = () => {
    const view = model.get("view");
    if (ui.upload && view.notice && view.notice.kind === "error") ui.upload = null;
    if (hasEnded(seen.run, view.run)) tellDone(view.run);
    if (seen.page !== view.page || (seen.form && view.form && seen.form.step !== view.form.step)) keepInSight(root);
    seen = view;
    draw();
  };
  const heard = (content) => { if (content && content.upload) carryOn(ui, send, content.upload); };
  model.on("change:view", changed);
  model.on("msg:custom", heard);
  draw();
  send({ do: "hello", root: serverRoot() });
  return () => {
    model.off("change:view", changed);
    model.off("msg:custom", heard);
  };
}

/** A new page begins at its top: scroll there where that is out of sight. */
function keepInSight(root) {
  if (root.getBoundingClientRect().top < 0) root.scrollIntoView({ block: "start" });
}

export default { render };
