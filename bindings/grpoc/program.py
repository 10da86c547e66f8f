"""The compiled program: where it is, and `verify`, which runs it on a dump and reads the report."""
import functools
import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent


def find(name):
    """Path of a program: inside the installed package, or, in a clone of the repository, where make leaves
    it."""
    for path in (HERE / "bin" / name, HERE.parents[1] / name):
        if path.is_file():
            return path
    raise FileNotFoundError(f"{name}: found neither in {HERE / 'bin'} nor in {HERE.parents[1]}; "
                            "`pip install ./bindings` or `make` builds it")


class Result:
    """The report on one dump. ok: right, or right as the declared profile; exit_code: 0 right, 1 wrong, 3 a
    known choice that is not the declared profile's; stages: name to verdict; json: the whole report; text:
    the report as a person reads it; bool(result) is ok."""

    def __init__(self, command, exit_code, report):
        self.command, self.exit_code, self.json = command, exit_code, report
        self.ok = exit_code == 0
        self.stages = {s["stage"]: s["verdict"] for s in report["stages"]}

    @functools.cached_property
    def text(self):
        return subprocess.run(self.command, capture_output=True, text=True).stdout

    def __bool__(self):
        return self.ok

    def __repr__(self):
        return f"<grpoc.Result exit {self.exit_code}: {self.stages}>"

    def __str__(self):
        return self.text


def verify(dump, profile=None, model=None, old_model=None, ref_model=None, quick=False, junit=None):
    """Judges a dump: a path, or a grpoc.Dump that has been written. profile: what the trainer means to be,
    "verl-0.9" or so; model, old_model, ref_model: Hugging Face folders, for the stages that need the network;
    junit: the report as JUnit XML too, into this file. Returns a Result; what cannot be read or judged raises
    ValueError with the program's line."""
    given = {"--dump": getattr(dump, "path", dump), "--profile": profile, "--model": model,
             "--old-model": old_model, "--ref-model": ref_model, "--junit": junit}
    command = ([str(find("grpo")), "verify"]
               + [str(x) for pair in given.items() if pair[1] is not None for x in pair])
    command += ["--quick"] if quick else []
    done = subprocess.run(command + ["--json"], capture_output=True, text=True)
    if done.returncode not in (0, 1, 3):
        raise ValueError(done.stderr.strip() or f"{command[0]}: exit {done.returncode}")
    return Result(command, done.returncode, json.loads(done.stdout))


def grpo(name="grpo"):
    """The program under its own name on the command line."""
    path = str(find(name))
    os.execv(path, [path, *sys.argv[1:]])


def grpo64():
    grpo("grpo64")
