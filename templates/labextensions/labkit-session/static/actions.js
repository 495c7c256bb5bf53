// What a person may do about their session's time, and what they are told of it unasked.
import { timeInWords } from "./words.js";

const WARN_AT_S = [15 * 60, 5 * 60];
const SAVE_AT_S = 60;
const SAVE_ALL = "docmanager:save-all";

export class Actions {
  constructor(lab, app, session) {
    this._lab = lab;
    this._app = app;
    this._session = session;
    this._warnedAt = Infinity;
    this._warnings = [];
  }

  // Once for each of the times, and again where the session was extended meanwhile.
  warnWhereDue() {
    const { left } = this._session;
    if (left === null) return;
    if (left > WARN_AT_S[0]) this._calm();
    const due = [...WARN_AT_S, SAVE_AT_S].filter((at) => left <= at).pop() ?? Infinity;
    if (!left || due >= this._warnedAt) return;
    this._warnedAt = due;
    if (due === SAVE_AT_S) this._saveAll().catch((error) => this._tell("error", `Not saved: ${error.message}`));
    else this._warn();
  }

  async showDetails() {
    const { Dialog, showDialog } = this._lab.apputils;
    if (!this._session.known) await this._session.ask();
    if (!this._session.known) {
      await this._say("Your session", "The hub does not answer now, so nothing is known of it.");
      return;
    }
    const more = this._session.answer.extend_s;
    const buttons = [
      Dialog.cancelButton({ label: "Close" }),
      Dialog.warnButton({ label: "Stop and give back", actions: ["give-back"] }),
    ];
    if (more) buttons.push(Dialog.okButton({ label: extendLabel(more), actions: ["extend"] }));
    const body = new this._lab.widgets.Widget({ node: details(this._session) });
    const { button } = await showDialog({ title: "Your session", body, buttons, defaultButton: 0 });
    if (button.actions.includes("extend")) await this.extend();
    if (button.actions.includes("give-back")) await this.giveBack();
  }

  async extend() {
    try {
      await this._session.extend();
      this._calm();
      this._tell("success", `This session now has ${timeInWords(this._session.left)} left.`);
    } catch (error) {
      this._tell("error", error.message);
    }
  }

  async giveBack() {
    const { Dialog, showDialog } = this._lab.apputils;
    const { button } = await showDialog({
      title: "Stop this session and give it back?",
      body: "Open documents are saved first. Kernels and terminals end, with what they hold in memory. Runs go on.",
      buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: "Save, stop and give back" })],
    });
    if (!button.accept || !(await this._savedOrMeant())) return;
    try {
      await this._session.giveBack();
    } catch (error) {
      if (error instanceof this._lab.services.ServerConnection.ResponseError) {
        this._tell("error", error.message);
        return;
      }
      // No answer: it may have ended already. The hub's page knows.
    }
    this._leave();
  }

  async _savedOrMeant() {
    const { Dialog, showDialog } = this._lab.apputils;
    try {
      await this._saveAll();
      return true;
    } catch (error) {
      const { button } = await showDialog({
        title: "Not everything could be saved",
        body: `${error.message} What is not saved is lost with the session.`,
        buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: "Give back all the same" })],
      });
      return button.accept;
    }
  }

  async _saveAll() {
    if (this._app.commands.isEnabled(SAVE_ALL)) await this._app.commands.execute(SAVE_ALL);
  }

  _leave() {
    const { PageConfig } = this._lab.coreutils;
    const server = PageConfig.getOption("hubServerName");
    const home = PageConfig.getOption("hubHost") + PageConfig.getOption("hubPrefix") + "home";
    window.location.assign(`${home}#given-back=${encodeURIComponent(server)}`);
  }

  _warn() {
    const { extend_s: more } = this._session.answer;
    const what = more ? "Save, extend it" : "Save";
    const words = timeInWords(this._session.left);
    // JupyterLab shows the first 140 characters of it.
    const message = `In ${words} this session ends, and what is not saved is lost. ${what}, or go on later in a new one.`;
    const actions = [{ label: "Save all", callback: () => void this._saveAll() }];
    if (more) actions.push({ label: extendLabel(more), displayType: "accent", callback: () => void this.extend() });
    this._dismiss();
    this._warnings.push(this._tell("warning", message, actions));
  }

  _calm() {
    this._warnedAt = Infinity;
    this._dismiss();
  }

  _dismiss() {
    for (const id of this._warnings.splice(0)) this._lab.apputils.Notification.dismiss(id);
  }

  _tell(kind, message, actions = []) {
    const autoClose = kind === "success" ? 5000 : false;
    return this._lab.apputils.Notification[kind](message, { autoClose, actions });
  }

  async _say(title, body) {
    const { Dialog, showDialog } = this._lab.apputils;
    await showDialog({ title, body, buttons: [Dialog.okButton({ label: "Close" })] });
  }
}

function extendLabel(seconds) {
  return `Extend by ${timeInWords(seconds)}`;
}

function details(session) {
  const { profile, holds, nodes, why_not_extend: whyNot } = session.answer;
  const list = document.createElement("dl");
  list.className = "labkit-details";
  const rows = [
    ["Profile", profile],
    ["Holds", holds.join(", ")],
    [nodes.length > 1 ? "Nodes" : "Node", nodes.join(", ")],
    ...(session.left === null ? [["Time left", "as long as it is wanted"]] : timeRows(session)),
  ];
  for (const [term, value] of rows) {
    const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
    [dt.textContent, dd.textContent] = [term, value];
    list.append(dt, dd);
  }
  if (!whyNot) return list;
  const body = document.createElement("div");
  const reason = document.createElement("p");
  reason.textContent = `It cannot be extended. ${whyNot}`;
  body.append(list, reason);
  return body;
}

function timeRows(session) {
  const end = new Date(session.endsAt);
  const day = end.toDateString() === new Date().toDateString() ? {} : { weekday: "short" };
  const clock = end.toLocaleTimeString([], { ...day, hour: "2-digit", minute: "2-digit" });
  return [["Time left", timeInWords(session.left)], ["Ends", clock]];
}
