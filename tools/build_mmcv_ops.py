"""Install mmcv with its compiled ops, from a wheel that is built once and kept.

The wheels lie in $MMVITLIN_CACHE (default: ~/.cache/mmvitlin), under a key of torch, Python,
mmcv and platform: pip's own cache knows none of these.
"""
import os
import platform
import subprocess
import sys
import sysconfig
from importlib.metadata import version

import torch

from mmvitlin.engine.runner.cli import Parser
from mmvitlin.utils.paths import cache


def run(*command: str, **more: str) -> None:
    subprocess.run(command, check=True, env=dict(os.environ, **more))


def has_ops() -> bool:
    probe = [sys.executable, '-c', 'import torch, mmcv._ext']
    return subprocess.run(probe, capture_output=True).returncode == 0


def main() -> None:
    Parser(description=__doc__).parse_args()
    mmcv = version('onedl-mmcv')
    tag = sysconfig.get_platform().replace('-', '_')
    key = f"torch{version('torch')}-{platform.python_implementation().lower()[:2]}" \
          f'{sys.version_info.major}{sys.version_info.minor}-mmcv{mmcv}-{tag}'
    if torch.cuda.is_available():  # built with CUDA kernels there, without them elsewhere
        key += '-cuda'
    folder = cache() / 'wheels' / key
    if has_ops():
        print(f'mmcv {mmcv} already has its ops')
        return
    wheels = sorted(folder.glob('onedl_mmcv-*.whl'))
    if not wheels:
        print(f'building mmcv {mmcv} with ops for the cache {folder}; about ten minutes on two '
              'cores', flush=True)
        run(sys.executable, '-m', 'pip', 'wheel', '-q', '--no-build-isolation', '--no-deps',
            '--no-cache-dir', '-w', str(folder), f'onedl-mmcv=={mmcv}', MMCV_WITH_OPS='1',
            # half of the time, and most of the size, goes into symbols for a debugger
            CFLAGS=os.environ.get('CFLAGS', f"{sysconfig.get_config_var('CFLAGS') or ''} -g0"))
        wheels = sorted(folder.glob('onedl_mmcv-*.whl'))
    run(sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', '--force-reinstall',
        str(wheels[-1]))
    if not has_ops():
        wheels[-1].unlink()
        sys.exit('error: the wheel has no usable ops (mmcv._ext does not import) and was taken out '
                 'of the cache; a C++ compiler is needed to build it. Run this again.')
    print(f'mmcv {mmcv} with ops installed from {wheels[-1]}')


if __name__ == '__main__':
    main()
