// Loaded into configurable-http-proxy where all pages are on one name. Node takes the name that a
// certificate must have from a request's Host header, which is what the browser calls the lab and
// whoever asks may set. A session's certificate has the name of its node.
"use strict";
const https = require("node:https");
const { isIP } = require("node:net");

const { request } = https;
https.request = (target, ...others) => {
  if (typeof target === "string") return request(target, ...others); // the hub's page for an error
  const servername = isIP(target.hostname) ? "" : target.hostname;
  return request({ ...target, servername }, ...others);
};
