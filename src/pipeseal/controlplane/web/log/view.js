// The log of a job: lines, groups, times, links to lines, search, following.
import { call } from "../api.js";
import { announce, h, replace, size } from "../dom.js";
import { bindKeys, drawBar, isPressed, press } from "./bar.js";
import { GroupChoices, inAddress, keep, kept, putInAddress } from "./choices.js";
import { findGaps } from "./gaps.js";
import { LogLines } from "./lines.js";
import { loadLog, MOST_BYTES } from "./load.js";
import { MarkedLines } from "./marked.js";
import { LogParser } from "./parse.js";
import { LogSearch } from "./search.js";
import { stamper, TIMES } from "./times.js";

const LARGE_BYTES = 8 << 20;
// Browsers draw nothing that is higher than 2^25 pixels, and a line takes 24 of them where fingers point.
const MOST_LINES = 1_300_000;
const NEAR_END = 60;
const TELL_MILLISECONDS = 10_000;

/**
 * Draw the log of a job into `element`.
 *
 * @param job as the server shows it.
 * @param options `signal`: when the reader leaves; `findArtifact(path)`: the build's artifact of that path.
 */
export function drawLog(element, job, { signal, findArtifact }) {
  return new LogView(element, job, signal, findArtifact);
}

class LogView {
  constructor(element, job, signal, findArtifact) {
    this.job = job;
    this.signal = signal;
    this.findArtifact = findArtifact;
    this.isFollowing = !job.finished_at;
    this.choices = new GroupChoices();
    this.box = h("div", { class: "log-box", tabindex: "0", role: "region", "aria-label": "Log" });
    this.problem = h("p", { class: "notice bad", role: "alert", hidden: true });
    this.note = h("div", { class: "log-note" });
    this.pill = h("button", { class: "log-pill primary", type: "button", hidden: true, onclick: () => this.goToEnd() });
    const bar = drawBar(this);
    this.read();
    this.root = h(
      "div",
      { class: "log" },
      h("button", { type: "button", class: "skip", onclick: () => this.box.focus() }, "Skip to the lines of the log"),
      bar,
      this.problem,
      this.note,
      h("div", { class: "log-frame" }, this.marked.bar, this.box, this.pill),
    );
    replace(element, this.root);
    this.box.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.box.addEventListener("click", (event) => this.clicked(event));
    this.box.addEventListener("keydown", (event) => this.pressed(event));
    this.setWrap(kept("wrap", matchMedia("(max-width: 40rem)").matches ? "yes" : "no") === "yes");
    this.setTimes(kept("times", "off"));
    bindKeys(this);
    signal.addEventListener("abort", () => {
      this.lines.close();
      this.search.clear();
      delete document.body.dataset.full;
      CSS.highlights?.clear();
    });
    if (this.marked.wanted) this.isFollowing = false;
    this.words.value = inAddress("find");
    press(this.exact, inAddress("find-how").includes("c"));
    press(this.isPattern, inAddress("find-how").includes("r"));
    this.load(0, MOST_BYTES);
  }

  /** Begin with the first byte: now, and when it is to be read in another way. */
  read() {
    const { box, job, signal } = this;
    this.running?.abort();
    this.lines?.close();
    this.search?.clear();
    box.replaceChildren();
    replace(this.note);
    this.running = new AbortController();
    this.run = AbortSignal.any([signal, this.running.signal]);
    this.unseen = 0;
    this.told = 0;
    this.isDrawing = false;
    const showsCodes = inAddress("codes") !== "";
    this.codes.checked = showsCodes;
    this.parser = new LogParser({ codes: showsCodes });
    this.lines = new LogLines(box, this.parser, { findArtifact: this.findArtifact }, this.choices);
    this.lines.isLive = !job.finished_at;
    this.lines.isLarge = (job.log_bytes ?? 0) > LARGE_BYTES;
    this.search = new LogSearch(this.lines, () => this.tellFound());
    this.lines.onmount = () => this.search.mark();
    this.marked ??= new MarkedLines(this.lines, { job, show: (row) => this.show(row), tell: (element) => replace(this.note, element) });
    this.marked.lines = this.lines;
  }

  setWrap(wanted) {
    this.wrap.checked = wanted;
    this.box.classList.toggle("wrap", wanted);
    keep("wrap", wanted ? "yes" : "no");
  }

  setTimes(mode) {
    this.times.value = TIMES.some(([value]) => value === mode) ? mode : "off";
    keep("times", this.times.value);
    this.lines.stamp = stamper(this.times.value, this.parser);
    this.box.classList.toggle("timed", this.lines.stamp !== null);
    this.lines.redraw();
    this.marked.draw();
  }

