// One's own account: the browsers one is signed in with, and the password.
import { announce, h, moment, replace } from "../dom.js";
import { call, session } from "../api.js";
import { field, form } from "../forms.js";
import { go } from "../main.js";

export async function show(main, { signal }) {
  const { account } = await session();
  document.title = "Your account · Pipeseal";
  if (!account) {
    await go("/sign-in?next=/account", { replaceState: true });
    return;
  }
  const sessions = await call("GET", "/v2/user/sessions?per_page=100", undefined, { signal });
  replace(
    main,
    h("h1", null, "Your account"),
    h(
      "dl",
      { class: "facts" },
      [["Name", account.name], ["Email", account.email], ["Role", account.role]].map(([name, value]) => [h("dt", null, name), h("dd", null, value)]),
    ),
    h("section", null, h("h2", null, "Signed in"), browsers(sessions)),
    h("section", null, h("h2", null, "Password"), password()),
  );
}

// The first that fits: each of them claims to be those behind it too.
const NAMES = [["Edg", "Edge"], ["Firefox", "Firefox"], ["Chrome", "Chrome"], ["Safari", "Safari"]];
const SYSTEMS = ["Windows", "Android", "iPhone", "iPad", "Mac OS", "Linux"];

/** What a browser calls itself, in two words where it is a usual one. */
function named(text) {
  const name = NAMES.find(([sign]) => text.includes(sign))?.[1];
  const system = SYSTEMS.find((sign) => text.includes(sign));
  return name && system ? `${name} on ${system}` : text || "unknown";
}

function browsers(sessions) {
  const rows = sessions.map((one) =>
    h(
      "tr",
      null,
      h("td", null, h("span", { title: one.browser }, named(one.browser)), one.here && h("span", { class: "muted" }, " · this browser")),
      h("td", null, moment(one.created_at)),
      h("td", null, moment(one.seen_at)),
      h("td", null, !one.here && h("button", { "aria-label": `Sign out ${named(one.browser)}`, onclick: () => end(one) }, "Sign out")),
    ),
  );
  const head = ["Browser", "Signed in", "Last here", ""].map((text) => h("th", { scope: "col" }, text || h("span", { class: "visually-hidden" }, "Actions")));
  return h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Browsers" }, h("table", null, h("thead", null, h("tr", null, head)), h("tbody", null, rows)));
}

async function end(one) {
  await call("DELETE", `/v2/user/sessions/${one.id}`);
  announce("Signed out there");
  await go(location.pathname, { replaceState: true });
}

function password() {
  const current = field("Current password", { type: "password", autocomplete: "current-password", required: true });
  const next = field("New password", { type: "password", autocomplete: "new-password", required: true, minlength: 12 }, "At least 12 characters; a few words are good. All other browsers are signed out.");
  return form("Change the password", [current, next], async () => {
    await call("PUT", "/v2/user/password", { current: current.value, password: next.value });
    await go(location.pathname, { replaceState: true });
    return "The password is changed";
  });
}
