"""The help of a command: its own options first, Lightning's behind --help-all."""

from __future__ import annotations

from argparse import Action, HelpFormatter
from types import SimpleNamespace

from snn_lightning.commands import TRAINED
from snn_lightning.errors import Parser

# What every command has; sections by the key that their options begin with. What is in neither is
# the command's own.
COMMON = ("help", "config", "print_config", "seed_everything", "name", "runs_dir", "project",
          "wandb", "trust_checkpoint")  # fmt: skip
SECTIONS = {
    "model": "the network, and how it is trained",
    "data": "the images",
    "attack_evaluation": "attacks while it trains, and in a test",
    "shuffle_test": "accuracy with every neuron's spikes in a random order in time",
    "firing_rates": "mean firing rate of each layer",
    "tracking": "what W&B shows beside the curves",
    "checkpoint": "which epoch is kept",
    "trainer": "the machine, and the length of the training",
}
SHOWN = ("checkpoint.monitor", "checkpoint.mode", "trainer.max_epochs", "trainer.accelerator",
         "trainer.devices", "trainer.strategy", "trainer.precision", "trainer.logger")  # fmt: skip
WATCHING = (
    "attack_evaluation",
    "shuffle_test",
    "firing_rates",
    "tracking",
    "checkpoint",
)  # of fit and test
SILENT = ("weights_only", "verbose")  # Lightning's, and of no effect here
CHECKPOINT = "a checkpoint, which brings its network and its data; fit goes on from it"


class CommandParser(Parser):
    """A parser whose help begins with what its command alone has."""

    command = ""  # the command; of the whole program: none
    everything = False  # whether its help shows all of Lightning's options, too

    def format_help(self, formatter: HelpFormatter | None = None) -> str:
        if not self.command:
            return super().format_help(formatter)
        kept = self._action_groups, self.usage, self.epilog
        start = f"python -m snn_lightning {self.command}"
        self._action_groups, self.usage = self._sections(), f"{start} [options]"  # type: ignore
        if not self.everything:
            self.epilog = f"{start} --help-all shows all options of Lightning's Trainer, too."
        try:
            return super().format_help(formatter)
        finally:
            self._action_groups, self.usage, self.epilog = kept

    def _sections(self) -> list[SimpleNamespace]:
        titles = {"": f"options of {self.command}", "every": "options of every command", **SECTIONS}
        found: dict[str, list[Action]] = {key: [] for key in titles}
        for action in self._actions:
            key = action.dest.partition(".")[0]
            if action.dest == "ckpt_path":
                action.help = CHECKPOINT
            if not self.everything and self._is_hidden(key, action.dest):
                continue
            section = key if key in SECTIONS else "every" if key in COMMON else ""
            found[section].append(action)
        return [
            SimpleNamespace(title=titles[key], description=None, _group_actions=actions)
            for key, actions in found.items()
        ]

    def _is_hidden(self, key: str, name: str) -> bool:
        if name in SILENT or (self.command in TRAINED and key in WATCHING):
            return True
        return key in ("checkpoint", "trainer") and name not in SHOWN
