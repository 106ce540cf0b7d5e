// The keys that the reader of this browser chose: pinned by the link, added or compared by hand, or the first ones seen.
import { Flaw } from "./canonical.js";
import { soundKey, thumbprintOf } from "./keycheck.js";

const PINS = "pipeseal-pins";
const THUMBPRINT = /^[A-Za-z0-9_-]{43}$/;
const at = (organization) => `pipeseal-keys/${organization}`;

/** The thumbprints that the link asks for (`#pin=ONE,TWO`); kept for as long as the tab is open. */
export function pins() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const asked = (fragment.get("pin") ?? "").split(",").filter((one) => THUMBPRINT.test(one));
  try {
    if (asked.length) sessionStorage.setItem(PINS, asked.join(","));
    return (sessionStorage.getItem(PINS) ?? "").split(",").filter(Boolean);
  } catch {
    return asked;
  }
}

/** Forget what the link asked for. */
export function dropPins() {
  try {
    sessionStorage.removeItem(PINS);
  } catch {
    // Nothing is kept, then.
  }
  history.replaceState(history.state, "", location.pathname + location.search);
}

// What this page decided where the browser keeps nothing.
const unkept = new Map();

/** What the reader trusts, as `judge` wants it; `fresh`: this browser has never seen a key of the organisation. */
export function readRing(organization) {
  const asked = pins();
  let kept = unkept.get(organization);
  try {
    const text = localStorage.getItem(at(organization));
    if (text !== null) kept = JSON.parse(text);
  } catch {
    // Unreadable or not allowed: as if this browser had never been here, which is said.
  }
  const keys = kept?.keys ?? {};
  const refused = kept?.refused ?? [];
  return { pins: asked, keys, refused, fresh: asked.length === 0 && Object.keys(keys).length === 0 && refused.length === 0 };
}

function writeRing(organization, { keys, refused }) {
  unkept.set(organization, { keys, refused });
  try {
    localStorage.setItem(at(organization), JSON.stringify({ keys, refused }));
  } catch {
    // Kept for this page alone, then.
  }
}

/** Trust a key from now on. `how`: `first`, `added` or `compared`. Throws a Flaw for what is no sound public key. */
export async function trust(organization, jwk, how) {
  const key = soundKey(jwk);
  const thumbprint = await thumbprintOf(key);
  const ring = readRing(organization);
  ring.keys[thumbprint] = { jwk: key, how, since: new Date().toISOString() };
  ring.refused = ring.refused.filter((one) => one !== thumbprint);
  writeRing(organization, ring);
  return thumbprint;
}

/** Trust a key no longer. */
export function distrust(organization, thumbprint) {
  const ring = readRing(organization);
  delete ring.keys[thumbprint];
  if (!ring.refused.includes(thumbprint)) ring.refused.push(thumbprint);
  writeRing(organization, ring);
}

/** Keep the keys that were there first, on the first visit; later ones are for the reader to decide. */
export async function keepFirst(organization, jwks) {
  if (!readRing(organization).fresh) return;
  for (const jwk of jwks)
    try {
      await trust(organization, jwk, "first");
    } catch (error) {
      if (!(error instanceof Flaw)) throw error;
    }
}

/** The public keys of a JWK Set or a JWK that somebody pasted. Throws a Flaw. */
export function parseKeys(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Flaw("key.set", "that is not JSON; a key file is a JWK Set, as `pipeseal tool keygen` writes it");
  }
  const keys = Array.isArray(value?.keys) ? value.keys : [value];
  for (const jwk of keys) {
    if (jwk !== null && typeof jwk === "object" && ("d" in jwk || jwk.kty === "oct"))
      throw new Flaw("key.private", "that is a private key: paste the public one, and make another key if this one was on a page");
    soundKey(jwk);
  }
  return keys;
}

/** Why a key is trusted, for people. */
export function reason({ how, since }) {
  const day = since ? since.slice(0, 10) : "just now";
  return {
    pin: "it is the key that your link asks for",
    added: `you added it to this browser on ${day}`,
    compared: `you compared its thumbprint on ${day}`,
    first: since ? `it was the first one that this browser saw here, on ${day}` : "it is the first one that this browser sees here, handed over by this server just now",
  }[how] ?? "you do not trust it in this browser";
}
