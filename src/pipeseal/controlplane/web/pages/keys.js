// Keys: those that this browser trusts, and those that the server lists, which is another thing.
import { announce, h, moment, replace } from "../dom.js";
import { ApiError, ask, change, may, session } from "../api.js";
import { field, form, textarea } from "../forms.js";
import { go } from "../main.js";
import { soundKey, thumbprintOf } from "../trust/keycheck.js";
import { comparisonDigits } from "../trust/digits.js";
import { distrust, dropPins, parseKeys, readRing, reason, trust } from "../trust/keyring.js";
import { leopard } from "../trust/leopard.js";
import { trustOf } from "../trust/judge.js";
import { mark, speaker } from "../trust/states.js";

export async function show(main, { parameters, query, signal }) {
  const facts = await session();
  const organization = parameters.organization ?? facts.organization;
  const again = () => go(location.pathname + location.search + location.hash, { replaceState: true });
  const listed = await listKeys(signal);
  const ring = readRing(organization);
  const keys = await gather(listed, ring);
  const one = query.get("key");
  if (one) return showKey(main, { organization, keys, thumbprint: one, ring, again, signal });
  document.title = `Keys · Pipeseal`;
  const doubted = ring.fresh ? [] : keys.filter((key) => !key.how && key.listed && !key.revoked);
  replace(
    main,
    h("h1", null, "Keys that steps are signed with"),
    ring.pins.length > 0 && h("p", { class: "notice" }, "Your link pins ", ring.pins.map((pin) => h("code", null, pin)), ", and no other key counts in this tab. ", h("button", { onclick: () => (dropPins(), again()) }, "Forget the pin")),
    doubted.length > 0 && changed(doubted, keys.filter((key) => key.how)),
    h("p", { class: "muted" }, "Which keys are trusted is decided in this browser, not by the server. Agents have lists of their own."),
    keys.length > 0 ? list(keys, organization, ring, again) : h("div", { class: "empty" }, h("p", null, h("strong", null, "No keys are known here.")), h("p", null, "Add the public key of whoever signs your steps: the file verification.json that ", h("code", null, "pipeseal init"), " wrote.")),
    h("div", { class: "forms" }, addHere(organization, again), may("write_organizations") && addThere(again)),
    leopard(),
  );
}

async function listKeys(signal) {
  try {
    return await ask("/keys?per_page=100", { signal });
  } catch (error) {
    // Strangers see the keys of this browser alone.
    if (error instanceof ApiError && [401, 403].includes(error.status)) return [];
    throw error;
  }
}

/** The browser's and the server's keys in one list; thumbprints are worked out here, whatever the server calls a key. */
async function gather(listed, ring) {
  const found = new Map();
  const note = async (jwk, more) => {
    let thumbprint = null;
    let problem = "";
    try {
      const key = soundKey(jwk);
      if (globalThis.crypto?.subtle) thumbprint = await thumbprintOf(key);
      else problem = "plain http: this browser cannot work out thumbprints";
    } catch (error) {
      problem = error.message;
    }
    const id = thumbprint ?? `?${more.id ?? jwk?.kid}`;
    const trusted = thumbprint ? trustOf(thumbprint, { ...ring, fresh: false }) : { how: null, since: null };
    found.set(id, { kid: jwk?.kid ?? "?", alg: jwk?.alg ?? "?", jwk, thumbprint, problem, ...found.get(id), ...trusted, ...more });
  };
  for (const { jwk } of Object.values(ring.keys)) await note(jwk, { here: true });
  for (const { id, jwk, description, created_at, revoked_at } of listed)
    await note(jwk, { listed: true, id, description, created_at, revoked: revoked_at });
  for (const key of found.values()) key.lied = Boolean(key.listed && key.thumbprint && key.id !== key.thumbprint);
  return [...found.values()];
}

