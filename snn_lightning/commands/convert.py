"""`python -m snn_lightning convert`: the checkpoint of an analog network -> that of an SNN."""

from __future__ import annotations

import inspect
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import LightningDataModule
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from snn_lightning.checkpoints import CHECKPOINT_KEY, load_checkpoint, stored
from snn_lightning.checks import require_fit
from snn_lightning.classifier import INSTANTIATOR, SNNClassifier
from snn_lightning.conversion.calibration import Calibration
from snn_lightning.conversion.convert import convert
from snn_lightning.conversion.measure import accuracy_over_time, conversion_report
from snn_lightning.conversion.unit import with_neuron
from snn_lightning.files import whole, write_figure, write_json
from snn_lightning.formats import percent
from snn_lightning.neurons import LIF, Neuron


def convert_checkpoint(
    model: SNNClassifier,
    datamodule: LightningDataModule,
    ckpt_path: str,
    output: Path,
    *,
    timesteps: int,
    calibration: Calibration | None,
    batches: int,
    curve: list[int],
    device: torch.device,
    neuron: Neuron | None = None,
) -> None:
    """Write the converted checkpoint, and beside it what the conversion cost (JSON, PNG, tables).

    Args are those of `Trainer.convert`, and the device on which to calibrate and measure.
    """
    source, config = _source(ckpt_path, output)
    model.load_state_dict(source["state_dict"])
    model.to(device)
    analog = model.snn.evaluating()
    datamodule.prepare_data()
    datamodule.setup("fit")
    require_fit(model.snn, datamodule)

    def prepared(batch: list[Tensor]) -> Any:
        # as evaluation sees them: a data module without a trainer does not augment
        return datamodule.on_after_batch_transfer([x.to(device) for x in batch], 0)

    def train() -> Any:
        for batch in islice(datamodule.train_dataloader(), batches):
            yield prepared(batch)[0]

    snn = convert(analog, timesteps, train(), calibration)
    some = next(iter(train()))
    layers = conversion_report(analog, snn, some)
    if neuron is not None:
        snn = with_neuron(snn, neuron, some)
    _save(source, config, snn.state_dict(), timesteps=timesteps, neuron=neuron, output=output)

    test = datamodule.test_dataloader()
    shown = track(test, description="accuracy over T", total=len(test))
    accuracies = accuracy_over_time(analog, snn, map(prepared, shown), curve)
    _report(accuracies, layers, output)


def _source(ckpt_path: str, output: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The checkpoint and the configuration in it, or a ValueError that says what is wrong."""
    if output.suffix in (".json", ".png") or output.resolve() == Path(ckpt_path).resolve():
        raise ValueError(
            f"output {str(output)!r} would be overwritten, or overwrite the network that is "
            "converted: give another name, such as snn.ckpt (a .json and a .png come beside it)"
        )
    source = load_checkpoint(ckpt_path)
    found = stored(source, ckpt_path)
    if found is None:
        raise ValueError(
            f"{ckpt_path!r} does not say how it was made (it was not trained by the command line): "
            "convert it in Python, with snn_lightning.convert"
        )
    return source, found[0]


def _save(
    source: dict[str, Any],
    config: dict[str, Any],
    state: dict[str, Tensor],
    *,
    timesteps: int,
    neuron: Neuron | None,
    output: Path,
) -> None:
    """A checkpoint like those of training, less what only the same run could go on with."""
    config["name"] = output.stem
    for section in ("shuffle_test", "attack_evaluation", "firing_rates"):
        config.pop(section, None)  # an analog network's; what spikes is watched as by default
    config["model"]["encoder"]["init_args"]["timesteps"] = timesteps
    config["model"]["network"]["init_args"]["neuron"] = _described(neuron)
    checkpoint = {
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": source["pytorch-lightning_version"],
        "state_dict": {f"snn.{key}": value.cpu().clone() for key, value in state.items()},
        "hyper_parameters": {"_instantiator": INSTANTIATOR, **config["model"]},
        CHECKPOINT_KEY: {"config": yaml.safe_dump(config), "wandb_id": None, "folder": None},
    }
    with whole(output) as file:
        torch.save(checkpoint, file)


def _described(neuron: Neuron | None) -> dict[str, Any]:
    """The neuron as a config names it: a LIF's attributes are its arguments."""
    if neuron is None:
        return {"class_path": "snn_lightning.ConvertedIF"}
    if not isinstance(neuron, LIF):
        raise ValueError(f"neuron: {type(neuron).__name__} is no LIF and no IF")
    arguments = {name: getattr(neuron, name) for name in inspect.signature(type(neuron)).parameters}
    return {"class_path": f"snn_lightning.{type(neuron).__name__}", "init_args": arguments}


def _report(accuracies: list[dict[str, Any]], layers: list[dict[str, Any]], output: Path) -> None:
    ann = accuracies[0]["ann_accuracy"]
    over_time = Table(title=f"test accuracy of the converted network (ANN: {percent(ann, 2)})")
    for column in ("T", "accuracy", "minus ANN", "n"):
        over_time.add_column(column, justify="right")
    for row in accuracies:
        accuracy = row["accuracy"]
        difference = f"{100 * (accuracy - ann):+.2f}"
        over_time.add_row(str(row["timesteps"]), percent(accuracy, 2), difference, str(row["n"]))
    errors = Table(title="conversion error by layer")
    for column in ("layer", "threshold", "mean activation", "mean |rate x threshold - activation|"):
        errors.add_column(column, justify="left" if column == "layer" else "right")
    for row in layers:
        figures = (f"{row[key]:.4f}" for key in ("threshold", "activation", "error"))
        errors.add_row(row["layer"], *figures)
    for table in (over_time, errors):
        Console().print(table)
    content = {"accuracy": accuracies, "layers": layers}
    write_json(output.with_suffix(".json"), content)

    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    steps = [row["timesteps"] for row in accuracies]
    axis.plot(steps, [100 * row["accuracy"] for row in accuracies], marker="o", label="SNN")
    axis.axhline(100 * ann, color="gray", linestyle="--", label="ANN")
    axis.set_xscale("log", base=2)
    axis.set(xticks=steps, xticklabels=[str(t) for t in steps])
    axis.set(
        title="accuracy of the converted network", xlabel="time steps T", ylabel="accuracy (%)"
    )
    axis.grid(alpha=0.25, linewidth=0.6)
    axis.legend()
    write_figure(output.with_suffix(".png"), figure)
    beside = [output.with_suffix(suffix).name for suffix in (".json", ".png")]
    print(
        f"written: {output}, {', '.join(beside)}\n"
        f"next: python -m snn_lightning test --ckpt_path {output}"
    )
