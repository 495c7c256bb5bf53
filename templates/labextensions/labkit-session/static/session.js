// What is known of this session: the server's last answer, and the clock since then.
const SOON_S = 15 * 60;

export class Session {
  constructor(lab) {
    this._lab = lab;
    this._settings = lab.services.ServerConnection.makeSettings();
    this.answer = null;
    this.endsAt = null;
    this.changed = () => {};
  }

  get known() {
    return this.answer !== null;
  }

  // In seconds; null where the session has no end.
  get left() {
    return this.endsAt === null ? null : Math.max(0, (this.endsAt - Date.now()) / 1000);
  }

  get isSoon() {
    return this.left !== null && this.left <= SOON_S;
  }

  // Where nobody answers, what was known counts on.
  async ask() {
    try {
      await this._request("", "GET");
    } catch {
      this.changed();
    }
  }

  // Raises an error with a sentence where it is refused.
  async extend() {
    await this._request("/extend", "POST");
  }

  async giveBack() {
    await this._request("/give-back", "POST");
  }

  async _request(path, method) {
    const { ServerConnection } = this._lab.services;
    const url = this._lab.coreutils.URLExt.join(this._settings.baseUrl, "labkit/session" + path);
    const answer = await ServerConnection.makeRequest(url, { method }, this._settings);
    if (!answer.ok) throw await ServerConnection.ResponseError.create(answer);
    if (answer.status === 200) this._take(await answer.json());
  }

  _take(answer) {
    this.answer = answer;
    // Seconds, not a date: this machine's clock may be wrong.
    this.endsAt = answer.seconds_left === null ? null : Date.now() + answer.seconds_left * 1000;
    this.changed();
  }
}