/** A thumbprint in groups of four, to be read aloud; copied without the gaps. */
export function thumbprintText(thumbprint) {
  return h("code", { class: "thumbprint" }, thumbprint.match(/.{1,4}/g).map((part) => h("span", null, part)));
}

/** The digits of a thumbprint, for comparing by voice; nothing for what is no thumbprint, which addresses may hold. */
function digitsText(thumbprint) {
  try {
    return h("p", { class: "digits" }, comparisonDigits(thumbprint));
  } catch {
    return null;
  }
}

function list(keys, organization, ring, again) {
  const row = (key) =>
    h(
      "li",
      null,
      h("div", null, h("a", { href: key.thumbprint ? `?key=${key.thumbprint}` : null }, h("strong", null, key.kid)), h("p", { class: "muted" }, key.alg, key.description && `, ${key.description}`)),
      h("div", null, key.thumbprint ? [thumbprintText(key.thumbprint), digitsText(key.thumbprint)] : h("span", { class: "problem" }, key.problem), key.lied && h("p", { class: "problem" }, "The server calls this key by another thumbprint than it has.")),
      h("div", null, standing(key, ring)),
      buttons(key, organization, again),
    );
  return h("ul", { class: "list keys", "aria-label": "Keys" }, keys.map(row));
}

function standing(key, ring) {
  if (key.revoked) return [mark("revoked", "Revoked"), h("br"), speaker("server says"), " ", moment(key.revoked)];
  if (key.how) return [mark("verified", "Key trusted by you"), h("br"), h("span", { class: "muted" }, reason(key))];
  if (!key.thumbprint) return mark("cannot_check");
  if (ring.fresh) return [h("span", null, "Nothing is trusted here yet."), h("br"), h("span", { class: "muted" }, "The first signed build you look at takes the keys that the server lists, unless you decide before.")];
  return [mark("unknown_signer", "Key not trusted by you"), h("br"), speaker("server says"), " ", key.created_at ? ["known since ", moment(key.created_at)] : "that it is there"];
}

function buttons(key, organization, again) {
  const decide = (act, said) => async () => {
    await act();
    announce(said);
    await again();
  };
  const tell = (method, body, said) => decide(() => change(method, `/keys/${encodeURIComponent(key.id)}`, body), said);
  return h(
    "div",
    { class: "row" },
    key.thumbprint && (!key.how || key.how === "first") && h("button", { onclick: decide(() => trust(organization, key.jwk, "compared"), `${key.kid} is trusted now`) }, "I compared it: trust"),
    key.thumbprint && key.how && key.how !== "pin" && h("button", { onclick: decide(() => distrust(organization, key.thumbprint), `${key.kid} is trusted no longer`) }, "Do not trust"),
    key.listed && may("write_organizations") && h("button", { onclick: tell("PATCH", { revoked: !key.revoked }, "Saved") }, key.revoked ? "Take the revocation back" : "Say it is revoked"),
    key.listed && may("write_organizations") && h("button", { class: "danger", onclick: tell("DELETE", undefined, "Forgotten") }, "Take off the list"),
  );
}

function changed(doubted, known) {
  const row = (when, key) => h("li", null, `${when} `, h("strong", null, key.kid), " ", h("span", { class: "digits" }, key.thumbprint ? comparisonDigits(key.thumbprint) : ""), key.created_at && [", listed ", moment(key.created_at)]);
  return h(
    "section",
    { class: "notice bad" },
    h("h2", null, "Other keys than this browser knows"),
    h("p", null, 'Steps signed with a key that this browser does not trust show as "unknown signer".'),
    h("ul", null, known.map((key) => row("known:", key)), doubted.map((key) => row("new:", key))),
    h("p", null, "Usual causes: a planned rotation, a new uploader, a restored backup. Less usual: somebody else now signs your steps."),
    h("p", null, "Ask your team for the thumbprint or its six groups of digits on another way than this page (", h("code", null, "pipeseal keys list"), " prints them), compare, and decide below. Until then nothing changes."),
  );
}

