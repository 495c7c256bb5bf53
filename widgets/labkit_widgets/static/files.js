// Picking a table: the folders of the home folder, and uploads.

/** The home folder's tables, with an upload. `pick` hears the path; `purpose` is the upload's. */
function filePicker(ui, listing, send, pick, purpose) {
  if (!listing.entries) return busy("Reading the folder …"); // the kernel has not looked yet
  return h("div.lk-picker", null,
    h("div.lk-picker-head", null, crumbs(listing, send), uploadButton(ui, purpose)),
    uploadProgress(ui),
    h("ul.lk-files.lk-landing", { tabindex: "-1", "aria-label": `Folders and tables in ${folderName(listing)}` }, listing.entries.map((entry) => fileEntry(entry, send, pick))),
    !listing.entries.length && h("p.lk-hint.lk-no-files", null, "No tables here. Upload one, or look in another folder. Tables end in .csv, .tsv, .xlsx, .jsonl, .parquet and the like."),
    listing.more > 0 && h("p.lk-hint", null, `and ${listing.more} more, which are not shown.`));
}

function folderName(listing) {
  return listing.parents.length ? listing.parents[listing.parents.length - 1].name : "your home folder";
}

function crumbs(listing, send) {
  const open = (path) => () => send({ do: "open_folder", path });
  return h("nav.lk-crumbs", { "aria-label": "Folder" },
    button("Home", open(""), { kind: "link" }),
    listing.parents.map((part) => [h("span", { "aria-hidden": "true" }, "/"), button(part.name, open(part.path), { kind: "link" })]));
}

function fileEntry(entry, send, pick) {
  const isFolder = entry.kind === "folder";
  const onclick = isFolder ? () => send({ do: "open_folder", path: entry.path }) : () => pick(entry.path);
  return h("li", { key: entry.path }, h("button.lk-file", { type: "button", onclick },
    h("span.lk-file-icon", { "aria-hidden": "true" }, isFolder ? "▸" : "▤"),
    h("span.lk-file-name", null, entry.name),
    h("span.lk-file-facts", null, isFolder ? "folder" : `${entry.size} · ${entry.changed}`)));
}

function uploadButton(ui, purpose) {
  const chosen = (event) => {
    const file = event.target.files[0];
    event.target.value = "";
    if (file && !ui.upload) ui.beginUpload(file, purpose);
  };
  const busyNow = ui.upload ? "true" : null;
  return h("label.lk-button.lk-plain.lk-upload", { "aria-disabled": busyNow }, "Upload a table …",
    h("input", { type: "file", onchange: chosen, "aria-disabled": busyNow, accept: ".csv,.tsv,.txt,.jsonl,.ndjson,.json,.parquet,.xlsx,.xlsm,.xlsb,.xls,.ods" }));
}

function uploadProgress(ui) {
  const upload = ui.upload;
  if (!upload) return null;
  const percent = Math.round(100 * upload.share);
  return h("div.lk-uploading", null,
    h("span", null, `Uploading ${upload.file.name}`),
    h("progress", { max: "100", value: String(percent), "aria-label": "Uploaded" }),
    h("span", null, `${percent}%`));
}
