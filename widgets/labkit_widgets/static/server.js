// The Jupyter server's own HTTP interface: uploads in chunks, links to download.
// https://jupyter-server.readthedocs.io/en/latest/developers/rest-api.html

const CHUNK_BYTES = 2 * 1024 * 1024;

function jupyterConfig() {
  try {
    return JSON.parse(document.getElementById("jupyter-config-data").textContent);
  } catch {
    return {};
  }
}

/** Where the server's files begin in its file system; '' where the page does not say. */
function serverRoot() {
  return jupyterConfig().serverRoot || "";
}

function cookie(name) {
  const found = document.cookie.match(`\\b${name}=([^;]*)\\b`);
  return found ? found[1] : "";
}

function serverUrl(kind, path) {
  const base = jupyterConfig().baseUrl || "/";
  const encoded = path.split("/").map(encodeURIComponent).join("/");
  return new URL(`${base}${kind}/${encoded}`, window.location.origin);
}

/** A link that saves a file of the server's. */
function downloadUrl(path) {
  const url = serverUrl("files", path);
  url.searchParams.set("download", "1");
  if (cookie("_xsrf")) url.searchParams.set("_xsrf", cookie("_xsrf"));
  return url.href;
}

async function callContents(path, options) {
  const headers = { "X-XSRFToken": cookie("_xsrf"), "Content-Type": "application/json" };
  const token = jupyterConfig().token;
  if (token) headers.Authorization = `token ${token}`;
  const url = serverUrl("api/contents", path);
  for (const [key, value] of Object.entries(options.query || {})) url.searchParams.set(key, value);
  const reply = await fetch(url, { method: options.method, headers, body: options.body, credentials: "same-origin" });
  if (reply.ok) return reply.json();
  throw new Error(await saidBy(reply));
}

async function saidBy(reply) {
  let said = "";
  try {
    said = (await reply.json()).message || "";
  } catch {
    said = "";
  }
  return `the server answered ${reply.status}${said ? ` (${said})` : ""}.`;
}

/** Send the file into the place that the kernel made for it. `told` hears the share that is done. */
async function uploadFile(file, place, told) {
  const found = await callContents(place.url, { method: "GET", query: { type: "file", format: "text", content: 1 } });
  if (found.content !== place.secret) throw new Error("this server's files are not in your home folder.");
  const chunks = Math.max(1, Math.ceil(file.size / CHUNK_BYTES));
  for (let n = 1; n <= chunks; n += 1) {
    const piece = file.slice((n - 1) * CHUNK_BYTES, n * CHUNK_BYTES);
    const body = { type: "file", format: "base64", content: await asBase64(piece) };
    if (chunks > 1) body.chunk = n === chunks ? -1 : n;
    await callContents(place.url, { method: "PUT", body: JSON.stringify(body) });
    told(n / chunks);
  }
}

function asBase64(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(new Error("your browser could not read the file."));
    reader.readAsDataURL(blob);
  });
}
