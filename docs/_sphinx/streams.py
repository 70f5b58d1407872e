"""One output for all that a cell prints to one stream: MyST-NB would end a line wherever a text came in two pieces."""

from typing import Any

from myst_nb.core import render
from sphinx.application import Sphinx


def join_streams(outputs: list[Any]) -> list[Any]:
    """Return the outputs of a cell, with all pieces of a stream in place of its first piece."""
    found: list[Any] = []
    streams: dict[str, Any] = {}
    for output in outputs:
        stream = streams.get(output["name"]) if output["output_type"] == "stream" else None
        if stream is not None:
            stream["text"] += output["text"]
            continue
        found.append(output)
        if output["output_type"] == "stream":
            streams[output["name"]] = output
    return found


def setup(_app: Sphinx) -> dict[str, bool]:
    """Join Sphinx."""
    render.coalesce_streams = join_streams
    return {"parallel_read_safe": True, "parallel_write_safe": True}
