// A talk with a tuned language model, its answers as they are written.

function talkView(run, ui, send) {
  const { talk } = run.result;
  const answering = "talk" in run.doing;
  const ask = (text) => send({ do: "say", text });
  const stop = answering && button("Stop", () => send({ do: "hush" }));
  return h("section.lk-panel", null,
    h("h3", null, "Talk with it"),
    h("div.lk-talk", { role: "log", "aria-label": "The talk", "aria-busy": answering ? "true" : null }, talk.turns.map(turnView)),
    busy(run.doing.talk),
    run.problems.talk && message("problem", run.problems.talk),
    askForm(talk.turns.length ? "Go on: it remembers what was said" : "Ask it, as your people would ask", "Send", answering, ui, ask, { leaves: true, more: stop }),
    h("div.lk-talk-more", null,
      h("label.lk-beside", null,
        h("input", { type: "checkbox", checked: talk.beside, onchange: (e) => send({ do: "let_base_answer", on: e.target.checked }) }),
        `Let its base, ${talk.base}, answer too`),
      talk.turns.length > 0 && button("New talk", () => send({ do: "talk_anew" }), { kind: "small" })));
}

function turnView(turn) {
  return h("div.lk-turn", { key: turn.key },
    h("p.lk-said", null, h("span.lk-hidden", null, "You: "), turn.question),
    h("div.lk-replies", null, turn.answers.map((answer) => replyView(answer, turn))),
    turn.problem && message("problem", turn.problem));
}

function replyView(answer, turn) {
  const writing = turn.goes_on && !answer.ended;
  if (!writing && !answer.ended) return null; // it was not asked any more
  return h("div.lk-reply", null,
    h("p.lk-reply-name", null, answer.name),
    h("p.lk-reply-text", null, answer.text || (answer.ended ? h("i", null, "no words") : ""), writing && h("span.lk-writing", { "aria-hidden": "true" }, "▍")));
}
