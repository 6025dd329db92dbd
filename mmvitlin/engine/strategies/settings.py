"""Requirements of sharding strategies on the rest of a config."""
from __future__ import annotations

from importlib.util import find_spec

import torch
from mmengine.config import Config

from mmvitlin.utils.errors import ConfigError

_SHARDING = ('FSDPStrategy', 'ShardedStrategy', 'DeepSpeedStrategy', 'ColossalAIStrategy')


def _kind_of_strategy(cfg: Config) -> str | None:
    """Name of a strategy that shards; None of any other."""
    kind = str((cfg.get('strategy') or {}).get('type', '')).split('.')[-1]
    return kind if kind in _SHARDING else None


def fill_in(cfg: Config) -> None:
    """Complete the config of a sharding strategy with what mmengine leaves out.

    Raises:
        ConfigError: DeepSpeed cannot do what the optimiser wrapper sets.
    """
    if _kind_of_strategy(cfg) is None:
        return
    if torch.cuda.is_available():  # torch's SyncBatchNorm is CUDA only
        cfg.strategy.setdefault('sync_bn', cfg.get('sync_bn'))
    if cfg.strategy.type == 'mmvitlin.DeepSpeedStrategy':
        _hand_over(cfg)


def refuse(cfg: Config) -> None:
    """Refuse what a strategy that shards cannot do.

    Raises:
        ConfigError: says what to leave out.
    """
    kind = _kind_of_strategy(cfg)
    if kind is None:
        return
    if kind == 'FSDPStrategy':
        raise ConfigError("strategy: mmengine's FSDPStrategy flattens parameters, and clips "
                          'gradients and exempts from weight decay piece by piece; take strategy='
                          "dict(type='mmvitlin.ShardedStrategy') (_base_/switches/fsdp.py)")
    if 'runner_type' not in cfg:
        raise ConfigError(f"strategy: {kind} needs runner_type='mmvitlin.FlexibleRunner'; without "
                          'it the strategy is not used')
    if cfg.get('launcher', 'none') == 'none':
        raise ConfigError(f'strategy: {kind} shards the model over processes; start it with '
                          'tools/dist_train.sh, or leave the strategy out')
    hooks = [*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or [])]
    if any(str(h.get('type', '')).split('.')[-1] == 'EMAHook'
           for h in hooks if isinstance(h, dict)):
        raise ConfigError('custom_hooks: an EMAHook copies the model, which a sharded one does not '
                          'allow; leave the hook out, or the strategy')
    if str((cfg.get('optim_wrapper') or {}).get('optimizer', {}).get('type')).endswith(
            ('Muon', 'MuonWithAdamW')):
        raise ConfigError(f"optim_wrapper.optimizer: Muon works on whole matrices, and {kind} "
                          "shards them; leave the strategy out, or take type='AdamW'")
    if cfg.get('compile'):
        raise ConfigError('compile: FlexibleRunner does not compile; leave it out, or the strategy')
    if cfg.strategy.type == 'mmvitlin.DeepSpeedStrategy' and find_spec('deepspeed') is None:
        raise ConfigError("strategy: DeepSpeed is not installed; pip install 'mmvitlin[deepspeed]'")


def _hand_over(cfg: Config) -> None:
    """What mmengine's optimiser wrappers do, DeepSpeed does itself.

    Raises:
        ConfigError: it cannot do it.
    """
    wrapper, strategy = cfg.optim_wrapper, cfg.strategy
    clip = wrapper.get('clip_grad') or {}
    if clip.get('type', 'norm') != 'norm' or clip.get('norm_type', 2) != 2:
        raise ConfigError(f'optim_wrapper.clip_grad={dict(clip)}: DeepSpeed clips by the 2-norm '
                          'only')
    if wrapper.type not in ('OptimWrapper', 'mmvitlin.OptimWrapper',
                            'DeepSpeedOptimWrapper') and not any(
            strategy.get(half, {}).get('enabled') for half in ('bf16', 'fp16')):
        raise ConfigError('mixed precision of DeepSpeed is strategy.bf16=dict(enabled=True), or '
                          'fp16; set it, or leave out --amp')
    if 'max_norm' in clip:
        strategy.setdefault('gradient_clipping', clip['max_norm'])
    strategy.setdefault('gradient_accumulation_steps', wrapper.get('accumulative_counts', 1))
    if cfg.get('train_dataloader'):
        strategy.setdefault('train_micro_batch_size_per_gpu', cfg.train_dataloader.batch_size)
    cfg.optim_wrapper = dict(
        type='DeepSpeedOptimWrapper',
        **{k: wrapper[k] for k in ('optimizer', 'constructor', 'paramwise_cfg') if k in wrapper})
