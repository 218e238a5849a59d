"""What longer attacks, of other libraries and of this one, break of what a set leaves.

    pip install foolbox adversarial-robustness-toolbox
    python -m snn_lightning attack --ckpt_path best.ckpt --samples 100
    python tools/held_out.py runs/X/attack-Y --data CIFAR10 --root data

A verdict can be believed that these do not contradict. Every search of another library runs on the
views of four estimators; whatever it returns is checked against the budget and judged on the
network itself. The share of all images that a group of them breaks, which the set did not, is what
it lowers the robust accuracy by.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import snn_lightning.data
from snn_lightning import ASSG, HART, RGA, SNN, STBP, SNNClassifier, seeded
from snn_lightning.attacks import SAPGD, LocalSearch, UntilBroken
from snn_lightning.evaluation.identity import image_keys

Search = Callable[[SNN, Tensor, Tensor], Tensor]
VIEWS = (STBP(), RGA(), HART(), ASSG())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("folder", type=Path, help="of `attack`")
    parser.add_argument("--data", default="CIFAR10", help="class of the test images")
    parser.add_argument("--root", default=None)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--restarts", type=int, default=3)
    args = parser.parse_args()
    results = json.loads((args.folder / "results.json").read_text())
    config = results["config"]
    total, eps = results["clean"]["n"], max(cell["eps"] for cell in results["cells"])
    snn = SNNClassifier.load_from_checkpoint(config["checkpoint"], map_location="cpu").snn.eval()
    images, labels = left(args, total)
    print(f"{results['set']['name']} leaves {len(labels)} of {total} images, eps {eps:.4f}")
    if not len(labels):
        return
    for group, searches in (("others", libraries(args, eps)), ("own", own(eps))):
        found = torch.zeros(len(labels), dtype=torch.bool)
        for name, search in searches.items():
            for view in VIEWS if group == "others" else (ASSG(),):
                np.random.seed(0)  # noqa: NPY002 (ART draws from the global generator)
                with seeded(0):
                    adversarial = search(snn.replace(gradient=view), images, labels)
                if not (adversarial - images).abs().max() <= eps + 1e-5:
                    raise RuntimeError(f"{name} left the budget")
                with torch.no_grad():
                    broken = snn(adversarial).argmax(1) != labels
                found |= broken
                print(f"  {name} / {type(view).__name__}: {int(broken.sum())}", flush=True)
        points = 100 * int(found.sum()) / total
        print(f"{group}: {int(found.sum())} of {total} more, {points:.1f} points", flush=True)


def left(args: argparse.Namespace, total: int) -> tuple[Tensor, Tensor]:
    """The test images that the set classifies correctly and does not break, and their classes."""
    with (args.folder / "records.csv").open() as file:
        rows = list(csv.DictReader(file))
    correct = {row["image"] for row in rows if row["clean"] == row["class"]}
    broken = {row["image"] for row in rows if row["adversarial"] != row["class"]}
    where = {} if args.root is None else {"root": args.root}
    data = getattr(snn_lightning.data, args.data)(**where)
    data.prepare_data()
    data.setup("test")
    pixels, labels = data.splits["test"][torch.arange(total)]
    keys = image_keys(pixels, labels)
    kept = [i for i, key in enumerate(keys) if key in correct - broken]
    return pixels[kept].float() / 255, labels[kept]


def own(eps: float) -> dict[str, Search]:
    """Eight times the steps and the queries of standard-1, and another start."""
    searches = (SAPGD(eps, steps=400), LocalSearch(eps, queries=2400, start=SAPGD(steps=400)))
    return {
        f"{type(x).__name__} x 8": lambda view, images, labels, x=x: UntilBroken(x)(
            view, images, labels
        )
        for x in searches
    }


def libraries(args: argparse.Namespace, eps: float) -> dict[str, Search]:
    import foolbox
    from art.attacks.evasion import AutoProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    def of_foolbox(view: SNN, images: Tensor, labels: Tensor) -> Tensor:
        attack = foolbox.attacks.LinfPGD(rel_stepsize=0.1, steps=args.steps, random_start=True)
        model = foolbox.PyTorchModel(view, (0, 1), device="cpu")
        return attack.repeat(args.restarts)(model, images, labels, epsilons=eps)[1]

    def of_art(loss: str) -> Search:
        def search(view: SNN, images: Tensor, labels: Tensor) -> Tensor:
            classifier = PyTorchClassifier(
                view,
                torch.nn.CrossEntropyLoss(),
                tuple(images.shape[1:]),
                view(images[:1]).shape[1],
                clip_values=(0, 1),
                device_type="cpu",
            )
            attack = AutoProjectedGradientDescent(
                classifier,
                norm=np.inf,
                eps=eps,
                eps_step=2 * eps,
                max_iter=args.steps // 2,
                nb_random_init=args.restarts,
                batch_size=len(images),
                loss_type=loss,
                verbose=False,
            )
            onehot = torch.nn.functional.one_hot(labels, view(images[:1]).shape[1])
            return torch.from_numpy(attack.generate(images.numpy(), onehot.numpy()))

        return search

    return {
        "foolbox PGD": of_foolbox,
        "ART APGD-CE": of_art("cross_entropy"),
        "ART APGD-DLR": of_art("difference_logits_ratio"),
    }


if __name__ == "__main__":
    main()
