"""What loggers get of an evaluation: scalars by name, and curves where they take such things."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from snn_lightning.reporting.pictures import curve_table


def log(loggers: Iterable[Any], results: Mapping[str, Any], drawn: Mapping[str, Path]) -> None:
    """Log scalars, and the curves where a logger takes pictures and tables.

    Args:
        loggers: Lightning's or its like.
        results: as in results.json.
        drawn: the picture of each curve.
    """
    for logger in loggers:
        logger.log_metrics(scalars(results), step=0)
        for name, path in drawn.items():
            if hasattr(logger, "log_image"):
                logger.log_image(f"curve/{name}", [str(path)])
            if hasattr(logger, "log_table"):
                header, *rows = curve_table(results["curves"][name])
                logger.log_table(f"curve/{name}/points", columns=header, data=rows)
        logger.save()


def scalars(found: Mapping[str, Any]) -> dict[str, float]:
    """What a logger gets, by name: attack/{attack}/{gradient}/... and attack/worst_case/..."""
    logged = {"attack/clean/acc": found["clean"]["acc"], "attack/clean/n": found["clean"]["n"]}
    for cell in found["cells"]:
        axes = [cell["attack"], cell["gradient"]]
        axes += [f"x{cell['extension']}"] * (cell["extension"] > 1)
        axes += ["black"] * (cell["box"] == "black")
        name = "/".join(axis for axis in axes if axis)
        for key in ("asr", "robust_acc", "attacked", "flipped"):
            logged[f"attack/{name}/{key}"] = cell[key]
    for key in ("asr", "robust_acc"):
        logged[f"attack/worst_case/{key}"] = found["worst_case"][key]
    return {name: float(value) for name, value in logged.items() if value is not None}
