"""robustness_card.md for a model's page, and its entry for a leaderboard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from snn_lightning.files import write_json, write_text
from snn_lightning.formats import interval, markdown, pixels, points

CARD, ENTRY = "robustness_card.md", "leaderboard_entry.json"
FORMAT = 1  # of an entry


def write_card(folder: Path, results: Mapping[str, Any], timing: Mapping[str, Any]) -> None:
    """Write the card and the entry into the folder."""
    found = entry(results, timing)
    write_json(folder / ENTRY, found)
    write_text(folder / CARD, card(results, found))


def entry(results: Mapping[str, Any], timing: Mapping[str, Any]) -> dict[str, Any]:
    """What a leaderboard compares: counts rather than shares, and how they were come by."""
    worst, declared, config = results["worst_case"], results["set"], results["config"]
    cells = results["cells"]
    return {
        "format": FORMAT,
        "model": results["model"],
        "weights": config["model_digest"],
        "evaluation": {
            "set": None if declared is None else declared["name"],
            "attacks": [cell["settings"] for cell in cells],
            "norm": sorted({cell["norm"] for cell in cells}),
            "eps": sorted({cell["eps"] for cell in cells}),
            "images": config["images"],
            "draws": config["draws"],
        },
        "n": worst["n"],
        "clean": worst["clean_correct"],
        "robust": worst["clean_correct"] - worst["flipped"],
        "trust": results["conclusion"]["id"],
        "seconds": round(
            sum(timing["seconds"].values()) + sum(timing["searches"].values()) + timing["camps"], 1
        ),
        "date": timing["date"],
        "provenance": results["provenance"],
    }


def card(results: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Markdown behind the metadata of a Hugging Face model card."""
    clean, worst, conclusion = results["clean"], results["worst_case"], results["conclusion"]
    metadata = yaml.safe_dump(
        {"tags": ["spiking-neural-network", "adversarial-robustness"],
         "model-index": [model_index(results, found)]},
        sort_keys=False, allow_unicode=True, width=1000,
    )  # fmt: skip
    falls = [
        _row(
            markdown(cell["label"]),
            cell["attacked"],
            step["broke"],
            points(step["robust_acc"]),
        )
        for cell, step in zip(results["cells"], worst["steps"], strict=True)
    ]
    lines = [
        f"---\n{metadata}---\n",
        f"# Robustness card: {markdown(results['model']['name'])}\n",
        "| | % | 95 % interval | n |",
        "|---|---:|---:|---:|",
        _row("clean accuracy", points(clean["acc"]), interval(clean["interval"]), clean["n"]),
        _row("robust accuracy", points(worst["robust_acc"]), interval(worst["robust_interval"]),
             worst["n"]),
        f"\n**{markdown(conclusion['words'].capitalize())}.** {markdown(conclusion['says'])}\n",
        "The robust accuracy counts the images that are classified correctly and that none of the "
        "attacks below broke within the budget. It says nothing of other images, of larger "
        "budgets, or of other kinds of change.\n",
        "## What was attacked\n",
        *(f"- {name}: {markdown(text)}" for name, text in _facts(results, found).items()),
        "\n## How it falls\n",
        "| attack | attacked | broken | robust accuracy after it (%) |",
        "|---|---:|---:|---:|",
        *falls,
        "\n## What was checked\n",
        *(f"- {line['verdict']}: {markdown(line['check'])}: {markdown(line['says'])}"
          for line in results["trust"]),
        f"\nWeights {found['weights']}, images {found['evaluation']['images']}, seed "
        f"{results['config']['seed']}, {markdown(found['date'])}.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _facts(results: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, str]:
    """What was attacked, and with what."""
    model = results["model"]
    return {
        "network": f"{model['network']}, {model['parameters']:,} parameters",
        "input": _listed(model["encoder"], timesteps=model["timesteps"]),
        "neurons": _listed(
            model["neuron"] or "of several kinds",
            leak=model["leak"], threshold=model["threshold"], reset=model["reset"],
        ),
        "training": f"{model['training']}, back-propagated by {model['trained_with']}",
        "data": f"{model['data']}, {results['clean']['n']:,} test images",
        "attacks": f"{set_name(found)}, {budget(found)}, white box",
    }  # fmt: skip


def model_index(results: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """As Hugging Face's model-index: one result, of two metrics."""
    model, clean, worst = results["model"], results["clean"], results["worst_case"]
    evaluation = found["evaluation"]
    robust = {
        "type": "robust_accuracy",
        "name": f"Robust accuracy ({set_name(found)}, {budget(found)})",
        "value": worst["robust_acc"],
        "args": {
            "set": evaluation["set"],
            "norm": evaluation["norm"],
            "eps": evaluation["eps"],
            "interval": list(worst["robust_interval"]),
            "n": worst["n"],
            "trust": results["conclusion"]["id"],
        },
    }
    return {
        "name": model["name"],
        "results": [
            {
                "task": {"type": "image-classification", "name": "Image Classification"},
                "dataset": {"type": model["data"].lower(), "name": model["data"], "split": "test"},
                "metrics": [
                    {
                        "type": "accuracy",
                        "name": "Clean accuracy",
                        "value": clean["acc"],
                        "args": {"interval": list(clean["interval"]), "n": clean["n"]},
                    },
                    robust,
                ],
            }
        ],
    }


def set_name(found: Mapping[str, Any]) -> str:
    """Of an entry."""
    evaluation = found["evaluation"]
    return str(evaluation["set"] or f"{len(evaluation['attacks'])} attacks of its own")


def budget(found: Mapping[str, Any]) -> str:
    """Of an entry, such as "Linf 8/255"."""
    evaluation = found["evaluation"]
    return f"{', '.join(evaluation['norm'])} {', '.join(map(pixels, evaluation['eps']))}"


def _listed(name: str, **settings: object) -> str:
    known = [f"{key} {value}" for key, value in settings.items() if value is not None]
    return ", ".join([name, *known])


def _row(*columns: object) -> str:
    return "| " + " | ".join(map(str, columns)) + " |"
