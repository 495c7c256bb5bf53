// A kernel that Linux has ended: why, as far as the session's server knows.
const KILLED = "urn:labkit:kernel-killed";

export function tellOfKilledKernels(lab, app, session) {
  let last = null;
  app.serviceManager.events.stream.connect((_, event) => {
    if (event.schema_id !== KILLED) return;
    if (last !== null) lab.apputils.Notification.dismiss(last);
    last = lab.apputils.Notification.error(killedWords(event.for_memory, session), { autoClose: false });
  });
}

// JupyterLab shows the first 140 characters.
function killedWords(forMemory, session) {
  const has = session.known ? ` (this session has ${session.answer.memory})` : "";
  return forMemory
    ? `Python stopped: memory ran out${has}. Nothing saved is lost. Use less data at a time, or start a larger session.`
    : `Python was ended by force, as Linux does when memory runs out${has}. Nothing saved is lost. Run your cells again.`;
}
