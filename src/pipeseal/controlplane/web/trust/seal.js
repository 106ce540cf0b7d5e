// Reading a seal (docs/spec/seal.md sections 3 and 4): canonical bytes, every member there, of its kind and in its one form.
import { Flaw, canonical, textOf } from "./canonical.js";
import { notNormal } from "./normal.js";

const MAX_COUNT = 2 ** 31 - 1;
export const SEAL_VARIABLE = "PIPESEAL_SEAL";

const isText = (value) => typeof value === "string";
const isName = (value) => isText(value) && value !== "";
const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const isCount = (value) => Number.isInteger(value) && value >= 0 && value <= MAX_COUNT;
const isPositive = (value) => isCount(value) && value > 0;
const isTime = (value) => Number.isSafeInteger(value) && value >= 0;
const isTexts = (value) => Array.isArray(value) && value.every(isText);
const isVariables = (value) => isObject(value) && Object.values(value).every(isText) && !Object.hasOwn(value, SEAL_VARIABLE);
const isId = (value) => isText(value) && /^([0-9a-f]{40}|[0-9a-f]{64})$/.test(value);
const isDigest = (value) => isText(value) && /^[0-9a-f]{64}$/.test(value);
const orNull = (check) => (value) => value === null || check(value);

// Sorted by code points (section 3), each once.
function isRules(value) {
  if (!isTexts(value) || !value.every((rule) => rule.includes("="))) return false;
  return value.every((rule, at) => at === 0 || byPoints(value[at - 1], rule) < 0);
}

function byPoints(one, other) {
  const [a, b] = [[...one], [...other]];
  for (let at = 0; at < Math.min(a.length, b.length); at += 1)
    if (a[at] !== b[at]) return a[at].codePointAt(0) - b[at].codePointAt(0);
  return a.length - b.length;
}

const ENVELOPE = {
  attempts: isPositive,
  audience: isObject,
  build: orNull(isObject),
  exclusive: (value) => typeof value === "boolean",
  expires: orNull(isTime),
  gates: (value) => Array.isArray(value) && value.length === 0,
  inherited: isObject,
  not_before: isTime,
  parent: isObject,
  step: isObject,
  type: (value) => value === "pipeseal-seal",
  version: (value) => value === 1,
};
const AUDIENCE = { agents: isRules, organization: orNull(isName), pipeline: orNull(isName), repository: isText };
const BUILD = {
  branch: orNull(isText),
  commit: orNull(isId),
  id: orNull(isName),
  pull_request: orNull(isText),
  tag: orNull(isText),
  tree: orNull(isId),
};
const PARENT = { position: isCount, seal: orNull(isDigest), upload: orNull(isName) };
const INHERITED = { checkout: orNull(isObject), env: isVariables };
const STEP = {
  artifact_paths: isTexts,
  cache: (value) => value === null || value === false || isObject(value),
  checkout: orNull(isObject),
  command: isText,
  env: isVariables,
  execution: (value) => value === "shell" || value === "script",
  key: isText,
  label: isText,
  matrix: (value) => value === null || typeof value === "object",
  parallelism: orNull(isCount),
  plugins: Array.isArray,
  rest: isObject,
  secrets: Array.isArray,
  timeout_in_minutes: orNull(isPositive),
};
const PLUGIN = { commit: orNull(isId), config: orNull(isText), source: isText, tree: orNull(isId) };
const SECRET = { environment_variable: orNull(isText), key: isName };

/** The seal in a payload's bytes; throws a Flaw for anything that sections 3 and 4 do not allow. */
export function parsePayload(bytes) {
  let written, seal;
  try {
    written = textOf(bytes);
    seal = JSON.parse(written);
  } catch {
    throw new Flaw("seal.json", "the seal's payload is not JSON");
  }
  if (!isObject(seal)) throw new Flaw("seal.json", "the seal's payload is not an object");
  checkNumbers(seal);
  // Members that are there twice, other orders and other spellings all end here.
  if (canonical(seal) !== written) throw new Flaw("seal.canonical", "the seal's payload is not canonical JSON");
  if (seal.type === "pipeseal-seal" && Number.isInteger(seal.version) && seal.version !== 1)
    throw new Flaw("seal.version", `the seal is of version ${seal.version}, and this page knows version 1`);
  check(seal, ENVELOPE, "");
  check(seal.audience, AUDIENCE, "audience.");
  if (seal.build !== null) check(seal.build, BUILD, "build.");
  check(seal.parent, PARENT, "parent.");
  check(seal.inherited, INHERITED, "inherited.");
  check(seal.step, STEP, "step.");
  seal.step.plugins.forEach((one, at) => check(one, PLUGIN, `step.plugins[${at}].`));
  seal.step.secrets.forEach((one, at) => check(one, SECRET, `step.secrets[${at}].`));
  checkWhole(seal);
  const other = notNormal(seal);
  if (other !== null) throw new Flaw("seal.member", `the seal's member \`${other}\` is not in its normal form`);
  return seal;
}

// Section 3: numbers are integers that doubles tell apart.
function checkNumbers(value) {
  if (typeof value === "number" && !Number.isSafeInteger(value))
    throw new Flaw("seal.json", `the seal holds the number ${value}, and its numbers are integers up to 2^53`);
  if (typeof value === "string" && !value.isWellFormed()) throw new Flaw("seal.json", "a text of the seal is no valid Unicode");
  if (value !== null && typeof value === "object")
    for (const [name, one] of Object.entries(value)) {
      checkNumbers(one);
      checkNumbers(name);
    }
}

function check(value, table, where) {
  const bad = (name, what) => new Flaw("seal.member", `the seal's member \`${where}${name}\` ${what}`);
  if (!isObject(value)) throw bad("", "is no object");
  for (const name of Object.keys(value)) if (!Object.hasOwn(table, name)) throw bad(name, "is not known");
  for (const [name, isRight] of Object.entries(table)) {
    if (!Object.hasOwn(value, name)) throw bad(name, "is not there");
    if (!isRight(value[name])) throw bad(name, "is of another kind");
  }
}

// What one member says of another.
function checkWhole(seal) {
  const bad = (name, what) => new Flaw("seal.member", `the seal's member \`${name}\` ${what}`);
  if (seal.build !== null && Object.values(seal.build).every((one) => one === null)) throw bad("build", "says nothing and is not null");
  const dated = seal.build !== null && seal.build.id !== null;
  if (seal.expires === null ? dated : seal.expires < seal.not_before) throw bad("expires", "does not fit the rest");
  if (seal.parent.upload === null && seal.parent.seal !== null) throw bad("parent.seal", "is there without an upload");
  for (const { commit, tree } of seal.step.plugins) if (commit === null && tree !== null) throw bad("step.plugins", "has a tree without its commit");
}
