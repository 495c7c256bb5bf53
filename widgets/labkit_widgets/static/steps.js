// The form: one step in sight, all of them in the stepper above it.

const STEP_SIGNS = { done: "✓", wrong: "!" };

function formPage(view, ui, send) {
  const form = view.form;
  const step = { task: taskStep, base: baseStep, data: dataStep, settings: settingsStep, start: startStep }[form.step];
  return [
    view.newest && newestRun(view.newest, send),
    h("div.lk-intro", null,
      h("div", null, h("h2", null, "Tune a model on your own data"),
        h("p", null, "Your data stays on this lab's own computers. Nothing is sent elsewhere.")),
      h("div.lk-intro-actions", null,
        form.sample && button("Try with sample data", () => send({ do: "try_sample" }), { kind: form.step === "task" ? "primary" : "plain" }),
        button("My runs", () => send({ do: "open_runs" }), { kind: "plain" }))),
    stepper(form, send),
    h("section.lk-step", { key: form.step, "aria-label": form.steps.find((s) => s.key === form.step).title }, step(form, ui, send)),
    fold("Show as code", codeView(ui, form.code), { key: "code" }),
  ];
}

/** The newest run, so that a page opened again leads to it. */
function newestRun(run, send) {
  const words = run.accuracy !== null && run.state === "done" ? `Done: accuracy ${(100 * run.accuracy).toFixed(1)}%.` : `${run.phase && !run.ended ? run.phase : run.words}.`;
  return h(`div.lk-newest${run.ended ? "" : ".lk-live"}`, null,
    h("span.lk-dot", { "aria-hidden": "true" }),
    h("span", { role: "status" }, run.ended ? "Your newest run " : "Your run ", h("b", null, run.name), ` — ${words}`),
    button(run.ended ? "Open it" : "Show it", () => send({ do: "open_run", run: run.id }), { kind: "small" }));
}

function stepper(form, send) {
  return h("ol.lk-stepper", { "aria-label": "Steps" }, form.steps.map((step, n) =>
    h(`li.lk-step-link.lk-${step.key === form.step ? "here" : step.state}`, { key: step.key },
      h("button", { type: "button", onclick: () => send({ do: "go_to", step: step.key }), "aria-current": step.key === form.step ? "step" : null, "aria-label": stepName(step, n) },
        h("span.lk-number", { "aria-hidden": "true" }, step.key === form.step ? String(n + 1) : STEP_SIGNS[step.state] || String(n + 1)),
        h("span.lk-step-words", null, h("span.lk-step-title", null, step.title), h("span.lk-step-choice", null, step.words))))));
}

function stepName(step, n) {
  const wrong = step.state === "wrong" && step.words !== "needs a look" ? "needs a look" : "";
  return [`Step ${n + 1}: ${step.title}`, step.words, wrong].filter(Boolean).join(", ");
}

function stepHead(title, help) {
  return h("div.lk-step-head", null, landing("h3", title), h("p", null, help));
}

/** Back and on. A double click is one press: the step that it led to was not seen yet. */
function turn(send, back, next, { disabled = false } = {}) {
  const go = (step) => (event) => { if (event.detail < 2) send({ do: "go_to", step }); };
  return h("div.lk-turn", null,
    back ? button("Back", go(back)) : h("span"),
    next && button("Next", go(next), { kind: "primary", disabled }));
}

function taskStep(form, ui, send) {
  return [
    stepHead("What should the model do?", "Choose the kind of work. You bring examples; the model learns to do the same with new ones."),
    choices("Task", form.task.choices.map((c) => ({ key: c.key, title: c.title, facts: [c.summary] })), form.task.chosen, (recipe) => send({ do: "choose_task", recipe }), ui),
    turn(send, null, "base", { disabled: !form.task.chosen }),
  ];
}

function baseStep(form, ui, send) {
  const base = form.base;
  return [
    stepHead("Which model should learn it?", "A base model has read a lot of text already; yours will be made from it. Choose one that knows the language of your texts. Larger ones are often better, and slower. Below each stands where there is room to tune it: a run has memory and GPUs of its own, whatever this session has."),
    base.broken.map((said) => message("warning", said)),
    base.choices.length
      ? choices("Base model", base.choices, base.chosen, (key) => send({ do: "choose_base", base: key }), ui)
      : empty("No base model for this task yet", `Ask who runs this site to add one: “labkit models add FOLDER” in a terminal. It then appears in ${base.catalogue}.${toyWords(base.toy)}`, button("Look again", () => send({ do: "go_to", step: "base" }))),
    base.needed.map((item) => field(item, send, ui.id)),
    turn(send, "task", "data", { disabled: !base.chosen }),
  ];
}

function toyWords(command) {
  return command && ` Only to see how it works, “${command}” makes a toy in about a minute.`;
}

