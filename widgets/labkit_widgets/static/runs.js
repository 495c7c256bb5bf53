// All runs as a table, and two of them side by side.

const RUN_COLUMNS = [
  { key: "name", title: "Name", text: (r) => r.name },
  { key: "state", title: "State", text: (r) => r.state },
  { key: "base", title: "Base model", text: (r) => r.base },
  { key: "data", title: "Data", text: (r) => r.data },
  { key: "accuracy", title: "Accuracy", text: (r) => r.accuracy_words, right: true },
  { key: "macro_f1", title: "Macro-F1", text: (r) => r.macro_f1_words, right: true },
  { key: "started", title: "Started", text: (r) => r.started_words },
  { key: "duration", title: "Took", text: (r) => r.duration_words, right: true },
];
const ROWS_AT_ONCE = 50;

function runsPage(view, ui, send) {
  const rows = view.runs.rows;
  const back = view.home !== "runs" && h("div.lk-back", null, button("‹ New run", () => send({ do: "new_run" }), { kind: "link" }));
  if (!rows) return [back, landing("h2", "My runs"), busy(view.runs.busy)];
  if (!rows.length) return [back, noRuns(view, send)];
  return [
    back,
    h("div.lk-run-head", null, landing("h2", "My runs"), button("Refresh", () => send({ do: "open_runs" }), { kind: "small", disabled: Boolean(view.runs.busy) })),
    runsFilter(rows, ui, send),
    runsTable(sorted(filtered(rows, ui), ui), ui, send),
  ];
}

function noRuns(view, send) {
  return view.home === "runs"
    ? empty("No runs yet", "A run tunes a model on your data. Start the first one with Studio() in another cell; it then appears here.", button("Look again", () => send({ do: "open_runs" })))
    : empty("No runs yet", "A run tunes a model on your data. Your first one can be one with sample data.", button("New run", () => send({ do: "new_run" }), { kind: "primary" }));
}

function filtered(rows, ui) {
  const words = (ui.filter || "").toLowerCase().split(/\s+/).filter(Boolean);
  const text = (r) => `${r.name} ${r.state} ${r.base} ${r.data} ${r.id}`.toLowerCase();
  return rows.filter((r) => (!ui.state || r.state === ui.state) && words.every((word) => text(r).includes(word)));
}

function sorted(rows, ui) {
  const { key, down } = ui.sort;
  const compare = (a, b) => {
    if (a[key] === b[key]) return 0;
    if (a[key] === null) return 1; // what was not measured comes last, whichever way
    if (b[key] === null) return -1;
    const less = typeof a[key] === "string" ? a[key].localeCompare(b[key]) < 0 : a[key] < b[key];
    return less === down ? 1 : -1;
  };
  return [...rows].sort(compare);
}

function runsFilter(rows, ui, send) {
  const states = [...new Set(rows.map((r) => r.state))].sort();
  const [find, state] = [ui.id("find"), ui.id("state")];
  const picked = ui.picked.filter((id) => rows.some((r) => r.id === id));
  return h("div.lk-runs-filter", null,
    h("div.lk-field", null, h("label", { for: find }, "Find"), h("input", { id: find, type: "search", value: ui.filter || "", placeholder: "name, data, base model", oninput: (e) => ui.set({ filter: e.target.value, shown: ROWS_AT_ONCE }) })),
    h("div.lk-field", null, h("label", { for: state }, "State"),
      h("select", { id: state, value: ui.state || "", onchange: (e) => ui.set({ state: e.target.value }) }, h("option", { value: "", key: "" }, "all"), states.map((s) => h("option", { value: s, key: s }, s)))),
    button(picked.length === 2 ? "Compare the two" : `Tick two to compare${picked.length ? " (1 of 2)" : ""}`, () => send({ do: "compare", runs: picked }), { disabled: picked.length !== 2, kind: picked.length === 2 ? "primary" : "plain" }));
}

function runsTable(rows, ui, send) {
  const shown = rows.slice(0, ui.shown);
  return [
    h("table.lk-table.lk-runs", null,
      h("thead", null, h("tr", null, h("th", { scope: "col" }, h("span.lk-hidden", null, "Compare")), RUN_COLUMNS.map((column) => sortHead(column, ui)))),
      h("tbody", null, shown.map((row) => runRow(row, ui, send)))),
    !rows.length && h("p.lk-hint.lk-no-files", null, "No run fits. Change the words or the state above."),
    rows.length > shown.length && button(`Show ${Math.min(ROWS_AT_ONCE, rows.length - shown.length)} more of ${rows.length}`, () => ui.set({ shown: ui.shown + ROWS_AT_ONCE })),
  ];
}

function sortHead(column, ui) {
  const here = ui.sort.key === column.key;
  const onclick = () => ui.set({ sort: { key: column.key, down: here ? !ui.sort.down : ["accuracy", "macro_f1", "started", "duration"].includes(column.key) } });
  return h(`th${column.right ? ".lk-right" : ""}`, { scope: "col", "aria-sort": here ? (ui.sort.down ? "descending" : "ascending") : null },
    h("button.lk-sort", { type: "button", onclick }, column.title, h("span", { "aria-hidden": "true" }, here ? (ui.sort.down ? " ↓" : " ↑") : "")));
}

function runRow(row, ui, send) {
  const pick = (event) => {
    const without = ui.picked.filter((id) => id !== row.id);
    ui.set({ picked: event.target.checked ? [...without, row.id].slice(-2) : without });
  };
  return h("tr", { key: row.id },
    h("td", null, h("input", { type: "checkbox", checked: ui.picked.includes(row.id), onchange: pick, "aria-label": `Compare ${row.name}` })),
    RUN_COLUMNS.map((column) => h(`td${column.right ? ".lk-right" : ""}`, null,
      column.key === "name" ? button(row.name, () => send({ do: "open_run", run: row.id }), { kind: "link" })
        : column.key === "state" ? badge(row.state) : column.text(row))));
}

function comparePage(view, ui, send) {
  const found = view.compare;
  const [left, right] = found.runs;
  const head = (first) => h("thead", null, h("tr", null, h("th", { scope: "col" }, first), [left, right].map((run) => h("th", { scope: "col" }, button(run.name, () => send({ do: "open_run", run: run.id }), { kind: "link" })))));
  const line = (title, cells) => h("tr", null, h("th", { scope: "row" }, title), cells.map((cell) => h("td", null, cell)));
  const cell = (figure) => figure ? [h("b", null, figure.words), h("span.lk-hint", null, ` ${figure.range}`)] : "not measured";
  const both = found.figures.find((figure) => figure.differ !== null);
  return [
    h("div.lk-back", null, button("‹ All runs", () => send({ do: "open_runs" }), { kind: "link" })),
    landing("h2", "Two runs side by side"),
    h("table.lk-table.lk-compare", null, head("Result"), h("tbody", null,
      line("State", found.runs.map((run) => badge(run.state))),
      found.figures.map((figure) => line(figure.title, figure.cells.map(cell))),
      line("Held-out rows", found.achieved.map((a) => a ? String(a.rows) : "")),
      line("Verdict", found.achieved.map((a) => a ? a.verdict : "")))),
    both && h("p.lk-hint", null, both.differ ? `Their intervals of ${both.title.toLowerCase()} do not overlap: the difference is hardly chance.` : `Their intervals of ${both.title.toLowerCase()} overlap: the difference may be chance.`),
    found.settings.length
      ? h("table.lk-table.lk-compare", null, head("Settings that differ"), h("tbody", null, found.settings.map((s) => line(s.title, [s.left, s.right]))))
      : message("info", "They were asked for with the same settings."),
  ];
}
