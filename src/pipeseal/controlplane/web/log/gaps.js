// Parts of a log that never reached the server. It writes a notice in their place and fills them up with blanks; a job may
// print such a line, too. So the page draws gaps only where all of them together are as long as the server says: a line
// that was printed would make it more, and those of the server are all there.

/** A line that may be a notice. */
export const NOTICE = /^\[(\d{1,15}) bytes of this log never reached the server\]$/;
// The notice is on a line of its own.
const FEEDS = 2;

/**
 * The gaps of a log that is there as a whole.
 *
 * @param parser with its `notices`: `{ row, bytes }`.
 * @param missing how many bytes the server says are missing.
 * @returns what is special of lines: a Map from row to `{ isNotice, blanks }`, where `blanks` is how many characters at
 *   the beginning of the line fill the gap; empty, when nobody can say.
 */
export function findGaps(parser, missing) {
  const found = new Map();
  let left = missing;
  for (const { row, bytes } of parser.notices) {
    left -= bytes;
    found.set(row, { isNotice: true, blanks: 0 });
    let blanks = bytes - parser.text(row).length - FEEDS;
    for (let next = row + 1; blanks > 0; next++) {
      const lead = /^ */.exec(next < parser.count ? parser.text(next) : "")[0].length;
      const own = Math.min(lead, blanks);
      // Blanks at the very end are in no line.
      if (own === 0 && next < parser.count) return new Map();
      if (own === 0) break;
      found.set(next, { isNotice: false, blanks: own });
      blanks -= own;
    }
  }
  return left === 0 ? found : new Map();
}