  /** Show what is not seen, or do what it says: lines are counted in another way then, so nothing is marked. */
  setCodes(wanted) {
    putInAddress("codes", wanted ? "1" : "");
    this.marked.select(-1, -1);
    this.read();
    this.setTimes(this.times.value);
    this.load(0, MOST_BYTES);
    announce(wanted ? "Codes are shown" : "Codes are not shown");
  }

  toggleGroups() {
    announce(this.lines.toggleAll() ? "All groups open" : "All groups closed");
  }

  toggleFull() {
    if (document.body.dataset.full === undefined) document.body.dataset.full = "";
    else delete document.body.dataset.full;
  }

  // --- loading -----------------------------------------------------------------------------------------------------

  async load(start, most) {
    const { run: signal, parser } = this;
    this.root.dataset.state = "loading";
    try {
      const read = await loadLog(this.job, {
        signal,
        start,
        most,
        take: (bytes) => {
          const isFirst = parser.bytes === 0;
          parser.feed(bytes);
          if (isFirst) this.draw();
          else this.drawSoon(signal);
          return parser.count < MOST_LINES;
        },
        onproblem: (error) => this.tellProblem(error),
      });
      if (read.ended) parser.end();
      this.draw();
      if (read.ended) {
        this.lines.isLive = false;
        this.lines.settleGroups();
        await this.lookAgain(signal);
        if (parser.count === 0) this.tellEmpty();
        else this.lines.drawGaps(findGaps(parser, this.job.log_missing_bytes ?? 0));
      } else this.tellRest(read);
      this.marked.goToWanted(true);
      if (this.search.words !== "") this.search.go();
      else if (this.words.value !== "") this.searchNow(false);
      this.root.dataset.state = "loaded";
    } catch (error) {
      if (signal.aborted) return;
      this.root.dataset.state = "failed";
      this.tellProblem(error, () => this.load(parser.bytes, most));
    }
  }

  /** A job that has ended meanwhile: how, and what of its log never came, where that is shown. */
  async lookAgain(signal) {
    if (this.job.finished_at || (this.parser.count > 0 && this.parser.notices.length === 0)) return;
    try {
      this.job = await call("GET", new URL(this.job.log_url).pathname.replace(/\/log$/, ""), undefined, { signal });
    } catch {
      signal.throwIfAborted();
      // What is there is shown as it is.
    }
  }

  drawSoon(signal) {
    if (this.isDrawing) return;
    this.isDrawing = true;
    // A page that nobody sees gets no frames.
    const later = document.hidden ? (act) => setTimeout(act, 200) : requestAnimationFrame;
    later(() => {
      if (signal.aborted) return;
      this.isDrawing = false;
      this.draw();
    });
  }

  draw() {
    const before = this.lines.rows ?? 0;
    this.lines.update();
    const more = this.parser.count - before;
    if (this.isFollowing) this.scrollToEnd();
    else if (more > 0 && this.lines.isLive) this.tellUnseen(more);
    this.marked.goToWanted(false);
    if (more > 0 && this.search.isDone) this.search.go();
  }

  tellUnseen(more) {
    this.unseen += more;
    replace(this.pill, `${this.unseen.toLocaleString("en")} new ${this.unseen === 1 ? "line" : "lines"}: go to the end (G)`);
    this.pill.hidden = false;
    const now = performance.now();
    if (now - this.told <= TELL_MILLISECONDS) return;
    this.told = now;
    announce(`${this.unseen} new lines`);
  }

  tellProblem(error, again) {
    this.problem.hidden = error === null;
    if (error === null) return;
    const so = this.parser.count > 0 ? `What is here stays; the rest from byte ${this.parser.bytes.toLocaleString("en")} on is missing. ` : "";
    replace(this.problem, `The log stopped coming: ${error.message} ${so}`, again ? h("button", { type: "button", onclick: () => (this.tellProblem(null), again()) }, "Try again") : "Trying again.");
  }

  tellEmpty() {
    const { job } = this;
    replace(this.note, h("p", { class: "empty" }, job.finished_at ? `No output.${job.exit_status === null || job.exit_status === undefined ? "" : ` Exit status ${job.exit_status}, the server says.`}` : "No output yet."));
  }

  /** There is more than the page takes by itself. */
  tellRest(read) {
    const isFull = this.parser.count >= MOST_LINES;
    const here = isFull ? `${this.parser.count.toLocaleString("en")} lines, as many as a page can show` : `${size(read.bytes)}${Number.isFinite(read.total) ? ` of ${size(read.total)}` : ""}`;
    const button = h(
      "button",
      {
        type: "button",
        onclick: () => {
          replace(this.note);
          this.load(read.bytes, read.bytes + MOST_BYTES);
        },
      },
      "Load more of it",
    );
    replace(this.note, h("p", { class: "notice" }, `These are the first ${here}. What follows is not shown. `, isFull ? "" : button, " Raw and Download have all of it."));
  }

  // --- following ---------------------------------------------------------------------------------------------------

