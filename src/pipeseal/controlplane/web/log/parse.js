// From the bytes of a log to its lines: what a terminal would show, as text and styles. Never markup.
//
// Understood: SGR colours (ECMA-48 8.3.117), carriage return, backspace, erasing and moving within the last lines,
// links (OSC 8, OSC 1339), images (OSC 1338, OSC 1337), times (APC bk;t= and bk;dt=). Whatever else a terminal would
// do is dropped, and what turns the direction of text shows as its name. Where codes are to be shown, nothing but line
// feeds and colours is done, and everything that does not show by itself stands there as a token.
import { nameOf, shownAs, UNSEEN } from "./codes.js";
import { NOTICE } from "./gaps.js";
import { LineStore, PAGE } from "./store.js";
import { imageStyle, linkStyle, PLAIN, sgr, TOKEN } from "./style.js";

// How many lines above the last one output can still go back to.
export const WINDOW = 100;
// A line that is longer goes on in the next one, as on a terminal, only that this one is wide.
export const MAX_COLUMNS = 16384;
// What a terminal takes for one sequence; longer ones are none.
const MAX_SEQUENCE = 256;
const MAX_PAYLOAD = 2 << 20;
const MAX_GROUPS = 5000;

// Anything that is no plain text: controls, separators that break lines, and marks that turn text around.
const SPECIAL = /[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;
// The same but for line feeds, which are worked on together with the text between them.
const BREAK = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;
const CSI = /\u001b\[([0-?]{0,200})([ -/]{0,20})([@-~])/y;
const CSI_BEGUN = /^\u001b\[[0-?]{0,200}[ -/]{0,20}$/;
const ESCAPE = /\u001b[ -/]*[0-~]/y;
const STRING_END = /[\u0007\u009c]|\u001b\\/g;
const GROUP = /^(---|\+\+\+|~~~)[ \t]+(\S.*)$/;
const REOPEN = /^\^\^\^ \+\+\+\s*$/;

/**
 * Lines of a log, as its bytes come.
 *
 * A line is text, or `{ text, runs }` where something in it has a style: `runs` are `[start, end, style]` in order, in
 * UTF-16 units. `null`: a line that opens the group before it, and is no line of its own.
 *
 * `groups`: `{ row, kind, title, opened }`, where `row` is the line of the heading.
 */
export class LogParser {
  /**
   * @param options `codes`: show sequences and what else is not seen, instead of doing what they say.
   */
  constructor({ codes = false } = {}) {
    this.codes = codes;
    // Lines that change no more; and the last ones, which still may.
    this.store = new LineStore();
    this.tail = [""];
    this.tailTimes = [Number.NaN];
    this.groups = [];
    // Lines that may stand for parts which never reached the server; see `gaps.js`.
    this.notices = [];
    // The first line that is not as it was when `takeChange` was last asked.
    this.dirty = 0;
    this.bytes = 0;
    this.row = 0;
    this.column = 0;
    this.style = PLAIN;
    this.link = null;
    this.rest = "";
    this.skipping = false;
    this.images = 0;
    this.firstTime = Number.NaN;
    this.clock = Number.NaN;
    this.decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  }

  /** How many lines there are; an empty last one is none. */
  get count() {
    const { tail } = this;
    return this.store.count + tail.length - (tail[tail.length - 1] === "" ? 1 : 0);
  }

  /** How many lines at the start stay as they are, whatever comes. */
  get settled() {
    return Math.max(0, this.store.count + this.tail.length - WINDOW);
  }

  /** A line; see above. */
  line(row) {
    const { store, tail } = this;
    return row < store.count ? store.line(row) : tail[row - store.count];
  }

  /** The text of a line. */
  text(row) {
    const { store, tail } = this;
    if (row < store.count) return store.text(row);
    const line = tail[row - store.count];
    return typeof line === "string" ? line : (line?.text ?? "");
  }

  /** The time of a line; NaN when it has none. */
  time(row) {
    const { store, tailTimes } = this;
    return row < store.count ? store.time(row) : (tailTimes[row - store.count] ?? Number.NaN);
  }

  /** The text of a line and of others around it, for reading over many: `{ start, end, text }`, a line feed between two. */
  stretch(row) {
    const { store, count } = this;
    if (row < store.count) {
      const number = Math.floor(row / PAGE);
      return { start: number * PAGE, end: (number + 1) * PAGE, text: store.whole(number) };
    }
    const texts = [];
    for (let at = store.count; at < count; at++) texts.push(this.text(at));
    return { start: store.count, end: count, text: texts.join("\n") };
  }

  /** The first line that changed since this was last asked; Infinity when none did. */
  takeChange() {
    const from = this.dirty;
    this.dirty = Infinity;
    return from;
  }

  /** Take more bytes. */
  feed(bytes) {
    this.bytes += bytes.length;
    this.read(this.rest + this.decoder.decode(bytes, { stream: true }), false);
  }

  /** Nothing follows. */
  end() {
    this.read(this.rest + this.decoder.decode(), true);
  }

  read(text, ended) {
    this.rest = "";
    const pattern = this.codes ? UNSEEN : BREAK;
    let at = 0;
    if (this.skipping) {
      at = this.skipString(text, 0);
      if (at < 0) return;
    }
    while (at < text.length) {
      pattern.lastIndex = at;
      const found = pattern.exec(text);
      const stop = found ? found.index : text.length;
      if (stop > at) this.plain(text.slice(at, stop));
      if (!found) return;
      at = found[0].length > 1 ? this.token(found[0], text, stop) : this.control(text, stop, ended);
      if (at < 0) return;
    }
  }

  /** Text with line feeds in it, and nothing else that is special. */
  plain(text) {
    const parts = text.split("\n");
    this.put(parts[0], this.style);
    const isBare = this.style === PLAIN && this.link === null;
    for (let at = 1; at < parts.length; at++) {
      this.newLine(true);
      const part = parts[at];
      const { tail } = this;
      // Nearly all lines of nearly all logs.
      if (isBare && part.length <= MAX_COLUMNS && this.row === this.store.count + tail.length - 1) {
        tail[tail.length - 1] = part;
        this.column = part.length;
        this.touch(this.row);
      } else this.put(part, this.style);
    }
  }

  touch(row) {
    if (row < this.dirty) this.dirty = row;
  }

  /** What stands at `at`; returns where to go on, or -1 when the rest of it is still to come. */
  control(text, at, ended) {
    const code = text.charCodeAt(at);
    if (code === 0x1b) return this.escape(text, at, ended);
    if (this.codes) return this.token(text[at], text, at);
    if (code === 0x0d) this.column = 0;
    else if (code === 0x08) this.column = Math.max(0, this.column - 1);
    else if (code === 0x2028 || code === 0x2029) this.put(" ", this.style);
    else if (code > 0x9f) this.put(nameOf(code), TOKEN);
    return at + 1;
  }

  escape(text, at, ended) {
    const next = text[at + 1];
    if (next === undefined) return this.keep(text, at, ended);
    if (next === "[") {
      CSI.lastIndex = at;
      const found = CSI.exec(text);
      if (found) {
        if (this.codes) this.show(found[0]);
        if (!found[2] && (!this.codes || found[3] === "m")) this.csi(found[3], found[1]);
        return at + found[0].length;
      }
      if (CSI_BEGUN.test(text.slice(at, at + MAX_SEQUENCE))) return this.keep(text, at, ended);
      if (this.codes) this.show("\u001b[");
      return at + 2;
    }
    if ("]_PX^".includes(next)) {
      STRING_END.lastIndex = at + 2;
      const found = STRING_END.exec(text);
      if (found) {
        const inner = text.slice(at + 2, found.index);
        if (this.codes) this.show(text.slice(at, STRING_END.lastIndex));
        if (inner.length <= MAX_PAYLOAD && (!this.codes || next === "_")) this.string(next, inner);
        return STRING_END.lastIndex;
      }
      if (text.length - at <= MAX_PAYLOAD) return this.keep(text, at, ended);
      if (this.codes) this.show(text.slice(at));
      this.skipping = true;
      return this.skipString(text, at + 2);
    }
    ESCAPE.lastIndex = at;
    const found = ESCAPE.exec(text);
    if (this.codes) this.show(found ? found[0] : "\u001b");
    return found ? at + found[0].length : at + 1;
  }

  /** Over the rest of a string that is too long; -1 when its end is not there yet. */
  skipString(text, at) {
    STRING_END.lastIndex = at;
    if (STRING_END.exec(text)) {
      this.skipping = false;
      return STRING_END.lastIndex;
    }
    // Its end may be cut in two.
    if (text.endsWith("\u001b")) this.rest = "\u001b";
    return -1;
  }

  keep(text, at, ended) {
    if (!ended) this.rest = text.slice(at);
    else if (this.codes) this.show(text.slice(at));
    return -1;
  }

  /** A character that does not show, as its name. */
  token(character, text, at) {
    this.show(character);
    return at + character.length;
  }

  /** What does not show, as a token. */
  show(sequence) {
    this.put(shownAs(sequence), TOKEN);
  }

  // --- text ------------------------------------------------------------------------------------------------------

  put(text, style) {
    let left = text;
    while (this.column + left.length > MAX_COLUMNS) {
      let room = Math.max(0, MAX_COLUMNS - this.column);
      // Not through the middle of a character.
      if (room > 0 && isLow(left.charCodeAt(room)) && isHigh(left.charCodeAt(room - 1))) room -= 1;
      this.write(left.slice(0, room), style);
      left = left.slice(room);
      this.newLine(false);
    }
    this.write(left, style);
  }

  write(text, style) {
    if (text === "") return;
    const drawn = this.link === null || style === TOKEN ? style : linkStyle(style, this.link);
    const at = this.row - this.store.count;
    const line = this.tail[at];
    const before = typeof line === "string" ? line : (line?.text ?? "");
    const { column } = this;
    this.touch(this.row);
    this.column = column + text.length;
    if (column === before.length && drawn === PLAIN && typeof line === "string") {
      this.tail[at] = line + text;
      return;
    }
    let whole;
    if (column >= before.length) whole = before + " ".repeat(column - before.length) + text;
    else whole = wellFormed(before.slice(0, column)) + text + wellFormed(before.slice(column + text.length));
    const runs = cut(typeof line === "string" ? [] : (line?.runs ?? []), column, column + text.length);
    if (drawn !== PLAIN) insert(runs, [column, column + text.length, drawn]);
    this.tail[at] = runs.length === 0 ? whole : { text: whole, runs };
  }

  /** Erase part of a line, up to its end when `to` is Infinity. */
  erase(row, from, to) {
    const at = row - this.store.count;
    const line = this.tail[at];
    if (line === null) return;
    const before = typeof line === "string" ? line : line.text;
    if (from >= before.length) return;
    this.touch(row);
    const end = Math.min(to, before.length);
    const behind = end === before.length ? "" : " ".repeat(end - from) + wellFormed(before.slice(end));
    const whole = wellFormed(before.slice(0, from)) + behind;
    const runs = typeof line === "string" ? [] : cut(line.runs, from, end);
    this.tail[at] = runs.length === 0 ? whole : { text: whole, runs };
  }

  newLine(isEnd) {
    const { store, tail, tailTimes } = this;
    if (this.row === store.count + tail.length - 1) {
      if (isEnd) this.finish(this.row);
      tail.push("");
      tailTimes.push(Number.NaN);
      // The cursor can come back to the last `WINDOW` lines alone.
      if (tail.length >= PAGE + WINDOW) store.add(tail.splice(0, PAGE), tailTimes.splice(0, PAGE));
    }
    this.row += 1;
    this.column = 0;
  }

  /** A line is whole: it may be the heading of a group. */
  finish(row) {
    const text = this.text(row);
    const first = text.charCodeAt(0);
    if (first === 0x5b) {
      const notice = NOTICE.exec(text);
      if (notice && this.notices.length < MAX_GROUPS) this.notices.push({ row, bytes: Number(notice[1]) });
      return;
    }
    // Where codes are shown everything is as it came.
    if (this.codes) return;
    if (first !== 0x2d && first !== 0x2b && first !== 0x7e && first !== 0x5e) return;
    if (REOPEN.test(text)) {
      this.tail[row - this.store.count] = null;
      if (this.groups.length > 0) this.groups[this.groups.length - 1].opened = true;
      this.touch(row);
      return;
    }
    const found = GROUP.exec(text);
    if (!found || this.groups.length >= MAX_GROUPS) return;
    this.groups.push({ row, kind: found[1], title: found[2], opened: found[1] === "+++" });
    this.touch(row);
  }

  // --- sequences -------------------------------------------------------------------------------------------------

  csi(final, parameters) {
    if (final === "m") {
      if (!/^[<-?]/.test(parameters)) this.style = sgr(this.style, parameters);
      return;
    }
    if (!/^\d{0,6}(;\d{0,6})*$/.test(parameters)) return;
    const count = Math.max(1, Number.parseInt(parameters, 10) || 1);
    const bottom = this.store.count + this.tail.length - 1;
    const top = Math.max(0, bottom + 1 - WINDOW);
    if (final === "A" || final === "F") this.row = Math.max(top, this.row - count);
    else if (final === "B" || final === "E") this.row = Math.min(bottom, this.row + count);
    else if (final === "C") this.column = Math.min(MAX_COLUMNS, this.column + count);
    else if (final === "D") this.column = Math.max(0, this.column - count);
    else if (final === "G" || final === "`") this.column = Math.min(MAX_COLUMNS, count - 1);
    else if (final === "X") this.erase(this.row, this.column, this.column + count);
    else if (final === "K") this.eraseLine(Number.parseInt(parameters, 10) || 0);
    else if (final === "J" && (Number.parseInt(parameters, 10) || 0) === 0) this.eraseBelow();
    if (final === "E" || final === "F") this.column = 0;
  }

  eraseLine(which) {
    if (which === 0) this.erase(this.row, this.column, Infinity);
    else if (which === 1) this.erase(this.row, 0, this.column + 1);
    else if (which === 2) this.erase(this.row, 0, Infinity);
  }

  eraseBelow() {
    this.erase(this.row, this.column, Infinity);
    const end = this.store.count + this.tail.length;
    for (let row = this.row + 1; row < end; row++) this.erase(row, 0, Infinity);
  }

  string(kind, inner) {
    if (kind === "_") this.stamp(inner);
    else if (kind === "]" && inner.startsWith("8;")) this.link = this.target(inner.slice(inner.indexOf(";", 2) + 1));
    else if (kind === "]" && inner.startsWith("1339;")) this.inlineLink(readMembers(inner.slice(5)));
    else if (kind === "]" && inner.startsWith("1338;")) this.image(readMembers(inner.slice(5)));
    else if (kind === "]" && inner.startsWith("1337;File=")) this.file(inner.slice(10));
  }

  stamp(inner) {
    const found = /^bk;(?:.*;)?(t|dt)=(\d{1,15})/.exec(inner);
    if (!found) return;
    this.clock = found[1] === "t" ? Number(found[2]) : this.clock + Number(found[2]);
    const at = this.row - this.store.count;
    if (Number.isNaN(this.tailTimes[at])) this.tailTimes[at] = this.clock;
    if (Number.isNaN(this.firstTime)) this.firstTime = this.clock;
  }

  target(address) {
    return isAllowed(address) ? address : null;
  }

  inlineLink(members) {
    const address = members.get("url") ?? "";
    const before = this.link;
    this.link = this.target(address);
    this.putClean(members.get("content") || address, this.style);
    this.link = before;
  }

  image(members) {
    const address = members.get("url") ?? "";
    const words = `[image: ${members.get("alt") || address.slice(0, 200)}]`;
    this.putClean(words, this.target(address) ? imageStyle({ address }) : this.style);
  }

  file(inner) {
    const colon = inner.indexOf(":");
    const data = colon < 0 ? "" : inner.slice(colon + 1).trim();
    this.images += 1;
    const fits = this.images <= 20 && /^[A-Za-z0-9+/\s]+={0,2}$/.test(data);
    this.putClean("[image]", fits ? imageStyle({ data }) : this.style);
  }

  /** Text from inside a sequence: whatever is special in it is left out. */
  putClean(text, style) {
    this.put(text.replace(SPECIAL, ""), style);
  }
}

// --- pieces -------------------------------------------------------------------------------------------------------

/** Where a link may lead. Everything else, `javascript:` first of all, is no link. */
export function isAllowed(address) {
  return address.length <= 4096 && /^(https?:\/\/|mailto:|artifact:\/\/)[\u0021-\u007e\u00a1-\uffff]+$/i.test(address);
}

/** `url='...';content=...`, where a backslash takes the meaning off what follows. */
function readMembers(text) {
  const members = new Map();
  const pattern = /([a-z]+)(?:=(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|((?:[^;\\]|\\.)*)))?(?:;|$)/gy;
  for (const found of text.matchAll(pattern))
    members.set(found[1], (found[2] ?? found[3] ?? found[4] ?? "").replace(/\\(.)/g, "$1"));
  return members;
}

/** `runs` without what lies between two columns. */
function cut(runs, start, end) {
  const last = runs[runs.length - 1];
  if (last === undefined || last[1] <= start) return runs;
  const left = [];
  for (const [from, to, style] of runs) {
    if (from < start) left.push([from, Math.min(to, start), style]);
    if (to > end) left.push([Math.max(from, end), to, style]);
  }
  return left;
}

/** Put a run in its place, as one with the run before it where that goes on in the same style. */
function insert(runs, run) {
  let at = runs.length;
  while (at > 0 && runs[at - 1][0] >= run[1]) at -= 1;
  const before = runs[at - 1];
  if (before && before[1] === run[0] && before[2] === run[2]) before[1] = run[1];
  else runs.splice(at, 0, run);
}

const isHigh = (code) => code >= 0xd800 && code < 0xdc00;
const isLow = (code) => code >= 0xdc00 && code < 0xe000;

/** Half a character at an end becomes a blank. */
function wellFormed(text) {
  let whole = text;
  if (isLow(whole.charCodeAt(0))) whole = ` ${whole.slice(1)}`;
  if (isHigh(whole.charCodeAt(whole.length - 1))) whole = `${whole.slice(0, -1)} `;
  return whole;
}
