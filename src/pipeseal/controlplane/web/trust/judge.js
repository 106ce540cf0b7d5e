// Judging one step: is it what a key that the reader chose has signed? Pure: no page, no network, no storage.
//
// `found` is what the server gives (`signed-step`), `shown` what the page shows of the job and its build, `ring` what
// the reader trusts: { pins, keys: {thumbprint: {jwk, how, since}}, refused: [thumbprint], fresh }.
import { Flaw, canonical } from "./canonical.js";
import { isSignedBy, soundKey, thumbprintOf } from "./keycheck.js";
import { parseJws, parseSealJws } from "./jws.js";
import { SEAL_VARIABLE, parsePayload } from "./seal.js";

// What every signature covers (docs/reference/signed-fields.md); the others where a step has them.
const MANDATORY = ["command", "env", "matrix", "plugins", "repository_url"];
const KNOWN = [...MANDATORY, "secrets", "checkout"];
const PREFIX = "env::";
// What has no answer, as against what answers no.
const UNDECIDED = new Set(["key.unknown", "key.unsuitable", "key.malformed", "page.algorithm", "field.unknown", "number.unsafe", "payload.value"]);

// Variable to what the page shows of it; `undefined`: nobody asks, as when signatures are looked at by themselves.
const BINDINGS = {
  BUILDKITE_ORGANIZATION_SLUG: ["organisation", (shown) => shown.organization],
  BUILDKITE_PIPELINE_SLUG: ["pipeline", (shown) => shown.slug],
  BUILDKITE_BUILD_ID: ["build", (shown) => shown.build.id],
  BUILDKITE_COMMIT: ["commit", (shown) => shown.build.commit],
  BUILDKITE_BRANCH: ["branch", (shown) => shown.build.branch],
  BUILDKITE_TAG: ["tag", (shown) => (shown.build.tag === undefined ? undefined : (shown.build.tag ?? ""))],
  BUILDKITE_PULL_REQUEST: ["pull request", (shown) => (shown.build.pull_request === undefined ? undefined : (shown.build.pull_request?.id ?? "false"))],
  BUILDKITE_STEP_KEY: ["step", (shown) => (shown.job.step_key === undefined ? undefined : (shown.job.step_key ?? ""))],
};

/**
 * What a page shows, as `judge` compares it. What the server leaves out counts as nothing: a signature that is for
 * something does not fit it.
 */
export function asShown({ organization, slug }, build, job) {
  const { id = null, commit = null, branch = null, tag = null, pull_request = null } = build;
  const { command = null, step_key = null, matrix = null, started_at = null, agent_query_rules = null } = job;
  return { organization, slug, build: { id, commit, branch, tag, pull_request }, job: { command, step_key, matrix, started_at, agent_query_rules } };
}

/**
 * How a step stands: { state, code, says, signer, values, checks, seal }.
 *
 * 1. Without WebCrypto there is no answer.
 * 2. There is a signature, and the server delivers what it covers.
 * 3. It covers what every signature must, and nothing that is not known here.
 * 4. The signature over the canonical payload is right, by the key's own algorithm.
 * 5. What was signed is what the page shows: command, matrix values, organisation, pipeline, build, commit, branch, ...
 * 6. The seal, if there is one, is of a trusted key too, whole, and says the same.
 * 7. The key is one that the reader chose, and it was not revoked.
 *
 * Does not check: that an agent ran this step, how often, or anything that happened then.
 */
