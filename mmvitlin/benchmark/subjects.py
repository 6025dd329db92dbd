"""What can be timed: configs, timm and torchvision names, backbones; and parts of them."""
from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import timm
import torch
import torch.nn as nn
from mmengine.registry import MODELS, init_default_scope

from mmvitlin.benchmark.deployed import deployed, to_labels
from mmvitlin.benchmark.samples import is_detector, labelled, total
from mmvitlin.deploy.runtimes import RUNTIMES
from mmvitlin.engine.rules import check, check_whole
from mmvitlin.engine.runner.cli import split_name
from mmvitlin.engine.runner.config import load_config
from mmvitlin.engine.runner.launch import without_initial_weights
from mmvitlin.models import Adventurer
from mmvitlin.ops import FastLinear
from mmvitlin.utils.errors import ConfigError

# features: backbone and neck; labels: from a plain image, normalisation included
PARTS = ('backbone', 'features', 'head', 'post', 'whole', 'labels')
FILES = {'.onnx': 'onnxruntime', '.xml': 'openvino', '.pt2': 'torch'}  # and what runs them
MODES = ('inference', 'train')
DTYPES = dict(fp32=torch.float32, tf32=torch.float32, bf16=torch.bfloat16, fp16=torch.float16)
WIDTHS = {'tiny': 192, 'small': 384, 'base': 768, 'large': 1024}
PEERS = ('swin_base_patch4_window7_224', 'convnext_base', 'efficientvit_b3', 'mambaout_base')


@dataclass
class Subject:
    """A network to be timed, as plain values that a fresh process can build it from.

    Attributes:
        name: In tables and figures.
        source: 'exported' (``file``), 'config' (``what`` a file), 'timm' or 'torchvision'
            (``what`` a name), 'backbone' (``cfg`` a registry config), or 'python' (``what`` is
            'package.module:function', which is called with the image's (height, width)).
        what: File or name.
        cfg: Of the backbone.
        options: ``--cfg-options`` of a config. With ``load_from`` its weights are loaded; a
            detector without any finds few objects, so its post-processing costs little.
        materialised: Compute softmax attention as three steps with the L×L matrix in memory,
            as the papers' baselines did.
        runtime: What runs an exported file of it, see :data:`mmvitlin.deploy.RUNTIMES`, or 'torch'
            for a .pt2; '' for the network itself.
        file: That file; of a subject that is no file itself it is written on the way.
        reference: The subject, as plain values, that a file's results are compared with.
    """
    name: str
    source: str
    what: str = ''
    cfg: dict = field(default_factory=dict)
    options: dict = field(default_factory=dict)
    materialised: bool = False
    runtime: str = ''
    file: str = ''
    reference: dict | None = None

    def as_dict(self) -> dict:
        """Plain values."""
        return asdict(self)


def parse_subject(text: str, options: dict | None = None) -> Subject:
    """The subject that a command line names.

    Args:
        text: ``NAME=SUBJECT``, or a subject alone: a config file, ``timm:NAME``,
            ``torchvision:NAME``, a bare timm name,
            ``mmvitlin:{adventurer,linear-vit,focal-vit,mamba2-vit,vit}-{tiny,small,base,large}``,
            a function ``package.module:function`` that builds a network for an image size, or an
            exported file; ``SUBJECT@RUNTIME`` for it in another runtime, or for a config or
            ``mmvitlin:`` backbone that is exported on the way.
        options: ``--cfg-options`` of a config.

    Raises:
        ConfigError: none of these.
    """
    alias, rest = split_name(text)
    if alias:
        subject = parse_subject(rest, options)
        subject.name = alias
        return subject
    rest, _, runtime = text.rpartition('@')
    if rest and runtime in (*RUNTIMES, 'torch'):
        subject = parse_subject(rest, options)
        subject.name, subject.runtime = f'{subject.name}@{runtime}', runtime
        return subject
    if (suffix := Path(text).suffix) in FILES:
        if not Path(text).is_file():
            raise ConfigError(f'no file {text}')
        return Subject(Path(text).stem, 'exported', text, runtime=FILES[suffix], file=text)
    if text.endswith('.py') or '::' in text:
        stem = text.rsplit('/', 1)[-1].removesuffix('.py')
        return Subject(stem, 'config', text, options=options or {})
    source, _, name = text.rpartition(':')
    source = source or 'timm'
    if source == 'timm' and timm.is_model(name.split('.')[0]):
        return Subject(name, 'timm', name)
    if source == 'mmvitlin' and '.' not in name:
        return _own(name)
    if source == 'torchvision':
        import torchvision
        if name in torchvision.models.list_models():
            return Subject(name, 'torchvision', name)
    if source not in ('timm', 'torchvision') and find_spec(source.split('.')[0]) is not None:
        return Subject(name, 'python', text)
    raise ConfigError(f"'{text}' is no config file, timm:NAME, torchvision:NAME or module:function "
                      'that is known here')


