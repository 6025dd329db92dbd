"""The recipe of the pretrained teacher on a GPU, some of its stages, for ``mmvitlin gpu_check``."""
from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from mmvitlin.utils.errors import ConfigError
from mmvitlin.utils.paths import folder as own_folder

_TINY_RECIPE = """# a linear ViT of two blocks on drawn scenes
small = {
    'model.backbone.model_kwargs': dict(patch_size=16, embed_dim=32, depth=2, num_heads=2),
    'model.backbone.img_size': (64, 128),
    'train_dataloader.dataset.pipeline.1.scale': (128, 64),
    'train_dataloader.dataset.pipeline.2.crop_size': (64, 128),
    'train_dataloader.num_workers': 0, 'train_dataloader.persistent_workers': False,
    'model.teacher.backbone.model_kwargs':
        dict(patch_size=16, embed_dim=32, depth=2, num_heads=2),
    'model.teacher.backbone.img_size': (64, 128), 'model.teacher.checkpoint': None,
    'allow_random_weights': True}
stages = [dict(name='attention', config='configs/distill/adala-attention_vit-nano_streets.py',
               iterations=12, options=small, output='student.pth')]
"""


def run_stages(device: str, stages: Sequence[str], tell: Callable[[str, object], None]) -> None:
    """Run stages of the recipe; without any, a tiny recipe on drawn scenes.

    Args:
        device: 'cuda', with mixed precision, or 'cpu'.
        stages: Names.
        tell: Gets the results after each stage.

    Raises:
        ConfigError: there are no images.
        RuntimeError: a stage failed; with the end of its output.
    """
    if absent := [place for place in ('data/camvid', 'data/images') if stages
                  and not Path(place).is_dir()]:
        raise ConfigError(f"{' and '.join(absent)} not found: docs/data.md says what goes there")
    with tempfile.TemporaryDirectory() as folder:
        recipe, data = 'mmvitlin::recipes/pretrained_camvid.py', []
        if not stages:
            from mmvitlin.datasets.streets import write_streets
            write_streets(Path(folder) / 'streets', dict(train=4, val=2), (64, 128))
            Path(folder, 'recipe.py').write_text(_TINY_RECIPE)
            recipe, data = f'{folder}/recipe.py', [f'data_root={folder}/streets']
        out = Path(folder) / 'results.json'
        command = [sys.executable, str(own_folder('tools') / 'run_recipe.py'), recipe,
                   '--work-dir', f'{folder}/work', '--out', str(out),
                   *(['--stages', *stages] if stages else []),
                   *(['--amp'] if device == 'cuda' else []),
                   *(['--cfg-options', *data] if data else [])]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 text=True)
        tail: list[str] = []
        for line in child.stdout:
            tail = [*tail[-20:], line.rstrip()]
            if out.is_file():  # after each stage
                tell('stages', json.loads(out.read_text()).get('stages'))
        if child.wait():
            raise RuntimeError(f'run_recipe.py ended with status {child.returncode}: '
                               + ' '.join(tail[-6:]))
        tell('stages', json.loads(out.read_text()).get('stages'))
