// Where expressions of readers are tried, apart from the page: one that takes for ever is ended together with this.
import { findAll } from "./find.js";

let expression = null;

addEventListener("message", ({ data }) => {
  if (data.source !== undefined) {
    expression = new RegExp(data.source, data.flags);
    postMessage("ready");
  } else postMessage(findAll(data.text, expression, true));
});
