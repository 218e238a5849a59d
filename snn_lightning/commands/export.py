"""`python -m snn_lightning export`: a checkpoint -> a NIR graph that other frameworks read."""

from __future__ import annotations

import io
from importlib import import_module
from pathlib import Path

import torch

from snn_lightning.classifier import SNNClassifier, load_checkpoint
from snn_lightning.data import DataModule
from snn_lightning.files import whole
from snn_lightning.foreign import from_nir, to_nir
from snn_lightning.foreign.nir_semantics import Semantics
from snn_lightning.seeding import seeded


def export_checkpoint(
    model: SNNClassifier,
    datamodule: DataModule,
    ckpt_path: str,
    *,
    output: Path,
    semantics: Semantics,
) -> None:
    """Write the file, read it back, and say how far its logits are from the network's own.

    Args are those of `Trainer.export`.
    """
    if output.resolve() == Path(ckpt_path).resolve():
        raise ValueError(f"output {str(output)!r} would overwrite the checkpoint: give another")
    model.load_state_dict(load_checkpoint(ckpt_path)["state_dict"])
    snn = model.snn.evaluating()
    graph, content = to_nir(snn, semantics), io.BytesIO()
    import_module("nir").write(content, graph)
    with whole(output) as file:
        file.write(content.getvalue())

    datamodule.prepare_data()
    datamodule.setup("test")
    images, _ = datamodule.on_after_batch_transfer(next(iter(datamodule.test_dataloader())), 0)
    again = from_nir(output, semantics, snn.encoder)
    with torch.no_grad():
        with seeded(0):
            expected = snn(images)
        with seeded(0):
            found = again(images)
    encoder = snn.encoder
    norm = "" if encoder.mean is None else ", normalised by its mean and std"
    same = int((found.argmax(1) == expected.argmax(1)).sum())
    apart = ((found - expected).abs().max() / expected.abs().max().clamp(min=1e-30)).item()
    print(
        f"{output}: {len(graph.nodes)} nodes, for {semantics}. Read back, {same} of {len(images)} "
        f"test images are classified as by the checkpoint; logits differ by {100 * apart:.2g} % of "
        f"the largest at most. The graph's input is the image at a time step{norm} ({encoder!r})"
    )
