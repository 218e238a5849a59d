"""Steps as Slurm job arrays, through submitit (an optional extra: `snn_lightning[slurm]`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snn_lightning.commands.study.launch import Handle, Process
from snn_lightning.commands.study.steps import Step


class Job:
    """What a node runs: a step. After a preemption or a timeout it goes on where it was."""

    def __init__(self, step: Step) -> None:
        self.step = step

    def __call__(self) -> int | None:
        """The exit code of the step's program; None: somebody else runs it."""
        process = Process(self.step)
        return None if process.running is None else process.running.wait()

    def checkpoint(self) -> Any:
        import submitit

        return submitit.helpers.DelayedSubmission(self)


class Submitted:
    """A job in the queue."""

    started = True
    killed = False  # submitit starts those again by itself

    def __init__(self, job: Any) -> None:
        self.job = job

    def done(self) -> bool:
        return bool(self.job.done())

    def stop(self) -> None:
        """Jobs stay in the queue: the next start finds what they have finished."""


class Slurm:
    """Submits all steps that are ready as one job array.

    Args:
        folder: of scripts and logs of submitit.
        jobs: how many of an array run at a time.
        options: of submitit, such as slurm_partition, timeout_min and gpus_per_node.
        cluster: "slurm", or another of submitit's.
    """

    slots = 10_000

    def __init__(
        self, folder: Path, jobs: int, options: Mapping[str, Any], cluster: str = "slurm"
    ) -> None:
        submitit = _submitit()
        try:
            self.executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
            self.executor.update_parameters(**_parameters(jobs, options, cluster))
        except (RuntimeError, ValueError, TypeError, NameError) as problem:
            raise ValueError(f"--launcher slurm: {problem}") from None

    def start(self, ready: Sequence[Step]) -> list[Handle]:
        with self.executor.batch():
            jobs = [self.executor.submit(Job(step)) for step in ready]
        return [Submitted(job) for job in jobs]


def _submitit() -> Any:
    try:
        import submitit
    except ImportError:
        raise ValueError(
            "--launcher slurm needs submitit: pip install 'snn_lightning[slurm]'"
        ) from None
    return submitit


def _parameters(jobs: int, options: Mapping[str, Any], cluster: str) -> dict[str, Any]:
    own = {"name": "study", "timeout_min": 24 * 60, **options}
    return {**own, "slurm_array_parallelism": jobs} if cluster == "slurm" else own


def scripts(steps: Sequence[Step], folder: Path, jobs: int, options: Mapping[str, Any]) -> str:
    """What would be handed to sbatch, an array a layer of the steps, without a cluster."""
    _submitit()
    from submitit.slurm import slurm

    given = {**_parameters(jobs, options, "slurm")}
    convert = slurm.SlurmExecutor._equivalence_dict()
    named = {key.removeprefix("slurm_"): value for key, value in given.items()}
    named = {convert.get(key, key): value for key, value in named.items()}
    parts = []
    for number, layer in enumerate(layers(steps)):
        names = "".join(f"# {i}: {step.run.label}\n" for i, step in enumerate(layer))
        # the file that submitit writes for a job says which step it is
        command = f"python -u -m submitit.core._submit {folder}"
        try:
            text = slurm._make_sbatch_string(
                command=command, folder=folder, map_count=len(layer), **named
            )
        except (TypeError, ValueError) as problem:
            raise ValueError(f"--slurm: {problem}") from None
        parts.append(f"# array {number}: {len(layer)} runs\n{names}{text}")
    return "\n".join(parts)


def layers(steps: Sequence[Step]) -> list[list[Step]]:
    """Steps that are not finished, by how many that are not finished come before them."""
    depth: dict[str, int] = {}
    found: list[list[Step]] = []
    for step in steps:  # what they need comes before them
        if step.outputs() is not None or step.absent:
            continue
        above = [depth[other.digest] for other in step.needed if other.digest in depth]
        depth[step.digest] = level = 1 + max(above, default=-1)
        found += [[] for _ in range(level + 1 - len(found))]
        found[level].append(step)
    return found
