"""Public disputes whose truth is known, rebuilt by tests/disputes.py: verify names the true cause, and calls
nothing else wrong."""
import json
import subprocess
import sys

import pytest
import torch
from support import BUILDS, ROOT

sys.path.insert(0, str(ROOT / "tests"))
import disputes

# a way of its own to give advantages, which nothing in the catalogue has: cause unknown is the honest answer
NAMELESS = {"easyr1-585"}


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def verdicts(dispute, folder):
    path, model = disputes.write(dispute, folder)
    line = ([str(BUILDS["f32"]), "verify", "--json", "--dump", str(path)]
            + (["--model", str(disputes.GOLDEN / model)] if model else []))
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode in (0, 1, 3), done.stderr
    return json.loads(done.stdout), done.returncode


@pytest.mark.parametrize("dispute", disputes.DISPUTES, ids=lambda d: d.key)
def test_true_cause(tmp_path, dispute):
    report, code = verdicts(dispute, tmp_path)
    stages = {s["stage"]: s for s in report["stages"]}
    assert code in (1, 3) and not report["answer"] == "right"
    for stage, names in dispute.expect.items():
        assert stages[stage]["kind"] in ("wrong", "differs", "unknown"), (
            f"{stage}: {stages[stage]['verdict']}")
        assert (dispute.key in NAMELESS) == (not set(names) & set(stages[stage]["names"])), (
            f"{stage}: {stages[stage]['verdict']}")
    # values do not tell a derivative: it goes from the log-probabilities on
    follow = {"dlogp"} if "dlogp" in stages else set()
    for stage in set(stages) - set(dispute.expect) - follow:
        assert stages[stage]["kind"] in ("right", "right-as"), f"{stage}: {stages[stage]['verdict']}"


def test_enough_of_them():
    assert len(disputes.DISPUTES) >= 27 and len(NAMELESS) <= 5
    assert len({d.key for d in disputes.DISPUTES}) == len(disputes.DISPUTES)


def test_committed_again(tmp_path):
    """What is committed for the tests without Python is what disputes.py writes."""
    disputes.main(tmp_path)
    committed = disputes.GOLDEN / "disputes"
    assert (tmp_path / "disputes.json").read_text() == (committed / "disputes.json").read_text()
    assert {p.name for p in tmp_path.iterdir()} == {p.name for p in committed.iterdir()}
