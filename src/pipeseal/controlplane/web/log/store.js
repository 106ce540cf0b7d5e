// Lines that change no more, as a few large buffers: their text in UTF-8, their times and styles as numbers.
//
// As strings, lines cost a browser three times what they hold. What is looked at is decoded, a page of lines at a time.
import { PLAIN } from "./style.js";

/** How many lines a page holds. */
export const PAGE = 512;
const KEPT_PAGES = 8;
// A buffer takes as much as all before it together, within these bounds.
const SMALL_BUFFER = 256 << 10;
const LARGE_BUFFER = 4 << 20;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

export class LineStore {
  constructor() {
    this.pages = [];
    this.buffer = new Uint8Array(0);
    this.used = 0;
    this.allocated = 0;
    // The pages that were decoded last, by number.
    this.decoded = new Map();
  }

  /** How many lines there are: a multiple of `PAGE`. */
  get count() {
    return this.pages.length * PAGE;
  }

  /**
   * Add a page.
   *
   * @param lines `PAGE` of them, in the shape that `LogParser` describes.
   * @param times as many; NaN where a line has none.
   */
  add(lines, times) {
    const texts = new Array(lines.length);
    const numbers = [];
    const styles = [];
    const known = new Map();
    let gone = null;
    for (let at = 0; at < lines.length; at++) {
      const line = lines[at];
      if (typeof line === "string") texts[at] = line;
      else if (line === null) {
        texts[at] = "";
        (gone ??= new Set()).add(at);
      } else {
        texts[at] = line.text;
        for (const [start, end, style] of line.runs) {
          if (!known.has(style)) known.set(style, styles.push(style) - 1);
          numbers.push(at, start, end, known.get(style));
        }
      }
    }
    this.pages.push({
      text: this.pack(texts.join("\n")),
      times: times.some((time) => !Number.isNaN(time)) ? Float64Array.from(times) : null,
      runs: numbers.length > 0 ? Uint32Array.from(numbers) : null,
      styles,
      gone,
    });
  }

  /** A text as bytes, in a buffer that others are in too: many small ones leave holes behind. */
  pack(text) {
    for (;;) {
      const { read, written } = encoder.encodeInto(text, this.buffer.subarray(this.used));
      if (read === text.length) {
        this.used += written;
        return this.buffer.subarray(this.used - written, this.used);
      }
      // A UTF-16 unit takes three bytes at most.
      const size = Math.max(Math.min(LARGE_BUFFER, Math.max(SMALL_BUFFER, this.allocated)), text.length * 3);
      this.buffer = new Uint8Array(size);
      this.used = 0;
      this.allocated += size;
    }
  }

  /** A line, in the shape that `LogParser` describes. */
  line(row) {
    const at = row % PAGE;
    const { texts, runs, gone } = this.open((row - at) / PAGE);
    if (gone?.has(at)) return null;
    const found = runs?.get(at);
    return found === undefined ? texts[at] : { text: texts[at], runs: found };
  }

  /** The text of a line. */
  text(row) {
    const at = row % PAGE;
    return this.open((row - at) / PAGE).texts[at];
  }

  /** The time of a line; NaN when it has none. */
  time(row) {
    const at = row % PAGE;
    return this.pages[(row - at) / PAGE].times?.[at] ?? Number.NaN;
  }

  /** The text of all lines of a page, with a line feed between two. */
  whole(number) {
    return decoder.decode(this.pages[number].text);
  }

  open(number) {
    let found = this.decoded.get(number);
    if (found !== undefined) return found;
    const page = this.pages[number];
    found = { texts: this.whole(number).split("\n"), runs: page.runs && readRuns(page), gone: page.gone };
    if (this.decoded.size >= KEPT_PAGES) this.decoded.delete(this.decoded.keys().next().value);
    this.decoded.set(number, found);
    return found;
  }
}

function readRuns({ runs, styles }) {
  const found = new Map();
  for (let at = 0; at < runs.length; at += 4) {
    const run = [runs[at + 1], runs[at + 2], styles[runs[at + 3]] ?? PLAIN];
    const line = found.get(runs[at]);
    if (line === undefined) found.set(runs[at], [run]);
    else line.push(run);
  }
  return found;
}
