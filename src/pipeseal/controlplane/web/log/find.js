// Where in a text something is found: line by line, as numbers.

/** An expression that finds `words` as they stand there; without `exact`, in upper and lower case. */
export function literal(words, exact) {
  return new RegExp(words.replace(/[.*+?^${}()|[\]\\/-]/g, "\\$&"), exact ? "g" : "gi");
}

/**
 * All hits in a text of many lines.
 *
 * @param expression with flag g; when `byLine` is not set, one that no line feed fits.
 * @param byLine look at each line for itself, so that no hit is in two of them.
 * @returns `{ rows, columns, lengths }`: for each hit its line, from 0, and its place there in UTF-16 units.
 */
export function findAll(text, expression, byLine) {
  const found = { rows: [], columns: [], lengths: [] };
  const look = (within, start, row) => {
    let line = row;
    let lineStart = start;
    expression.lastIndex = 0;
    for (let hit = expression.exec(within); hit; hit = expression.exec(within)) {
      // What fits nothing at all is no hit, and would be found for ever.
      if (hit[0] === "") {
        expression.lastIndex += 1;
        continue;
      }
      if (!byLine)
        for (let end = text.indexOf("\n", lineStart); end >= 0 && end < hit.index; end = text.indexOf("\n", lineStart)) {
          line += 1;
          lineStart = end + 1;
        }
      found.rows.push(line);
      found.columns.push(byLine ? hit.index : hit.index - lineStart);
      found.lengths.push(hit[0].length);
    }
  };
  if (byLine) text.split("\n").forEach((line, row) => look(line, 0, row));
  else look(text, 0, 0);
  return found;
}
