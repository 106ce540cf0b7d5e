// The lines that are marked: in the address, with a digest of what they say, and copied as a link, as text, as Markdown.
import { announce, h, replace } from "../dom.js";
import { jobName } from "../builds/names.js";

// 64 bits: who makes another text with the same ones needs more than patience, and who wants to lie can link elsewhere.
const DIGITS = 16;

/** The lines that the address names: `{ from, to, digest }`, from 0; null when it names none. */
export function readHash() {
  const found = /^#L(\d{1,9})(?:-L?(\d{1,9}))?(?:&h=([0-9a-f]{16}))?(?:&|$)/.exec(location.hash);
  if (!found) return null;
  const from = Math.max(0, Number(found[1]) - 1);
  return { from, to: Math.max(from, Number(found[2] ?? found[1]) - 1), digest: found[3] ?? "" };
}

function hashOf(from, to) {
  return to < from || to < 0 ? "" : from === to ? `#L${from + 1}` : `#L${from + 1}-L${to + 1}`;
}

/** The text of lines. */
export function textOf(parser, from, to) {
  const texts = [];
  for (let row = from; row <= to; row++) if (parser.line(row) !== null) texts.push(parser.text(row));
  return texts.join("\n");
}

/** The first digits of the SHA-256 of a text in UTF-8; null where the browser has no such thing: without HTTPS. */
export async function digestOf(text) {
  // https://www.w3.org/TR/WebCryptoAPI/: `subtle` is there in secure contexts alone.
  if (!globalThis.crypto?.subtle) return null;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("").slice(0, DIGITS);
}

