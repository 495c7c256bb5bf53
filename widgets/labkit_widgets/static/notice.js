// A notice that a run has ended, for who looks elsewhere: on the page's title, and by the browser.

/** Asks the browser's leave, where it was neither given nor refused. */
function notifyButton(ui) {
  if (!("Notification" in window) || Notification.permission !== "default") return null;
  return button("Tell me when it is done", async () => { await Notification.requestPermission(); ui.set({}); });
}

/** The run that a view tells of: the shown one, or the newest beside the form. */
function runOf(view) {
  if (view.run && view.run.status) return { id: view.run.id, name: view.run.name, ...view.run.status };
  return view.newest;
}

function hasEnded(before, now) {
  const [was, is] = [runOf(before), runOf(now)];
  return was && is && was.id === is.id && !was.ended && is.ended;
}

function tellDone(run) {
  const words = { done: "is done", stopped: "was stopped", failed: "failed" }[run.state] || "has ended";
  if (document.hidden) markTitle();
  if (!("Notification" in window) || Notification.permission !== "granted") return;
  try {
    new Notification(`${run.name} ${words}`, { tag: run.id }); // one for all pages that show it
  } catch (error) {
    // Chrome on Android has only those of service workers: https://crbug.com/481856
    if (!(error instanceof TypeError)) throw error;
  }
}

/** Until the page is looked at again. */
function markTitle() {
  const mark = "● ";
  if (document.title.startsWith(mark)) return;
  document.title = mark + document.title;
  const restore = () => {
    document.title = document.title.replace(mark, "");
    document.removeEventListener("visibilitychange", restore);
  };
  document.addEventListener("visibilitychange", restore);
}
