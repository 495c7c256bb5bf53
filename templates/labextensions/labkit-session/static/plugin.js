// The plugin: an item of the status bar, warnings before the end, a word on a killed kernel, and a command for the palette.
import { Actions } from "./actions.js";
import { tellOfKilledKernels } from "./killed.js";
import { Session } from "./session.js";
import { words } from "./words.js";

const ASK_EVERY_MS = 60_000;
const LOOK_EVERY_MS = 1_000;

export function plugin(lab) {
  return {
    id: "labkit-session:plugin",
    description: "The time that this session has left, and what it holds.",
    autoStart: true,
    requires: [lab.statusbar.IStatusBar],
    optional: [lab.apputils.ICommandPalette],
    activate: (app, statusBar, palette) => activate(lab, app, statusBar, palette),
  };
}

function activate(lab, app, statusBar, palette) {
  const session = new Session(lab);
  const actions = new Actions(lab, app, session);
  addStyle();
  addCommand(app, palette, actions);
  const button = addButton(lab, app, statusBar);
  const show = () => draw(button, session);
  session.changed = show;
  setInterval(() => {
    show();
    actions.warnWhereDue();
  }, LOOK_EVERY_MS);
  setInterval(() => session.ask(), ASK_EVERY_MS);
  // A machine that slept, or a tab that was hidden, asks at once.
  document.addEventListener("visibilitychange", () => document.hidden || session.ask());
  session.ask();
  tellOfKilledKernels(lab, app, session);
}

function addCommand(app, palette, actions) {
  app.commands.addCommand("labkit:session", {
    label: "Session: Time Left and What It Holds",
    execute: () => actions.showDetails(),
  });
  palette?.addItem({ command: "labkit:session", category: "Session" });
}

function addButton(lab, app, statusBar) {
  const button = document.createElement("button");
  button.type = "button";
  button.title = "Your session: what it holds, more time, give it back";
  button.onclick = () => app.commands.execute("labkit:session");
  const item = new lab.widgets.Widget();
  item.addClass("labkit-session");
  item.node.append(button);
  statusBar.registerStatusItem("labkit-session:item", { item, align: "left", rank: 100, priority: 1 });
  return button;
}

function draw(button, session) {
  const said = session.known ? words(session) : "";
  if (button.textContent !== said) button.textContent = said;
  button.parentElement.hidden = !said;
  button.classList.toggle("labkit-soon", session.isSoon);
}

function addStyle() {
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = new URL("session.css", import.meta.url);
  document.head.append(link);
}
