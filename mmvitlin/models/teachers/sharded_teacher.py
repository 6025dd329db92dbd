"""A teacher whose weights are sharded across ranks."""
from __future__ import annotations

from mmengine.dist import get_world_size
from torch import Tensor

from mmvitlin.models.backbones import TimmViT, Tokens
from mmvitlin.models.teachers.frozen_teacher import FrozenTeacher
from mmvitlin.registry import MODELS


@MODELS.register_module()
class ShardedTeacher(FrozenTeacher):
    """A :class:`FrozenTeacher` that shards its blocks' weights across ranks, and gathers those of a
    block while it runs.

    They are sharded in the first forward pass, on the network's device. A copy shares the network:
    with modules of its own it would keep all weights in every process.

    Args:
        backbone: Config of a :class:`mmvitlin.models.TimmViT` with softmax attention.
        **kwargs: See :class:`FrozenTeacher`.

    Raises:
        ValueError: another network, or a compiled one.
    """

    def __init__(self, backbone: dict, *args, **kwargs):
        super().__init__(backbone, *args, **kwargs)
        if self._compiled is not None or not isinstance(self.network, TimmViT) \
                or set(self.network.attention) != {'softmax'}:
            raise ValueError('teacher: shard=True is for a mmvitlin.TimmViT with softmax attention '
                             'that is neither compiled nor cached')

    def __deepcopy__(self, memo):
        memo[id(self.network)] = self.network
        return self._copied(memo)

    def _run(self, images: Tensor, layers: tuple[int, ...]) -> list[Tokens]:
        if get_world_size() > 1:
            self._shard(images.device.type)
        return super()._run(images, layers)

    def _shard(self, device: str) -> None:
        from torch.distributed.device_mesh import init_device_mesh  # not in every build of torch
        from torch.distributed.fsdp import FSDPModule, fully_shard
        blocks = self.network.blocks()
        if isinstance(blocks[0], FSDPModule):
            return
        mesh = init_device_mesh(device, (get_world_size(), ))
        for block in blocks:
            fully_shard(block, mesh=mesh, reshard_after_forward=True)
