"""Writes recordings as `.aedat4` files, which tonic, dv-processing and jAER read."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from snn_lightning.data.events import Events
from snn_lightning.files import whole

EVENT = np.dtype([("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("on", "<u1"), ("pad", "V3")])
PACKET = 10_000  # events
ABOUT = """<dv version="2.0">
<node name="outInfo" path="/outInfo/">
<node name="0" path="/outInfo/0/">
<attr key="compression" type="string">NONE</attr>
<attr key="originalModuleName" type="string">snn_lightning</attr>
<attr key="originalOutputName" type="string">events</attr>
<attr key="typeDescription" type="string">Array of events.</attr>
<attr key="typeIdentifier" type="string">EVTS</attr>
<node name="info" path="/outInfo/0/info/">
<attr key="sizeX" type="int">{size}</attr>
<attr key="sizeY" type="int">{size}</attr>
<attr key="source" type="string">simulated</attr>
</node>
</node>
</node>
</dv>
"""


def write_aedat4(path: str | Path, events: Events, size: int) -> None:
    """Write the events of a `size` x `size` sensor, whole or not at all, uncompressed.

    Args:
        path: the file.
        events: t in us, x, y and p; the times must not decrease.
        size: side of the sensor in pixels.

    Format: inivation's AEDAT 4.0, a header and packets of events, each a size-prefixed flatbuffer.
    """
    table = np.zeros(len(events[0]), EVENT)
    for name, column in zip(("t", "x", "y", "on"), events, strict=True):
        table[name] = column
    with whole(path) as file:
        file.write(b"#!AER-DAT4.0\r\n" + _header(ABOUT.format(size=size).encode()))
        for start in range(0, len(table), PACKET):
            packet = _packet(table[start : start + PACKET])
            file.write(struct.pack("<2i", 0, len(packet)) + packet)  # of stream 0


def _header(about: bytes) -> bytes:
    """The table IOHeader {compression: none, dataTablePosition: none, infoNode: about}."""
    text = about + bytes(4 - len(about) % 4)  # it ends with a zero, and fills words of four
    fields = struct.pack("<I4s6x5HiiIqI", 24, b"IOHE", 10, 20, 4, 12, 8, 10, 0, 12, -1, len(about))
    return struct.pack("<I", len(fields) + len(text)) + fields + text


def _packet(table: np.ndarray) -> bytes:
    """The table EventPacket {elements: events of 16 bytes}."""
    fields = struct.pack("<I4s2x3HiII", 16, b"EVTS", 6, 8, 4, 6, 4, len(table))
    return struct.pack("<I", len(fields) + table.nbytes) + fields + table.tobytes()
