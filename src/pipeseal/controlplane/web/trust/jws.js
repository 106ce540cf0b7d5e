// Reading signatures: the detached JWS of steps (RFC 7515 appendix F) and the compact JWS of seals (section 7.1).
import { Flaw, bytesOf, canonical, decodeBase64url, encodeBase64url, textOf } from "./canonical.js";

const MAX_JWS = 16_384;
const MAX_SEAL = 98_304;
const SEAL_TYPE = "pipeseal-seal+jws";
const MAX_KID = 256;
// Names that seals may have in their header; shared secrets are among them, and are not checked here.
const NAMES = ["EdDSA", "Ed25519", ...["ES", "PS", "RS", "HS"].flatMap((kind) => [256, 384, 512].map((bits) => kind + bits))];

/** A step's signature: what it says of itself, its raw bytes, and what was signed given the payload's bytes. */
export function parseJws(value) {
  const bad = (why) => new Flaw("signature.malformed", `the signature is malformed: ${why}`);
  if (typeof value !== "string" || value.length > MAX_JWS) throw bad("it is too long");
  const segments = value.split(".");
  if (segments.length !== 3) throw bad("it is not three segments with dots between them");
  // RFC 7515 appendix F: the payload is detached; one inside the signature could be another step's.
  if (segments[1]) throw bad("it carries a payload of its own");
  if (!segments[2]) throw bad("its signature segment is empty");
  let header, signature, written;
  try {
    written = textOf(decodeBase64url(segments[0]));
    header = JSON.parse(written);
    signature = decodeBase64url(segments[2]);
  } catch {
    throw bad("a segment is not base64url of what it should be");
  }
  const { alg, kid } = header ?? {};
  if (typeof alg !== "string" || typeof kid !== "string" || !kid) throw bad("its header does not name an algorithm and a key");
  // Duplicates, other members (crit, b64, jwk, jku), other orders, spaces and escapes all end here.
  if (written !== `{"alg":${quote(alg)},"kid":${quote(kid)}}`) throw bad("its header is not exactly an algorithm and a key id");
  return { alg, kid, signature, input: (payload) => bytesOf(`${segments[0]}.${encodeBase64url(bytesOf(payload))}`) };
}

// The spelling that signers of this format have: the characters that mean something in HTML are escaped.
function quote(value) {
  return JSON.stringify(value).replace(/[<>&\u2028\u2029]/g, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** A seal's outermost layer (docs/spec/seal.md section 2): what it says of itself, its payload's bytes, what was signed. */
export function parseSealJws(value) {
  const bad = (why) => new Flaw("seal.malformed", `the seal is malformed: ${why}`);
  if (value.length > MAX_SEAL) throw new Flaw("seal.too_large", "the seal is too long");
  const segments = value.split(".");
  if (segments.length !== 3 || !segments.every(Boolean)) throw bad("it is not three segments with dots between them");
  let written, payload, signature;
  try {
    [written, payload, signature] = segments.map(decodeBase64url);
  } catch {
    throw bad("a segment is not base64url in its one spelling");
  }
  let header;
  try {
    written = textOf(written);
    header = JSON.parse(written);
  } catch {
    throw new Flaw("seal.header", "the seal's header is not JSON");
  }
  if (header === null || typeof header !== "object" || Array.isArray(header)) throw new Flaw("seal.header", "the seal's header is no object");
  if (header.typ !== SEAL_TYPE) throw new Flaw("seal.type", `this is not a seal: its header does not say \`typ\` ${SEAL_TYPE}`);
  const { alg, kid } = header;
  const named = NAMES.includes(alg) && typeof kid === "string" && kid && [...kid].length <= MAX_KID && kid.isWellFormed();
  if (!named || written !== canonical({ alg, kid, typ: SEAL_TYPE }))
    throw new Flaw("seal.header", "the seal's header is not exactly an algorithm, a key id and a type");
  return { alg, kid, payload, signature, input: bytesOf(`${segments[0]}.${segments[1]}`) };
}
