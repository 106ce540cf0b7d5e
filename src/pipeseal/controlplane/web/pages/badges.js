// A pipeline's badges, with what to paste where they are to stand.
import { h } from "../dom.js";

/** The part of a pipeline's settings. */
export function badges(pipeline) {
  const picture = `${location.origin}/badge/${pipeline.id}.svg`;
  const snippet = `[![Build](${picture})](${pipeline.web_url})`;
  const signing = `[![Signatures](${picture}?show=signing)](${pipeline.web_url})`;
  return h(
    "section",
    null,
    h("h2", null, "Badges"),
    pipeline.visibility === "public"
      ? h("p", null, h("img", { src: `/badge/${pipeline.id}.svg`, alt: "Badge of the last build", height: 20 }), " ", h("img", { src: `/badge/${pipeline.id}.svg?show=signing`, alt: "Badge of its signatures", height: 20 }))
      : h("p", { class: "hint" }, "While the pipeline is private, its badges say no more than unknown, to everybody."),
    h("p", null, "For a README:"),
    h("pre", { class: "wrapped", tabindex: "0", "aria-label": "Markdown of the badges" }, `${snippet}\n${signing}`),
    h("p", { class: "hint" }, "?branch= and ?step= choose what is meant. A badge is what this server says: it verifies nothing."),
  );
}
