// What JupyterLab loads first: a container as webpack's module federation has them, by hand.
// https://webpack.js.org/concepts/module-federation/#dynamic-remote-containers
(() => {
  const here = document.currentScript.src;
  const needed = {
    apputils: "@jupyterlab/apputils",
    coreutils: "@jupyterlab/coreutils",
    services: "@jupyterlab/services",
    statusbar: "@jupyterlab/statusbar",
    widgets: "@lumino/widgets",
  };
  let scope;

  // One of each is shared by all; JupyterLab's own where an extension brought another version.
  async function shared(name) {
    const versions = Object.values(scope[name]);
    const own = versions.find((version) => version.from === "@jupyterlab/application-top");
    return (await (own ?? versions[0]).get())();
  }

  window._JUPYTERLAB = window._JUPYTERLAB ?? {};
  window._JUPYTERLAB["labkit-session"] = {
    init(shareScope) {
      scope = shareScope;
    },
    async get() {
      const { plugin } = await import(new URL("plugin.js", here));
      const modules = Object.entries(needed).map(async ([key, name]) => [key, await shared(name)]);
      const lab = Object.fromEntries(await Promise.all(modules));
      return () => ({ __esModule: true, default: plugin(lab) });
    },
  };
})();
