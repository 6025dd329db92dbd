"""Optimiser wrappers and constructors."""
from mmvitlin.engine.optim.clipping import AmpOptimWrapper, OptimWrapper
from mmvitlin.engine.optim.cpu_amp import CPUAmpOptimWrapper
from mmvitlin.engine.optim.layer_decay import LayerDecayOptimWrapperConstructor
from mmvitlin.engine.optim.merged_groups import MergedOptimWrapperConstructor
from mmvitlin.engine.optim.muon import MuonWithAdamW

__all__ = ['AmpOptimWrapper', 'CPUAmpOptimWrapper', 'LayerDecayOptimWrapperConstructor',
           'MergedOptimWrapperConstructor', 'MuonWithAdamW', 'OptimWrapper']
