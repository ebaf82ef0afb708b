"""Executes a notebook with nbclient, the usual runner, and stores what it caught: `nbclient_run.py from to`."""

import pathlib
import sys

import nbformat
from nbclient import NotebookClient

source, target = map(pathlib.Path, sys.argv[1:3])
notebook = nbformat.read(source, as_version=4)
resources = {"metadata": {"path": str(source.parent)}}
NotebookClient(notebook, kernel_name="deno", timeout=120, allow_errors=True, resources=resources).execute()
nbformat.write(notebook, target)
