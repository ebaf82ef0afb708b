/** Parses the part of WGSL that kernels' functions are written in: expressions, and functions of scalars. */

/** An expression. */
export type Expr =
  | { readonly kind: "number"; readonly text: string }
  | { readonly kind: "name"; readonly name: string }
  | {
    readonly kind: "call";
    readonly name: string;
    readonly type: string | null;
    readonly x: readonly Expr[];
  }
  | { readonly kind: "unary"; readonly op: string; readonly x: Expr }
  | { readonly kind: "binary"; readonly op: string; readonly a: Expr; readonly b: Expr };

/** A statement. */
export type Statement =
  | { readonly kind: "let"; readonly name: string; readonly value: Expr }
  | { readonly kind: "assign"; readonly name: string; readonly value: Expr }
  | {
    readonly kind: "if";
    readonly condition: Expr;
    readonly yes: readonly Statement[];
    readonly no: readonly Statement[];
  }
  | { readonly kind: "while"; readonly condition: Expr; readonly body: readonly Statement[] }
  | { readonly kind: "return"; readonly value: Expr };

/** A function. */
export interface Function {
  readonly name: string;
  readonly params: readonly { readonly name: string; readonly type: string }[];
  readonly result: string;
  readonly body: readonly Statement[];
}

/** What this part of the language does not have; whoever asked goes on without vectors. */
export class Unsupported extends Error {}

const TOKENS =
  /\s+|\/\/[^\n]*|(0x[0-9a-fA-F]+u?|\d+\.?\d*(?:[eE][-+]?\d+)?[uif]?|[A-Za-z_]\w*|<<|>>|&&|\|\||==|!=|<=|>=|->|[-+*\/|&^]=|[-+*\/%&|^!~<>=(){};,.:])/gy;

/** Binary operators by how tightly they bind. */
const BINDING: Record<string, number> = {
  "||": 1,
  "&&": 2,
  "|": 3,
  "^": 4,
  "&": 5,
  "==": 6,
  "!=": 6,
  "<": 7,
  ">": 7,
  "<=": 7,
  ">=": 7,
  "<<": 8,
  ">>": 8,
  "+": 9,
  "-": 9,
  "*": 10,
  "/": 10,
  "%": 10,
};

class Parser {
  readonly #tokens: string[] = [];
  #at = 0;

  constructor(text: string) {
    TOKENS.lastIndex = 0;
    while (TOKENS.lastIndex < text.length) {
      const from = TOKENS.lastIndex, m = TOKENS.exec(text);
      if (m === null) throw new Unsupported(`"${text.slice(from, from + 20)}"`);
      if (m[1] !== undefined) this.#tokens.push(m[1]);
    }
  }

  get done(): boolean {
    return this.#at >= this.#tokens.length;
  }
  #peek(): string {
    return this.#tokens[this.#at] ?? "";
  }
  #take(): string {
    return this.#tokens[this.#at++] ?? "";
  }
  #is(token: string): boolean {
    if (this.#peek() !== token) return false;
    this.#at++;
    return true;
  }
  #expect(token: string): void {
    if (!this.#is(token)) throw new Unsupported(`${this.#peek()} for ${token}`);
  }

  expression(least = 0): Expr {
    let a = this.#unary();
    for (;;) {
      const op = this.#peek(), binding = BINDING[op];
      if (binding === undefined || binding <= least) return a;
      this.#at++;
      a = { kind: "binary", op, a, b: this.expression(binding) };
    }
  }

  #unary(): Expr {
    const token = this.#peek();
    if (token === "-" || token === "!" || token === "~") {
      this.#at++;
      return { kind: "unary", op: token, x: this.#unary() };
    }
    return this.#primary();
  }

  #primary(): Expr {
    const token = this.#take();
    if (token === "(") {
      const e = this.expression();
      this.#expect(")");
      return e;
    }
    if (/^\d/.test(token)) return { kind: "number", text: token };
    if (!/^[A-Za-z_]/.test(token)) throw new Unsupported(token);
    let type: string | null = null;
    if (token === "bitcast") {
      this.#expect("<");
      type = this.#take();
      this.#expect(">");
    }
    if (this.#peek() === "." || this.#peek() === "[") throw new Unsupported(`${token}${this.#peek()}`);
    if (!this.#is("(")) return { kind: "name", name: token };
    const x: Expr[] = [];
    while (!this.#is(")")) {
      x.push(this.expression());
      if (this.#peek() !== ")") this.#expect(",");
    }
    return { kind: "call", name: token, type, x };
  }

  function(): Function {
    this.#expect("fn");
    const name = this.#take(), params: { name: string; type: string }[] = [];
    this.#expect("(");
    while (!this.#is(")")) {
      const param = this.#take();
      this.#expect(":");
      params.push({ name: param, type: this.#take() });
      if (this.#peek() !== ")") this.#expect(",");
    }
    this.#expect("->");
    return { name, params, result: this.#take(), body: this.#block() };
  }

  #block(): Statement[] {
    this.#expect("{");
    const out: Statement[] = [];
    while (!this.#is("}")) out.push(this.#statement());
    return out;
  }

  #statement(): Statement {
    if (this.#is("return")) {
      const value = this.expression();
      this.#expect(";");
      return { kind: "return", value };
    }
    if (this.#is("if")) {
      const condition = this.expression(), yes = this.#block();
      const no = !this.#is("else") ? [] : this.#peek() === "if" ? [this.#statement()] : this.#block();
      return { kind: "if", condition, yes, no };
    }
    if (this.#is("while")) {
      const condition = this.expression();
      return { kind: "while", condition, body: this.#block() };
    }
    const first = this.#take();
    const isNew = first === "let" || first === "var", name = isNew ? this.#take() : first, op = this.#take();
    if (!/^[A-Za-z_]/.test(name) || !(isNew ? op === "=" : op.endsWith("="))) {
      throw new Unsupported(`${name} ${op}`);
    }
    const right = this.expression();
    this.#expect(";");
    if (isNew) return { kind: "let", name, value: right };
    const value: Expr = op === "="
      ? right
      : { kind: "binary", op: op[0], a: { kind: "name", name }, b: right };
    return { kind: "assign", name, value };
  }
}

/** The tree of an expression. */
export function parseExpression(text: string): Expr {
  const parser = new Parser(text), e = parser.expression();
  if (!parser.done) throw new Unsupported(text);
  return e;
}

/** The trees of functions, one after the other. */
export function parseFunctions(text: string): Function[] {
  const parser = new Parser(text), out: Function[] = [];
  while (!parser.done) out.push(parser.function());
  return out;
}