  scrolled() {
    const { box } = this;
    const left = box.scrollHeight - box.scrollTop - box.clientHeight;
    // Up is the reader; down to the end is the reader who wants to follow.
    if (left > NEAR_END && box.scrollTop < (this.lastTop ?? 0) - 1) this.isFollowing = false;
    else if (left <= NEAR_END && this.lines.isLive) this.atEnd();
    this.lastTop = box.scrollTop;
  }

  atEnd() {
    this.isFollowing = this.lines.isLive;
    this.unseen = 0;
    this.pill.hidden = true;
  }

  scrollToEnd() {
    this.box.scrollTop = this.box.scrollHeight;
    this.lastTop = this.box.scrollTop;
  }

  goToEnd() {
    if (this.parser.count > 0) this.lines.reveal(this.parser.count - 1);
    this.atEnd();
    this.scrollToEnd();
    // On a small screen the end of the box may be below the end of the window.
    this.box.scrollIntoView({ block: "end" });
    // Lines that had no elements get them now, and may be taller than was thought.
    requestAnimationFrame(() => this.scrollToEnd());
  }

  // --- lines -------------------------------------------------------------------------------------------------------

  clicked(event) {
    const line = event.target.closest("[data-n]");
    if (!line || event.target.closest("a, button")) return;
    if (event.clientX - line.getBoundingClientRect().left > Number.parseFloat(getComputedStyle(line).getPropertyValue("--gutter-pixels"))) return;
    this.marked.clicked(Number(line.dataset.n) - 1, event.shiftKey);
    event.preventDefault();
  }

  /** Up and down go from marked lines to others; without any they scroll. */
  pressed(event) {
    const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (by === undefined || !this.marked.isAny || event.target !== this.box || event.ctrlKey || event.altKey || event.metaKey) return;
    this.marked.move(by, event.shiftKey);
    event.preventDefault();
  }

  markFirst() {
    const { left, top } = this.box.getBoundingClientRect();
    const under = document.elementsFromPoint(left + 20, Math.max(0, top) + 16).find((element) => element.matches("[data-n]"));
    if (!under) return;
    this.box.focus();
    this.isFollowing = false;
    this.marked.select(Number(under.dataset.n) - 1, Number(under.dataset.n) - 1);
  }

  show(row) {
    this.isFollowing = false;
    const { lines } = this;
    lines.reveal(row)?.scrollIntoView({ block: "center" });
    requestAnimationFrame(() => lines === this.lines && lines.reveal(row)?.scrollIntoView({ block: "center" }));
  }

  async goToFailure(by) {
    const { lines, marked } = this;
    const [from] = marked.range;
    const row = await this.search.failure(marked.isAny ? from : by > 0 ? -1 : this.parser.count, by);
    if (lines !== this.lines) return;
    if (row < 0) {
      announce("No further line tells of an error");
      return;
    }
    this.show(row);
    marked.select(row, row);
  }

  // --- search ------------------------------------------------------------------------------------------------------

  searchSoon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.searchNow(), 120);
  }

  /** Search, and go to the first hit; for an address that names lines too, stay there. */
  async searchNow(isAsked = true) {
    const { search, words } = this;
    const exact = isPressed(this.exact);
    const isPattern = isPressed(this.isPattern);
    putInAddress("find", words.value);
    putInAddress("find-how", words.value === "" ? "" : (exact ? "c" : "") + (isPattern ? "r" : ""));
    await search.search(words.value, { exact, isPattern });
    if (search !== this.search || search.words !== words.value) return;
    this.tellFound();
    if (search.count > 0 && search.current < 0 && (isAsked || !this.marked.isAny)) this.step(1);
  }

  step(by) {
    const { search, lines } = this;
    const element = search.step(by);
    if (!element) return;
    this.isFollowing = false;
    const row = search.rows[search.current];
    element.scrollIntoView({ block: "center" });
    requestAnimationFrame(() => {
      if (lines !== this.lines) return;
      lines.reveal(row)?.scrollIntoView({ block: "center" });
      search.mark();
    });
    this.tellFound();
  }

  closeSearch() {
    this.words.value = "";
    putInAddress("find", "");
    putInAddress("find-how", "");
    this.search.clear();
    this.tellFound();
    this.box.focus();
  }

  tellFound() {
    const { search } = this;
    if (search.words === "") return replace(this.found);
    if (search.problem !== "") return replace(this.found, search.problem);
    const lines = this.parser.count.toLocaleString("en");
    const where = search.isDone ? `all ${lines} lines searched` : `${search.searched.toLocaleString("en")} of ${lines} lines searched`;
    const at = search.current < 0 ? "" : `${(search.current + 1).toLocaleString("en")} of `;
    return replace(this.found, search.count === 0 ? `Nothing found, ${where}` : `${at}${search.count.toLocaleString("en")}, ${where}`);
  }
}
