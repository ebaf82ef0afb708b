"""Runs cells on one kernel, pressing Stop in some: `run_cells.py cells.json`, an array of `{source, stops}`.

`stops` are seconds after the first output of the cell. What each showed is printed as JSON.
"""

import json
import pathlib
import queue
import sys
import time

from jupyter_client import KernelManager

LONGEST = 60


def run(manager, client, source, stops):
    """The outputs of one cell, as `[type, content]`, and whether it ended or the kernel died."""
    sent = client.execute(source)
    begun, first, outputs, stops = time.monotonic(), None, [], list(stops)
    while time.monotonic() - begun < LONGEST:
        if stops and first is not None and time.monotonic() - first >= stops[0]:
            manager.interrupt_kernel()
            stops.pop(0)
        try:
            message = client.get_iopub_msg(timeout=0.05)
        except queue.Empty:
            if not manager.is_alive():
                return {"outputs": outputs, "end": "died"}
            continue
        if message["parent_header"].get("msg_id") != sent:
            continue
        kind, content = message["msg_type"], message["content"]
        if kind == "status" and content["execution_state"] == "idle":
            return {"outputs": outputs, "end": "over", "seconds": time.monotonic() - begun}
        if kind not in ("status", "execute_input"):
            first = first or time.monotonic()
            outputs.append([kind, content])
    return {"outputs": outputs, "end": "never"}


cells = pathlib.Path(sys.argv[1])
manager = KernelManager(kernel_name="deno")
manager.start_kernel(cwd=str(cells.parent))
client = manager.client()
try:
    client.start_channels()
    client.wait_for_ready(timeout=60)
    print(json.dumps([run(manager, client, cell["source"], cell.get("stops", [])) for cell in json.loads(cells.read_text())]))
finally:
    client.stop_channels()
    manager.shutdown_kernel(now=True)
