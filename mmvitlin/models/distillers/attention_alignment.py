"""Attention alignment: every linear attention towards its softmax twin, block by block."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager

import torch
import torch.nn as nn
from torch import Tensor

from mmvitlin.models.backbones import TimmViT
from mmvitlin.models.distillers.base import Distiller
from mmvitlin.models.layers import LinearAttention
from mmvitlin.models.losses import AttentionAlignmentLoss
from mmvitlin.registry import MODELS


@MODELS.register_module()
class AttentionAlignment(Distiller):
    """Train only what makes queries, keys and values of a linear ViT.

    The frozen teacher runs on the images. Each linear attention of the student gets the input
    that its softmax twin gets there, and learns to give its output: the softmax path carries
    the residual stream, so blocks learn independently of each other's error, and one backward
    pass serves all. The student starts from the teacher's weights.

    Args:
        backbone: Config of a :class:`mmvitlin.models.TimmViT` with linear layers.
        teacher: See :class:`Distiller`; a TimmViT of the same shape, softmax where the
            student is linear.
        objectives: One :class:`mmvitlin.models.AttentionAlignmentLoss`, the default.
        trained: What trains in each linear attention: 'qkv', the projections to queries, keys
            and values; 'added', what the softmax module does not have (learned feature
            maps, convolution, gate); 'proj', the output projection. ``('added', )`` with
            ``feature_map='hedgehog'`` is the attention transfer of LoLCATs.
        block_by_block: Take each block's gradients as soon as it has run, and hold the
            activations of one block at a time rather than of all.
        inherit: See :class:`Distiller`.
        **kwargs: See :class:`Distiller`.

    Raises:
        TypeError: the student or the teacher is no TimmViT.
        ValueError: no layer is linear, nothing would train, or depths differ.
        CheckpointError: the networks differ in width.

    Source: ViT-AdaLA (arXiv 2603.16063), first stage; LoLCATs (arXiv 2410.10254).
    """
    runs_whole_blocks = False  # but their attention alone
    TRAINED = {'qkv': LinearAttention.QKV, 'added': LinearAttention.ADDED, 'proj': ('proj', )}

    def __init__(self,
                 backbone: dict,
                 teacher: dict,
                 objectives: dict[str, dict | None] | None = None,
                 trained: Sequence[str] = ('qkv', 'added'),
                 block_by_block: bool = False,
                 inherit: bool = True,
                 **kwargs):
        if objectives is None:
            objectives = dict(attention=dict(type='mmvitlin.AttentionAlignmentLoss'))
        super().__init__(backbone, teacher, objectives, projector=False, inherit=inherit, **kwargs)
        self.block_by_block = block_by_block
        if not self.teacher.plain:
            raise ValueError('attention alignment looks into the running teacher: precision, '
                             'compiled and cache are not for it')
        student, twin = self.backbone, self.teacher.network
        if not isinstance(student, TimmViT) or not isinstance(twin, TimmViT):
            raise TypeError('attention alignment is between two mmvitlin.TimmViT, got '
                            f'{type(student).__name__} and {type(twin).__name__}')
        if (student.num_layers, student.embed_dims) != (twin.num_layers, twin.embed_dims):
            raise ValueError(f'the student has {student.num_layers} layers of '
                             f'{student.embed_dims} channels, the teacher {twin.num_layers} of '
                             f'{twin.embed_dims}; attention alignment needs the same network')
        self.linear_layers = [i for i, kind in enumerate(student.attention) if kind == 'linear']
        if not self.linear_layers:
            raise ValueError("no layer of the student is linear; set backbone.attention='linear'")
        if linear := [i for i in self.linear_layers if twin.attention[i] != 'softmax']:
            raise ValueError(f'layers {linear} of the teacher are linear too; it must be softmax '
                             'where the student is linear')
        self._freeze_all_but(trained)

    def _freeze_all_but(self, trained: Sequence[str]) -> None:
        if unknown := sorted(set(trained) - set(self.TRAINED)):
            raise ValueError(f'trained: {unknown} are none of {sorted(self.TRAINED)}')
        wanted = {name for kind in trained for name in self.TRAINED[kind]}
        self.backbone.requires_grad_(False)
        for layer in self.linear_layers:
            for name, parameter in self.backbone.vit.blocks[layer].attn.named_parameters():
                parameter.requires_grad_(name.split('.')[0] in wanted)
        if not any(p.requires_grad for p in self.backbone.parameters()):
            raise ValueError(f'trained={tuple(trained)} leaves nothing to train in linear '
                             f'attention with linear_cfg of the backbone; choose from '
                             f'{sorted(self.TRAINED)}')

    def _make_projector(self, wish: bool | str) -> nn.Module:
        return nn.Identity()

    def student_layers(self) -> dict[str, tuple[int, ...]]:
        """None: attention outputs are compared, not the tokens between blocks."""
        if len(self.objectives) != 1 or not isinstance(next(iter(self.objectives.values())),
                                                       AttentionAlignmentLoss):
            raise ValueError('attention alignment has one objective, an '
                             'mmvitlin.AttentionAlignmentLoss')
        return {}

    teacher_layers = student_layers

    def distill(self, images: Tensor) -> dict[str, Tensor]:
        """Mean of the blocks' losses, and ``attention_error``, the root of the squared error
        over the teacher's squared output, mean over blocks."""
        (name, objective), = self.objectives.items()
        grid = self.student_grid(images)
        losses, errors = [], []

        def compare(layer: int, inputs: tuple, options: dict, target: Tensor) -> None:
            attn = self.backbone.vit.blocks[layer].attn
            attn.grid = grid

            def loss() -> tuple[Tensor, Tensor]:
                output = attn(*inputs, **options)
                return objective(output, target), output

            with torch.enable_grad():
                if self.block_by_block:
                    trained = [p for p in attn.parameters() if p.requires_grad]
                    scale = min(target.numel(), 2**16)
                    value, output = _GradientAtOnce.apply(loss, scale, *trained)
                else:
                    value, output = loss()
            losses.append(value)
            gap = (output.detach().float() - target.float()).square().mean()
            errors.append((gap / target.float().square().mean().clamp_min(1e-12)).sqrt())

        with self._listening(compare):
            self.teacher_tokens(images, (self.linear_layers[-1], ), grid)
        return {f'loss_{name}': torch.stack(losses).mean(),
                f'{name}_error': torch.stack(errors).mean()}

    @contextmanager
    def _listening(self, heard: Callable[[int, tuple, dict, Tensor], None]):
        """Call ``heard`` with the input and output of each of the teacher's attentions."""
        handles = [
            self.teacher.network.vit.blocks[layer].attn.register_forward_hook(
                lambda _, args, kwargs, output, layer=layer: heard(layer, args, kwargs, output),
                with_kwargs=True) for layer in self.linear_layers
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


class _GradientAtOnce(torch.autograd.Function):
    """Differentiates a loss when it is computed, so that its graph is gone afterwards.

    The gradients wait until the backward pass asks for them, so scaling, accumulation and
    distributed reduction work as ever. Inside, the loss is scaled by the number of values it
    is a mean of, up to 2¹⁶: in half precision the gradients of such a mean would be zeros, and
    their sums beyond what float16 holds.
    """

    @staticmethod
    def forward(ctx, loss: Callable[[], tuple[Tensor, Tensor]], scale: int, *parameters: Tensor):
        with torch.enable_grad():
            value, output = loss()
            with torch.autocast(value.device.type, enabled=False):
                gradients = torch.autograd.grad(value * scale, parameters)
        ctx.save_for_backward(*(g / scale for g in gradients))
        output = output.detach()
        ctx.mark_non_differentiable(output)
        return value.detach(), output

    @staticmethod
    def backward(ctx, of_value: Tensor, of_output: Tensor):
        return (None, None, *(g * of_value for g in ctx.saved_tensors))
