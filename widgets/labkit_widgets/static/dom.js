// A page as a function of data: `h` describes elements, `patch` makes what is there look so.
// Elements that stay are changed in place, so focus, selection and what is being typed stay too.
// Text always becomes a text node: nothing a person's data holds is ever read as HTML.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "g", "path", "line", "rect", "circle", "text", "title", "polyline"]);

/**
 * An element: `h("button.primary", {onclick}, "Start")`. Children: text, elements, lists, nothing.
 * Its name with the first class says what it is: one of another kind is never made of it.
 */
function h(tag, props, ...children) {
  const [name, ...classes] = tag.split(".");
  const given = { ...(props || {}) };
  if (classes.length) given.class = [...classes, given.class].filter(Boolean).join(" ");
  // What is not there keeps its place as an empty text, so that what comes after it stays itself.
  const flat = children.flat(Infinity).map((c) => (c === null || c === undefined || c === false ? "" : c));
  return { name, kind: `${name}.${classes[0] || ""}`, props: given, key: given.key, children: flat };
}

/**
 * Make the children of `parent` what `wanted` describes. A child is itself by its key, or else by
 * its place: it stays while something of its kind is wanted there, whatever comes and goes beside it.
 */
function patch(parent, wanted, inSvg = false) {
  const places = new Map(wanted.map((item, index) => [keyOf(item, index), item]));
  const staying = new Map();
  for (const node of [...parent.childNodes]) {
    const item = places.get(node.lkKey);
    if (item !== undefined && isKind(node, item)) staying.set(node.lkKey, node);
    else node.remove(); // first, so that what comes after it is not moved: that would cost it the focus
  }
  wanted.forEach((item, index) => {
    const key = keyOf(item, index);
    const node = staying.get(key) || make(item, key, inSvg);
    const here = parent.childNodes[index];
    if (node !== here) parent.insertBefore(node, here || null);
    update(node, item, inSvg);
  });
}

function keyOf(item, index) {
  return typeof item === "object" && item.key !== undefined ? `key ${item.key}` : index;
}

function isKind(node, item) {
  return typeof item === "object" ? node.lkKind === item.kind : node.nodeType === Node.TEXT_NODE;
}

function make(item, key, inSvg) {
  const node = typeof item === "object" ? makeElement(item, inSvg) : document.createTextNode("");
  node.lkKey = key;
  return node;
}

function makeElement(item, inSvg) {
  const svg = item.name === "svg" || (inSvg && SVG_TAGS.has(item.name));
  const node = svg ? document.createElementNS(SVG, item.name) : document.createElement(item.name);
  node.lkKind = item.kind;
  node.lkProps = {};
  return node;
}

function update(node, item, inSvg) {
  if (typeof item !== "object") {
    if (node.data !== String(item)) node.data = String(item);
    return;
  }
  const svg = item.name === "svg" || inSvg;
  patch(node, item.children, svg); // first: a select's value needs its options
  for (const name of new Set([...Object.keys(node.lkProps), ...Object.keys(item.props)])) {
    setProp(node, name, item.props[name], node.lkProps[name]);
  }
  node.lkProps = item.props;
}

function setProp(node, name, value, before) {
  if (name === "key") return;
  if (name.startsWith("on")) {
    node[name] = value || null;
  } else if (name === "value" && value !== undefined) {
    setValue(node, value ?? "");
  } else if (name === "checked" || name === "disabled" || name === "open" || name === "indeterminate") {
    if (name === "open" && before !== undefined) return; // a fold is the person's
    node[name] = Boolean(value);
  } else if (value === null || value === undefined || value === false) {
    node.removeAttribute(name);
  } else if (value !== before) {
    node.setAttribute(name, value === true ? "" : String(value));
  }
}

/** What was typed is the person's: it changes where what the kernel says does, and nobody is at it. */
function setValue(node, value) {
  const isTyped = node.localName === "input" || node.localName === "textarea";
  if (isTyped && (node.lkValue === value || node === node.getRootNode().activeElement)) return;
  node.lkValue = value;
  if (node.value !== value) node.value = value;
}

let lastId = 0;

/** An id for a label and its field, unlike any other on the page. */
function freshId() {
  lastId += 1;
  return `labkit-${lastId}`;
}
