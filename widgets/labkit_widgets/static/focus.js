// Where the keyboard is. What is drawn anew must not leave a person nowhere: the focus stays,
// goes to the heading of a new page or step, or to the nearest thing beside what is gone.

const FOCUSABLE = "[tabindex], a[href], button, input, select, textarea, summary";

/** The words that take the focus where a page, a step or a list begins; not a stop of Tab's. */
function landing(tag, ...words) {
  return h(`${tag}.lk-landing`, { tabindex: "-1" }, words);
}

/** Redraw `root`. `isNew`: what it shows begins anew. */
function keepFocus(root, isNew, redraw) {
  const focused = focusedIn(root);
  const around = [];
  for (let node = focused; node && node !== root; node = node.parentElement) around.push(node);
  redraw();
  if (!focused) return;
  if (isNew) land(root);
  else if (!focusedIn(root)) around.find((node) => root.contains(node) && (takesFocus(node) || land(node))) || land(root);
}

function focusedIn(root) {
  const focused = root.getRootNode().activeElement;
  return focused && focused !== root && root.contains(focused) ? focused : null;
}

/** Focus where `place` begins; whether it could be. */
function land(place) {
  const choices = [...place.querySelectorAll(".lk-landing"), ...place.querySelectorAll(FOCUSABLE)];
  return choices.some(takesFocus);
}

function takesFocus(node) {
  node.focus({ preventScroll: true });
  return node.getRootNode().activeElement === node;
}
