// Six groups of digits for a key, which two people can compare by voice; `pipeseal keys show` prints the same.
import { decodeBase64url } from "./canonical.js";

/** The digits of a thumbprint: each group is five bytes of it, from its beginning, as a number modulo 100,000. */
export function comparisonDigits(thumbprint) {
  const bytes = decodeBase64url(thumbprint);
  const group = (at) => bytes.subarray(5 * at, 5 * at + 5).reduce((sum, byte) => sum * 256 + byte, 0) % 100_000;
  return Array.from({ length: 6 }, (_, at) => String(group(at)).padStart(5, "0")).join(" ");
}