/** One of several, as cards. */
function choices(name, items, chosen, choose, ui) {
  return h("fieldset.lk-choices", null, h("legend.lk-hidden", null, name), items.map((item) =>
    h(`label.lk-choice${item.key === chosen ? ".lk-chosen" : ""}`, { key: item.key },
      h("input", { type: "radio", name: ui.name(name), checked: item.key === chosen, onchange: () => choose(item.key) }),
      h("span", null, h("b", null, item.title), h("span.lk-choice-facts", null, item.facts.join(" · ")),
        item.room && h("span.lk-choice-facts", null, item.room)))));
}

function dataStep(form, ui, send) {
  const data = form.data;
  const help = `${data.help} Excel, CSV and others will do.`;
  const body = data.data ? h("div.lk-chosen-data", null, chosenData(data, ui, send)) : filePicker(ui, data.listing, send, (path) => send({ do: "choose_file", path }), "data");
  return [stepHead("Which examples should it learn from?", help), body, turn(send, "base", "settings", { disabled: !data.data })];
}

function chosenData(data, ui, send) {
  return [
    chosenFile(data.data, data.preview && `${data.preview.height.toLocaleString("en")} rows`, () => send({ do: "drop_file" })),
    busy(data.busy),
    data.problem && message("problem", data.problem),
    data.columns.length > 0 && h("div.lk-columns", null, data.columns.map((role) => columnField(role, ui, send))),
    data.preview && preview(data.preview, data.columns),
    data.check && checkView(data.check),
    data.see && fold("See exactly what the model will see", seeBox(data.see, ui, send), { key: "see" }),
    data.preview && fold("A separate test file (optional)", testFile(data, ui, send), { open: Boolean(data.test), key: "test" }),
  ];
}

function chosenFile(file, facts, drop) {
  return h("div.lk-chosen-file", null,
    h("span.lk-file-icon", { "aria-hidden": "true" }, "▤"),
    h("span.lk-file-name", { title: file.path }, file.name),
    h("span.lk-file-facts", null, [file.size, facts].filter(Boolean).join(" · ")),
    button("Choose another", drop, { kind: "small" }));
}

function columnField(role, ui, send) {
  const id = ui.id(role.key);
  const known = role.choices.includes(role.value);
  return h("div.lk-field", { key: role.key },
    h("label", { for: id }, role.title),
    h("select", { id, value: known ? role.value : "", onchange: (e) => send({ do: "set_value", key: role.key, value: e.target.value }) },
      (role.optional || !known) && h("option", { value: "", key: "" }, role.optional ? "none" : "Choose a column"),
      role.choices.map((c) => h("option", { value: c, key: `c ${c}` }, c))),
    h("p.lk-hint", null, role.help));
}

function preview(table, roles) {
  const roleOf = (column) => roles.find((role) => role.value === column);
  const head = (column) => h("th", { scope: "col", class: roleOf(column) ? `lk-role-${roleOf(column).key}` : null }, column,
    roleOf(column) && h("span.lk-role", null, roleOf(column).title));
  return h("table.lk-table.lk-preview", { "aria-label": "The first rows" },
    table.more_columns > 0 && h("caption", null, `and ${table.more_columns} more columns`),
    h("thead", null, h("tr", null, h("th.lk-row-number", { scope: "col" }, "row"), table.columns.map(head))),
    h("tbody", null, table.rows.map((row) => h("tr", { key: row.number }, h("td.lk-row-number", null, String(row.number)), row.cells.map((cell) => h("td", null, h("div.lk-cell", null, cell)))))));
}

function checkView(check) {
  return h("div.lk-check", null,
    check.findings.length ? h("ul.lk-findings", null, check.findings.map(finding)) : message("good", "Nothing stands out: every row can be used."),
    h("div.lk-parts", null, check.parts.map((part) => h("div", null, h("b", null, part.rows.toLocaleString("en")), ` rows ${part.title}`))),
    labelBars(check));
}

function finding(found) {
  return h(`li.lk-finding.lk-${found.severity}`, null,
    h("span.lk-sign", { "aria-hidden": "true" }, SIGNS[found.severity]),
    h("div", null, h("span.lk-hidden", null, `${found.severity}: `), found.message, found.rows && h("span.lk-finding-rows", null, ` ${found.rows}`), found.fix && h("span.lk-finding-fix", null, ` ${found.fix}`)));
}

function labelBars(check) {
  const most = Math.max(1, ...check.labels.map((item) => item.rows));
  return h("div.lk-labels", { role: "group", "aria-label": "Rows of each label" },
    check.labels.map((item) => h("div.lk-label-bar", null,
      h("span.lk-label-name", { title: item.label }, item.label),
      h("span.lk-bar-track", { "aria-hidden": "true" }, h("span.lk-bar", { style: `width:${(100 * item.rows) / most}%` })),
      h("span.lk-label-rows", null, item.rows.toLocaleString("en")))),
    check.more_labels > 0 && h("p.lk-hint", null, `and ${check.more_labels} more labels`));
}

