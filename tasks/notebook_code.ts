/** Turns a notebook's code cells into one TypeScript module, so that what the kernel does not check is checked. */

export interface Cell {
  cell_type: string;
  source: string | string[];
}

export interface NotebookModule {
  text: string;
  /** For each line of the text, counted from 1: where it stands in the notebook. */
  origins: Map<number, { cell: number; line: number }>;
}

const declaration =
  /^(?:export\s+|declare\s+)*(?:const|let|var|(?:async\s+)?function\*?|(?:abstract\s+)?class|type|interface|enum)\s+(.*)$/;

/** The names that a top-level line declares. Cells are formatted, so such a line is not indented. */
function declaredNames(source: string): string[] {
  const lines = source.split("\n");
  return lines.flatMap((line, index) => {
    const match = line.match(declaration);
    if (!match) return [];
    if (!/^[{[]/.test(match[1])) return match[1].match(/^[\w$]+/) ?? [];
    // A destructuring pattern, which may go over several lines.
    const pattern = [match[1], ...lines.slice(index + 1)].join("\n").split(/[}\]]\s*=/)[0];
    const names = pattern.replace(/[\w$]+\s*:/g, "").replace(/=[^,]*/g, "");
    return names.match(/[A-Za-z_$][\w$]*/g) ?? [];
  });
}

/** Separates imports, which a module has at its top, from the rest; both keep the number of lines. */
function splitImports(lines: string[]): { imports: Map<number, string>; rest: string[] } {
  const imports = new Map<number, string>();
  const rest = [...lines];
  for (let start = 0; start < lines.length; start++) {
    if (!/^import\s*(?:type\s|[\w$*{"'])/.test(lines[start])) continue;
    let end = start;
    while (end < lines.length - 1 && !/["']\s*(?:with\s*\{.*\})?;?\s*(?:\/\/.*)?$/.test(lines[end])) end++;
    imports.set(start, lines.slice(start, end + 1).join(" "));
    rest.fill("", start, end + 1);
    start = end;
  }
  return { imports, rest };
}

/** Drops from an import the names that an earlier cell imports already, which the kernel allows. */
function withoutRepeats(statement: string, seen: Set<string>): string {
  const [, head, braces, from] = statement.match(/^(import\s+(?:type\s+)?)\{([^}]*)\}(.*)$/) ?? [];
  if (head === undefined) {
    const repeated = seen.has(statement);
    seen.add(statement);
    return repeated ? "" : statement;
  }
  const names = braces.split(",").map((name) => name.trim()).filter(Boolean);
  const fresh = names.filter((name) => !seen.has(name + from));
  for (const name of names) seen.add(name + from);
  return fresh.length || !names.length ? `${head}{ ${fresh.join(", ")} }${from}` : "";
}

/** Joins the code cells as the kernel sees them: one scope in which a later cell may declare a name anew. */
export function notebookModule(cells: Cell[]): NotebookModule {
  const origins: NotebookModule["origins"] = new Map();
  const head: string[] = [];
  const body: string[] = [];
  const headOrigins: { cell: number; line: number }[] = [];
  const bodyOrigins: { cell: number; line: number }[] = [];
  const seenImports = new Set<string>();
  let declared = new Set<string>();
  let depth = 0;
  let number = 0;
  for (const { cell_type, source } of cells) {
    const text = Array.isArray(source) ? source.join("") : source;
    if (cell_type !== "code" || !text.trim()) continue;
    number++;
    const { imports, rest } = splitImports(text.split("\n"));
    for (const [line, statement] of imports) {
      const fresh = withoutRepeats(statement, seenImports);
      if (fresh) headOrigins[head.push(fresh) - 1] = { cell: number, line: line + 1 };
    }
    const names = declaredNames(rest.join("\n"));
    if (names.some((name) => declared.has(name))) {
      // From here on an inner scope shadows the earlier declaration.
      bodyOrigins[body.push("{") - 1] = { cell: number, line: 1 };
      depth++;
      declared = new Set();
    }
    for (const name of names) declared.add(name);
    rest.forEach((line, index) => bodyOrigins[body.push(line) - 1] = { cell: number, line: index + 1 });
    // A cell that ends without a semicolon must not run into the next.
    body.push(";");
  }
  const lines = [...head, ...body, "}".repeat(depth), "export {};", ""];
  headOrigins.forEach((origin, index) => origins.set(index + 1, origin));
  bodyOrigins.forEach((origin, index) => origins.set(head.length + index + 1, origin));
  return { text: lines.join("\n"), origins };
}
