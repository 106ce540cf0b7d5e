// Searching all lines of a log, on the page or not, a little at a time.
import { startWorker } from "../workers.js";
import { findAll, literal } from "./find.js";
import { breathe, TURN_MILLISECONDS } from "./load.js";

const MOST_HITS = 1_000_000;
const MOST_MARKED = 3000;
// How long an expression of the reader's may look at a page of lines.
const LIMIT_MILLISECONDS = 10_000;
const FAILURE = /\b(errors?|fail(ed|ure)?|fatal|panic|exception|traceback|segmentation fault)\b/gi;

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
    this.problem = "";
    this.expression = null;
    this.finder?.close();
    this.finder = null;
    // Line, column and length of each hit.
    this.rows = [];
    this.columns = [];
    this.lengths = [];
    this.current = -1;
    this.searched = 0;
    this.isDone = true;
    this.turn = (this.turn ?? 0) + 1;
    this.mark();
  }

  get count() {
    return this.rows.length;
  }

  /**
   * Search for `words`; resolves when all lines that are there were looked at.
   *
   * @param options `exact`: tell upper and lower case apart; `isPattern`: they are a regular expression.
   */
  async search(words, { exact, isPattern }) {
    this.clear();
    if (words === "") return;
    this.words = words;
    try {
      if (isPattern) this.finder = new Finder(new RegExp(words, exact ? "g" : "gi"));
      else this.expression = literal(words, exact);
    } catch (error) {
      this.fail(error.message);
      return;
    }
    await this.go();
  }

  fail(message) {
    this.problem = message;
    this.isDone = true;
    this.finder?.close();
    this.finder = null;
    this.onfound();
  }

  /** Look at the lines that came since. */
  async go() {
    if (this.words === "" || this.problem !== "") return;
    const { parser } = this.lines;
    const turn = ++this.turn;
    let begun = performance.now();
    this.isDone = false;
    // The last lines may have changed.
    this.forget(Math.min(this.searched, parser.settled));
    while (this.searched < parser.count && this.count < MOST_HITS) {
      const { start, end, text } = parser.stretch(this.searched);
      let found;
      try {
        found = this.finder ? await this.finder.find(text) : findAll(text, this.expression, false);
      } catch (error) {
        if (turn === this.turn) this.fail(error.message);
        return;
      }
      if (turn !== this.turn) return;
      for (let at = first(found.rows, this.searched - start); at < found.rows.length; at++) {
        this.rows.push(start + found.rows[at]);
        this.columns.push(found.columns[at]);
        this.lengths.push(found.lengths[at]);
      }
      this.searched = end;
      if (performance.now() - begun > TURN_MILLISECONDS) {
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

  /** What was found from line `row` on is looked for anew. */
  forget(row) {
    this.searched = row;
    const left = first(this.rows, row);
    for (const list of [this.rows, this.columns, this.lengths]) list.length = left;
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
    const end = place(element, this.columns[at] + this.lengths[at]);
    if (!start || !end) return null;
    const range = new Range();
    range.setStart(...start);
    range.setEnd(...end);
    return range;
  }

  /** The next line, or the one before, that tells of a failure; -1 when there is none. */
  async failure(from, by) {
    const { parser } = this.lines;
    let begun = performance.now();
    let row = from + by;
    while (row >= 0 && row < parser.count) {
      const { start, end, text } = parser.stretch(row);
      const { rows } = findAll(text, FAILURE, false);
      const at = by > 0 ? first(rows, row - start) : first(rows, row - start + 1) - 1;
      if (at >= 0 && at < rows.length) return start + rows[at];
      row = by > 0 ? end : start - 1;
      if (performance.now() - begun > TURN_MILLISECONDS) {
        await breathe();
        begun = performance.now();
      }
    }
    return -1;
  }
}

/** Tries an expression where it can be ended: nothing else stops one that goes back for ever. */
class Finder {
  constructor(expression) {
    this.worker = startWorker("log");
    this.ready = this.answer();
    this.worker.postMessage({ source: expression.source, flags: expression.flags });
  }

  answer() {
    return new Promise((resolve, reject) => {
      this.reject = reject;
      this.worker.onmessage = ({ data }) => resolve(data);
      this.worker.onerror = () => reject(new Error("The expression cannot be tried here."));
    });
  }

  /** All hits in a text. Throws when that takes too long, and when it was closed. */
  async find(text) {
    // Starting may take its time, which is not the expression's.
    await this.ready;
    const answer = this.answer();
    const timer = setTimeout(() => {
      this.reject(new Error("The expression takes too long."));
      this.close();
    }, LIMIT_MILLISECONDS);
    this.worker.postMessage({ text });
    try {
      return await answer;
    } finally {
      clearTimeout(timer);
    }
  }

  close() {
    this.worker.terminate();
    this.reject(new Error("The search was ended."));
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
