"""Work-arounds for the libraries that mmvitlin uses, one file per library.

Importing this package changes nothing of any of them. These names of other libraries are patched,
each because there is no extension point, and only by the code that needs it:

- ``mmengine.config.Config._get_cfg_path``, while a config is read (:mod:`mmvitlin.compat.mmengine`)
- ``mmengine._strategy.deepspeed.register_deepspeed_optimizers``, while a DeepSpeed strategy is
  built (:mod:`mmvitlin.compat.mmengine`)
- ``mmpretrain.utils.dependency.WITH_MULTIMODAL``, before mmpretrain is imported beside
  transformers 5 (:mod:`mmvitlin.compat.mmpretrain`)
- ``mmcv.image.geometric.rescale_size``, when a loader of mmvitlin is built
  (:mod:`mmvitlin.compat.mmcv`)
- ``mmseg.models.decode_heads.decode_head.accuracy``, when a segmentor of mmvitlin is built
  (:mod:`mmvitlin.compat.mmseg`)
"""
from __future__ import annotations

from importlib import metadata

_FAMILIES = (  # maintained distribution, original distribution, import name
    ('onedl-mmengine', 'mmengine', 'mmengine'),
    ('onedl-mmcv', 'mmcv', 'mmcv'),
    ('onedl-mmcv', 'mmcv-lite', 'mmcv'),
    ('onedl-mmsegmentation', 'mmsegmentation', 'mmseg'),
    ('onedl-mmpretrain', 'mmpretrain', 'mmpretrain'),
    ('onedl-mmdetection', 'mmdet', 'mmdet'),
)


def installed(distribution: str) -> bool:
    """Whether a distribution of this name is installed."""
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def check_distributions(has=installed) -> None:
    """Refuse the maintained and the original OpenMMLab distributions side by side.

    Both write the same import folders and pip does not warn; which files survive depends
    on the order of installation.

    Raises:
        RuntimeError: both families are installed; names them and the remedy.
    """
    both = [(maintained, original, name) for maintained, original, name in _FAMILIES
            if has(maintained) and has(original)]
    if both:
        pairs = ', '.join(f'{maintained} and {original} (both write {name}/)'
                          for maintained, original, name in both)
        out = ' '.join(sorted({name for *names, _ in both for name in names}))
        raise RuntimeError(
            f'Two distributions own the same import folder: {pairs}. Keep one family: '
            f"`pip uninstall -y {out}`, then `pip install 'mmvitlin[onedl]'` (or "
            "'mmvitlin[openmmlab]').")
