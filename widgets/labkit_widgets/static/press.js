// What a person presses: nothing moves under a finger, and no press goes unnoticed.

const PRESS_MS = 1000; // a longer one is no click
const CLICK_WITHIN_MS = 50; // after that a press has come to nothing: it ended elsewhere
const SILENT_MS = 3000;

/**
 * `draw`, put off while a press is under way: a click needs its button to be there, and in its
 * place, from the first touch to the last.
 */
function unhurried(root, draw, signal) {
  let pressed = null;
  let isLate = false;
  const over = () => {
    clearTimeout(pressed);
    pressed = null;
    if (isLate) later();
  };
  const later = () => {
    isLate = pressed !== null;
    if (!isLate) draw();
  };
  root.addEventListener("pointerdown", () => {
    clearTimeout(pressed);
    pressed = setTimeout(over, PRESS_MS);
  }, { signal });
  root.addEventListener("click", over, { signal }); // after who was clicked has heard of it
  for (const end of ["pointerup", "pointercancel"]) {
    window.addEventListener(end, () => { if (pressed !== null) setTimeout(over, CLICK_WITHIN_MS); }, { signal });
  }
  return later;
}

/**
 * Sends acts by number, so that the page knows what its view is an answer to; a view holds, of
 * each page, the number of the last act that it follows from. `silent` hears of a kernel that
 * does not answer, `lost` of one that is gone.
 */
function caller(model, page, silent, lost) {
  let number = 0;
  let waiting = null;
  return {
    send: (act) => {
      number += 1;
      try {
        model.send({ page, number, act });
      } catch {
        lost(); // JupyterLab closes the way to a kernel's widgets with the kernel
        return number;
      }
      waiting ??= setTimeout(() => silent(true), SILENT_MS);
      return number;
    },
    /** A view has come: whether it answers all that was sent. */
    heard: (view) => {
      if (answered(view, page) < number) return;
      clearTimeout(waiting);
      waiting = null;
      silent(false);
    },
    close: () => clearTimeout(waiting),
  };
}

function answered(view, page) {
  return (view.answered || {})[page] || 0;
}

/** The view with the step that was gone to, where the kernel has not answered that yet. */
function stepAhead(view, ui) {
  const isAhead = view.form && ui.ahead && ui.ahead.number > answered(view, ui.page);
  return isAhead ? { ...view, form: { ...view.form, step: ui.ahead.step } } : view;
}

/**
 * `lost` hears of a kernel that JupyterLab starts again, for a person or as it died: ipywidgets
 * tells (by `comm_live_update`) of the first alone. Returns what ends it.
 */
function watchKernel(model, lost) {
  const changed = model.widget_manager?.kernel?.statusChanged;
  const heard = (_, status) => { if (["restarting", "autorestarting", "dead"].includes(status)) lost(); };
  changed?.connect(heard);
  return () => changed?.disconnect(heard);
}

/** What to say of a kernel that is gone, or does not answer. */
function kernelWords(ui) {
  if (ui.lost) return "The notebook's kernel was restarted or has ended, so this form does nothing any more. Run its cell again: your runs are in it.";
  if (ui.silent) return "No answer yet. If other cells of this notebook are running, it comes after them. If the notebook's kernel was started again, run this cell again.";
  return "";
}
