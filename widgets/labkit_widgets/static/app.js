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
  const { file } = ui.upload;
  ui.upload.begun = true;
  try {
    await uploadFile(file, place, (share) => ui.set({ upload: { file, share, begun: true } }));
    send({ do: "uploaded", ticket: place.ticket });
  } catch (error) {
    const why = error instanceof TypeError ? "the server does not answer." : error.message;
    send({ do: "upload_failed", ticket: place.ticket, why });
  }
  ui.set({ upload: null });
}

function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "labkit";
  root.addEventListener("focusin", ownKeys);
  root.addEventListener("keydown", submitByEnter);
  el.append(root);
  const closed = new AbortController();
  let seen = model.get("view");
  let drawn = "";
  const drawNow = () => {
    const view = stepAhead(model.get("view"), ui);
    const isNew = Boolean(drawn) && placeOf(view) !== drawn;
    drawn = placeOf(view);
    keepFocus(root, isNew, () => patch(root, pageOf(view, ui, send)));
    if (isNew) keepInSight(root);
  };
  const draw = unhurried(root, drawNow, closed.signal);
  const send = (act) => {
    const number = call.send(act);
    if (act.do === "go_to") ui.set({ ahead: { step: act.step, number } });
  };
  const ui = pageState(draw, send);
  const lost = () => { if (!ui.lost) ui.set({ lost: true }); };
  const call = caller(model, ui.page, (silent) => { if (silent !== Boolean(ui.silent)) ui.set({ silent }); }, lost);
  const changed = () => {
    const view = model.get("view");
    const refused = view.notice && view.notice.kind === "error";
    if (ui.upload && !ui.upload.begun && refused) ui.upload = null;
    call.heard(view);
    draw();
    if (hasEnded(seen, view)) tellDone(runOf(view));
    seen = view;
  };
  const heard = (content) => { if (content && content.upload) carryOn(ui, send, content.upload); };
  const listeners = { "change:view": changed, "msg:custom": heard, comm_live_update: lost };
  for (const [name, listener] of Object.entries(listeners)) model.on(name, listener);
  const unwatch = watchKernel(model, lost);
  draw();
  send({ do: "hello", root: serverRoot() });
  return () => {
    closed.abort();
    call.close();
    unwatch();
    for (const [name, listener] of Object.entries(listeners)) model.off(name, listener);
  };
}

/** All that a page shows. */
function pageOf(view, ui, send) {
  const page = PAGES[view.page];
  const words = kernelWords(ui);
  return [
    h("div.lk-hidden", { key: "spoken", role: "status" }, words || spoken(view, ui)),
    words && h("div.lk-kernel", { key: "kernel" }, message(ui.lost ? "problem" : "warning", words)),
    h("div.lk-page", { key: `${view.page} ${view.run ? view.run.id : ""}` },
      view.notice && h("div.lk-notice", null, message(view.notice.kind, view.notice.text), button("Close", () => send({ do: "dismiss" }), { kind: "small" })),
      view[view.page] ? page(view, ui, send) : busy(view.notice ? "" : "One moment …"))];
}

/** No key here is a shortcut of JupyterLab's: an arrow would leave for the next cell, d d delete it. */
function ownKeys(event) {
  event.target.dataset.lmSuppressShortcuts = "true"; // Lumino reads it of the target itself
}

/** In a cell's output JupyterLab lets Enter submit no form. */
function submitByEnter(event) {
  const { target } = event;
  if (event.key !== "Enter" || event.isComposing || target.localName !== "input" || !target.form) return;
  event.preventDefault(); // where it would, once is enough
  target.form.requestSubmit();
}

/** Where a person is: another place begins with its own heading. */
function placeOf(view) {
  return [view.page, view.run ? view.run.id : "", view.form ? view.form.step : ""].join(" ");
}

/** A new page begins at its top: scroll there where that is out of sight. */
function keepInSight(root) {
  if (root.getBoundingClientRect().top < 0) root.scrollIntoView({ block: "start" });
}

export default { render };
