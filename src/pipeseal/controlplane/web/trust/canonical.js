// Canonical JSON (RFC 8785), and the strict base64url of RFC 7515: the exact bytes that are signed.

/** What is wrong with something that was to be checked; `code` is one of the product's codes. */
export class Flaw extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

const MAX_DEPTH = 240;
// Integers between these bounds share a double with their neighbours, and so a signature.
const MAX_SHARED = 2 ** 64;

/**
 * `value` as canonical JSON. Numbers and strings are written by ECMAScript's own rules, as RFC 8785 section 3.2.2 has
 * them, and members sorted by UTF-16 code units (section 3.2.3), which is how ECMAScript sorts.
 */
export function canonical(value, depth = 0) {
  if (depth > MAX_DEPTH) throw new Flaw("payload.value", `a signed value is nested deeper than ${MAX_DEPTH} levels`);
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "number") return number(value);
  if (typeof value === "string") return text(value);
  if (Array.isArray(value)) return `[${value.map((one) => canonical(one, depth + 1)).join(",")}]`;
  if (typeof value !== "object") throw new Flaw("payload.value", "a signed value is no JSON");
  const members = Object.keys(value).sort();
  return `{${members.map((name) => `${text(name)}:${canonical(value[name], depth + 1)}`).join(",")}}`;
}

function number(value) {
  if (!Number.isFinite(value)) throw new Flaw("payload.value", `${value} is not a number that JSON can hold`);
  if (Number.isInteger(value) && !Number.isSafeInteger(value) && Math.abs(value) <= MAX_SHARED)
    throw new Flaw("number.unsafe", `the number ${value} cannot be told from its neighbours once it is signed`);
  return JSON.stringify(value);
}

function text(value) {
  if (!value.isWellFormed()) throw new Flaw("payload.value", "a signed text is no valid Unicode");
  return JSON.stringify(value);
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** UTF-8 of a text. */
export function bytesOf(value) {
  return encoder.encode(value);
}

/** The text of UTF-8; throws when it is none. */
export function textOf(bytes) {
  return decoder.decode(bytes);
}

/** base64url without padding (RFC 7515 section 2). */
export function encodeBase64url(bytes) {
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

/** The bytes of base64url in its one spelling: no padding, no other characters, unused bits zero. Throws otherwise. */
export function decodeBase64url(value) {
  if (!/^[A-Za-z0-9_-]*$/.test(value) || value.length % 4 === 1) throw new RangeError("not base64url");
  const bytes = Uint8Array.from(atob(value.replaceAll("-", "+").replaceAll("_", "/")), (one) => one.charCodeAt(0));
  if (encodeBase64url(bytes) !== value) throw new RangeError("not base64url in its one spelling");
  return bytes;
}
