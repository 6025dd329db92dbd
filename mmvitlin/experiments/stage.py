"""One run among those of an experiment."""
from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mmvitlin.engine.runner.config import locate_config


@dataclass
class Stage:
    """One run of ``tools/train.py``.

    Attributes:
        name: Folder of the stage, and its row in the results.
        config: Config file.
        inputs: Config key → earlier stage whose checkpoint it gets.
        options: More ``--cfg-options``.
        iterations: Train for as many instead of the config's; its schedule, warm-up included, is
            stretched or shortened in proportion.
        by_seed: Config key → list of values, one for each seed: seed N takes number N modulo the
            length.
        output: File in the stage's folder that later stages take; '' for the last
            checkpoint.
        shared: Run once and used by every seed, as a downloaded teacher would be.
        seeds: Run only for the first this many seeds; 0 for all.
    """
    name: str
    config: str
    inputs: dict[str, str] = field(default_factory=dict)
    options: dict[str, object] = field(default_factory=dict)
    output: str = ''
    shared: bool = False
    by_seed: dict[str, list] = field(default_factory=dict)
    iterations: int = 0
    seeds: int = 0

    def options_of(self, seed: int) -> dict[str, object]:
        """What a seed is run with."""
        return {**self.options, **{k: v[seed % len(v)] for k, v in self.by_seed.items()}}

    def there(self) -> bool:
        """Whether the config is a file."""
        return Path(locate_config(self.config)).is_file()
