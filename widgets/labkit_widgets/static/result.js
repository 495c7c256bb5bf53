// What a run achieved, and its model in use.

const TONES = { better: "good", even: "warning", worse: "problem" };

function resultView(run, ui, send) {
  const result = run.result;
  return [
    h(`div.lk-verdict.lk-${TONES[result.tone]}`, null,
      h("p", null, result.verdict),
      h("p.lk-hint", null, `Measured once, on ${result.rows.toLocaleString("en")} rows that it never learnt from.`)),
    h("div.lk-measures", null, result.measures.map(measure)),
    h("p.lk-hint", null, result.help),
    result.notes.map((note) => message("warning", note)),
    result.talk ? talkView(run, ui, send) : tryIt(run, ui, send),
    tableIn(run, ui, send),
    result.mistakes && mistakes(result),
    result.vote && [blindVote(result.vote, send), compared(result.compared, !result.vote.ballot)],
    download(run, ui, send),
  ];
}

/** Bars with their 95% intervals, one below the other. */
function measure(found) {
  return h("figure.lk-measure", null,
    h("figcaption", null, h("b", null, found.title), h("span", null, found.help)),
    found.bars.map((bar) => h(`div.lk-result-bar${bar.tuned ? ".lk-tuned" : ""}`, { title: `95% interval: ${bar.range}` },
      h("span.lk-bar-name", null, bar.name),
      h("span.lk-bar-track", { "aria-hidden": "true" },
        h("span.lk-bar", { style: `width:${100 * bar.value}%` }),
        h("span.lk-interval", { style: `left:${100 * bar.low}%;width:${100 * (bar.high - bar.low)}%` })),
      h("span.lk-bar-value", null, h("b", null, bar.words), h("span", null, bar.range)))));
}

function tryIt(run, ui, send) {
  return h("section.lk-panel", null,
    h("h3", null, "Try it"),
    askForm("Write a sentence, as your people would write it", "Ask", "ask" in run.doing, ui, (text) => send({ do: "ask", text })),
    h("div", { "aria-live": "polite" }, busy(run.doing.ask), run.problems.ask && message("problem", run.problems.ask),
      run.result.answers.map((answer, n) => answerView(answer, run.result.asked - n))));
}

/** A box for a sentence, which Enter sends; it stays there unless `leaves`. */
function askForm(label, words, asking, ui, ask, { leaves = false, more = null } = {}) {
  const id = ui.id("ask");
  const submit = (event) => {
    event.preventDefault();
    const text = ui.sentence || "";
    if (!text.trim() || asking) return;
    ask(text);
    if (!leaves) return;
    ui.sentence = "";
    event.target.closest("form").querySelector("textarea").value = "";
  };
  return h("form.lk-ask", { onsubmit: submit },
    h("label", { for: id }, label),
    h("div.lk-ask-line", null,
      h("textarea", { id, rows: "2", value: ui.sentence || "", oninput: (e) => { ui.sentence = e.target.value; }, onkeydown: (e) => { if (e.key === "Enter" && !e.shiftKey && !e.isComposing) submit(e); } }),
      h("button.lk-button.lk-primary", { type: "submit", "aria-disabled": asking ? "true" : null }, words), more));
}

function answerView(answer, key) {
  return h("div.lk-answer", { key },
    h("p.lk-answer-text", null, answer.text),
    h("div.lk-answer-line", null,
      h("span.lk-answer-label", null, answer.label),
      answer.confidence && h("span", null, `${answer.confidence} confident`),
      answer.unsure && h("span.lk-unsure", { title: "Less confidence than this run's threshold: let a person look" }, "unsure")),
    answer.others.length > 0 && h("p.lk-hint", null, "else ", answer.others.map((other, n) => [n > 0 && ", ", `${other.label} ${other.confidence}`])));
}

function tableIn(run, ui, send) {
  const result = run.result;
  const table = result.table;
  return fold("Answer a whole table", [
    h("p.lk-hint", null, `Pick a table of new texts. You get a copy of it with ${result.mistakes ? "three more columns: answer, confidence, unsure" : "one more column: answer"}.`),
    filePicker(ui, result.listing, send, (path) => send({ do: "answer_table", path }), "answer"),
    h("div", { "aria-live": "polite" },
      busy(run.doing.table),
      run.problems.table && message("problem", run.problems.table),
      table && table.columns && columnChoice(table, ui, send),
      table && table.out && message("good", `Answered ${table.answered.toLocaleString("en")} rows of ${table.name}${table.unsure === null ? "" : `; ${table.unsure} of them unsure`}.`,
        table.blank > 0 && ` ${table.blank} rows without a text were left out.`, table.left_out && ` ${table.left_out}`, " ", fileLink(table.out))),
  ], { key: "table" });
}

/** Which column holds the texts, where the table has none of the name that was learnt from. */
function columnChoice(table, ui, send) {
  const id = ui.id("answer-column");
  const answer = (event) => {
    event.preventDefault();
    send({ do: "answer_table", path: table.path, column: event.target.elements.column.value });
  };
  return h("form.lk-inline", { onsubmit: answer },
    h("div.lk-field", null,
      h("label", { for: id }, `${table.name} has no column “${table.asked}”. Which one holds the texts?`),
      h("select", { id, name: "column", required: true },
        h("option", { value: "", key: "" }, "Choose a column"), table.columns.map((c) => h("option", { value: c, key: `c ${c}` }, c)))),
    h("button.lk-button.lk-primary", { type: "submit" }, "Answer"));
}

