// Whose code did the checking, and how to check with other code.
import { h } from "../dom.js";
import { pins } from "./keyring.js";

// A build's own address where there is one, without the part that is the page's alone; with the reader's pins.
function commandFor() {
  const build = location.pathname.match(/^\/[^/]+\/[^/]+\/builds\/\d+/);
  const asked = pins();
  const keys = asked.length ? `#pin=${asked.join(",")}` : " --jwks-file verification.json";
  return `pipeseal verify ${build ? location.origin + build[0] : "BUILD"}${keys}`;
}

/** The line that stands wherever something was checked. */
export function leopard() {
  return h(
    "p",
    { class: "leopard" },
    "This page checked signatures with code that came from ",
    h("strong", null, location.host),
    ". If you do not trust that server, check again with code from elsewhere: ",
    h("a", { href: "/web/verify.html", download: "pipeseal-verify.html" }, "save the one-file verifier"),
    " (compare its ",
    h("a", { href: "/web/verify.html.sha256", download: "pipeseal-verify.html.sha256" }, "SHA-256"),
    " with the one in the documentation), or on a command line: ",
    h("code", null, commandFor()),
    ".",
  );
}
