// What every page has around it: the bar on top, the line at the bottom, and the theme.
import { announce, h, replace } from "./dom.js";
import { asStranger, call, may, session } from "./api.js";
import { onKey, showKeys } from "./keys.js";
import { go } from "./main.js";

export { forgetKeys, onKey } from "./keys.js";

/** Draw the bar on top for whoever is signed in. */
export async function drawFrame() {
  const facts = await session();
  const home = facts.account ? `/${facts.organization}` : "/";
  const here = location.pathname;
  const link = (path, text) =>
    h("a", { href: path, "aria-current": here === path || here.startsWith(`${path}/`) ? "page" : null }, text);
  const organization = `/${facts.organization}`;
  if (may("read_pipelines")) onKey("v", "trust: the keys that steps are signed with", () => go(`${organization}/keys`));
  replace(
    document.getElementById("top"),
    h(
      "div",
      null,
      h("a", { class: "brand", href: home }, h("img", { src: "/web/icon.svg", alt: "" }), "Pipeseal"),
      h(
        "nav",
        { "aria-label": "Main" },
        h("a", { href: home, "aria-current": here === home || here === "/" ? "page" : null }, "Pipelines"),
        may("read_agents") && link(`${organization}/agents`, "Agents"),
        may("read_pipelines") && link(`${organization}/keys`, "Keys"),
        may("read_organizations") && link(`${organization}/settings`, "Settings"),
      ),
      asStranger && h("span", { class: "stranger" }, "You see what a stranger sees. ", h("a", { href: here, target: "_self" }, "Back to yourself")),
      themeButton(),
      facts.account
        ? [h("a", { href: "/account", class: "quiet-link", "aria-current": here === "/account" ? "page" : null }, facts.account.name), h("button", { onclick: signOut }, "Sign out")]
        : h("a", { class: "button", href: `/sign-in?next=${encodeURIComponent(here)}` }, "Sign in"),
    ),
  );
  replace(
    document.getElementById("foot"),
    h(
      "div",
      null,
      h("span", null, `Pipeseal ${facts.version}`),
      h("span", null, "This page runs code that came from ", h("strong", null, location.host), ". ", h("a", { href: "/web/verify.html", download: "pipeseal-verify.html" }, "Check signatures with a file of your own")),
      h("a", { href: "/openapi.json" }, "API"),
      h("button", { class: "plain", onclick: showKeys, "aria-keyshortcuts": "?" }, "Keyboard"),
    ),
  );
}

async function signOut() {
  await call("DELETE", "/session");
  await session(true);
  location.assign("/");
}

const THEMES = ["system", "light", "dark"];

function themeButton() {
  const button = h("button", { class: "plain" }, "");
  const show = () => {
    const now = document.documentElement.dataset.theme ?? "system";
    replace(button, h("span", { class: "theme-word" }, "Theme: "), now);
  };
  button.addEventListener("click", () => {
    const now = document.documentElement.dataset.theme ?? "system";
    const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
    if (next === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try {
      localStorage.setItem("theme", next);
    } catch {
      // Kept for this page alone, then.
    }
    show();
    announce(`Theme: ${next}`);
  });
  show();
  return button;
}
