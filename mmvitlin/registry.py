"""Child registries of MMEngine's root registries, scope ``mmvitlin``.

Each registry names the modules that fill it, so ``type='mmvitlin.Adventurer'``
resolves from any OpenMMLab library with no ``custom_imports``. Importing this module changes
nothing else.
"""
from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import FUNCTIONS as MMENGINE_FUNCTIONS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import OPTIMIZERS as MMENGINE_OPTIMIZERS
from mmengine.registry import RUNNERS as MMENGINE_RUNNERS
from mmengine.registry import STRATEGIES as MMENGINE_STRATEGIES
from mmengine.registry import TASK_UTILS as MMENGINE_TASK_UTILS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import VISBACKENDS as MMENGINE_VISBACKENDS
from mmengine.registry import Registry

from mmvitlin import compat

compat.check_distributions()


def _child(parent: Registry, *locations: str) -> Registry:
    return Registry(parent.name, parent=parent, scope='mmvitlin', locations=list(locations))


MODELS = _child(MMENGINE_MODELS, 'mmvitlin.models', 'mmvitlin.models.classification',
                'mmvitlin.models.decode_heads', 'mmvitlin.models.segmentors',
                'mmvitlin.models.detection')
TASK_UTILS = _child(MMENGINE_TASK_UTILS, 'mmvitlin.models.detection')
DATASETS = _child(MMENGINE_DATASETS, 'mmvitlin.datasets.registered')
FUNCTIONS = _child(MMENGINE_FUNCTIONS, 'mmvitlin.datasets.registered')
DATA_SAMPLERS = _child(MMENGINE_DATA_SAMPLERS, 'mmvitlin.datasets.registered')
TRANSFORMS = _child(MMENGINE_TRANSFORMS, 'mmvitlin.datasets.registered')
METRICS = _child(MMENGINE_METRICS, 'mmvitlin.evaluation.metrics')
HOOKS = _child(MMENGINE_HOOKS, 'mmvitlin.engine')
OPTIMIZERS = _child(MMENGINE_OPTIMIZERS, 'mmvitlin.engine')
OPTIM_WRAPPERS = _child(MMENGINE_OPTIM_WRAPPERS, 'mmvitlin.engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child(MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS, 'mmvitlin.engine')
STRATEGIES = _child(MMENGINE_STRATEGIES, 'mmvitlin.engine.strategies.sharding',
                    'mmvitlin.engine.strategies.zero')
RUNNERS = _child(MMENGINE_RUNNERS, 'mmvitlin.engine.strategies.sharding')
VISBACKENDS = _child(MMENGINE_VISBACKENDS, 'mmvitlin.engine.tracking')
