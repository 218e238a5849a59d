"""Event recordings: binning against tonic's, and every data module against its real format."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import writers
from test_data import caches, no_network, one_line
from writers import make_events, write_aedat4, write_cifar10dvs

from snn_lightning.data import CIFAR10DVS, NMNIST, DataError, DVSGesture
from snn_lightning.data.events import bin_events


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where binned arrays go by default."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "snn_lightning"


def random_events(count: int) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(0)
    t = np.sort(random.integers(10**15, 10**15 + 10**6, count))
    return t, *random.integers(0, 128, (2, count)), random.integers(0, 2, count)


def test_bins_of_equal_count_keep_every_event() -> None:
    t, x, y, p = random_events(1003)
    frames = bin_events(t, x, y, p, frames=10, size=48)
    totals = frames.sum((1, 2, 3))
    assert totals.sum() == 1003
    assert set(totals) == {100, 101}
    k = 500  # one event by hand: it is in the frame of its rank, at its place
    without = bin_events(*(np.delete(a, k) for a in (t, x, y, p)), frames=1, size=48)
    (difference,) = np.argwhere(bin_events(t, x, y, p, frames=1, size=48) != without)
    assert difference.tolist() == [0, p[k], y[k] * 48 // 128, x[k] * 48 // 128]


def test_bins_of_equal_time_keep_every_event() -> None:
    t = np.array([0, 9, 10, 19, 20, 29], dtype=np.uint64) + np.uint64(10**15)
    zero = np.zeros(6, dtype=np.uint16)
    frames = bin_events(t, zero, zero, zero, frames=3, size=4, bins="time")
    assert frames[:, 0, 0, 0].tolist() == [2, 2, 2]
    frames = bin_events(t, zero, zero, zero, frames=7, size=4, bins="time")
    assert frames.sum() == 6
    still = np.zeros(6, dtype=np.uint64)  # no duration at all
    assert bin_events(still, zero, zero, zero, frames=3, size=4, bins="time").sum() == 6


@pytest.mark.parametrize("bins", ["count", "time"])
def test_the_order_of_the_events_does_not_matter(bins: Any) -> None:
    events = random_events(500)
    assert len(set(events[0].tolist())) == 500
    mixed = np.random.default_rng(1).permutation(500)
    shuffled = bin_events(*(a[mixed] for a in events), frames=7, size=32, bins=bins)
    assert (shuffled == bin_events(*events, frames=7, size=32, bins=bins)).all()


def test_counts_are_clipped_and_strange_events_refused() -> None:
    t, zero = np.arange(300), np.zeros(300, dtype=int)
    assert bin_events(t, zero, zero, zero, frames=1, size=2).max() == 255
    with pytest.raises(ValueError, match="no events"):
        bin_events(t[:0], zero[:0], zero[:0], zero[:0], frames=1, size=2)
    for x in (zero + 128, zero - 1):
        with pytest.raises(ValueError, match="outside the 128x128 sensor"):
            bin_events(t, x, zero, zero, frames=1, size=2)
    with pytest.raises(ValueError, match="polarities other than"):
        bin_events(t, zero, zero, zero - 1, frames=1, size=2)


@pytest.mark.parametrize("bins", ["count", "time"])
@pytest.mark.parametrize("extra", [0, 7])
def test_frames_are_tonics_and_those_events_that_it_drops(bins: Any, extra: int) -> None:
    """Where the events, or the microseconds, divide evenly it keeps all but the last instant."""
    from tonic.transforms import ToFrame

    _, x, y, p = random_events(1000 + extra)
    t = np.arange(1000 + extra) * 10
    t[-1] = 10_000 + extra  # so long is the recording, in ten frames
    events = np.rec.fromarrays([t, x, y, p], names="t,x,y,p")
    way = {"n_event_bins": 10} if bins == "count" else {"n_time_bins": 10}
    theirs = ToFrame((128, 128, 2), **way)(events)
    ours = bin_events(t, x, y, p, frames=10, size=128, bins=bins)
    dropped = extra if bins == "count" else (t >= 10_000).sum()
    assert ours.sum() == 1000 + extra
    assert theirs.sum() == 1000 + extra - dropped
    if not extra:  # else their frames end earlier
        missing = np.zeros_like(ours)
        for k in np.flatnonzero(t >= 10_000) if bins == "time" else ():
            missing[-1, p[k], y[k], x[k]] += 1
        assert (ours == theirs + missing).all()


@pytest.fixture(scope="module")
def dvs_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("dv_processing")
    root = tmp_path_factory.mktemp("dvs")
    write_cifar10dvs(root, classes=3, per_class=12, events=300)
    return root


def test_dvs_round_trip(dvs_root: Path) -> None:
    data = CIFAR10DVS(str(dvs_root), download=False, frames=4, size=16, val_fraction=0.2)
    data.prepare_data()
    source = data.read()
    assert source.images.shape == (36, 4, 2, 16, 16)
    assert isinstance(source.images, np.memmap)  # read lazily, never as a whole
    for row in range(36):
        label, number = divmod(row, 12)  # natural order: cifar10_bird_11 comes last
        events = make_events(label, number, 300)
        assert (source.images[row] == bin_events(*events, frames=4, size=16)).all()
    assert source.labels.tolist() == [0] * 12 + [1] * 12 + [2] * 12
    assert source.is_test.sum() == 4
    data.setup()
    assert (data.num_classes, data.image_shape) == (3, (4, 2, 16, 16))
    assert [len(data.splits[split]) for split in ("train", "val", "test")] == [26, 6, 4]
    images, labels = next(iter(data.train_dataloader()))
    assert (images.shape, len(labels)) == ((26, 4, 2, 16, 16), 26)


def test_dvs_test_split_does_not_depend_on_seed_or_file_system(
    dvs_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = CIFAR10DVS(str(dvs_root), download=False, frames=2, size=4, seed=1)
    data.prepare_data()
    data.setup()
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: reversed(list(scandir(path))))
    other = CIFAR10DVS(str(dvs_root), download=False, frames=2, size=4, seed=2)
    other.setup()  # the same cache, so nothing to prepare
    assert data.splits["test"].rows.tolist() == other.splits["test"].rows.tolist()
    assert (data.read().labels == other.read().labels).all()


def test_dvs_keeps_one_cache_for_each_way_of_binning(dvs_root: Path, tmp_path: Path) -> None:
    for arguments in ({}, {"bins": "time"}, {"frames": 3}, {"size": 5}):
        keywords: dict[str, Any] = {"frames": 2, "size": 4, **arguments}
        data = CIFAR10DVS(str(dvs_root), cache_dir=str(tmp_path), **keywords)
        data.prepare_data()
        assert data.read().images.shape == (36, keywords["frames"], 2, *[keywords["size"]] * 2)
    assert len(caches(tmp_path)) == 4


def test_dvs_names_a_corrupt_recording(dvs_root: Path, tmp_path: Path, cache: Path) -> None:
    shutil.copytree(dvs_root / "CIFAR10DVS" / "bird", tmp_path / "CIFAR10DVS" / "bird")
    path = tmp_path / "CIFAR10DVS" / "bird" / "cifar10_bird_7.aedat4"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"#!AER-DAT4.0\r\n" + bytes(100)):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"cifar10_bird_7\.aedat4 is corrupt") as error:
            CIFAR10DVS(str(tmp_path), frames=2, size=4).prepare_data()
        one_line(error)
    assert caches(cache / "CIFAR10DVS") == []


def test_a_panic_of_the_decoder_is_an_error_and_not_the_end(
    dvs_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PanicException(BaseException):
        """What pyo3 raises: no Exception."""

    def panic(self: CIFAR10DVS, path: str) -> np.ndarray:
        raise PanicException("index out\nof range")

    monkeypatch.setattr(CIFAR10DVS, "_decode", panic)
    with pytest.raises(DataError, match=r"is corrupt \(index out of range\)"):
        CIFAR10DVS(str(dvs_root), cache_dir=str(tmp_path)).prepare_data()


def test_dvs_recording_outside_the_sensor_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("dv_processing")
    folder = tmp_path / "CIFAR10DVS" / "cat"
    folder.mkdir(parents=True)
    t, x, y, p = make_events(0, 0, 50)
    write_aedat4(folder / "0.aedat4", t, x + 100, y, p)
    with pytest.raises(DataError, match=r"0\.aedat4 is corrupt .*outside"):
        CIFAR10DVS(str(tmp_path)).prepare_data()


def test_dvs_that_is_missing_says_which_file_goes_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_network(monkeypatch)
    with pytest.raises(DataError, match="set download to true, or put") as error:
        CIFAR10DVS(str(tmp_path), download=False).prepare_data()
    one_line(error)
    with pytest.raises(DataError, match=r"the download of https://.*failed") as error:
        CIFAR10DVS(str(tmp_path)).prepare_data()
    message = one_line(error)
    for part in (
        "CIFAR10DVS.zip",
        "ce3a4a0682dc0943703bd8f749a7701c",
        str(tmp_path / "CIFAR10DVS"),
    ):
        assert part in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 129}, "at most the 128 pixels"),
        ({"size": 0}, "size must be at least 1"),
        ({"frames": 0}, "frames must be at least 1"),
        ({"bins": "events"}, "bins must be 'count' or 'time', got 'events'"),
    ],
)
def test_dvs_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CIFAR10DVS(**arguments)


# --- N-MNIST and DVS128 Gesture --------------------------------------------------------------


@pytest.fixture(params=["tonic", "selection"])
def nmnist(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    writers.write_nmnist(tmp_path / "data", per_class=3, selection=request.param == "selection")
    return tmp_path / "data"


def test_nmnist_round_trip(nmnist: Path, cache: Path) -> None:
    arguments: dict[str, Any] = {"frames": 4, "download": False}
    data = NMNIST(str(nmnist), **arguments)
    data.prepare_data()
    data.setup()
    source = data.read()
    assert (data.num_classes, data.image_shape) == (10, (4, 2, 34, 34))
    assert data.class_names == list("0123456789")
    assert source.is_test.tolist() == [False] * 30 + [True] * 30
    # the layout sorts by digit, the list numbers all digits in turn
    by_digit = source.labels[:3].tolist() == [0] * 3
    for row in range(60):
        part, place = divmod(row, 30)
        label, number = divmod(place, 3) if by_digit else divmod(place, 10)[::-1]
        assert source.labels[row] == label
        events = writers.make_saccade(label, number + 100 * part)
        assert (source.images[row] == bin_events(*events, frames=4, size=34, sensor=34)).all()
    assert len(caches(cache / "NMNIST")) == 1
    assert not [path for path in nmnist.rglob("*") if path.suffix == ".npy"], "not among the files"


def test_nmnist_names_what_is_wrong(nmnist: Path, cache: Path) -> None:
    data = NMNIST(str(nmnist), download=False, frames=2)
    path = next(path for path in sorted(nmnist.rglob("*.b*")) if path.is_file())
    whole = path.read_bytes()
    outside = bytes([40, 3, 0, 0, 1])
    for content, problem in ((whole[:-2], "ends within"), (b"", "no events"), (outside, "outside")):
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"{path.name} is corrupt \(.*{problem}") as error:
            data.prepare_data()
        one_line(error)
    assert caches(cache / "NMNIST") == []
    path.write_bytes(whole)
    lists = sorted(nmnist.glob("*.txt"))
    if lists:
        for line, problem in (
            ("77777\t3", "77777.bs2 is missing"),
            ("1\tx", "no digit from 0 to 9"),
        ):
            lists[1].write_text(f"#sample #class\n{line}\n")
            with pytest.raises(DataError, match=problem):
                data.prepare_data()
        lists[0].write_text(lists[1].read_text().replace("x", "5"))
        lists[1].write_text(lists[0].read_text())
        with pytest.raises(DataError, match="listed twice"):
            data.prepare_data()


def test_a_checkpoint_is_refused_on_another_split(nmnist: Path) -> None:
    """It may hold what is tested there; other frames of the same split are welcome."""

    def state(**arguments: Any) -> tuple[NMNIST, dict[str, Any]]:
        data = NMNIST(str(nmnist), download=False, **{"frames": 2, **arguments})
        data.prepare_data()
        data.setup()
        return data, {"NMNIST": data.state_dict()}

    _, kept = state()
    for arguments in ({}, {"frames": 3}, {"seed": 7}, {"test_samples": 10}):
        state(**arguments)[0].require_split(kept)
    state()[0].require_split({})  # of other data, or none
    train, test = (sorted(nmnist.rglob(name)) for name in ("Train/3/*.bin", "Test/3/*.bin"))
    if train:
        content = [path.read_bytes() for path in (train[0], test[0])]
        train[0].with_name("900.bin").write_bytes(content[1])
        test[0].with_name("900.bin").write_bytes(content[0])
        train[0].unlink()
        test[0].unlink()
    else:
        train, test = (next(nmnist.glob(name)) for name in ("train*.txt", "test*.txt"))
        lines = [path.read_text().splitlines() for path in (train, test)]
        train.write_text("\n".join([*lines[0][:-1], lines[1][-1]]))
        test.write_text("\n".join([*lines[1][:-1], lines[0][-1]]))
    data, _ = state()
    with pytest.raises(DataError, match=r"another split of NMNIST: 30 \+ 30 samples") as error:
        data.require_split(kept)
    one_line(error)


def test_gestures_round_trip(tmp_path: Path) -> None:
    recordings = {}
    for part, user in (("ibmGestureTrain", "user1_led"), ("ibmGestureTest", "user2_lab")):
        folder = tmp_path / "DVSGesture" / part / user
        folder.mkdir(parents=True)
        for label in range(11):
            t, x, y, p = make_events(label % 10, label, 200)
            t = t // 1000  # the publishers' files are in milliseconds
            np.save(folder / f"{label}.npy", np.stack([x, y, p, t], 1).astype(np.int16))
            recordings[part, label] = t, x, y, p
    data = DVSGesture(str(tmp_path), download=False, frames=3, size=32, val_fraction=0.5)
    data.prepare_data()
    source = data.read()
    assert source.class_names[0] == "00 Hand clapping"
    assert source.class_names[10] == "10 Other gestures"
    assert source.labels.tolist() == [*range(11)] * 2
    assert source.is_test.tolist() == [False] * 11 + [True] * 11
    for row, (part, label) in enumerate(recordings):
        expected = bin_events(*recordings[part, label], frames=3, size=32)
        assert (source.images[row] == expected).all()
    np.save(tmp_path / "DVSGesture/ibmGestureTest/user2_lab/3.npy", np.zeros(7))
    with pytest.raises(DataError, match=r"3\.npy is corrupt \(it holds an array"):
        data.prepare_data()
