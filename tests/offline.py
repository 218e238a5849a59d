"""An offline run of W&B, read back from its .wandb file."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Offline:
    """What a run holds: `history` row by row, `metrics` by name with axis and summary."""

    name: str = ""
    job_type: str = ""
    group: str = ""
    notes: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, tuple[str, set[str]]] = field(default_factory=dict)
    artifacts: list[tuple[str, str, list[str], list[str]]] = field(default_factory=list)


def read(folder: Path) -> Offline:
    """The one run whose folder lies in `folder`/wandb."""
    from wandb.proto import wandb_internal_pb2

    deadline = time.monotonic() + 60
    while not list(folder.glob("wandb/offline-run-*/*.wandb")) and time.monotonic() < deadline:
        time.sleep(0.2)  # a process of W&B's own writes it
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    found: Offline = Offline()
    numbers: dict[int, str] = {}
    for data in _records(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            found.name, found.job_type = run.display_name, run.job_type
            found.group, found.notes, found.tags = run.run_group, run.notes, list(run.tags)
            found.config |= _items(run.config.update)
        elif kind == "config":
            found.config |= _items(record.config.update)
        elif kind == "summary":
            for item in record.summary.update:
                _put(found.summary, [*item.nested_key] or item.key.split("\0"), item.value_json)
        elif kind == "history":
            found.history.append(_items(record.history.item))
        elif kind == "metric":
            metric = record.metric
            numbers[len(numbers) + 1] = metric.name
            summary = {x.name for x, on in metric.summary.ListFields() if on}
            axis = metric.step_metric or numbers.get(metric.step_metric_index, "")
            found.metrics[metric.name] = axis, summary
        elif kind == "artifact":
            artifact = record.artifact
            names = [entry.path for entry in artifact.manifest.contents]
            found.artifacts.append((artifact.type, artifact.name, [*artifact.aliases], names))
        elif kind == "request" and record.request.HasField("log_artifact"):
            artifact = record.request.log_artifact.artifact
            names = [entry.path for entry in artifact.manifest.contents]
            found.artifacts.append((artifact.type, artifact.name, [*artifact.aliases], names))
    return found


def _records(content: bytes) -> Iterator[bytes]:
    """LevelDB's log format, behind a header of 7 bytes: blocks of 32 KiB, records in pieces."""
    place, pieces = 7, b""
    while place + 7 <= len(content):
        left = 2**15 - place % 2**15
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack_from("<HB", content, place + 4)
        pieces += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # the whole of it, or its last piece
            yield pieces
            pieces = b""


def _items(items: Any) -> dict[str, Any]:
    return {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def _put(place: dict[str, Any], keys: list[str], value: str) -> None:
    place[".".join(keys)] = json.loads(value)