export async function judge(found, shown, ring) {
  // 1. WebCrypto exists in secure contexts only: https, or this very computer.
  if (!globalThis.crypto?.subtle) return { state: "cannot_check", code: "page.insecure", says: "this page came over plain http, and browsers do no cryptography there", checks: [] };
  const result = { state: "verified", code: "", says: "", signer: null, values: null, checks: [], seal: null };
  try {
    // 2.
    if (found.signature === null) return { ...result, state: "unsigned", code: "signature.missing", says: "the step has no signature" };
    const jws = parseJws(found.signature.value);
    result.signer = { kid: jws.kid, alg: jws.alg, thumbprint: "", how: null };
    if (found.withheld) return { ...result, state: "cannot_check", code: "page.withheld", says: `the server does not show strangers what was signed: it holds ${found.withheld}` };
    if (found.problem) {
      const state = UNDECIDED.has(found.problem.code) ? "cannot_check" : "failed";
      return { ...result, state, code: found.problem.code, says: `server says: ${found.problem.message}` };
    }
    if (found.payload === null || typeof found.payload !== "object")
      return { ...result, state: "missing", code: "page.payload", says: "there is a signature, and the server does not deliver what it covers" };
    // 3.
    const values = checkFields(found);
    // 4. RFC 8785, RFC 7515 appendix F
    const payload = canonical({ alg: found.signature.algorithm, values });
    const signer = await findSigner(jws, jws.input(payload), found.keys, ring, found.signature.algorithm);
    result.signer = signer;
    result.values = values;
    // 5.
    result.checks = compare(values, shown);
    const differing = result.checks.filter((one) => !one.same);
    if (differing.length) throw new Flaw("page.differs", differing.map((one) => one.says).join("; "));
    // 6.
    const text = values.env?.[SEAL_VARIABLE];
    if (typeof text === "string") result.seal = await judgeSeal(text, values, shown, found.keys, ring);
    // 7.
    return settle(result, signer);
  } catch (error) {
    if (!(error instanceof Flaw)) throw error;
    return { ...result, state: UNDECIDED.has(error.code) ? "cannot_check" : "failed", code: error.code, says: error.message, signer: error.signer ?? result.signer };
  }
}

function settle(result, signer) {
  for (const one of [signer, result.seal?.signer].filter(Boolean)) {
    const what = one === signer ? "signed" : "sealed";
    if (!one.how) {
      const known = one.other ? `; a key of the same name that you trust, ${short(one.other)}, did not sign it` : "";
      return { ...result, state: "unknown_signer", code: "key.unknown", says: `${what} by a key that you do not trust, ${one.kid} (${short(one.thumbprint)})${known}`, signer: one };
    }
    if (one.revoked) return { ...result, state: "revoked", code: "key.revoked", says: `${what} by ${one.kid}, whose key was revoked; server says: on ${one.revoked.slice(0, 10)}`, signer: one };
  }
  return result;
}

/** The beginning of a thumbprint, as logs show it. */
export function short(thumbprint) {
  return `${thumbprint.slice(0, 8)}…`;
}

function checkFields(found) {
  const { signed_fields: fields, algorithm } = found.signature;
  const values = found.payload.values;
  if (found.payload.alg !== algorithm || values === null || typeof values !== "object" || Array.isArray(values))
    throw new Flaw("signature.mismatch", "what the server delivers is no signed payload");
  if (!Array.isArray(fields) || fields.length === 0) throw new Flaw("field.none", "the signature covers no fields");
  const unknown = fields.filter((name) => !KNOWN.includes(name) && !name.startsWith(PREFIX));
  if (unknown.length) throw new Flaw("field.unknown", `the signature covers fields that are not known here: ${unknown.join(", ")}`);
  const lacking = MANDATORY.filter((name) => !fields.includes(name));
  if (lacking.length) throw new Flaw("field.not_signed", `the signature does not cover what it must: ${lacking.join(", ")}`);
  if (new Set(fields).size !== fields.length) throw new Flaw("field.repeated", "the signature lists fields twice");
  // Exactly the listed ones, whatever else came along.
  if (canonical([...fields].sort()) !== canonical(Object.keys(values).sort()))
    throw new Flaw("signature.mismatch", "what the server delivers are not the signed fields");
  return values;
}

/** The key that made a signature; throws a Flaw when none of those known by that id did. */
async function findSigner(jws, input, given, ring, algorithm) {
  const candidates = await keysCalled(jws.kid, given, ring);
  if (candidates.length === 0)
    throw new Flaw("key.unknown", `nobody gave this page the key ${jws.kid}; add it on the Keys page, if you have it`);
  let doubt = null;
  for (const one of candidates) {
    const signer = { kid: jws.kid, alg: one.key.alg, thumbprint: one.thumbprint, how: one.how, since: one.since, revoked: one.revoked, jwk: one.key };
    try {
      // RFC 8725 section 3.1: the key decides, and whoever disagrees with it is refused.
      if (jws.alg !== one.key.alg || (algorithm !== null && algorithm !== one.key.alg))
        throw new Flaw("algorithm.mismatch", `the signature is for ${jws.alg}, its key ${jws.kid} for ${one.key.alg}`);
      if (await isSignedBy(one.key, jws.signature, input)) {
        const trusted = candidates.find((other) => other.how && other !== one);
        return { ...signer, other: !one.how && trusted ? trusted.thumbprint : "" };
      }
    } catch (error) {
      if (!(error instanceof Flaw)) throw error;
      doubt ??= Object.assign(error, { signer });
    }
  }
  if (doubt) throw doubt;
  const [first] = candidates;
  throw Object.assign(new Flaw("signature.mismatch", `this is not the step that ${jws.kid} signed`), {
    signer: { kid: jws.kid, alg: first.key.alg, thumbprint: first.thumbprint, how: first.how, since: first.since },
  });
}

