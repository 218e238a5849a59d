"""Tasks and curves: what is to be computed, and what it is known by."""

from __future__ import annotations

import pytest
from toys import make_snn

from snn_lightning import FGSM, PGD, RGA, STBP
from snn_lightning.attacks import SmallestRadius, Square
from snn_lightning.commands.curves import at_timesteps, leak, points, resolution
from snn_lightning.commands.settings import Settings
from snn_lightning.commands.tasks import Tasks
from snn_lightning.evaluation.grid import Cell, grid


def test_a_task_is_known_by_all_that_its_result_depends_on() -> None:
    snn, _, _ = make_snn()
    other, _, _ = make_snn(timesteps=2)
    tasks = Tasks(0, 1)
    base = tasks(Cell("a", PGD(), RGA()), snn).key
    assert tasks(Cell("another name", PGD(), RGA()), snn).key == base
    changed = [
        tasks(Cell("a", PGD(steps=11), RGA()), snn),
        tasks(Cell("a", PGD(), RGA(gamma=0.1)), snn),
        tasks(Cell("a", PGD(), RGA(), 2), snn),
        tasks(Cell("a", PGD(), RGA(), substitute=other), snn),
        tasks(Cell("a", PGD(), RGA()), other),
        Tasks(1, 1)(Cell("a", PGD(), RGA()), snn),
    ]
    assert len({base, *(task.key for task in changed)}) == 7
    # what asks for no gradient does not depend on the estimator
    assert tasks(None, snn).key not in {base, *(task.key for task in changed)}
    keys = {tasks(Cell("a", Square(), gradient), snn).key for gradient in (STBP(), RGA())}
    assert len(keys) == 1


def test_curves_hold_every_value_of_every_line() -> None:
    snn, _, _ = make_snn()
    curves = {"eps": [0.0, 8 / 255], "steps": [1, 5], "timesteps": [2, 4]}
    attacks = [FGSM(), PGD(steps=10)]
    tasks = Tasks(0)
    found = points(snn, curves, grid(attacks, [RGA()]), tasks)  # type: ignore[arg-type]
    lines = [(point.curve, point.label, point.x) for point in found]
    assert lines == [
        *(("eps", label, x) for label in ("FGSM/RGA", "PGD/RGA") for x in (0.0, 8 / 255)),
        ("steps", "PGD/RGA", 1),
        ("steps", "PGD/RGA", 5),
        *(("timesteps", label, t) for label in ("FGSM/RGA", "PGD/RGA") for t in (2.0, 4.0)),
    ]
    # along eps each line is one search, up to the largest radius
    keys = [point.task.key for point in found[:4]]
    assert keys[0] == keys[1] != keys[2] == keys[3]
    assert found[3].task.cell.attack == SmallestRadius(PGD(steps=10))  # type: ignore[union-attr]
    assert found[-1].task.target.encoder.timesteps == 4  # type: ignore[attr-defined]
    assert snn.encoder.timesteps == 3  # type: ignore[attr-defined]


def test_curves_over_a_declared_set_take_each_of_its_attacks_once() -> None:
    snn, _, _ = make_snn()
    settings = Settings(curves={"gradients": [RGA()]})
    cells = settings.cells(snn)
    lines = settings.lines(snn, cells)
    assert [line.attack for line in lines] == list(dict.fromkeys(cell.attack for cell in cells))
    assert {line.gradient for line in lines if line.attack.uses_gradient} == {RGA()}


def test_along_eps_a_step_keeps_its_share() -> None:
    snn, _, _ = make_snn()
    attacks = [PGD(eps=0.1, step_size=0.02)]
    (point,) = points(snn, {"eps": [0.2]}, grid(attacks, [RGA()]), Tasks(0))
    assert point.task.cell.attack.attack.step_size == pytest.approx(0.04)  # type: ignore
    for radii, step in (([0.0, 8 / 255], 1), ([0.5 / 255, 0.02], 1), ([1.5 / 255], 2)):
        assert resolution(radii) == pytest.approx(1 / 255 / step)
    with pytest.raises(ValueError, match=r"curves.eps: radii are needed from 0 to 1/255"):
        points(snn, {"eps": [0.0]}, grid(attacks, [RGA()]), Tasks(0))


def test_the_leak_of_a_model() -> None:
    snn, _, _ = make_snn(leak=0.7)
    assert leak(snn) == 0.7
    next(iter(snn.network.neurons().values())).leak = 0.5  # type: ignore[assignment]
    with pytest.raises(ValueError, match="share one"):
        leak(snn)


def test_frames_have_no_curve_over_time_steps() -> None:
    snn, _, _ = make_snn(encoder="Frames")
    with pytest.raises(ValueError, match="recording fixes the time steps"):
        at_timesteps(snn, 4)
