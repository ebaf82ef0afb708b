"""Executes a notebook on the Deno kernel, top to bottom, and loses none of its outputs.

The kernel sends some outputs after it has said `idle`, where other runners stop listening. After each cell this one
therefore sends a marker through both ways that outputs take, and the cell is over when both markers came back.

Exit status: 0, all cells ran and showed what they declare; 1, a cell did not; 2, the kernel could not be used.
"""

import argparse
import json
import pathlib
import queue
import re
import sys
import time
import uuid

import nbformat
import zmq
from jupyter_client import KernelManager

MARKER_MIME = "application/vnd.cotangent.end"
MARKER_SECONDS = 5
# What a cell started in the background may still send when the last cell is over.
FINAL_QUIET_SECONDS = 0.3


class CellFailure(Exception):
    """A cell that ends the execution; the message says why."""


def first_line(source):
    """The first line that says something: of the code if there is any, else of its comments."""
    lines = [line.strip() for line in source.splitlines() if line.strip()]
    code = [line for line in lines if not line.startswith(("//", "/*", "*"))]
    return ((code or lines) + [""])[0]


def declared_outputs(cell):
    """What the cell says that it shows: MIME types, "stream" or "error"; None where it says nothing."""
    if "expects" in cell.metadata:
        return list(cell.metadata["expects"])
    if "raises-exception" in cell.metadata.get("tags", []):
        return ["error"]
    return None


SHOWING_CALL = re.compile(r"(await\s+)?(show|console\.(log|info|warn|error|table)|Deno\.jupyter\.display)\s*\(")
NAME = re.compile(r"[A-Za-z_$][\w$]*(\.[A-Za-z_$][\w$]*)*;?$")
WORDS_ALONE = {"break", "continue", "debugger", "return", "undefined", "null", "NaN"}


def seems_to_show(source):
    """Whether the last statement is sure to show something: a showing call, or a name on a line of its own."""
    lines = [line for line in source.splitlines() if line.strip() and not line.lstrip().startswith("//")]
    # The last statement begins at the last line that is neither indented nor closes a bracket.
    starts = [i for i, line in enumerate(lines) if not line[0].isspace() and line[0] not in ")]}"]
    if not starts:
        return False
    start = starts[-1]
    if "".join(lines[:start]).count("`") % 2:
        return False
    statement = lines[start].split(" //")[0].rstrip()
    if SHOWING_CALL.match(statement):
        return True
    is_name = NAME.match(statement) and statement.rstrip(";") not in WORDS_ALONE
    continues = start > 0 and lines[start - 1].rstrip().endswith(("=", "(", ",", "=>", "+", "-", "*", "&&", "||", "?", ":"))
    return bool(is_name) and start == len(lines) - 1 and not continues


def missing_outputs(cell):
    """What the cell should have shown and did not."""
    expected = declared_outputs(cell)
    if expected is None:
        return [] if cell.outputs or not seems_to_show(cell.source) else ["any output"]
    present = set()
    for output in cell.outputs:
        present.add(output.output_type)
        present.update(output.get("data", {}))
    return [kind for kind in expected if kind not in present]


def marker_code(token):
    bundle = json.dumps({"data": {MARKER_MIME: token}, "metadata": {}, "transient": {}})
    return f'await Deno.jupyter.broadcast("display_data", {bundle}); console.log("{token}");'


