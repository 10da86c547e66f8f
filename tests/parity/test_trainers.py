"""The gate: released trainers' own functions on random batches (trainers.py), and `grpo verify` has nothing
to say against any of them. A dump ends with exit code 0, right, or 3, a known choice that is not its
profile's. What cannot be installed is skipped, and the summary says so."""
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from support import ROOT

from grpoc import verify

HERE, BUILD = ROOT / "tests" / "parity", ROOT / "build" / "trainers"
RELEASES = [tuple(line.split()) for line in (HERE / "trainers.txt").read_text().splitlines()
            if line.strip() and line[0] != "#"]
AT_LEAST = 1000


class CannotInstall(Exception):
    pass


def install(wanted):
    """The folder of a release, installed once."""
    folder = BUILD / wanted.replace("==", "-")
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        done = subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder,
                               wanted], capture_output=True, text=True)
        if done.returncode:
            raise CannotInstall(f"{wanted} could not be installed: "
                                f"{(done.stderr.strip() or 'no word why').splitlines()[-1]}")
        (folder / "complete").touch()
    return folder


def dumps_of(how, wanted, count):
    """The dumps of a release, written anew, and what went wrong with them."""
    folder = BUILD / (wanted.replace("==", "-") + "-dumps")
    shutil.rmtree(folder, ignore_errors=True)
    env = dict(os.environ, PYTHONPATH=os.pathsep.join([str(install(wanted)), str(ROOT / "bindings")]))
    done = subprocess.run([sys.executable, HERE / "trainers.py", how, folder, count], env=env,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    paths = sorted(folder.rglob("*.safetensors"))
    return paths, [alarm for alarm in map(judge, paths) if alarm]


def judge(path):
    """What verify has against a dump, or None."""
    try:
        result = verify(path, quick=True)
    except ValueError as e:
        return str(e)
    if result.exit_code in (0, 3):
        return None
    return f"{path}: " + "; ".join(f"{stage}: {verdict}" for stage, verdict in result.stages.items()
                                   if not verdict.startswith("right"))


@pytest.fixture(scope="module")
def running():
    """All releases, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        yield {release: pool.submit(dumps_of, *release) for release in RELEASES}


@pytest.mark.parametrize("release", RELEASES, ids=[wanted.replace("==", "-") for _, wanted, _ in RELEASES])
def test_no_false_alarm(running, release):
    try:
        paths, alarms = running[release].result()
    except CannotInstall as e:
        pytest.skip(str(e))
    assert len(paths) >= int(release[2])
    assert not alarms, f"{len(alarms)} of {len(paths)} dumps of {release[1]}:\n" + "\n".join(alarms[:20])


def test_enough_dumps(running):
    """At least a thousand, if all releases are to be had."""
    judged = [len(f.result()[0]) for f in running.values() if f.exception() is None]
    print(f"{sum(judged)} dumps of {len(judged)} releases judged")
    if len(judged) < len(RELEASES):
        pytest.skip(f"{len(RELEASES) - len(judged)} of {len(RELEASES)} releases were not judged")
    assert sum(judged) >= AT_LEAST
