// Searching all lines of a log, on the page or not, a little at a time.
import { breathe, TURN_MILLISECONDS } from "./load.js";

const MOST_HITS = 1_000_000;
const MOST_MARKED = 3000;
const FAILURE = /\b(errors?|fail(ed|ure)?|fatal|panic|exception|traceback|segmentation fault)\b/i;

export class LogSearch {
  /**
   * @param lines a `LogLines`.
   * @param onfound called whenever more is known.
   */
  constructor(lines, onfound) {
    this.lines = lines;
    this.onfound = onfound;
    this.clear();
  }

  clear() {
    this.words = "";
    this.exact = false;
    // Line and column of each hit, one behind the other.
    this.rows = [];
    this.columns = [];
    this.current = -1;
    this.searched = 0;
    this.isDone = true;
    this.turn = (this.turn ?? 0) + 1;
    this.mark();
  }

  get count() {
    return this.rows.length;
  }

  /** Search for `words`; resolves when all lines that are there were looked at. */
  async search(words, exact) {
    this.clear();
    if (words === "") return;
    this.words = words;
    this.exact = exact;
    await this.go();
  }

  /** Look at the lines that came since. */
  async go() {
    if (this.words === "") return;
    const { parser } = this.lines;
    const turn = ++this.turn;
    const wanted = this.exact ? this.words : this.words.toLowerCase();
    let begun = performance.now();
    this.isDone = false;
    // The last line may have grown.
    if (this.searched > 0) {
      this.searched -= 1;
      while (this.rows[this.rows.length - 1] >= this.searched) {
        this.rows.pop();
        this.columns.pop();
      }
    }
    while (this.searched < parser.count && this.rows.length < MOST_HITS) {
      const row = this.searched++;
      const text = parser.text(row);
      if (text.length >= wanted.length) {
        const folded = this.exact ? text : text.toLowerCase();
        for (let at = folded.indexOf(wanted); at >= 0; at = folded.indexOf(wanted, at + wanted.length)) {
          this.rows.push(row);
          this.columns.push(at);
        }
      }
      if ((row & 255) === 0 && performance.now() - begun > TURN_MILLISECONDS) {
        this.onfound();
        await breathe();
        if (turn !== this.turn) return;
        begun = performance.now();
      }
    }
    this.isDone = true;
    this.mark();
    this.onfound();
  }

  /** Go to the next hit, or the one before; from the first one at or behind line `from` when there is none yet. */
  step(by, from = 0) {
    if (this.count === 0) return null;
    if (this.current < 0) this.current = by > 0 ? first(this.rows, from) % this.count : this.count - 1;
    else this.current = (this.current + by + this.count) % this.count;
    const row = this.rows[this.current];
    const element = this.lines.reveal(row);
    this.mark();
    return element;
  }

  /** Let hits be seen in the lines that have elements. */
  mark() {
    if (!CSS.highlights) return;
    const found = [];
    if (this.words !== "")
      for (const block of this.lines.blocks.values()) {
        if (!block.isMounted || block.isNear === false) continue;
        for (let at = first(this.rows, block.start); at < this.count && this.rows[at] < block.end; at++) {
          if (found.length >= MOST_MARKED) break;
          const range = at === this.current ? null : this.range(at);
          if (range) found.push(range);
        }
      }
    CSS.highlights.set("found", new Highlight(...found));
    const now = this.current >= 0 ? this.range(this.current) : null;
    CSS.highlights.set("found-now", new Highlight(...(now ? [now] : [])));
  }

  range(at) {
    const element = this.lines.elementOf(this.rows[at]);
    if (!element) return null;
    const start = place(element, this.columns[at]);
    const end = place(element, this.columns[at] + this.words.length);
    if (!start || !end) return null;
    const range = new Range();
    range.setStart(...start);
    range.setEnd(...end);
    return range;
  }

  /** The next line, or the one before, that tells of a failure; -1 when there is none. */
  failure(from, by) {
    const { parser } = this.lines;
    for (let row = from + by; row >= 0 && row < parser.count; row += by) if (FAILURE.test(parser.text(row))) return row;
    return -1;
  }
}

/** The first place in sorted `rows` with `row` or more. */
function first(rows, row) {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle] < row) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Text node and offset of a column. */
function place(element, column) {
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  let left = column;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (left <= node.length) return [node, left];
    left -= node.length;
  }
  return null;
}