class Runner:
    def __init__(self, notebook, arguments):
        self.notebook = notebook
        self.timeout = arguments.timeout
        self.log = open(arguments.log, "w+", encoding="utf-8", errors="replace")
        self.cells = {}  # message id -> the cell whose outputs answer it
        self.displays = {}  # display id -> the outputs that show it
        self.clear_later = set()
        self.idle = set()
        self.markers = set()
        self.manager = KernelManager(kernel_name=arguments.kernel)
        self.manager.start_kernel(cwd=arguments.cwd, stdout=self.log, stderr=self.log)
        self.client = self.manager.client()
        # The default is to drop messages beyond 1,000 that wait.
        self.client.context.rcvhwm = 0
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.log.close()

    def kernel_log(self):
        self.log.flush()
        self.log.seek(0)
        lines = [line for line in self.log if '"deno jupyter" is unstable' not in line]
        return "".join(lines[-15:]).strip()

    def listen(self, seconds):
        """Takes in what arrives within the time and what lies ready behind it; whether anything came."""
        try:
            self.take(self.client.get_iopub_msg(timeout=seconds))
        except queue.Empty:
            if not self.manager.is_alive():
                raise CellFailure(f"the kernel died\n{self.kernel_log()}".rstrip())
            return False
        while True:
            try:
                self.take(self.client.get_iopub_msg(timeout=0))
            except queue.Empty:
                return True

    def take(self, message):
        kind, content = message["msg_type"], message["content"]
        parent = message["parent_header"].get("msg_id")
        if kind == "status":
            if content["execution_state"] == "idle":
                self.idle.add(parent)
            return
        cell = self.cells.get(parent)
        if cell is None:
            return
        if kind == "execute_input":
            return
        if kind == "stream":
            self.take_stream(cell, content)
        elif kind in ("display_data", "execute_result", "error"):
            if MARKER_MIME in content.get("data", {}):
                self.markers.add(content["data"][MARKER_MIME] + " display")
                return
            self.show(cell, nbformat.v4.output_from_msg(message), content.get("transient", {}).get("display_id"))
        elif kind == "update_display_data":
            self.update(content["transient"]["display_id"], content)
        elif kind == "clear_output":
            if content.get("wait"):
                self.clear_later.add(id(cell))
            else:
                cell.outputs = []

    def take_stream(self, cell, content):
        text = content["text"]
        for token in re.findall(r"cotangent-end-[0-9a-f]+", text):
            self.markers.add(token + " stream")
        text = re.sub(r"cotangent-end-[0-9a-f]+\n?", "", text)
        if not text:
            return
        last = cell.outputs[-1] if cell.outputs and id(cell) not in self.clear_later else None
        if last and last.output_type == "stream" and last.name == content["name"]:
            last.text += text
        else:
            self.show(cell, nbformat.v4.new_output("stream", name=content["name"], text=text))

    def show(self, cell, output, display_id=None):
        if id(cell) in self.clear_later:
            self.clear_later.remove(id(cell))
            cell.outputs = []
        cell.outputs.append(output)
        if display_id is not None:
            self.update(display_id, output)
            self.displays.setdefault(display_id, []).append(output)

    def update(self, display_id, content):
        for output in self.displays.get(display_id, []):
            output.data = nbformat.from_dict(content["data"])
            output.metadata = nbformat.from_dict(content["metadata"])

    def request(self, cell, code, silent=False):
        message = self.client.execute(code, silent=silent, store_history=not silent, allow_stdin=False)
        self.cells[message] = cell
        return message

    def reply(self, message, deadline):
        """The kernel's answer to a request; messages for earlier requests are dropped."""
        while True:
            try:
                reply = self.client.get_shell_msg(timeout=0.05)
            except queue.Empty:
                self.listen(0)
                if time.monotonic() > deadline:
                    raise CellFailure(f"no end within {self.timeout:g} s")
                continue
            if reply["parent_header"].get("msg_id") == message:
                return reply["content"]

    def wait_until(self, is_done, deadline):
        while not is_done():
            if time.monotonic() > deadline:
                return False
            self.listen(0.05)
        return True

    def run_cell(self, cell):
        cell.outputs = []
        deadline = time.monotonic() + self.timeout
        message = self.request(cell, cell.source)
        if not self.wait_until(lambda: message in self.idle, deadline):
            raise CellFailure(f"no end within {self.timeout:g} s")
        reply = self.reply(message, deadline)
        cell.execution_count = reply.get("execution_count")
        self.drain(cell)
        expects_error = "error" in (declared_outputs(cell) or [])
        errors = [output for output in cell.outputs if output.output_type == "error"]
        if errors and not expects_error:
            raise CellFailure(f"{errors[0].ename}: {errors[0].evalue}")
        if reply["status"] == "error" and not errors:
            # The kernel says nothing more of a syntax error.
            raise CellFailure("it does not parse, or the kernel gave up on it without a message")

    def drain(self, cell):
        token = f"cotangent-end-{uuid.uuid4().hex}"
        message = self.request(cell, marker_code(token), silent=True)
        both = {token + " display", token + " stream"}
        came = self.wait_until(
            lambda: both <= self.markers and message in self.idle,
            time.monotonic() + MARKER_SECONDS,
        )
        self.reply(message, time.monotonic() + MARKER_SECONDS)
        # A cell that replaced console.log gets a quiet period instead of a marker.
        while self.listen(0.005 if came else FINAL_QUIET_SECONDS):
            pass

    def run(self, say):
        code = [cell for cell in self.notebook.cells if cell.cell_type == "code" and cell.source.strip()]
        problems = []
        width = len(str(len(code)))
        for number, cell in enumerate(code, 1):
            title = f"[{number:{width}}/{len(code)}] {first_line(cell.source)[:90]}"
            start = time.monotonic()
            try:
                self.run_cell(cell)
            except CellFailure as failure:
                say(f"{title}  FAILED")
                problems.append((number, cell, str(failure)))
                break
            count = len(cell.outputs)
            say(f"{title}  {time.monotonic() - start:.2f} s, {count} output{'' if count == 1 else 's'}")
        if self.manager.is_alive():
            while self.listen(FINAL_QUIET_SECONDS):
                pass
        # Only now: an output may come while a later cell runs.
        ended = problems[0][0] if problems else len(code) + 1
        for number, cell in enumerate(code[: ended - 1], 1):
            for kind in missing_outputs(cell):
                problems.append((number, cell, f"it should show {kind} and did not"))
        return len(code), sorted(problems, key=lambda problem: problem[0])


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebook", type=pathlib.Path)
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--cwd", help="the folder that the cells run in (default: the notebook's)")
    parser.add_argument("--kernel", default="deno")
    parser.add_argument("--timeout", type=float, default=300, help="seconds a cell may take")
    parser.add_argument("--log", help="where the kernel process's own output goes")
    parser.add_argument("--quiet", action="store_true", help="no line for each cell")
    arguments = parser.parse_args()
    arguments.cwd = arguments.cwd or str(arguments.notebook.resolve().parent)
    arguments.log = arguments.log or str(arguments.output.with_suffix(".kernel.log"))
    return arguments


def main():
    arguments = parse_arguments()
    notebook = nbformat.read(arguments.notebook, as_version=4)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    try:
        runner = Runner(notebook, arguments)
    except Exception as error:
        print(f"Cannot start the Deno kernel: {error}", file=sys.stderr)
        return 2
    say = (lambda line: None) if arguments.quiet else (lambda line: print(line, flush=True))
    start = time.monotonic()
    try:
        total, problems = runner.run(say)
    finally:
        runner.close()
        nbformat.write(notebook, arguments.output)
    outputs = sum(len(cell.get("outputs", [])) for cell in notebook.cells)
    for number, cell, reason in problems:
        print(f"Cell {number} failed: {first_line(cell.source)}\n  {reason}", flush=True)
    if not problems:
        print(f"Ran {total} cells with {outputs} outputs in {time.monotonic() - start:.1f} s", flush=True)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
