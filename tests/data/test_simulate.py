"""The simulated event camera against closed forms, and what it writes against other readers."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from snn_lightning.data import CIFAR10DVS, EventDigits, event_digits
from snn_lightning.data.simulate import CLOSED_LOOP, SACCADES, EventCamera, Movement
from snn_lightning.start import main

SIZE = 32
LEFT = Movement(((0, 0), (-0.25, 0)), 0.999999, loops=1, duration=0.2, smooth=False)  # and back
EXACT = EventCamera(threshold=0.05, mismatch=0, refractory=0, dark=1e-9)


def at(events: tuple[np.ndarray, ...], x: int, y: int = 3) -> tuple[list[int], list[bool]]:
    t, columns, rows, p = events
    here = (columns == x) & (rows == y)
    return t[here].tolist(), p[here].tolist()


@pytest.mark.parametrize("refractory", [0, 0.001])
def test_a_ramp_fires_at_the_times_of_the_closed_form(refractory: float) -> None:
    """The logarithm rises by g a pixel, the image moves v pixels a second: one event each
    threshold / (g v) seconds, and the refractory time. Back it falls alike."""
    g, v = 0.02, SIZE / 4 / 0.1
    image = np.exp(g * (np.arange(SIZE) - SIZE + 1))[None, None].repeat(SIZE, 1)
    camera = replace(EXACT, refractory=refractory)
    for polarity, way in ((True, LEFT), (False, replace(LEFT, corners=((0, 0), (0.25, 0))))):
        times, polarities = at(camera.record(image, way, 0)[0], SIZE // 2)
        interval = 0.05 / (g * v) * 1e6
        expected = interval + np.arange(3) * (interval + refractory * 1e6)
        assert polarities[:3] == [polarity] * 3
        assert times[:3] == pytest.approx(expected, abs=1.5)
        assert polarities[-1] is not polarity


def test_a_moving_edge_sweeps_its_events() -> None:
    """Every pixel that the edge passes fires floor(|ln(right / left)| / threshold) times."""
    image = np.full((1, SIZE, SIZE), 0.2)
    image[..., SIZE // 2 :] = 0.9
    camera = replace(EXACT, threshold=0.3, step=0.25)
    t, x, y, p = camera.record(image, LEFT, 0)[0]
    each = int(np.log(0.9 / 0.2) / 0.3)
    going, coming = t < 1e5, t >= 1e5
    assert going.sum() == coming.sum() == each * SIZE * SIZE // 4
    assert p[going].all()
    assert not p[coming].any()
    assert set(x) == set(range(SIZE // 4, SIZE // 2))
    assert np.bincount(y, minlength=SIZE).tolist() == [2 * each * SIZE // 4] * SIZE
    middle = t[going & (x == SIZE // 2 - 1)].mean(), t[going & (x == SIZE // 4)].mean()
    speed = (SIZE / 4 - 1) / (middle[1] - middle[0])  # pixels a us
    assert speed == pytest.approx(SIZE / 4 / 1e5, rel=0.01)


def test_a_recording_is_its_own_and_stays_within_its_physics() -> None:
    images = np.random.default_rng(0).random((3, SIZE, SIZE))
    camera = EventCamera(refractory=0.004)
    together = camera.record(images, CLOSED_LOOP, 7)
    for image, events in zip(images, together, strict=True):
        (alone,) = camera.record(image[None], CLOSED_LOOP, 7)
        assert all((a == b).all() for a, b in zip(alone, events, strict=True))
        t, x, y, p = events
        assert (np.diff(t) >= 0).all()
        assert 0 <= t.min() <= t.max() <= CLOSED_LOOP.duration * 1e6
        assert 0.45 < p.mean() < 0.55  # what moves away comes back
        order = np.lexsort((t, y * SIZE + x))
        same = np.diff((y * SIZE + x)[order]) == 0
        assert np.diff(t[order])[same].min() >= 3999
    other = camera.record(images, CLOSED_LOOP, 8)[0]
    assert len(other[0]) != len(together[0][0]) or (other[0] != together[0][0]).any()
    still = np.ones((1, SIZE, SIZE))
    assert len(camera.record(still, SACCADES, 0)[0][0]) == 0


def test_saccades_are_those_of_nmnist() -> None:
    times, shifts = SACCADES.path(34, 0.5)
    assert np.abs(np.diff(shifts, axis=0)).max() <= 0.5
    for ms, corner in ((0, (0, 0)), (105, (3.5, 7)), (210, (7, 0)), (315, (0, 0))):
        assert shifts[np.abs(times - ms * 1000).argmin()] == pytest.approx(corner, abs=1e-9)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="threshold, dark and step must be > 0"):
        EventCamera(threshold=0)
    with pytest.raises(ValueError, match="mismatch"):
        EventCamera(mismatch=0.5)
    with pytest.raises(ValueError, match="in \\[0, 1\\]"):
        EventCamera().record(np.full((1, 8, 8), 2.0), SACCADES, 0)


def test_event_digits_are_recorded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    few = load_digits()
    few.images, few.target = few.images[:150], few.target[:150]
    monkeypatch.setattr("sklearn.datasets.load_digits", lambda: few)
    for function in (event_digits._digits, event_digits._recorded):
        monkeypatch.setattr(event_digits, function.__name__, cache(function.__wrapped__))
    data, other = EventDigits(frames=4), EventDigits(EventCamera(threshold=0.6), frames=4)
    for each in (data, other):
        each.prepare_data()
        each.setup()
    assert data.image_shape == (4, 2, 34, 34)
    assert [len(data.splits[x]) for x in ("train", "val", "test")] == [108, 12, 30]
    counts = [each.read().images.sum((1, 2, 3, 4)).mean() for each in (data, other)]
    assert counts[0] > 2 * counts[1] > 1000
    assert data.split == other.split, "another camera sees the same digits"
    events = data.decode(data.recordings()[0][120].path)
    assert data.read().images[120].sum() == len(events[0])


def test_the_command_writes_what_tonic_and_dv_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    random = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(10):
            pixels = random.integers(0, 256, (8, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / label / f"{number}.png")
    output = tmp_path / "data" / "CIFAR10DVS"
    arguments = ["simulate", str(tmp_path / "images"), "--output", str(output)]
    main([*arguments, "--camera.threshold", "0.6"])
    assert "20 recordings were made" in capsys.readouterr().out
    path = output / "dog" / "3.aedat4"
    content = path.read_bytes()
    path.unlink()
    main([*arguments, "--camera.threshold", "0.6"])
    assert "1 recordings were made" in capsys.readouterr().out
    assert path.read_bytes() == content, "the same once more"

    data = CIFAR10DVS(str(tmp_path / "data"), download=False, frames=3, size=32)
    data.prepare_data()
    data.setup()
    assert (data.class_names, data.image_shape) == (["cat", "dog"], (3, 2, 32, 32))
    assert len(data.splits["test"]) == 2
    t, x, y, p = data.decode(str(path))
    assert (np.diff(t.astype(np.int64)) >= 0).all()
    assert max(x.max(), y.max()) < 128
    dv = pytest.importorskip("dv_processing")
    reader = dv.io.MonoCameraRecording(str(path))
    assert reader.getEventResolution() == (128, 128)
    batches = []
    while (batch := reader.getNextEventBatch()) is not None:
        batches.append(batch.numpy())
    theirs = np.concatenate(batches)
    for name, ours in (("timestamp", t), ("x", x), ("y", y), ("polarity", p)):
        assert (theirs[name] == ours).all()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["nothing", "--output", "x"], "nothing holds no images"),
        (["images", "--output", "x", "--size", "3"], "size must be from 8 to 512"),
        (["images", "--output", "x", "--camera.threshold", "-1"], "threshold, dark and step"),
        (["images", "--output", "x", "--camera.treshold", "1"], "did you mean 'camera.threshold'"),
        (["images", "--output", "x"], "two images would be recorded as x/cat.aedat4"),
        (["broken", "--output", "x"], "cat.png cannot be read"),
    ],
)
def test_mistakes_on_the_command_line(
    arguments: list[str],
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("images/cat.png", "images/cat.jpg", "broken/cat.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"no image")
    with pytest.raises(SystemExit) as exit:
        main(["simulate", *arguments])
    assert exit.value.code in (1, 2)
    (line,) = [x for x in capsys.readouterr().err.splitlines() if "error" in x]
    assert problem in line
    assert not list(tmp_path.glob("x/**/*.aedat4"))