/** A row as the model would see it: what is learnt is marked, what is cut off struck through. */
function seeBox(see, ui, send) {
  const id = ui.id("see");
  const row = Number(see.row);
  const go = (to) => () => send({ do: "see", row: String(to) });
  const show = (event) => { event.preventDefault(); if (!see.busy) send({ do: "see", row: event.target.elements.row.value.trim() }); };
  return [
    h("p.lk-hint", null, "The text that a row becomes. It learns to write what is marked, and only reads the rest."),
    h("form.lk-inline.lk-see", { onsubmit: show },
      h("div.lk-field", null, h("label", { for: id }, "Row"), h("input", { id, name: "row", type: "text", inputmode: "numeric", maxlength: "12", value: see.row, autocomplete: "off" })),
      h("button.lk-button.lk-plain", { type: "submit", "aria-disabled": see.busy ? "true" : null }, "Show"),
      button("‹ Row before", go(row - 1), { disabled: Boolean(see.busy) || !(row > see.first) }),
      button("Next row ›", go(row + 1), { disabled: Boolean(see.busy) || !(row < see.last) })),
    h("div.lk-seen", { "aria-live": "polite" }, busy(see.busy), see.problem && message("warning", see.problem),
      see.looks.map((look, n) => [see.looks.length > 1 && h("p.lk-hint", null, `Example ${n + 1} of ${see.looks.length}`), seenText(look)])),
  ];
}

const PIECES = { read: "span", learnt: "mark", cut: "s" };

function seenText(look) {
  const cut = look.cut ? `, ${look.cut.toLocaleString("en")} cut off at the end` : "";
  return [
    h("pre.lk-seen-text", { role: "group", "aria-label": "What the model sees" }, look.pieces.map((piece) => h(PIECES[piece.kind], null, piece.text))),
    h("p.lk-hint", null, `${look.tokens.toLocaleString("en")} tokens, ${look.learnt.toLocaleString("en")} learnt${cut}.`),
  ];
}

function testFile(data, ui, send) {
  if (data.test) return chosenFile(data.test, "measured on, never learnt from", () => send({ do: "drop_file", role: "test" }));
  return [
    h("p.lk-hint", null, "Without one, a part of your rows is held out and used for the final measurement. Choose a file only if you keep one for that."),
    filePicker(ui, data.listing, send, (path) => send({ do: "choose_file", path, role: "test" }), "test"),
  ];
}

function settingsStep(form, ui, send) {
  const group = (items) => h("div.lk-fields", null, items.map((item) => field(item, send, ui.id)));
  const anyWrong = (items) => items.some((item) => item.wrong);
  return [
    stepHead("How should it learn?", "The defaults are good. Change something only if you have a reason; an empty field means that we choose."),
    group(form.settings.sight),
    fold("More settings", group(form.settings.more), { open: anyWrong(form.settings.more), key: "more" }),
    fold(form.settings.machine_title, [busy(form.settings.busy), form.settings.problem && message("warning", form.settings.problem), group(form.settings.machine)], { open: anyWrong(form.settings.machine), key: "machine" }),
    turn(send, "data", "start"),
  ];
}

function startStep(form, ui, send) {
  const start = form.start;
  const id = ui.id("name");
  return [
    stepHead("Ready to start?", "The run goes on by itself: you may close this page, and come back."),
    h("div.lk-summary", null, form.steps.slice(0, 4).map((step) =>
      h("div", { key: step.key }, h("span", null, step.title), h("b", null, step.words || "—"), button("Change", () => send({ do: "go_to", step: step.key }), { kind: "link", title: `Change: ${step.title}` })))),
    busy(start.busy),
    start.problem && message("problem", start.problem),
    start.check && facts(start.check.facts),
    start.check && fold(checkTitle(start.check), checkView(start.check), { open: !start.check.usable, key: "check" }),
    h("div.lk-start-line", null,
      h("div.lk-field", null, h("label", { for: id }, "Name of the run"),
        h("input", { id, type: "text", value: start.name, placeholder: start.placeholder, maxlength: "80", autocomplete: "off", "aria-invalid": start.name_wrong ? "true" : null, onchange: (e) => send({ do: "set_value", key: "name", value: e.target.value }) }),
        start.name_wrong && h("p.lk-wrong", { role: "alert" }, start.name_wrong)),
      button("Start", () => send({ do: "start" }), { kind: "primary.lk-large", disabled: !start.ready })),
  ];
}

function checkTitle(check) {
  const rows = check.parts.reduce((sum, part) => sum + part.rows, 0);
  const worst = check.usable ? check.findings.filter((f) => f.severity === "warning").length : -1;
  const said = worst < 0 ? "cannot be used as it is" : worst ? `${worst} thing${worst > 1 ? "s" : ""} to look at` : "fine to use";
  return `The check of your data: ${rows.toLocaleString("en")} rows, ${said}`;
}
