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

/** Make the children of `parent` what `wanted` describes. */
function patch(parent, wanted, inSvg = false) {
  const keyed = new Map();
  const staying = new Set(wanted.map((item) => item.key));
  for (const node of [...parent.childNodes]) {
    if (node.lkKey === undefined) continue;
    if (staying.has(node.lkKey)) keyed.set(node.lkKey, node);
    else node.remove(); // first, so that what comes after it is not moved: that would cost it the focus
  }
  wanted.forEach((item, index) => {
    const here = parent.childNodes[index];
    const known = typeof item === "object" && item.key !== undefined ? keyed.get(item.key) : here;
    const fits = known && isSame(known, item);
    const node = fits ? known : make(item, inSvg);
    if (node !== here) parent.insertBefore(node, here || null);
    update(node, item, inSvg);
  });
  while (parent.childNodes.length > wanted.length) parent.lastChild.remove();
}

function isSame(node, item) {
  if (typeof item !== "object") return node.nodeType === Node.TEXT_NODE;
  return node.lkKind === item.kind && node.lkKey === item.key;
}

function make(item, inSvg) {
  if (typeof item !== "object") return document.createTextNode("");
  const svg = item.name === "svg" || (inSvg && SVG_TAGS.has(item.name));
  const node = svg ? document.createElementNS(SVG, item.name) : document.createElement(item.name);
  node.lkKind = item.kind;
  node.lkKey = item.key;
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
    // What is being typed is the person's; what the kernel says comes when they leave the field.
    if (node.value !== value && (node !== node.getRootNode().activeElement || node.localName === "select")) node.value = value ?? "";
  } else if (name === "checked" || name === "disabled" || name === "open" || name === "indeterminate") {
    if (name === "open" && before !== undefined) return; // a fold is the person's
    node[name] = Boolean(value);
  } else if (value === null || value === undefined || value === false) {
    node.removeAttribute(name);
  } else if (value !== before) {
    node.setAttribute(name, value === true ? "" : String(value));
  }
}

let lastId = 0;

/** An id for a label and its field, unlike any other on the page. */
function freshId() {
  lastId += 1;
  return `labkit-${lastId}`;
}
