"""Attention alignment: every replaced attention towards the softmax attention, by block."""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import contextmanager

import torch
import torch.nn as nn
from torch import Tensor

from mmvitlin.models.backbones import TimmViT
from mmvitlin.models.backbones.timm_attention import ALIGNED
from mmvitlin.models.distillers.base import BaseDistiller
from mmvitlin.models.distillers.step_draws import StepDraws
from mmvitlin.models.layers import FocalAttention, TokenLayout
from mmvitlin.models.losses import Objective
from mmvitlin.registry import MODELS
from mmvitlin.utils.errors import ConfigError


@MODELS.register_module()
class AttentionAlignment(BaseDistiller):
    """Train only what makes queries, keys and values of a linear, focal or recurrent ViT.

    The frozen teacher runs on the images. Each linear or focal attention or Mamba-2 mixer of the
    student gets the input of the teacher's softmax attention in that layer, and learns to give the
    same output: the softmax path carries the residual stream, so blocks learn independently of each
    other's error, and one backward pass serves all. The student starts from the teacher's weights.

    Args:
        backbone: Config of a :class:`mmvitlin.models.TimmViT` with layers of 'linear', 'focal' or
            'mamba2' attention.
        teacher: See :class:`BaseDistiller`; a TimmViT of the same shape, softmax in those layers.
        objectives: Name → config of a loss that is called ``loss(student, teacher)`` with the
            outputs (B, L, C) of a layer's two attentions, or None; by default one
            :class:`mmvitlin.models.AttentionAlignmentLoss`. Losses are 'loss_<name>', means over
            the layers.
        trained: Parameters that are trained in each of them: 'qkv', the projections to queries,
            keys and values; 'added', what the softmax module does not have (learned feature maps,
            convolution, gate, steps and decays); 'proj', the output projection. ``('added', )``
            with ``feature_map='hedgehog'`` is the attention transfer of LoLCATs.
        block_by_block: Take each block's gradients as soon as it has run, and hold the
            activations of one block at a time rather than of all.
        inherit: See :class:`BaseDistiller`.
        **kwargs: See :class:`BaseDistiller`.

    Raises:
        TypeError: the student or the teacher is no TimmViT.
        ValueError: no layer is replaced, nothing would train, or depths differ.
        ConfigError: an objective compares tokens and not attention outputs; in the first step,
            images so small that focal attention is softmax there.
        CheckpointError: the networks differ in width.

    Source: ViT-AdaLA (arXiv 2603.16063), first stage; LoLCATs (arXiv 2410.10254).
    """
    runs_whole_blocks = False  # but only their attention
    TRAINED = ('qkv', 'added', 'proj')

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
        super().__init__(backbone, teacher, objectives, inherit=inherit, **kwargs)
        self.block_by_block = block_by_block
        for name, loss in self.objectives.items():
            if isinstance(loss, Objective):
                raise ConfigError(f'objectives.{name}: a {type(loss).__name__} compares the tokens '
                                  'after a layer; attention alignment compares the outputs of '
                                  'attentions, as mmvitlin.AttentionAlignmentLoss does')
        if not self.teacher.plain:
            raise ValueError('attention alignment hooks into the running teacher: precision, '
                             'compiled, cache and scale cannot be used')
        student, network = self.backbone, self.teacher.network
        if not isinstance(student, TimmViT) or not isinstance(network, TimmViT):
            raise TypeError('attention alignment is between two mmvitlin.TimmViT, got '
                            f'{type(student).__name__} and {type(network).__name__}')
        if (student.num_layers, student.embed_dims) != (network.num_layers, network.embed_dims):
            raise ValueError(f'the student has {student.num_layers} layers of '
                             f'{student.embed_dims} channels, the teacher {network.num_layers} of '
                             f'{network.embed_dims}; attention alignment needs the same network')
        self.replaced_layers = [i for i, block in enumerate(student.blocks())
                                if isinstance(block.attn, tuple(ALIGNED.values()))]
        if not self.replaced_layers:
            raise ValueError("no layer of the student is linear, focal or recurrent; set "
                             "backbone.attention='linear', 'focal' or 'mamba2'")
        if other := [i for i in self.replaced_layers if network.attention[i] != 'softmax']:
            raise ValueError(f'layers {other} of the teacher are {network.attention[other[0]]} too'
                             '; it must be softmax where the student is not')
        if student.frozen_stages > 0:
            raise ConfigError(f'model.backbone.frozen_stages={student.frozen_stages} would be '
                              'trained all the same: the first stage trains the attention of all '
                              'layers that are replaced, and nothing else; leave it out, or leave '
                              'those layers softmax (attention=[...], one a block)')
        self._freeze_all_but(trained)

    def _freeze_all_but(self, trained: Sequence[str]) -> None:
        if unknown := sorted(set(trained) - set(self.TRAINED)):
            raise ValueError(f'trained: {unknown} are none of {sorted(self.TRAINED)}')
        self.backbone.requires_grad_(False)
        for layer in self.replaced_layers:
            attn = self.backbone.vit.blocks[layer].attn
            names = dict(qkv=attn.QKV, added=attn.ADDED, proj=('proj', ))
            trainable = {name for part in trained for name in names[part]}
            for name, parameter in attn.named_parameters():
                parameter.requires_grad_(name.split('.')[0] in trainable)
        if not any(p.requires_grad for p in self.backbone.parameters()):
            raise ValueError(f'trained={tuple(trained)} leaves nothing to train in attention with '
                             'linear_cfg, focal_cfg or mamba2_cfg of the backbone; choose from '
                             f'{sorted(self.TRAINED)}')

    def distill(self, images: Tensor, draws: StepDraws) -> dict[str, Tensor]:
        """Means of the blocks' losses, and of each '<name>_error', the root of the squared error
        over the teacher's squared output, mean over blocks."""
        images = self.resized(images, draws)
        grid = self.student_grid(images)
        patch = self.backbone.patch_size
        largest = max(self.sizes or (), key=math.prod, default=None)
        self._refuse_softmax(grid if largest is None else tuple(n // patch for n in largest))
        losses, errors = ({name: [] for name in self.objectives} for _ in range(2))

        def compare(layer: int, inputs: tuple, options: dict, target: Tensor) -> None:
            attn = self.backbone.vit.blocks[layer].attn
            options = dict(options, attn_mask=TokenLayout(grid))

            def run() -> Tensor:
                return attn(*inputs, **options)

            with torch.enable_grad():
                for name, objective in self.objectives.items():
                    value, output = self._loss(attn, run, objective, target)
                    losses[name].append(value)
                    errors[name].append(_relative_error(output.detach(), target))

        with self._listening(compare):
            self.teacher_tokens(images, (self.replaced_layers[-1], ), grid)
        return {f'loss_{name}': torch.stack(values).mean() for name, values in losses.items()} | {
            # mmengine adds up all values with 'loss' in their names
            f"{name.replace('loss', '').strip('_')}_error": torch.stack(values).mean()
            for name, values in errors.items()}

    def _refuse_softmax(self, grid: tuple[int, int]) -> None:
        """Where all layers are softmax as the teacher's, gradients are rounding errors, and AdamW,
        which scales them, would ruin the weights."""
        layers = [self.backbone.vit.blocks[i].attn for i in self.replaced_layers]
        if all(isinstance(attn, FocalAttention) and attn.is_softmax(grid) for attn in layers):
            options = layers[0].options()
            raise ConfigError(f'on {grid[0]}×{grid[1]} patches focal attention with {options} is '
                              'softmax attention, and there is nothing to align; train on larger '
                              f'images, more than {2 * layers[0].block} patches high or wide, or '
                              'with a smaller backbone.focal_cfg')

    def _loss(self, attn: nn.Module, run: Callable[[], Tensor], objective: nn.Module,
              target: Tensor) -> tuple[Tensor, Tensor]:
        """An objective's value for one layer, and the student's output there."""
        def loss() -> tuple[Tensor, Tensor]:
            output = run()
            return objective(output, target), output

        if not self.block_by_block:
            return loss()
        trained = [p for p in attn.parameters() if p.requires_grad]
        return _GradientAtOnce.apply(loss, min(target.numel(), 2**16), *trained)

    @contextmanager
    def _listening(self, callback: Callable[[int, tuple, dict, Tensor], None]):
        """Call ``callback`` with the input and output of each of the teacher's attentions."""
        handles = [
            self.teacher.network.vit.blocks[layer].attn.register_forward_hook(
                lambda _, args, kwargs, output, layer=layer: callback(layer, args, kwargs, output),
                with_kwargs=True) for layer in self.replaced_layers
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _relative_error(output: Tensor, target: Tensor) -> Tensor:
    gap = (output.float() - target.float()).square().mean()
    return (gap / target.float().square().mean().clamp_min(1e-12)).sqrt()


class _GradientAtOnce(torch.autograd.Function):
    """Differentiates a loss when it is computed, so that its graph is freed at once.

    The gradients are kept until the backward pass, so scaling, accumulation and distributed
    reduction work as usual. Inside, the loss is scaled by the number of values it is a mean of, up
    to 2¹⁶: in half precision the gradients of such a mean would be zeros, and their sums beyond
    what float16 holds.
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
