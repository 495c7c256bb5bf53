// Small pieces that every page is made of.

const SIGNS = { problem: "✕", warning: "!", note: "i", error: "✕", info: "i", good: "✓" };

function button(words, onclick, { kind = "plain", disabled = false, title } = {}) {
  // Not the attribute `disabled`: it takes the focus from a button that was just pressed.
  return h(`button.lk-button.lk-${kind}`, { type: "button", onclick: disabled ? null : onclick, "aria-disabled": disabled ? "true" : null, title }, words);
}

/** A sentence that is about something: what went wrong, or good to know. */
function message(kind, ...words) {
  const role = kind === "error" || kind === "problem" ? "alert" : null;
  return h(`div.lk-message.lk-${kind}`, { role }, h("span.lk-sign", { "aria-hidden": "true" }, SIGNS[kind]), h("div", null, words));
}

function busy(words) {
  return words && h("div.lk-busy", null, h("span.lk-spinner", { "aria-hidden": "true" }), words);
}

function fold(title, children, { open = false, key } = {}) {
  return h("details.lk-fold", { open, key }, h("summary", null, title), h("div.lk-folded", null, children));
}

/** What is here when nothing is: it says what to do. */
function empty(title, words, ...actions) {
  return h("div.lk-empty", null, landing("p.lk-empty-title", title), h("p", null, words), h("div.lk-buttons", null, actions));
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
  const copied = ui.copied && ui.copied.key === key ? ui.copied.words : "";
  const copy = async () => {
    const done = { key, words: (await copyText(text)) ? "Copied" : "Not copied: select the text" };
    ui.set({ copied: done });
    setTimeout(() => ui.copied === done && ui.set({ copied: null }), 2000);
  };
  return h("div.lk-code", null,
    h("div.lk-code-head", null, h("span", null, title), button(copied || "Copy", copy, { kind: "small" })),
    h("pre", { tabindex: "0", role: "group", "aria-label": title }, text));
}

/** Whether the text is in the clipboard now. */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch { // a page without https may not use the clipboard directly
    const focused = document.activeElement;
    const field = document.createElement("textarea");
    field.value = text;
    document.body.append(field);
    field.select();
    const copied = document.execCommand("copy");
    field.remove();
    focused.focus();
    return copied;
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
    file: () => [
      h("input", { ...common, type: "text", list: `${id}-names`, value: item.value, placeholder: item.placeholder, autocomplete: "off", spellcheck: "false", onchange: (e) => set(e.target.value) }),
      h("datalist", { id: `${id}-names` }, item.choices.map((c) => h("option", { value: c.value, key: c.value }, c.title)))],
    long: () => h("textarea", { ...common, rows: "2", value: item.value, placeholder: item.placeholder, onchange: (e) => set(e.target.value) }),
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
