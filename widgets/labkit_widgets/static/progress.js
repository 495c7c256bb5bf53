// A run: where it is, while it goes on; its result once it is done.

function runPage(view, ui, send) {
  const run = view.run;
  if (run.gone) return goneRun(view, send);
  if (run.problem) return [backLine(view, send), landing("h2", run.name), message("problem", run.problem)];
  if (!run.status) return [backLine(view, send), landing("h2", run.name), busy("Reading the run …")];
  return [
    backLine(view, send),
    h("div.lk-run-head", null,
      h("div", null, landing("h2", run.name), h("div.lk-about", null, run.about.map((fact) => h("span", null, `${fact.title} `, h("b", null, fact.value))))),
      badge(run.status.state)),
    run.status.ended ? endedView(run, send) : liveView(run, ui, send),
    run.result && h("div.lk-result", null, resultView(run, ui, send)),
    run.result && run.curve.loss.length > 0 && fold("How it learnt", [curves(run.curve), samples(run.samples)], { key: "curve" }),
    fold("Show as code", codeView(ui, run.code), { key: "code" }),
    run.status.ended && manage(run, ui, send),
  ];
}

function backLine(view, send) {
  const back = view.home === "runs" ? "All runs" : "New run";
  return h("div.lk-back", null,
    button(`‹ ${back}`, () => send({ do: "new_run" }), { kind: "link" }),
    view.home !== "runs" && button("My runs", () => send({ do: "open_runs" }), { kind: "link" }));
}

function goneRun(view, send) {
  return empty("This run is gone", "Its folder was deleted, here or elsewhere. Your other runs are untouched.",
    button(view.home === "runs" ? "All runs" : "New run", () => send({ do: "new_run" }), { kind: "primary" }),
    button("My runs", () => send({ do: "open_runs" })));
}

function liveView(run, ui, send) {
  const status = run.status;
  const stopping = "stop" in run.doing || status.phase.startsWith("Saving a checkpoint");
  return h("div.lk-live-run", null,
    h("ol.lk-stages", { "aria-label": "Stages" }, status.stages.map((stage) => h(`li.lk-${stage.state}`, { "aria-current": stage.state === "here" ? "step" : null }, h("span.lk-stage-dot", { "aria-hidden": "true" }), stage.title))),
    h("div.lk-status", null, h("b", null, status.words), h("span", null, phase(status))),
    h("progress.lk-progress", status.share === null ? { "aria-label": "Progress" } : { max: "1", value: String(status.share), "aria-label": "Progress" }),
    status.figures.length > 0 && facts(status.figures),
    status.message && message("warning", status.message),
    curves(run.curve),
    samples(run.samples),
    run.problems.stop && message("problem", run.problems.stop),
    h("div.lk-turn", null,
      h("p.lk-hint", null, "You may close this page: the run goes on. Run the cell again to see it."),
      h("div.lk-buttons", null, notifyButton(ui), button(stopping ? "Stopping …" : "Stop", () => send({ do: "stop" }), { disabled: stopping, title: "Saves a checkpoint; you can resume it later" }))));
}

/** What it does just now, where that says more than its state. */
function phase(status) {
  return status.phase === status.words ? "" : status.phase;
}

function endedView(run, send) {
  const status = run.status;
  if (status.state === "done") return null;
  const kind = status.state === "stopped" ? "info" : "problem";
  const words = { stopped: "The run was stopped.", failed: "The run failed.", damaged: "The files of this run are damaged." }[status.state];
  return h("div.lk-ended", null,
    status.state === "stopped" && status.message ? message(kind, h("b", null, status.message)) : message(kind, h("b", null, words), " ", status.message),
    run.problems.resume && message("problem", run.problems.resume),
    busy(run.doing.resume),
    h("div.lk-buttons", null,
      status.state !== "damaged" && button("Resume", () => send({ do: "resume" }), { kind: "primary", disabled: "resume" in run.doing, title: "Goes on from the newest checkpoint" }),
      status.state !== "damaged" && button("Start anew with other settings", () => send({ do: "again" }))),
    run.curve.loss.length > 0 && curves(run.curve),
    samples(run.samples));
}

/** Questions that it does not learn from, answered anew at each validation. */
function samples(found) {
  return found.length > 0 && answersPanel("What it answers", "Questions that it does not learn from, asked anew after each pass over the data.",
    found.map((one) => ({ ...one, answers: [["At first", one.first], ["Now", one.now], ["Your table", one.wanted]] })), true);
}

/** Rename and delete. */
function manage(run, ui, send) {
  const id = ui.id("rename");
  return fold("Rename or delete", [
    h("form.lk-inline", { onsubmit: (e) => { e.preventDefault(); send({ do: "rename", name: e.target.elements.name.value }); } },
      h("div.lk-field", null, h("label", { for: id }, "Name"), h("input", { id, name: "name", type: "text", value: run.name, maxlength: "80", autocomplete: "off" })),
      h("button.lk-button.lk-plain", { type: "submit" }, "Rename")),
    run.problems.delete && message("problem", run.problems.delete),
    busy(run.doing.delete),
    ui.deleting === run.id
      ? h("div.lk-confirm", { role: "group", "aria-label": "Delete the run" },
        landing("p", "Delete ", h("b", null, run.name), " with its model and its copy of the data? This cannot be undone."),
        h("div.lk-buttons", null, button("Delete it", () => { ui.set({ deleting: "" }); send({ do: "delete" }); }, { kind: "danger" }), button("Keep it", () => ui.set({ deleting: "" }))))
      : h("div.lk-buttons", null, button("Delete this run …", () => ui.set({ deleting: run.id }), { kind: "danger-plain" }), h("span.lk-hint", null, run.folder)),
  ], { key: "manage" });
}
