// What changes by itself, for who hears the page: one line that stays in the page, as a
// screen reader tells only of regions that were there before their words.

/** The line: what it does just now, or how that ended. */
function spoken(view, ui) {
  if (ui.upload) return `Uploading ${ui.upload.file.name}`;
  if (view.notice && view.notice.kind === "info") return view.notice.text; // an error is an alert
  if (view.form) return spokenForm(view.form);
  if (view.run) return spokenRun(view.run);
  return view.runs ? view.runs.busy : "";
}

function spokenForm(form) {
  const step = form[form.step];
  if (step.busy) return step.busy;
  return step.check ? `${checkTitle(step.check)}.` : "";
}

function spokenRun(run) {
  const status = run.status;
  if (run.gone || !status) return "";
  if (run.result) return `Done. ${run.result.verdict}`;
  return [status.words, phase(status), status.ended && status.message].filter(Boolean).join(". ");
}