/** Lines as Markdown: a link to them, and what they say, which stays text there too. */
export function markdown(text, name, address) {
  const longest = Math.max(2, ...Array.from(text.matchAll(/`+/g), ([run]) => run.length));
  // Of a code block nothing but a longer fence is the end. # https://spec.commonmark.org/0.31.2/#fenced-code-blocks
  const fence = "`".repeat(longest + 1);
  const said = name.replace(/\s+/g, " ").trim().replace(/[\\`*_{}[\]()<>#+!|~&:@-]/g, "\\$&");
  return `[${said}](<${address}>), as the server has it:\n\n${fence}text\n${text}\n${fence}\n`;
}

/** Put a text where the reader can paste it from. */
export async function copy(text, says) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without HTTPS there is no clipboard of that kind, or the reader did not allow it.
    const area = h("textarea", { class: "visually-hidden", "aria-hidden": "true", readonly: true });
    area.value = text;
    const before = document.activeElement;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    before?.focus?.();
    if (!done) return announce("The browser did not let this page copy");
  }
  return announce(says);
}

export class MarkedLines {
  /**
   * @param lines a `LogLines`; another one once the log is read anew.
   * @param options `job`; `show(row)` goes to a line; `tell(element)` shows something above the log, or nothing.
   */
  constructor(lines, { job, show, tell }) {
    this.lines = lines;
    this.job = job;
    this.show = show;
    this.tell = tell;
    this.wanted = readHash();
    this.said = h("span", { class: "log-marked-said" });
    this.withTimes = h("button", { type: "button", onclick: () => this.copyText(true) }, "Copy with times");
    this.bar = h(
      "div",
      { class: "log-marked", role: "group", "aria-label": "Marked lines", hidden: true },
      this.said,
      h("button", { type: "button", "aria-keyshortcuts": "y", onclick: () => this.copyLink() }, "Copy link"),
      h("button", { type: "button", onclick: () => this.copyText(false) }, "Copy text"),
      this.withTimes,
      h("button", { type: "button", onclick: () => this.copyMarkdown() }, "Copy as Markdown"),
      h("button", { type: "button", class: "plain", "aria-label": "Mark no lines", "aria-keyshortcuts": "Escape", onclick: () => this.select(-1, -1) }, "×"),
    );
  }

  get range() {
    return this.lines.selected;
  }

  get isAny() {
    return this.range[1] >= 0;
  }

  /** Mark lines, and let the address say so. */
  select(from, to) {
    this.lines.select(from, to);
    if (to < 0) this.anchor = undefined;
    history.replaceState(null, "", location.pathname + location.search + hashOf(from, to));
    this.draw();
  }

  draw() {
    const [from, to] = this.range;
    this.bar.hidden = !this.isAny;
    this.withTimes.hidden = this.lines.stamp === null;
    if (this.isAny) replace(this.said, this.words(from, to));
  }

  words(from, to) {
    return from === to ? `Line ${from + 1}` : `Lines ${from + 1}–${to + 1}`;
  }

  /** A click at the number of a line. */
  clicked(row, isRange) {
    const [from, to] = this.range;
    if (isRange && to >= 0) this.select(Math.min(from, row), Math.max(to, row));
    else this.select(row, row);
  }

  /** Mark the line `by` further on; `isMore`: that one, too. */
  move(by, isMore) {
    const [from, to] = this.range;
    const last = this.lines.parser.count - 1;
    const at = this.anchor !== undefined && this.anchor === to && from < to ? from : to;
    const row = Math.max(0, Math.min(last, at + by));
    // One end stays where it was.
    this.anchor = isMore ? (this.anchor ?? at) : row;
    this.select(Math.min(row, this.anchor), Math.max(row, this.anchor));
    this.show(row);
  }

  // --- copying -----------------------------------------------------------------------------------------------------

  /** The address of the marked lines, with a digest of what they say. */
  async address() {
    const [from, to] = this.range;
    const digest = this.isAny ? await digestOf(textOf(this.lines.parser, from, to)) : null;
    return location.origin + location.pathname + location.search + (this.isAny ? hashOf(from, to) : "") + (digest === null ? "" : `&h=${digest}`);
  }

  async copyLink() {
    await copy(await this.address(), "The link is copied");
  }

  async copyText(withTimes) {
    const { parser, stamp } = this.lines;
    const [from, to] = this.range;
    if (!withTimes) return copy(textOf(parser, from, to), "The text is copied");
    const texts = [];
    for (let row = from; row <= to; row++) if (parser.line(row) !== null) texts.push(`${stamp(row).padStart(12)}  ${parser.text(row)}`);
    return copy(texts.join("\n"), "The text is copied, with times");
  }

  async copyMarkdown() {
    const [from, to] = this.range;
    const number = /\/builds\/(\d+)/.exec(location.pathname)?.[1];
    const name = `${this.words(from, to)} of ${jobName(this.job)}${number ? `, build ${number}` : ""}`;
    await copy(markdown(textOf(this.lines.parser, from, to), name, await this.address()), "The lines are copied as Markdown");
  }

  // --- what the address names --------------------------------------------------------------------------------------

  /** Go to the lines of the address once they are there. */
  goToWanted(isWhole) {
    const { parser } = this.lines;
    if (!this.wanted) return;
    const { from, to, digest } = this.wanted;
    if (!isWhole && parser.count <= to) return;
    if (!this.isShown) {
      this.isShown = true;
      if (from >= parser.count) {
        this.tell(h("p", { class: "notice" }, `The link is to line ${from + 1}; this log has ${parser.count.toLocaleString("en")} lines.`));
        this.wanted = null;
        return;
      }
      this.show(from);
      this.select(from, Math.min(to, parser.count - 1));
    }
    // The last lines may still change.
    if (digest !== "" && !isWhole && parser.settled <= to) return;
    this.wanted = null;
    if (digest !== "") this.compare(from, to, digest);
  }

  /** Say whether the lines say what they said when the link was made. */
  async compare(from, to, digest) {
    const { parser } = this.lines;
    const found = to < parser.count ? await digestOf(textOf(parser, from, to)) : "";
    if (found === digest) this.tell(h("p", { class: "notice good", role: "status" }, "Checked here: this is the text that was linked."));
    else if (found === null) this.tell(h("p", { class: "notice", role: "status" }, "Whether this is the text that was linked cannot be checked: browsers compute digests on pages with HTTPS alone."));
    else this.tell(h("p", { class: "notice bad", role: "status" }, "The text of these lines has changed since the link was made."));
  }
}
