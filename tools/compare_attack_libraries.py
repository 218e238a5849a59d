"""PGD of this package, of foolbox and of ART, on the same views of one network and the same images.

    pip install foolbox adversarial-robustness-toolbox
    python tools/compare_attack_libraries.py --ckpt_path runs/X/version_0/checkpoints/best.ckpt \
        --data CIFAR10 --root data

The network is a checkpoint of `fit` or `convert`. Each library searches from a random start of its
own, for one restart and the last iterate; whatever it returns is checked against the budget, and
judged on the network itself. How far two of them are apart is judged image by image.
"""

from __future__ import annotations

import argparse
import importlib.metadata
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

import snn_lightning.data
from snn_lightning import PGD, RGA, SNN, STBP, SNNClassifier, seeded
from snn_lightning.evaluation.paired import Paired

Search = Callable[[SNN, Tensor, Tensor], Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--ckpt_path", required=True)
    parser.add_argument("--data", default="CIFAR10", help="CIFAR10, CIFAR100 or ImageFolder")
    parser.add_argument("--root", default="data")
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--eps", type=float, default=8 / 255)
    parser.add_argument("--step-size", type=float, default=2 / 255)
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    snn = SNNClassifier.load_from_checkpoint(args.ckpt_path, map_location="cpu").snn.eval()
    data = getattr(snn_lightning.data, args.data)(
        root=args.root, eval_batch_size=args.batch_size, test_samples=args.samples
    )
    data.prepare_data()
    searches = libraries(args)
    print(f"PGD-{args.steps}, eps {args.eps:.4f}, step size {args.step_size:.4f}, one restart")
    for gradient in (STBP(), RGA()):
        correct: dict[str, list[bool]] = {name: [] for name in ("clean", *searches)}
        for index, (images, labels) in enumerate(data.test_dataloader()):
            images = images.float() / 255
            with torch.no_grad():
                clean = snn(images).argmax(1) == labels
            correct["clean"] += clean.tolist()
            for name, search in searches.items():
                np.random.seed(index)  # noqa: NPY002 (ART draws from the global generator)
                with seeded(0, index):
                    adversarial = search(snn.replace(gradient=gradient), images, labels)
                if not (adversarial - images).abs().max() <= args.eps + 1e-5:
                    raise RuntimeError(f"{name} left the budget")
                with torch.no_grad():
                    robust = snn(adversarial).argmax(1) == labels
                correct[name] += (clean & robust).tolist()
        total = len(correct["clean"])
        shares = [f"{name} {100 * sum(found) / total:.2f} %" for name, found in correct.items()]
        print(f"{type(gradient).__name__} view, accuracy on n = {total}: {', '.join(shares)}")
        ours, *others = searches
        for name in others:
            apart = Paired.of(correct[name], correct[ours])
            low, high = apart.interval()
            print(
                f"  {name} - {ours}: {100 * apart.difference:+.2f} points "
                f"(95 %: {100 * low:+.2f} to {100 * high:+.2f}, p = {apart.p_value:.2g})",
                flush=True,
            )


def libraries(args: argparse.Namespace) -> dict[str, Search]:
    import foolbox
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    ours = PGD(eps=args.eps, step_size=args.step_size, steps=args.steps)

    def of_foolbox(view: SNN, images: Tensor, labels: Tensor) -> Tensor:
        attack = foolbox.attacks.LinfPGD(
            abs_stepsize=args.step_size, steps=args.steps, random_start=True
        )
        model = foolbox.PyTorchModel(view, (0, 1), device="cpu")
        return attack(model, images, labels, epsilons=args.eps)[1]

    def of_art(view: SNN, images: Tensor, labels: Tensor) -> Tensor:
        classes = view(images[:1]).shape[1]
        classifier = PyTorchClassifier(
            view,
            torch.nn.CrossEntropyLoss(),
            tuple(images.shape[1:]),
            classes,
            clip_values=(0, 1),
            device_type="cpu",
        )
        attack = ProjectedGradientDescentPyTorch(
            classifier,
            norm=np.inf,
            eps=args.eps,
            eps_step=args.step_size,
            max_iter=args.steps,
            num_random_init=1,
            batch_size=len(images),
            verbose=False,
        )
        return torch.from_numpy(attack.generate(images.numpy(), labels.numpy()))

    art = importlib.metadata.version("adversarial-robustness-toolbox")
    return {
        "snn_lightning": lambda view, images, labels: ours(view, images, labels),
        f"foolbox {importlib.metadata.version('foolbox')}": of_foolbox,
        f"ART {art}": of_art,
    }


if __name__ == "__main__":
    main()
