// The one form in which a step is sealed (docs/spec/seal.md section 4): every member is made anew and must come out the same.
import { canonical } from "./canonical.js";

const MAX_DEPTH = 100;
// Sealed as themselves, or taken off the step by whoever uploads, and so never among the others.
const NOT_OTHERS = [
  "", "command", "commands", "env", "plugins", "secrets", "signature", "matrix", "cache", "checkout", "artifact_paths", "parallelism",
  "timeout_in_minutes", "if_changed",
];
// Names of one member, the first of them its own.
const ALIASES = [["key", "id", "identifier"], ["label", "name"]];
// White space as the programs that make seals have it, which is a little more than ECMAScript has.
const SPACE = "[\\t-\\r\\x1c- \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]";
const SPACED = new RegExp(`^${SPACE}|${SPACE}$`);
const OBJECT_ID = /^([0-9a-f]{40}|[0-9a-f]{64})$/;

const isText = (value) => typeof value === "string";
const isTexts = (value) => Array.isArray(value) && value.every(isText);
const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const isBoolean = (value) => typeof value === "boolean";

/** The first member of a sealed step, or of what it inherits, that is not in its normal form; null when all are. */
export function notNormal({ step, inherited }) {
  const others = Object.keys(step.rest).find((name) => NOT_OTHERS.includes(name));
  if (others !== undefined) return `step.rest.${others}`;
  for (const [name, isNormal] of Object.entries(MEMBERS)) if (!isNormal(step[name], step)) return `step.${name}`;
  return inherited.checkout === null || isCheckout(inherited.checkout) ? null : "inherited.checkout";
}

const MEMBERS = {
  artifact_paths: (patterns) => patterns.every((pattern) => pattern !== "" && !pattern.includes(";") && !SPACED.test(pattern)),
  matrix: (value) => value === null || isMatrix(value),
  cache: (value) => value === null || value === false || isCache(value),
  checkout: (value) => value === null || isCheckout(value),
  plugins: (list) => list.every(isPlugin),
  rest: isRest,
};

/** Whether nothing in a value is an empty list, which is null in this form, or nested too deep. */
function isPlain(value, depth = 0) {
  if (value === null || isText(value) || isBoolean(value)) return true;
  if (depth > MAX_DEPTH) return false;
  if (Array.isArray(value) && value.length === 0) return false;
  return Object.values(value).every((one) => isPlain(one, depth + 1));
}

// A member without a name stands for all typed ones that are not there.
function isSpread(members, typed) {
  return Object.hasOwn(members, "") && !typed.every((name) => Object.hasOwn(members, name));
}

function without(members, typed) {
  return Object.entries(members).filter(([name]) => !typed.includes(name));
}

function isMatrix(value) {
  if (Array.isArray(value)) return value.length > 0 && isTexts(value);
  const { setup, adjustments } = value;
  const others = without(value, ["setup", "adjustments"]);
  if (isSpread(value, ["setup", "adjustments"]) || !Object.hasOwn(value, "setup") || !isSetup(setup)) return false;
  if (Object.hasOwn(value, "adjustments") && !(Array.isArray(adjustments) && adjustments.length > 0 && adjustments.every(isAdjustment))) return false;
  // A list and nothing else is written as the list; nothing at all as null.
  if (Array.isArray(setup) && adjustments === undefined && others.length === 0) return false;
  return !(Object.keys(setup).length === 0 && adjustments === undefined && others.length === 0) && others.every(([, one]) => isPlain(one));
}

function isSetup(setup) {
  if (Array.isArray(setup)) return setup.length > 0 && isTexts(setup);
  if (!isObject(setup)) return false;
  const dimensions = Object.entries(setup);
  // One dimension without a name is written as its list.
  if (dimensions.length === 1 && dimensions[0][0] === "" && dimensions[0][1]?.length > 0) return false;
  return dimensions.every(([, values]) => values === null || isTexts(values));
}

function isAdjustment(value) {
  if (value === null) return true;
  if (!isObject(value) || isSpread(value, ["with", "skip"])) return false;
  const about = value.with;
  const isCombination = isObject(about) && Object.values(about).every(isText) && !(Object.keys(about).length === 1 && Object.hasOwn(about, ""));
  if (!isText(about) && !isCombination) return false;
  if (Object.hasOwn(value, "skip") && (!value.skip || !isPlain(value.skip, 2))) return false;
  return without(value, ["with", "skip"]).every(([, one]) => isPlain(one, 2));
}

function isCache(value) {
  const typed = ["disabled", "name", "paths", "size"];
  if (isSpread(value, typed) || Object.hasOwn(value, "disabled")) return false;
  for (const name of ["name", "size"]) if (Object.hasOwn(value, name) && !(isText(value[name]) && value[name])) return false;
  if (Object.hasOwn(value, "paths") && !(isTexts(value.paths) && value.paths.length > 0)) return false;
  return without(value, typed).every(([, one]) => isPlain(one, 1));
}

function isCheckout(value) {
  const kinds = { skip: isBoolean, submodules: isBoolean, ssh_secret: isText, depth: Number.isSafeInteger };
  const typed = Object.keys(kinds);
  if (isSpread(value, typed) || Object.keys(value).length === 0) return false;
  if (!typed.every((name) => !Object.hasOwn(value, name) || kinds[name](value[name]))) return false;
  return without(value, typed).every(([, one]) => isPlain(one, 1));
}

function isPlugin({ commit, config, source }) {
  const version = source.includes("#") ? source.slice(source.lastIndexOf("#") + 1) : "";
  return isFull(source) && (commit !== null || !OBJECT_ID.test(version)) && (config === null || isConfig(config));
}

// RFC 8785: one text for each configuration; none for an empty one.
function isConfig(text) {
  let value;
  try {
    value = JSON.parse(text);
    if (canonical(value) !== text) return false;
  } catch {
    return false;
  }
  return value !== null && !(typeof value === "object" && Object.keys(value).length === 0);
}

/** Whether a plugin's source stays as it is; short ones (`docker#v5`) have a full form. RFC 3986 sections 2.1, 4.1 and 4.2. */
function isFull(source) {
  if (source === "" || "/.\\".includes(source[0])) return true;
  const at = source.includes("#") ? source.indexOf("#") : source.length;
  const [reference, fragment] = [source.slice(0, at), source.slice(at + 1)];
  if (/[\x00-\x1f\x7f]/.test(reference)) return true;
  const [path] = reference.split("?");
  if (reference.startsWith(":") || /^[A-Za-z][A-Za-z0-9+.-]*:/.test(reference) || path.split("/")[0].includes(":")) return true;
  if ([path, fragment].some((part) => /%(?![0-9a-fA-F]{2})/.test(part))) return true;
  return path.replace(/%2f/gi, "/").replace(/^\//, "").split("/").length > 2;
}

function isRest(rest, step) {
  for (const [own, ...others] of ALIASES) {
    if (Object.hasOwn(rest, own)) return false;
    if (step[own] === "" && others.some((name) => Object.hasOwn(rest, name))) return false;
  }
  return Object.values(rest).every((one) => one !== null && isPlain(one));
}
