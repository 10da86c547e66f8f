"""Lets make build the two programs and the library of the equations, and packs them beside the Python files:
one wheel for this kind of machine. It needs a C compiler and make."""
import os
import pathlib
import shutil
import subprocess

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent


class Build(build_py):
    def run(self):
        super().run()
        # without the flags that an outer make would pass on, which speak of its own targets and jobs
        env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
        subprocess.run(["make", f"-j{os.cpu_count() or 1}", "grpo", "grpo64", "lib"], cwd=ROOT, env=env,
                       check=True)
        if self.editable_mode:          # then the package finds them where make left them
            return
        to = pathlib.Path(self.build_lib) / "grpoc" / "bin"
        to.mkdir(parents=True, exist_ok=True)
        for built in [ROOT / "grpo", ROOT / "grpo64", *(ROOT / "build" / "lib").glob("libgrpo*.[sd][oy]*")]:
            shutil.copy2(built, to)


class Compiled(Distribution):
    """A wheel with compiled programs inside is for one kind of machine."""

    def has_ext_modules(self):
        return True


WORK = ROOT / "build" / "wheel"
WORK.mkdir(parents=True, exist_ok=True)
setup(packages=["grpoc"], cmdclass={"build_py": Build}, distclass=Compiled,
      options={"build": {"build_base": str(WORK)}, "egg_info": {"egg_base": str(WORK)}})