function fileLink(file) {
  if (!file.url) return h("span", null, `It lies in ${file.path}.`);
  return h("span", null, h("a.lk-link", { href: downloadUrl(file.url), download: file.name }, `Download ${file.name}`), ` (also in ${file.path})`);
}

/** A held-out question with the answers of two models, without a word of whose they are. */
function blindVote(vote, send) {
  const { ballot } = vote;
  const choose = (words, better) => button(words, () => send({ do: "vote", row: ballot.row, better }));
  return h("section.lk-panel", null,
    h("h3", null, "Which answer is better?"),
    h("div.lk-vote", { "aria-live": "polite" },
      ballot && [
        h("p.lk-hint", null, `One is your tuned model's, the other that of ${vote.rival}; which is which stands below, for afterwards. Questions to go: ${vote.open}.`),
        h("p.lk-question", null, `Row ${ballot.row}: ${ballot.question}`),
        answersOf([["A", ballot.first], ["B", ballot.second], ["Your table", ballot.wanted]]),
        h("div.lk-buttons", null, choose("A is better", "first"), choose("B is better", "second"), choose("Neither is", "even")),
      ],
      vote.said && message("note", vote.said),
      !ballot && !vote.said && message("note", "Both models give the same answers, so there is nothing to vote on.")));
}

function answersOf(rows) {
  return h("table.lk-table.lk-compare", null, h("tbody", null,
    rows.map(([who, text]) => h("tr", null, h("th", { scope: "row" }, who), h("td", null, h("div.lk-cell", null, text || h("i", null, "no words")))))));
}

/** Held-out questions, each with the answers of all models and the one that was wanted. */
function compared(found, open) {
  return answersPanel("Answers side by side", "Questions that it never learnt from. Read them: a figure does not say whether an answer is right.",
    found.map((one) => ({ ...one, answers: one.answers.map((answer) => [answer.name, answer.text]) })), open);
}

/** Questions of the person's table, each a fold with its answers; the first of them open, or none. */
function answersPanel(title, hint, questions, open) {
  return h("div.lk-panel", null,
    h("h3", null, title),
    h("p.lk-hint", null, hint),
    questions.map((one, n) => fold(`Row ${one.row}: ${one.question}`, [answersOf(one.answers)], { open: open && n === 0, key: `${title} ${one.row}` })));
}

function mistakes(result) {
  if (!result.mistakes.length) return message("good", "It made no mistake on the held-out rows.");
  return h("div.lk-panel", null,
    h("h3", null, "Where it goes wrong"),
    h("p.lk-hint", null, "Look at these first: a mistake that the model is sure of is often a label to mend in your data."),
    fold("Labels that it confuses most", confusionTable(result.confusions), { open: true, key: "confusions" }),
    fold("Its surest mistakes", mistakeTable(result.mistakes), { key: "mistakes" }));
}

function confusionTable(confusions) {
  return h("table.lk-table", null,
    h("thead", null, h("tr", null, h("th", { scope: "col" }, "label"), h("th", { scope: "col" }, "taken for"), h("th.lk-right", { scope: "col" }, "rows"), h("th.lk-right", { scope: "col" }, "of its rows"))),
    h("tbody", null, confusions.slice(0, 6).map((c) => h("tr", null, h("td", null, c.label), h("td", null, c.taken_for), h("td.lk-right", null, String(c.count)), h("td.lk-right", null, c.share)))));
}

function mistakeTable(found) {
  return h("table.lk-table.lk-mistakes", null,
    h("thead", null, h("tr", null, h("th.lk-row-number", { scope: "col" }, "row"), h("th", { scope: "col" }, "text"), h("th", { scope: "col" }, "label"), h("th", { scope: "col" }, "answered"), h("th.lk-right", { scope: "col" }, "confidence"))),
    h("tbody", null, found.map((m) => h("tr", null, h("td.lk-row-number", null, String(m.row)), h("td", null, h("div.lk-cell", null, m.text)), h("td", null, m.label), h("td", null, m.answered), h("td.lk-right", null, m.confidence)))));
}

function download(run, ui, send) {
  const result = run.result;
  return fold("Take the model with you", [
    h("p.lk-hint", null, result.needs
      ? `One ZIP file with what was learnt (an adapter in safetensors), its card and the measurements. To be used it needs the base model ${result.needs} as well; a run with the setting merge saves one whole model instead.`
      : "One ZIP file with the model (safetensors), its card and the measurements. It needs nothing of this site."),
    h("div", { "aria-live": "polite" },
      busy(run.doing.pack),
      run.problems.pack && message("problem", run.problems.pack),
      result.packed && message("good", fileLink(result.packed))),
    !result.packed && h("div.lk-buttons", null, button("Make the ZIP file", () => send({ do: "pack_model" }), { disabled: "pack" in run.doing })),
    result.card && fold("The card: what it is made of, how good it is", h("pre.lk-card", { tabindex: "0", role: "group", "aria-label": "The card" }, result.card), { key: "card" }),
  ], { key: "download" });
}