def _own(name: str) -> Subject:
    kind, _, size = name.rpartition('-')
    attention = {'vit': 'softmax', **{f'{a}-vit': a for a in ('linear', 'focal', 'mamba2')}}
    if size not in WIDTHS or kind not in ('adventurer', *attention):
        raise ConfigError(f"'mmvitlin:{name}' is not known; take adventurer-, "
                          f'{"-, ".join(attention)}-, with {", ".join(WIDTHS)}')
    if kind == 'adventurer':
        return Subject(name, 'backbone', cfg=dict(type='mmvitlin.Adventurer', arch=size))
    return Subject(name, 'backbone', cfg=dict(
        type='mmvitlin.TimmViT', model_name=f'vit_{size}_patch16_224',
        attention=attention[kind]))


def softmax_baselines(subject: Subject) -> list[Subject]:
    """What a linear ViT or an Adventurer is compared with: a ViT of the same width and depth with
    softmax attention that is fused, materialised, or in ViTDet's windows with four global blocks.

    The baselines of a config are that config with another backbone, so neck and heads are the same.

    Raises:
        ConfigError: the backbone is neither.
    """
    cfg = dict(subject.cfg)
    if subject.source == 'config':
        cfg = dict(load_config(subject.what, subject.options).model.get('backbone') or {})
    kept = {k: cfg[k] for k in ('img_size', 'out_indices', 'out_type', 'with_cp', 'frozen_stages',
                                'drop_path_rate') if k in cfg}
    if cfg.get('type') == 'mmvitlin.Adventurer':
        arch = cfg.get('arch', 'base')
        arch = Adventurer.ARCHS[arch] if isinstance(arch, str) else arch
        width, depth = arch['embed_dims'], arch['num_layers']
        baseline = dict(type='mmvitlin.TimmViT', model_name='vit_base_patch16_224', **kept,
                        model_kwargs=dict(patch_size=cfg.get('patch_size', 16), embed_dim=width,
                                          depth=depth, num_heads=max(width // 64, 1)))
    elif cfg.get('type') == 'mmvitlin.TimmViT':
        baseline = dict(kept, type='mmvitlin.TimmViT', model_name=cfg['model_name'],
                        model_kwargs=cfg.get('model_kwargs') or {})
        depth = len(MODELS.build(baseline).blocks())
    else:
        raise ConfigError(f'no softmax baseline of {subject.name}: no Adventurer and no TimmViT')
    last_of_quarters = {max(round(depth * n / 4), 1) - 1 for n in (1, 2, 3, 4)}
    windows = dict(baseline, attention='window', attend_padding=True,
                   softmax_layers=sorted(last_of_quarters))

    def named(how: str, backbone: dict, **kwargs) -> Subject:
        name = f'{how} softmax baseline of {subject.name}'
        if subject.source != 'config':
            return Subject(name, 'backbone', cfg=backbone, **kwargs)
        options = {k: v for k, v in subject.options.items()
                   if not k.startswith('model.backbone') and k != 'load_from'}
        return Subject(name, 'config', subject.what, options=dict(
            options, **{'model.backbone': dict(backbone, _delete_=True)}), **kwargs)

    return [named('fused', baseline), named('materialised', baseline, materialised=True),
            named('windowed', windows)]


class Built:
    """A subject as a network on a device.

    Args:
        subject: What to build.
        shape: (height, width); some timm networks are made for one size.
        device: Where.
        compiled: Through ``torch.compile``.
    """

    def __init__(self, subject: Subject, shape: tuple[int, int], device: str = 'cpu',
                 compiled: bool = False):
        self.subject, self.device = subject, torch.device(device)
        self.network = _network(subject, shape).to(self.device)
        if subject.materialised:
            _materialise(self.network)
        self.is_model = subject.source == 'config'
        self.compiled = compiled

    def parts(self) -> tuple[str, ...]:
        """Parts that can be timed apart."""
        net = self.network
        if not self.is_model or not hasattr(net, 'backbone'):
            return ('whole', ) if self.is_model else ('backbone', )
        neck = ('features', ) if getattr(net, 'with_neck', False) else ()
        head = getattr(net, 'decode_head', None)
        # some heads want data samples with their features: they are timed in the whole
        needed = [] if head is None else [
            p for p in inspect.signature(head.forward).parameters.values() if p.default is p.empty]
        heads = ('head', 'post') if len(needed) == 1 else ()
        labels = ('labels', ) if hasattr(net, 'decode_head') else ()
        return ('backbone', *neck, *heads, 'whole', *labels)

    def call(self, part: str, images: torch.Tensor, mode: str, precision: str,
             eager: bool = False) -> Callable[[], object]:
        """What to run to time a part.

        On a CPU every network's linear layers go through the faster of torch's libraries, as
        this toolkit's own do.

        Args:
            part: One of :meth:`parts`.
            images: (B, 3, H, W).
            mode: 'inference' or 'train'.
            precision: See :class:`mmvitlin.benchmark.grid.Grid`.
            eager: Not compiled, whatever the network is.

        Raises:
            ConfigError: the subject has no such part, or cannot do that with it.
        """
        if part not in self.parts():
            raise ConfigError(f"{self.subject.name} has no part '{part}' to time apart; it has "
                              f'{list(self.parts())}')
        if mode == 'train' and part in ('head', 'post', 'labels'):
            raise ConfigError(f"a training step is timed of 'backbone' or 'whole', not '{part}'")
        self.network.train(mode == 'train')
        compiled, self.compiled = self.compiled, self.compiled and not eager
        run = self._of_part(part, images, mode, precision)
        self.compiled = compiled
        dtype = DTYPES[precision]
        fast = FastLinear if self.device.type == 'cpu' and not (compiled and not eager) \
            else nullcontext

        def inference() -> None:
            with torch.inference_mode(), _precision(self.device, dtype), fast():
                run()

        def step() -> None:
            with _precision(self.device, dtype):
                loss = total(run())
            loss.backward()
            self.network.zero_grad(set_to_none=True)

        return step if mode == 'train' else inference

    def _of_part(self, part: str, images: torch.Tensor, mode: str, precision: str
                 ) -> Callable[[], object]:
        net = self.network
        if part == 'backbone':
            backbone = net.backbone if self.is_model else net
            if not self.is_model and self.subject.source == 'timm':
                forward = net.forward_features
            else:
                forward = backbone
            forward = torch.compile(forward, dynamic=False) if self.compiled else forward
            return lambda: forward(images)
        if part == 'features':
            def features():
                return net.neck(net.backbone(images))
            return torch.compile(features, dynamic=False) if self.compiled else features
        if part == 'labels':
            return to_labels(deployed(self).to(self.device).eval(), images)
        if part == 'whole':
            samples = labelled(net, images) if mode == 'train' or is_detector(net) else None
            if mode == 'train':
                return lambda: net(images, samples, mode='loss')
            return lambda: net(images, samples, mode='predict')
        with torch.inference_mode(), _precision(self.device, DTYPES[precision]):
            features = net.backbone(images)
            if part == 'head':
                def head():
                    x = net.neck(features) if net.with_neck else features
                    return net.decode_head.forward(x)
                return torch.compile(head, dynamic=False) if self.compiled else head
            x = net.neck(features) if net.with_neck else features
            scores = net.decode_head.forward(x)
        return _post_processing(net, images, scores)


def _post_processing(net: nn.Module, images: torch.Tensor, scores) -> Callable[[], object]:
    """From the head's scores to labels; everything before returns its first result again."""
    shell = copy.copy(net)
    shell.__dict__ = dict(net.__dict__, _modules=dict(net._modules))
    head = copy.copy(net.decode_head)
    head.__dict__ = dict(net.decode_head.__dict__)
    head.forward = lambda *_: scores
    shell._modules['decode_head'] = head
    shell.extract_feat = lambda _: ()
    return lambda: shell.predict(images, None)


def _network(subject: Subject, shape: tuple[int, int]) -> nn.Module:
    if subject.source == 'config':
        cfg = load_config(subject.what, subject.options)
        check(cfg, 'build')
        without_initial_weights(cfg)
        init_default_scope(cfg.get('default_scope', 'mmengine'))
        for node in (cfg.model, cfg.model.get('backbone'), cfg.model.get('teacher')):
            _without_downloads(node or {})
        backbone = cfg.model.get('backbone') or {}
        trained = cfg.get('load_from')
        own = str(backbone.get('type')).startswith('mmvitlin.')
        if 'img_size' in backbone and own and not trained:
            # built for the size that is timed, as the networks it is compared with are
            backbone.img_size = tuple(shape)
        net = MODELS.build(cfg.model)
        if trained:
            net.load_state_dict(check_whole(net, trained), strict=False)
        return net
    if subject.source == 'torchvision':
        import torchvision
        return torchvision.models.get_model(subject.what, weights=None)
    if subject.source == 'python':
        module, _, function = subject.what.rpartition(':')
        return getattr(import_module(module), function)(tuple(shape))
    if subject.source == 'backbone':
        own = str(subject.cfg.get('type')).startswith('mmvitlin.')
        return MODELS.build(dict(subject.cfg, **(dict(img_size=tuple(shape)) if own else {})))
    timm.layers.set_fused_attn(True, experimental=True)  # Swin's too; else it is materialised
    try:
        return timm.create_model(subject.what, num_classes=0, img_size=tuple(shape))
    except TypeError:  # convolutional networks know no image size
        return timm.create_model(subject.what, num_classes=0)


def _without_downloads(node: dict) -> None:
    """Weights do not matter to speed, and may not be available here."""
    if node.get('pretrained'):  # timm's: a name; mmvitlin's: whether
        node['pretrained'] = False if node['pretrained'] is True else None
    if isinstance(node.get('backbone'), dict):
        _without_downloads(node['backbone'])
    if 'checkpoint' in node:
        node['checkpoint'] = None


def _materialise(net: nn.Module) -> None:
    for module in net.modules():
        if hasattr(module, 'fused_attn'):
            module.fused_attn = False


def _precision(device: torch.device, dtype: torch.dtype):
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)