// The keys of an id, those that the reader chose first. A key's name is easily copied: the thumbprint decides.
async function keysCalled(kid, given, ring) {
  const found = new Map();
  const own = Object.values(ring.keys).map(({ jwk }) => ({ jwk, revoked: null }));
  const lent = given.map(({ jwk, revoked_at: revoked }) => ({ jwk, revoked }));
  for (const { jwk, revoked } of [...own, ...lent]) {
    if (jwk?.kid !== kid) continue;
    let key;
    try {
      key = soundKey(jwk);
    } catch (error) {
      // A key that cannot be read is none; were it the only one, there is no answer.
      if (error instanceof Flaw) continue;
      throw error;
    }
    const thumbprint = await thumbprintOf(key);
    const known = found.get(thumbprint);
    if (known) known.revoked ??= revoked;
    else found.set(thumbprint, { key, thumbprint, revoked, ...trustOf(thumbprint, ring) });
  }
  return [...found.values()].sort((one, other) => Number(Boolean(other.how)) - Number(Boolean(one.how)));
}

/** Why the reader trusts a key: `pin`, `added`, `compared`, `first`, or null. While there is a pin nothing else counts. */
export function trustOf(thumbprint, ring) {
  if (ring.pins.length) return { how: ring.pins.includes(thumbprint) ? "pin" : null, since: null };
  if (ring.refused.includes(thumbprint)) return { how: null, since: null };
  const known = ring.keys[thumbprint];
  if (known) return { how: known.how, since: known.since };
  return { how: ring.fresh ? "first" : null, since: null };
}

function compare(values, shown) {
  const checks = [];
  const note = (what, signed, seen) => {
    if (seen === undefined) return;
    const same = signed === seen;
    checks.push({ what, same, says: same ? "" : `it was signed for ${what} ${signed || "none"}, and the server shows ${seen || "none"}` });
  };
  for (const [name, [what, see]] of Object.entries(BINDINGS))
    if (Object.hasOwn(values, PREFIX + name)) note(what, values[PREFIX + name], see(shown));
  const command = shown.job.command;
  if (typeof command === "string" || Array.isArray(command)) {
    const seen = Array.isArray(command) ? command.join("\n") : command;
    const same = values.command === seen;
    checks.push({ what: "command", same, says: same ? "" : "the server shows another command than the one that was signed" });
  }
  if (shown.job.matrix !== undefined) {
    const same = allows(values.matrix, shown.job.matrix ?? {});
    checks.push({ what: "matrix values", same, says: same ? "" : "the signed matrix does not allow this job's values" });
  }
  return checks;
}

/** Whether a signed matrix allows a combination of values: dimension name (empty for the only one) to value. */
export function allows(matrix, chosen) {
  const names = Object.keys(chosen);
  if (matrix === null) return names.length === 0;
  const setup = Array.isArray(matrix) ? { "": matrix } : Array.isArray(matrix.setup) ? { "": matrix.setup } : (matrix.setup ?? {});
  if (names.length !== Object.keys(setup).length || !names.every((name) => Object.hasOwn(setup, name))) return false;
  for (const { with: about, skip } of matrix.adjustments ?? []) {
    const combination = typeof about === "object" && about !== null ? about : { "": about };
    if (names.every((name) => String(combination[name]) === chosen[name])) return skip === undefined || skip === null || skip === false;
  }
  return names.every((name) => (setup[name] ?? []).map(String).includes(chosen[name]));
}

/**
 * How a seal stands: { signer, seal, digest, checks }; throws a Flaw.
 *
 * 1. It is a JWS in its one spelling, of one of the known keys.
 * 2. Its payload is canonical, whole, and the step in it in its one form.
 * 3. It is for what the page shows, and says the same as the signature around it.
 * 4. The server does not show that the job started before or after the time for which it is good.
 * 5. The server gives the job to the agents that it is for, and to no others.
 *
 * Does not check: which tags an agent really has, and when it really started.
 */
