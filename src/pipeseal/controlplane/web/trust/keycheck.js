// Public keys (RFC 7517): their thumbprints (RFC 7638), and checking raw signatures with them by WebCrypto.
import { Flaw, bytesOf, decodeBase64url, encodeBase64url } from "./canonical.js";

// RFC 7638 section 3.2 and RFC 8037 section 2: the members a thumbprint covers, in order.
const COVERED = { OKP: ["crv", "kty", "x"], EC: ["crv", "kty", "x", "y"], RSA: ["e", "kty", "n"] };
// RFC 7518 section 6.2.1.2: bytes of a coordinate.
const CURVES = { "P-256": 32, "P-384": 48, "P-521": 66 };

// RFC 7518 section 3.1 and RFC 8037 section 3.1: algorithm to key type and what WebCrypto calls it. Shared secrets
// (HS256 and kin) are not here: whoever could check them could sign.
const ALGORITHMS = {
  EdDSA: { kty: "OKP", name: "Ed25519" },
  Ed25519: { kty: "OKP", name: "Ed25519" },
};
for (const bits of [256, 384, 512]) {
  ALGORITHMS[`ES${bits}`] = { kty: "EC", name: "ECDSA", hash: `SHA-${bits}` };
  // RFC 7518 section 3.5: the salt is as long as the hash.
  ALGORITHMS[`PS${bits}`] = { kty: "RSA", name: "RSA-PSS", hash: `SHA-${bits}`, saltLength: bits / 8 };
  ALGORITHMS[`RS${bits}`] = { kty: "RSA", name: "RSASSA-PKCS1-v1_5", hash: `SHA-${bits}` };
}

/** The members of a public key that mean something, as text; throws a Flaw for what is no sound public key. */
export function soundKey(jwk) {
  const members = COVERED[jwk?.kty];
  if (!members) throw new Flaw("key.unsuitable", `keys of type ${String(jwk?.kty)} are not checked with in a browser`);
  if (typeof jwk.kid !== "string" || !jwk.kid) throw new Flaw("key.malformed", "a key has no id (`kid`)");
  const key = { kid: jwk.kid, alg: jwk.alg, use: jwk.use };
  const raw = {};
  for (const name of members) {
    if (typeof jwk[name] !== "string") throw new Flaw("key.malformed", `the key ${jwk.kid} lacks \`${name}\``);
    key[name] = jwk[name];
    if (name === "kty" || name === "crv") continue;
    try {
      raw[name] = decodeBase64url(jwk[name]);
    } catch {
      throw new Flaw("key.malformed", `the key ${jwk.kid} is not base64url`);
    }
  }
  if (key.kty === "RSA") checkRsa(key, raw);
  else checkPoint(key, raw);
  return key;
}

function checkPoint(key, raw) {
  const size = key.kty === "OKP" ? (key.crv === "Ed25519" ? 32 : 0) : CURVES[key.crv];
  if (!size) throw new Flaw("key.unsuitable", `the key ${key.kid} is on the curve ${key.crv}, which steps are not signed with`);
  for (const [name, bytes] of Object.entries(raw))
    if (bytes.length !== size) throw new Flaw("key.malformed", `\`${name}\` of the key ${key.kid} is not ${size} bytes`);
}

function checkRsa(key, raw) {
  const strip = (bytes) => bytes.subarray(bytes.findIndex((byte) => byte !== 0));
  const modulus = strip(raw.n);
  const bits = modulus.length * 8 - Math.clz32(modulus[0] ?? 0) + 24;
  // RFC 7518 section 3.5: 2048 bits or larger.
  if (bits < 2048) throw new Flaw("key.malformed", `the RSA key ${key.kid} has fewer than 2048 bits`);
  // RFC 7518 section 6.3.1: without leading zeros, so that one key has one thumbprint.
  key.n = encodeBase64url(modulus);
  key.e = encodeBase64url(strip(raw.e));
}

/** SHA-256 thumbprint of a sound key, base64url (RFC 7638), as `pipeseal tool keygen` prints it. */
export async function thumbprintOf(key) {
  const members = COVERED[key.kty].map((name) => `${JSON.stringify(name)}:${JSON.stringify(key[name])}`);
  return encodeBase64url(new Uint8Array(await crypto.subtle.digest("SHA-256", bytesOf(`{${members.join(",")}}`))));
}

/**
 * Whether `signature` over `bytes` was made with a sound key, by the key's own algorithm (RFC 8725 section 3.1).
 *
 * Throws a Flaw when the key is not for that, or the browser cannot: neither says anything about the signature.
 */
export async function isSignedBy(key, signature, bytes) {
  const algorithm = ALGORITHMS[key.alg];
  if (!algorithm || algorithm.kty !== key.kty)
    throw new Flaw("key.unsuitable", `the key ${key.kid} is for ${String(key.alg)}, which is not checked here`);
  // RFC 7517 section 4.2
  if (![undefined, null, "", "sig"].includes(key.use)) throw new Flaw("key.unsuitable", `the key ${key.kid} is not for signatures`);
  const imported = await load(key, algorithm);
  return crypto.subtle.verify(algorithm, imported, signature, bytes);
}

async function load(key, algorithm) {
  const material = Object.fromEntries(COVERED[key.kty].map((name) => [name, key[name]]));
  const how = key.kty === "EC" ? { name: algorithm.name, namedCurve: key.crv } : algorithm;
  try {
    return await crypto.subtle.importKey("jwk", material, how, false, ["verify"]);
  } catch (error) {
    if (error.name === "NotSupportedError") throw new Flaw("page.algorithm", `this browser cannot check ${key.alg}`);
    throw new Flaw("key.malformed", `the key ${key.kid} cannot be read: it is no ${key.crv ?? key.kty} key`);
  }
}
