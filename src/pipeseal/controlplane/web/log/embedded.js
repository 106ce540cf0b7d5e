// Links and pictures that a log asks for. A link leads where it says; a picture is looked at when the reader wants to,
// since one from elsewhere tells elsewhere who reads, and one of a green tick is no proof of anything.
import { ApiError, asStranger } from "../api.js";
import { h } from "../dom.js";

const MOST_BYTES = 8 << 20;
// What begins like this is a picture of that kind, whatever it says of itself.
const KINDS = [
  ["image/png", [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]],
  ["image/jpeg", [0xff, 0xd8, 0xff]],
  ["image/gif", [0x47, 0x49, 0x46, 0x38]],
  ["image/webp", [0x52, 0x49, 0x46, 0x46]],
];

/**
 * A link around `content`.
 *
 * @param context `findArtifact(path)`: the artifact of that path, or null; async.
 */
export function artifactLink(content, address, context) {
  const attributes = { rel: "noreferrer noopener nofollow", title: address };
  if (!address.startsWith("artifact://")) return h("a", { ...attributes, href: address, target: "_blank" }, content);
  const path = address.slice("artifact://".length);
  const link = h("a", { ...attributes, href: "#", role: "button" }, content);
  link.addEventListener("click", async (event) => {
    event.preventDefault();
    const artifact = await context.findArtifact(path).catch(() => null);
    if (artifact) location.assign(new URL(artifact.download_url).pathname);
    else link.replaceWith(content, h("span", { class: "token" }, ` [no artifact ${path}]`));
  });
  return link;
}

/** A place for a picture: a button that loads it, or a link where the page may not load it. */
export function picture(text, style, context) {
  if (style.image !== undefined && !style.image.startsWith("artifact://")) {
    const { host } = new URL(style.image);
    return artifactLink(document.createTextNode(`${text} (at ${host})`), style.image, context);
  }
  const button = h("button", { class: "picture", type: "button" }, text);
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const bytes = style.data === undefined ? await fetchArtifact(style.image, context) : decode(style.data);
      const kind = KINDS.find(([, magic]) => magic.every((value, at) => bytes[at] === value))?.[0];
      if (kind === undefined) throw new ApiError(0, "this is no PNG, JPEG, GIF or WebP picture", "");
      const address = URL.createObjectURL(new Blob([bytes], { type: kind }));
      const image = h("img", { src: address, alt: text, class: "picture" });
      image.addEventListener("load", () => URL.revokeObjectURL(address), { once: true });
      button.replaceWith(h("span", { class: "picture-frame" }, h("span", { class: "muted" }, "picture from the log"), image));
    } catch (error) {
      button.replaceWith(text, h("span", { class: "token" }, ` [${error.message}]`));
    }
  });
  return button;
}

async function fetchArtifact(address, context) {
  const path = address.slice("artifact://".length);
  const artifact = await context.findArtifact(path);
  if (!artifact) throw new ApiError(404, `no artifact ${path}`, "");
  if (artifact.file_size > MOST_BYTES) throw new ApiError(0, "the picture is too large", "");
  const response = await fetch(new URL(artifact.download_url).pathname, { credentials: asStranger ? "omit" : "same-origin" });
  if (!response.ok) throw new ApiError(response.status, "the artifact cannot be had", "");
  return new Uint8Array(await response.arrayBuffer());
}

function decode(text) {
  const decoded = atob(text.replace(/\s+/g, ""));
  return Uint8Array.from(decoded, (character) => character.charCodeAt(0));
}
