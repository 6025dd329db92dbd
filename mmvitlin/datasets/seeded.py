"""Seeds for the samples of any data set."""
from __future__ import annotations

from mmengine.registry import DATASETS as ALL_DATASETS

from mmvitlin.datasets.samplers.seeding import seed_sample
from mmvitlin.registry import DATASETS


@DATASETS.register_module()
class SeededDataset:
    """A data set each of whose samples is drawn from the seed that the sampler gave it.

    Wraps any data set of any library, including those that concatenate, repeat, balance or mix
    others: all random numbers of a sample follow from its seed. Data sets that read by
    :class:`mmvitlin.datasets.transforms.loading.LoadImage` seed their samples there and need none.

    Args:
        dataset: Config of the data set, or the data set. Its other attributes are found here too.
    """

    def __init__(self, dataset):
        self.dataset = ALL_DATASETS.build(dataset) if isinstance(dataset, dict) else dataset

    def __getitem__(self, index: int) -> dict:
        seed_sample(index)
        return self.dataset[int(index)]

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name: str):
        if name == 'dataset' or name.startswith('__'):  # before it is there, as when unpickled
            raise AttributeError(name)
        return getattr(self.dataset, name)
