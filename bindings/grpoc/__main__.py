"""python -m grpoc trl [--folder dumps] [--steps 1,2] SCRIPT [ARGUMENTS]: runs a script that trains with TRL,
as it is, and writes dumps of these steps; then it tells the command that judges each of them."""
import argparse
import pathlib
import runpy
import sys


def main():
    parser = argparse.ArgumentParser(prog="python -m grpoc",
                                     description="dumps out of a training script that stays as it is")
    parser.add_argument("trainer", choices=["trl"], help="what the script trains with")
    parser.add_argument("--folder", default="dumps", help="where the dumps go")
    parser.add_argument("--steps", default="1", help="optimiser steps to dump, counted from 1, such as 1,5")
    parser.add_argument("script")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    from trl import GRPOTrainer

    from .trl import watch
    steps = [int(s) for s in given.steps.split(",")]
    begin = GRPOTrainer.__init__

    def watched(self, *args, **kwargs):
        begin(self, *args, **kwargs)
        watch(self, given.folder, steps)
    GRPOTrainer.__init__ = watched
    sys.argv = [given.script, *given.arguments]
    sys.path.insert(0, str(pathlib.Path(given.script).resolve().parent))
    runpy.run_path(given.script, run_name="__main__")
    tell(pathlib.Path(given.folder))


def tell(folder):
    """The commands that judge the dumps, with the models that belong to them."""
    drawn = None
    for path in sorted(folder.glob("step-*.safetensors"), key=lambda p: (int(p.name.split("-")[1]), p.name)):
        model = folder / f"step-{path.name.split('-')[1]}-model"
        drawn = model if "generation" in path.name else drawn
        models = [f"--model {model}"] + ([f"--old-model {drawn}"] if drawn else [])
        models += [f"--ref-model {folder / 'reference'}"] if (folder / "reference").exists() else []
        print("grpo verify --dump", path, *models)


if __name__ == "__main__":
    main()
