// Small pieces that every page is made of.

const SIGNS = { problem: "✕", warning: "!", note: "i", error: "✕", info: "i", good: "✓" };

function button(words, onclick, { kind = "plain", disabled = false, title } = {}) {
  return h(`button.lk-button.lk-${kind}`, { type: "button", onclick, disabled, title }, words);
}

/** A sentence that is about something: what went wrong, or good to know. */
function message(kind, ...words) {
  const role = kind === "error" || kind === "problem" ? "alert" : "status";
  return h(`div.lk-message.lk-${kind}`, { role }, h("span.lk-sign", { "aria-hidden": "true" }, SIGNS[kind]), h("div", null, words));
}

function busy(words) {
  return words && h("div.lk-busy", { role: "status" }, h("span.lk-spinner", { "aria-hidden": "true" }), words);
}

function fold(title, children, { open = false, key } = {}) {
  return h("details.lk-fold", { open, key }, h("summary", null, title), h("div.lk-folded", null, children));
}

/** What is here when nothing is: it says what to do. */
function empty(title, words, ...actions) {
  return h("div.lk-empty", null, h("p.lk-empty-title", null, title), h("p", null, words), actions);
}

/** A list of facts, each with a name. */
function facts(items) {
  return h("dl.lk-facts", null, items.map((item) =>
    h("div", { title: item.details || null }, h("dt", null, item.title), h("dd", null, item.value))));
}

function badge(state) {
  return h(`span.lk-badge.lk-state-${state}`, null, state);
}

/** Text with a button that copies it. */
function copyable(ui, key, title, text) {
  const copied = ui.copied === key;
  const copy = async () => {
    await copyText(text);
    ui.set({ copied: key });
    setTimeout(() => ui.copied === key && ui.set({ copied: "" }), 2000);
  };
  return h("div.lk-code", null,
    h("div.lk-code-head", null, h("span", null, title), button(copied ? "Copied" : "Copy", copy, { kind: "small" })),
    h("pre", { tabindex: "0", "aria-label": title }, text));
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // a page without https may not use the clipboard directly
    const field = document.createElement("textarea");
    field.value = text;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
}

/** The same run as code. */
function codeView(ui, code) {
  if (code.problem) return message("info", code.problem);
  return [
    copyable(ui, "cell", "In a notebook cell", code.cell),
    h("p.lk-hint", null, "To change it in a form again, write ", h("code", null, ".form()"), " in place of ", h("code", null, ".run()"), " and run the cell."),
    copyable(ui, "command", "In a terminal", code.command),
  ];
}

/** One form field with its label, its help and what is wrong with its value. */
function field(item, send, ids) {
  const id = ids(item.key);
  const described = [`${id}-help`, item.wrong && `${id}-wrong`].filter(Boolean).join(" ");
  const common = { id, "aria-describedby": described, "aria-invalid": item.wrong ? "true" : null };
  const set = (value) => send({ do: "set_value", key: item.key, value });
  const inputs = {
    switch: () => h("input", { ...common, type: "checkbox", checked: item.on, onchange: (e) => set(e.target.checked) }),
    choice: () => h("select", { ...common, value: item.value, onchange: (e) => set(e.target.value) },
      item.choices.map((c) => h("option", { value: c.value, key: c.value }, c.title))),
    text: () => h("input", { ...common, type: "text", value: item.value, placeholder: item.placeholder, autocomplete: "off", spellcheck: "false", onchange: (e) => set(e.target.value) }),
  };
  return h(`div.lk-field.lk-field-${item.kind}`, { key: item.key },
    h("label", { for: id }, item.title),
    inputs[item.kind](),
    h("p.lk-hint", { id: `${id}-help` }, item.help),
    item.wrong && h("p.lk-wrong", { id: `${id}-wrong`, role: "alert" }, capital(item.wrong)));
}

function capital(words) {
  return words.charAt(0).toUpperCase() + words.slice(1);
}
