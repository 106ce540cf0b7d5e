// The ten states of trust, and nothing else: each by word, shape and fill together. (docs/security/browser.md)
import { h, s } from "../dom.js";

// The worst comes first; of several the worst counts.
export const STATES = {
  failed: { words: "check FAILED", shape: "octagon", filled: true },
  missing: { words: "evidence missing", shape: "broken", filled: true },
  revoked: { words: "key revoked", shape: "slashed", filled: true },
  unknown_signer: { words: "unknown signer", shape: "diamond" },
  cannot_check: { words: "can't check", shape: "square" },
  unsigned: { words: "not signed", shape: "dashed" },
  partial: { words: "partly verified", shape: "half" },
  removed: { words: "removed on purpose", shape: "scissors" },
  pending: { words: "checked so far", shape: "arc" },
  verified: { words: "verified", shape: "tick" },
};
const ORDER = Object.keys(STATES);

/** The worst of some states. */
export function worstOf(states) {
  return ORDER.find((state) => states.includes(state)) ?? "verified";
}

const RING = { cx: 8, cy: 8, r: 6.4 };
const SHAPES = {
  tick: () => [s("circle", RING), s("path", { d: "M4.8 8.3l2.2 2.3 4.2-4.9" })],
  half: () => [s("circle", RING), s("path", { d: "M8 1.6a6.4 6.4 0 0 0 0 12.8z", class: "solid" })],
  arc: () => [s("path", { d: "M14.4 8a6.4 6.4 0 1 1-3-5.4" }), s("path", { d: "M8 4.6v3.6l2.4 1.5" })],
  dashed: () => [s("circle", { ...RING, "stroke-dasharray": "2.3 2.2" })],
  diamond: () => [s("path", { d: "M8 .9L15.1 8 8 15.1.9 8z" }), s("path", { d: "M6.2 6.4a1.8 1.8 0 1 1 2.6 1.7c-.5.3-.8.6-.8 1.2M8 11.4v.1" })],
  square: () => [s("rect", { x: 1.8, y: 1.8, width: 12.4, height: 12.4, rx: 1.5 }), s("path", { d: "M5 8h6" })],
  broken: () => [s("path", { d: "M5.8 2a6.4 6.4 0 0 0-2.4 10.4" }), s("path", { d: "M10.2 2a6.4 6.4 0 0 1 .2 12" })],
  octagon: () => [s("path", { d: "M5.2 1.2h5.6l4 4v5.6l-4 4H5.2l-4-4V5.2z" }), s("path", { d: "M5.4 5.4l5.2 5.2M10.6 5.4l-5.2 5.2" })],
  slashed: () => [s("circle", RING), s("path", { d: "M3.5 12.5l9-9" })],
  scissors: () => [s("circle", { cx: 4, cy: 4, r: 2 }), s("circle", { cx: 4, cy: 12, r: 2 }), s("path", { d: "M5.6 5.2L14 12M5.6 10.8L14 4" })],
};

/** The mark of a state with its words; `text` stands in place of the usual words. */
export function mark(state, ...text) {
  const { words, shape, filled } = STATES[state];
  return h(
    "span",
    { class: filled ? "trust filled" : "trust", dataset: { trust: state } },
    s("svg", { viewBox: "0 0 16 16", "aria-hidden": "true", focusable: "false" }, SHAPES[shape]()),
    h("span", null, text.length ? text : words),
  );
}

/** Who says something: `checked here`, `signed by ...` or `server says`. */
export function speaker(words) {
  return h("span", { class: "speaker" }, words);
}
