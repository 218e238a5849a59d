"""An event camera that looks at images: which pixel fires when, as an image moves before it.

A pixel fires where the logarithm of its intensity has moved by a threshold since it last fired
(Lichtsteiner et al., 2008), and is blind for a refractory time; then it starts from what it sees.
Between two renderings the logarithm is linear in time, as in ESIM (Rebecq et al., CoRL 2018).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from snn_lightning.data.events import Events

Array = np.ndarray[Any, np.dtype[Any]]
LONGEST = 2**26  # us that a recording may last


@dataclass(frozen=True)
class Movement:
    """Where an image is over time: straight ways between the corners of a closed polygon.

    Args:
        corners: (x, y) of each corner, from one to the next and back to the first, in units of
            `amplitude`.
        amplitude: in sides of the sensor, > 0.
        loops: how often the polygon is walked, >= 1.
        duration: of all loops, in seconds, > 0.
        smooth: each way starts and ends at rest (a cosine); else at one speed.
    """

    corners: tuple[tuple[float, float], ...]
    amplitude: float
    loops: int
    duration: float
    smooth: bool

    def __post_init__(self) -> None:
        if len(self.corners) < 2 or self.loops < 1:
            raise ValueError("Movement: needs two corners and a loop at least")
        if not 0 < self.amplitude < 1 or not 0 < self.duration <= 60:
            raise ValueError("Movement: amplitude must be in (0, 1), duration in (0, 60] seconds")

    def path(self, size: int, step: float) -> tuple[Array, Array]:
        """Times (S,) in us and shifts (S, 2) in pixels (x, y), at most `step` pixels apart."""
        corners = np.array([*self.corners, self.corners[0]]) * self.amplitude * size
        ways = np.diff(corners, axis=0)
        peak = math.pi / 2 if self.smooth else 1.0  # of the speed, over its mean
        count = math.ceil(peak * np.abs(ways).max() / step)
        part = np.arange(1, count + 1) / count  # of a way's time
        done = (1 - np.cos(math.pi * part)) / 2 if self.smooth else part
        loop = (corners[:-1, None] + ways[:, None] * done[:, None]).reshape(-1, 2)
        shifts = np.concatenate([corners[:1], *[loop] * self.loops])
        return np.linspace(0, self.duration * 1e6, len(shifts)), shifts


# The triangle that tonic's `stabilize` takes out of N-MNIST: 3.5 and 7 of 34 pixels in 105 ms each.
SACCADES = Movement(((0, 0), (0.5, 1), (1, 0)), 7 / 34, loops=1, duration=0.315, smooth=True)
# A loop of four diagonal ways, as CIFAR10-DVS's images walk; how far and how fast is ours.
CLOSED_LOOP = Movement(((0, 0), (1, 1), (2, 0), (1, -1)), 0.0625, 3, duration=0.6, smooth=False)


@dataclass(frozen=True)
class EventCamera:
    """images -> events: a square sensor, each pixel with thresholds of its own.

    Args:
        threshold: change of the natural logarithm of intensity that fires, > 0; both polarities.
        mismatch: standard deviation of the thresholds from pixel to pixel, as a share, in [0, 0.5).
        refractory: seconds that a pixel is blind after an event, >= 0.
        dark: intensity of black, where white is 1, > 0: what the screen and the pixel leak.
        step: pixels that the image moves between two renderings at most, > 0.
    """

    threshold: float = 0.3
    mismatch: float = 0.05
    refractory: float = 0.001
    dark: float = 0.1
    step: float = 1.0

    def __post_init__(self) -> None:
        if min(self.threshold, self.dark, self.step) <= 0 or self.refractory < 0:
            raise ValueError("EventCamera: threshold, dark and step must be > 0, refractory >= 0")
        if not 0 <= self.mismatch < 0.5:
            raise ValueError(f"EventCamera: mismatch must be in [0, 0.5), not {self.mismatch}")

    def record(self, images: Array, movement: Movement, seed: int) -> list[Events]:
        """The events (t in us, x, y, p) of images (N, size, size) in [0, 1], sorted by time.

        Each image meets a sensor of its own, drawn from (seed, its content), so that what is
        recorded of it does not depend on the images beside it.
        """
        count, size = len(images), images.shape[-1]
        if images.shape[1:] != (size, size) or images.min() < 0 or images.max() > 1:
            raise ValueError(
                f"EventCamera: images must be (N, size, size) in [0, 1]: {images.shape}"
            )
        times, shifts = movement.path(size, self.step)
        view = _Moving(images, shifts, self.dark)
        pixels = _Pixels(
            self._thresholds(images, seed), view.log_intensity(0), self.refractory * 1e6
        )
        fired = [
            pixels.advance(times[k - 1], times[k], view.log_intensity(k))
            for k in range(1, len(times))
        ]
        where, when, polarity = (np.concatenate(part) for part in zip(*fired, strict=True))
        # one number an event, so that the order of what fires in the same microsecond is fixed
        image, place = np.divmod(where, size * size)
        key = (image * LONGEST + when.astype(np.int64)) * (size * size) + place
        key = np.sort(key * 2 + polarity)
        cuts = np.searchsorted(key, np.arange(1, count) * LONGEST * (size * size * 2))
        return [_events(part, size) for part in np.split(key, cuts)]

    def _thresholds(self, images: Array, seed: int) -> Array:
        """float32 (2, pixels of all images), off and on."""
        drawn = []
        for image in images:
            content = np.frombuffer(image.astype(np.float32).tobytes(), np.uint32)
            random = np.random.default_rng([seed, int(content.sum(dtype=np.uint64))])
            drawn.append(random.standard_normal((2, image.size), np.float32))
        spread = np.concatenate(drawn, axis=1).clip(-2, 2)  # never below 0
        return self.threshold * (1 + np.float32(self.mismatch) * spread)


def _events(key: Array, size: int) -> Events:
    rest, p = key >> 1, (key & 1).astype(bool)
    t, place = np.divmod(rest, size * size)
    y, x = np.divmod(place, size)
    return t % LONGEST, x, y, p


class _Moving:
    """Images (N, size, size) that are shifted by parts of pixels; their edges go on for ever."""

    def __init__(self, images: Array, shifts: Array, dark: float) -> None:
        self.size, self.shifts = images.shape[-1], shifts
        self.margin = math.ceil(np.abs(shifts).max()) + 1
        around = ((0, 0), (self.margin, self.margin), (self.margin, self.margin))
        self.images = np.pad(images.astype(np.float32) * (1 - dark) + dark, around, mode="edge")

    def log_intensity(self, k: int) -> Array:
        """float32 (N * size * size,) at rendering k: a pixel sees what lies between four."""
        (column, right), (row, down) = (divmod(self.margin - shift, 1) for shift in self.shifts[k])
        rows, columns = (slice(int(start), int(start) + self.size + 1) for start in (row, column))
        part = self.images[:, rows, columns]
        if down:
            part = part[:, :-1] * np.float32(1 - down) + part[:, 1:] * np.float32(down)
        if right:
            part = part[..., :-1] * np.float32(1 - right) + part[..., 1:] * np.float32(right)
        return np.log(part[:, : self.size, : self.size]).reshape(-1)


class _Pixels:
    """The pixels of all sensors: what each compares with, and from when on it sees."""

    def __init__(self, thresholds: Array, level: Array, refractory: float) -> None:
        self.thresholds, self.refractory = thresholds, np.float32(refractory)
        self.level = level  # at the end of the last rendering
        self.reference = level.copy()
        self.ready = np.full(len(level), -1, np.float32)  # us

    def advance(self, start: float, stop: float, level: Array) -> tuple[Array, Array, Array]:
        """Where, when and with which polarity pixels fire from `start` to `stop` (us)."""
        off, on = self.thresholds
        change = level - self.reference
        active = np.flatnonzero((change >= on) | (change <= -off) | (self.ready >= start))
        before, self.level = self.level, level
        first = before[active]
        slope = (level[active] - first) / np.float32(stop - start)
        limit = np.where(slope > 0, on[active], -off[active])  # how far to the next event
        reference, ready = self.reference[active], self.ready[active] - np.float32(start)
        left, length = np.arange(len(active)), np.float32(stop - start)  # time counts from `start`
        fired = []
        while len(left):
            held = ready[left] >= 0
            seen = left[held & (ready[left] < length)]  # blind before, not at the end
            reference[seen] = first[seen] + slope[seen] * ready[seen]
            with np.errstate(divide="ignore", invalid="ignore"):
                when = (reference[left] + limit[left] - first[left]) / slope[left]
            fires = (ready[left] < length) & (when <= length) & (slope[left] != 0)
            left = left[fires]
            when = np.maximum(when[fires], np.maximum(ready[left], 0))
            fired.append((left, when))
            reference[left] += limit[left]
            ready[left] = when + self.refractory
        self.reference[active], self.ready[active] = reference, ready + np.float32(start)
        left, when = (
            np.concatenate(part) for part in zip((left, slope[left]), *fired, strict=True)
        )
        return active[left], when.astype(np.float64) + start, slope[left] > 0
