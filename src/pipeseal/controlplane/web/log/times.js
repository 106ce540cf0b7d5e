// Times of lines and groups, in the ways that readers choose from.

export const TIMES = [
  ["off", "Times: off"],
  ["start", "Times: since start"],
  ["before", "Times: since the line before"],
  ["local", "Times: local"],
  ["utc", "Times: UTC"],
];

/** What writes the time of a line; null for none. */
export function stamper(mode, parser) {
  if (mode === "off") return null;
  return (row) => {
    const time = parser.time(row);
    if (!Number.isFinite(time)) return "";
    if (mode === "start") return seconds(time - parser.firstTime);
    if (mode === "before") {
      const before = row === 0 ? Number.NaN : parser.time(row - 1);
      return Number.isNaN(before) ? "" : `+${seconds(time - before)}`;
    }
    const moment = new Date(time);
    if (Number.isNaN(moment.getTime())) return "";
    if (mode === "utc") return moment.toISOString().slice(11, 23);
    const two = (value) => String(value).padStart(2, "0");
    return `${two(moment.getHours())}:${two(moment.getMinutes())}:${two(moment.getSeconds())}.${String(moment.getMilliseconds()).padStart(3, "0")}`;
  };
}

function seconds(milliseconds) {
  const all = milliseconds / 1000;
  return all < 60 ? `${all.toFixed(1)}s` : `${Math.floor(all / 60)}m ${(all % 60).toFixed(1).padStart(4, "0")}s`;
}

/** How long a group took, from its heading to the next one or to the last line that has a time; "" when nobody knows. */
export function spent(parser, row, next) {
  const time = (next === null ? parser.clock : parser.time(next)) - parser.time(row);
  if (!(time >= 0)) return "";
  return time < 60_000 ? `${(time / 1000).toFixed(1)}s` : `${Math.floor(time / 60_000)}m ${Math.floor((time % 60_000) / 1000)}s`;
}
