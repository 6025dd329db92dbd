"""What pyproject.toml cannot say: a wheel carries configs and tools, where mim looks for them."""
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
SHIPPED = [p.relative_to(ROOT) for folder in ('configs', 'tools')
           for p in sorted((ROOT / folder).rglob('*')) if p.suffix in ('.py', '.sh', '.yml')
           and p.parent.name not in ('benchmarks', 'results')]  # those are the repository's own
SHIPPED.append(Path('model-index.yml'))


class BuildWithConfigs(build_py):
    """Puts configs and tools into the package as ``.mim``, where the mm libraries look."""

    def run(self):
        super().run()
        if getattr(self, 'editable_mode', False):
            return  # a checkout has them beside the package
        shutil.rmtree(Path(self.build_lib) / 'mmvitlin' / '.mim', ignore_errors=True)  # older ones
        for path in SHIPPED:
            target = Path(self.build_lib) / 'mmvitlin' / '.mim' / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, target)


setup(cmdclass=dict(build_py=BuildWithConfigs))