async function judgeSeal(text, values, shown, given, ring) {
  // 1. RFC 7515 section 5.2
  const jws = parseSealJws(text);
  const signer = await findSigner(jws, jws.input, given, ring, null).catch((error) => {
    if (error instanceof Flaw && error.code === "signature.mismatch") throw new Flaw("seal.signature", `the seal is not one that ${jws.kid} made`);
    throw error;
  });
  // 2.
  const seal = parsePayload(jws.payload);
  // 3.
  const env = { ...values.env };
  delete env[SEAL_VARIABLE];
  const plugins = (values.plugins ?? []).flatMap((one) => Object.entries(one)).map(([source, config]) => [source, config === null ? null : canonical(config)]);
  const build = seal.build ?? {};
  const pairs = [
    ["organisation", seal.audience.organization, shown.organization],
    ["pipeline", seal.audience.pipeline, shown.slug],
    ["repository", seal.audience.repository, values.repository_url],
    ["build", build.id, shown.build.id],
    ["commit", build.commit, shown.build.commit],
    ["branch", build.branch, shown.build.branch],
    ["tag", build.tag, BINDINGS.BUILDKITE_TAG[1](shown)],
    ["pull request", build.pull_request, BINDINGS.BUILDKITE_PULL_REQUEST[1](shown)],
    ["step", seal.step.key, BINDINGS.BUILDKITE_STEP_KEY[1](shown)],
    ["command", seal.step.command, values.command],
    ["variables", canonical(seal.step.env), canonical(env)],
    ["plugins", canonical(seal.step.plugins.map(({ source, config }) => [source, config])), canonical(plugins)],
  ];
  const differing = pairs.filter(([, sealed, seen]) => sealed !== null && sealed !== undefined && seen !== undefined && sealed !== seen);
  if (differing.length) throw new Flaw("seal.differs", `the step was sealed with another ${differing.map(([what]) => what).join(", ")}`);
  const checks = pairs.filter(([, sealed, seen]) => sealed !== null && sealed !== undefined && seen !== undefined).map(([what]) => what);
  // 4.
  if (checkTime(seal, shown.job.started_at)) checks.push("time of the start");
  // 5.
  if (checkAgents(seal, shown.job.agent_query_rules)) checks.push("agents");
  const digest = [...new Uint8Array(await crypto.subtle.digest("SHA-256", jws.payload))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return { signer, seal, digest, checks };
}

// The time of a start is by the server's clock, and the seal's by the uploader's.
const CLOCKS_SECONDS = 600;

/** Whether there was a time to compare; throws a Flaw when it lies outside. */
function checkTime(seal, started) {
  if (started === undefined || started === null) return false;
  const seconds = Date.parse(started) / 1000;
  // Written so that a time that is none proves nothing.
  if (!(seconds >= seal.not_before - CLOCKS_SECONDS)) throw new Flaw("seal.early", `the server says that the job started ${timeText(seconds)}, and its seal is good from ${timeText(seal.not_before)} on`);
  if (seal.expires !== null && !(seconds <= seal.expires + CLOCKS_SECONDS)) throw new Flaw("seal.expired", `the server says that the job started ${timeText(seconds)}, and its seal was good until ${timeText(seal.expires)}`);
  return true;
}

/** Seconds since 1970 as people read them. */
export function timeText(seconds) {
  const time = new Date(seconds * 1000);
  return Number.isNaN(time.getTime()) ? "at no time that a calendar has" : `${time.toISOString().slice(0, 16).replace("T", " ")} UTC`;
}

/** Whether there were rules to compare; throws a Flaw when they are others. docs/spec/seal.md section 6, number 6 */
function checkAgents(seal, rules) {
  if (rules === undefined) return false;
  const [sealed, seen] = [seal.audience.agents, rules ?? []].map((list) => withQueue(list.map(String)));
  if (canonical(sealed) !== canonical(seen)) throw new Flaw("seal.audience", `the step was sealed for agents with ${sealed.join(", ")}, and the server gives it to agents with ${seen.join(", ")}`);
  return true;
}

function withQueue(rules) {
  const all = rules.some((rule) => rule.startsWith("queue=")) ? rules : [...rules, "queue=default"];
  return [...new Set(all)].sort();
}

/** The seal alone, for comparing this page with other programs: the sealed members, or a Flaw. */
export async function readSeal(text, jwks) {
  const jws = parseSealJws(text);
  const ring = { pins: [], keys: {}, refused: [], fresh: true };
  await findSigner(jws, jws.input, jwks.map((jwk) => ({ jwk, revoked_at: null })), ring, null).catch((error) => {
    if (error instanceof Flaw && error.code === "signature.mismatch") throw new Flaw("seal.signature", error.message);
    throw error;
  });
  return parsePayload(jws.payload);
}