function addHere(organization, again) {
  const text = textarea("Public keys", { name: "jwks", rows: 5, spellcheck: "false", class: "mono wide", required: true }, "", "A JWK Set, as in verification.json. It stays in this browser.");
  return h("section", null, h("h2", null, "Trust a key in this browser"), form("Trust these keys", [text], async () => {
    for (const jwk of parseKeys(text.value)) await trust(organization, jwk, "added");
    await again();
    return "Trusted in this browser now";
  }));
}

function addThere(again) {
  const text = textarea("Public keys to list", { name: "listed", rows: 5, spellcheck: "false", class: "mono wide", required: true }, "", "Everybody who reads here finds them. That makes nobody trust them, and no agent.");
  const words = field("What they are for", { name: "description", placeholder: "uploader in the build cluster" });
  return h("section", null, h("h2", null, "List a key for your readers"), form("List these keys", [text, words], async () => {
    await change("POST", "/keys", { jwks: { keys: parseKeys(text.value) }, description: words.value });
    await again();
    return "Listed";
  }));
}

async function showKey(main, { organization, keys, thumbprint, ring, again, signal }) {
  const key = keys.find((one) => one.thumbprint === thumbprint);
  document.title = `Key ${key?.kid ?? ""} · Pipeseal`;
  const crumbs = h("ol", { class: "crumbs" }, h("li", null, h("a", { href: location.pathname }, "Keys")), h("li", null, key?.kid ?? "unknown"));
  if (!key) {
    replace(main, crumbs, h("h1", null, "A key that is not known here"), h("p", null, "Neither this browser nor the server has a key with the thumbprint ", thumbprintText(thumbprint), "."));
    return;
  }
  const uses = key.listed && may("read_builds") ? await ask(`/keys/${encodeURIComponent(key.id)}/steps?per_page=100`, { signal }) : [];
  const namesakes = keys.filter((one) => one.kid === key.kid && one !== key);
  const grouped = Map.groupBy(uses, (use) => `${use.pipeline}/builds/${use.number}`);
  replace(
    main,
    crumbs,
    h("h1", null, `Key ${key.kid}`),
    namesakes.length > 0 && h("p", { class: "notice bad" }, `Same name, other key: ${namesakes.map((one) => one.thumbprint ?? "?").join(", ")}. Names are easily copied; the thumbprint tells keys apart.`),
    h(
      "dl",
      { class: "facts" },
      h("dt", null, "Thumbprint"),
      h("dd", null, thumbprintText(thumbprint)),
      h("dt", null, "In digits"),
      h("dd", null, digitsText(thumbprint), h("span", { class: "muted" }, "Read these to each other; ", h("code", null, "pipeseal keys list"), " prints them too.")),
      h("dt", null, "Algorithm"),
      h("dd", null, key.alg),
      h("dt", null, "In this browser"),
      h("dd", null, standing(key, ring)),
      key.description && [h("dt", null, "For"), h("dd", null, key.description, " ", speaker("server says"))],
      key.created_at && [h("dt", null, "Listed"), h("dd", null, moment(key.created_at), " ", speaker("server says"))],
    ),
    buttons(key, organization, again),
    h("h2", null, "Links that carry this key"),
    h("p", null, "A link that ends in ", h("code", null, `#pin=${thumbprint}`), " is checked against this key and no other. Browsers do not send that part to servers."),
    h("h2", null, "What names it ", speaker("server says")),
    grouped.size > 0
      ? h("ul", { class: "list" }, [...grouped].map(([path, found]) => h("li", null, h("a", { href: `/${organization}/${path}` }, path.replace("/builds/", " #")), ` ${found.map((use) => use.step).join(", ")} `, moment(found[0].created_at))))
      : h("p", { class: "muted" }, "No step of a recent build."),
    h("p", { class: "hint" }, "Whether it made those signatures is checked on the build's own Trust tab."),
    leopard(),
  );
}
