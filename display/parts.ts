/** The small parts drawings are made of: numbers as text, text sparklines, colours that suit light and dark themes. */

/** Series colours, told apart by the colour-blind and by 3:1 from white and from black. */
export const palette: readonly string[] = [
  "#2f86d2", // blue
  "#d9770b", // orange
  "#0f9b77", // green
  "#c2559d", // purple
  "#8a7a00", // olive
  "#7d6ff0", // violet
  "#b5534a", // brick
  "#808080", // grey
];

/** Text and axes: the grey that reads on white (4:1) and on black (5:1). */
export const ink = "#7d8388";

/** Grid lines, on any background. */
export const faint = "rgba(128,128,128,0.22)";

/** A number in at most `digits` significant digits, in the form a reader of a picture expects. */
export function formatNumber(value: number, digits = 4): string {
  return pictureText(plainNumber(value + 0, digits, true)); // zero has no sign
}

/** A whole number with all its digits. */
export function formatWhole(value: number): string {
  return pictureText(value.toLocaleString("en-US"));
}

/** Numbers as text with the signs of pictures: − and ∞. */
function pictureText(text: string): string {
  return text.replaceAll("-", "−").replaceAll("Infinity", "∞");
}

/** Numbers as a picture has them, for a console: in signs that can be pasted into a program. */
export function consoleText(text: string): string {
  return text.replaceAll("−", "-").replaceAll("∞", "Infinity");
}

/** A number in at most `digits` significant digits, as a program reads it unless thousands are `grouped`. */
export function plainNumber(value: number, digits = 4, grouped = false): string {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  let text: string;
  if (size !== 0 && (size < 1e-4 || size >= 1e7)) {
    text = value.toExponential(digits - 1).replace(/\.?0+e/, "e").replace("e+", "e");
  } else if (Number.isInteger(value)) {
    text = grouped ? value.toLocaleString("en-US") : String(value);
  } else {
    text = String(Number(value.toPrecision(digits)));
  }
  return text;
}

/** A duration: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`. */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds)) return "?";
  if (seconds < 10) return `${Math.max(0, seconds).toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor(whole % 3600 / 60)} min`;
}

/** Text cut to `length` characters, the cut marked. */
export function shorten(text: string, length: number): string {
  const characters = [...text];
  return characters.length <= length ? text : characters.slice(0, length - 1).join("") + "…";
}

/** Text on one line, without what a terminal or a front end would obey. */
export function plainLine(text: unknown): string {
  // deno-lint-ignore no-control-regex
  return String(text).replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, " ").trim();
}

/** What an error says, on one line. */
export function messageLine(error: unknown): string {
  return plainLine(error instanceof Error ? error.message : error);
}

/** What a value is, for messages: `a number`, `an array`, `a Tensor`. */
export function kindOf(value: unknown): string {
  if (value instanceof Promise) return "a Promise (is an await missing?)";
  if (value === null || value === undefined) return String(value);
  if (Array.isArray(value)) return "an array";
  const kind = typeof value !== "object" ? typeof value : value.constructor?.name ?? "Object";
  return kind === "Object" ? "an object" : `${/^[AEIOUaeiou]/.test(kind) ? "an" : "a"} ${kind}`;
}

/** The least and the greatest finite value, and how many are not finite. */
export function extent(
  values: Iterable<number>,
): { low: number; high: number; finite: number; other: number } {
  let low = Infinity, high = -Infinity, finite = 0, other = 0;
  for (const value of values) {
    if (!Number.isFinite(value)) {
      other++;
      continue;
    }
    finite++;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return { low, high, finite, other };
}

const bars = "▁▂▃▄▅▆▇█";

/** A line of blocks as tall as the means of equal stretches of the values; `×` where none is finite. */
export function sparkline(values: ArrayLike<number>, width = 48, log = false): string {
  const scaled = Array.from(values, (value) => log ? Math.log(value > 0 ? value : NaN) : value);
  const columns = Math.min(width, scaled.length);
  const means = Array.from({ length: columns }, (_, column) => {
    const start = Math.floor(column * scaled.length / columns);
    const end = Math.floor((column + 1) * scaled.length / columns);
    const stretch = scaled.slice(start, end).filter(Number.isFinite);
    return stretch.length === 0 ? NaN : stretch.reduce((sum, value) => sum + value / stretch.length, 0);
  });
  const { low, high } = extent(means);
  return means.map((mean) => {
    if (Number.isNaN(mean)) return "×";
    const share = high === low ? 0.5 : (mean / 2 - low / 2) / (high / 2 - low / 2); // Halves do not overflow.
    return bars[Math.max(0, Math.min(bars.length - 1, Math.floor(share * bars.length)))];
  }).join("");
}

/** Points as a picture in braille, `columns` by `rows` characters of 2 by 4 dots. */
export function brailleDots(points: Iterable<readonly [number, number]>, columns = 48, rows = 12): string[] {
  const finite = Array.from(points).filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y));
  const across = extent(finite.map(([x]) => x));
  const up = extent(finite.map(([, y]) => y));
  const cells = Array.from({ length: rows }, () => new Uint8Array(columns));
  const bits = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
  const place = (value: number, { low, high }: { low: number; high: number }, dots: number) =>
    high === low ? dots >> 1 : Math.min(dots - 1, Math.floor((value - low) / (high - low) * dots));
  for (const [x, y] of finite) {
    const dotX = place(x, across, columns * 2);
    const dotY = rows * 4 - 1 - place(y, up, rows * 4);
    cells[dotY >> 2][dotX >> 1] |= bits[dotY & 3][dotX & 1];
  }
  return cells.map((row) => String.fromCharCode(...Array.from(row, (dots) => 0x2800 + dots)));
}

/** A number with a letter for its thousands, from `least` on: `12.3 k`, `4.5 M`, `6 G`. */
export function formatCount(count: number, least = 1000): string {
  const power = count < least ? 0 : Math.min(4, Math.floor(Math.log10(count) / 3));
  return power === 0 ? formatNumber(count) : `${formatNumber(count / 1000 ** power, 3)} ${" kMGT"[power]}`;
}

/** A size in memory: `512 B`, `4 KiB`, `1.5 MiB`. */
export function formatBytes(bytes: number): string {
  const { name, size } = byteUnit(bytes);
  return `${formatNumber(bytes / size, 3)} ${name}`;
}

/** The unit in which so many bytes are a number from 1 to 1,023. */
export function byteUnit(bytes: number): { name: string; size: number } {
  const power = bytes < 1024 ? 0 : Math.min(4, Math.floor(Math.log2(bytes) / 10));
  return { name: ["B", "KiB", "MiB", "GiB", "TiB"][power], size: 1024 ** power };
}
