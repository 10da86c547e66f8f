"""The Python package as a stranger meets it: `pip install ./bindings` in a clean virtual environment, then
from an empty folder to the first verdict on an unmodified TRL run in three commands (docs/verify.md); dumps
of every kind of array; the pytest plug-in."""
import json
import os
import subprocess
import sys
import sysconfig

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from support import ROOT

import grpoc

GOLDEN = ROOT / "tests" / "golden"
RIGHT, WRONG = GOLDEN / "right-dapo-token.safetensors", GOLDEN / "D16-sequence-mean-loss.safetensors"


# ---- dumps -------------------------------------------------------------------------------------------------

def test_tensors_and_arrays(tmp_path):
    """PyTorch's and NumPy's, of every precision; masks and ids as such; a Python number as precise as what
    stands beside it."""
    logps = torch.tensor([[-1.0, -2.0, -0.5], [-0.25, -4.0, 0.0]])
    with grpoc.Dump(tmp_path / "d.safetensors", "verl-0.9", compute_dtype="bfloat16", loss_mode="vanilla",
                    absent=None) as dump:
        dump.add(per_token_logps=logps.bfloat16(), old_per_token_logps=logps.double(),
                 ref_per_token_logps=logps.numpy().astype(np.float16),
                 completion_mask=np.array([[1, 1, 1], [1, 1, 0]]), completion_ids=[[5, 6, 7], [8, 9, 0]],
                 advantages=[1, -1], loss=0.1, per_token_loss=logps.T.contiguous().T, entropies=None)
        logps.zero_()                               # a copy was kept
    tensors = load_file(tmp_path / "d.safetensors")
    types = {k: str(v.dtype)[6:] for k, v in tensors.items()}
    assert types == {"per_token_logps": "bfloat16", "old_per_token_logps": "float64",
                     "ref_per_token_logps": "float16", "completion_mask": "bool",
                     "completion_ids": "int64", "advantages": "float32", "loss": "float32",
                     "per_token_loss": "float32"}
    for name in ("per_token_logps", "old_per_token_logps", "ref_per_token_logps", "per_token_loss"):
        assert tensors[name].tolist() == [[-1.0, -2.0, -0.5], [-0.25, -4.0, 0.0]], name
    assert (tensors["loss"].shape == () and tensors["loss"].item() == np.float32(0.1)
            and tensors["advantages"].tolist() == [1, -1])
    with safe_open(tmp_path / "d.safetensors", "pt") as f:
        meta = f.metadata()
    assert (meta["profile"] == "verl-0.9" and meta["compute_dtype"] == "bfloat16"
            and json.loads(meta["config"]) == {"loss_mode": "vanilla"})


def test_a_number_among_doubles(tmp_path):
    grpoc.Dump(tmp_path / "d.safetensors").add(per_token_logps=np.zeros((1, 1)), loss=0.1).write()
    assert load_file(tmp_path / "d.safetensors")["loss"].item() == 0.1


def test_no_file_of_what_failed(tmp_path):
    with pytest.raises(KeyError, match="per_token_logp: no tensor.*did you mean per_token_logps"):
        with grpoc.Dump(tmp_path / "d.safetensors") as dump:
            dump.add(per_token_logp=[[0.0]])
    with pytest.raises(TypeError, match="loss: found complex128"):
        grpoc.Dump(tmp_path / "d.safetensors").add(loss=np.array(1j))
    assert not list(tmp_path.iterdir())


# ---- verdicts ----------------------------------------------------------------------------------------------

def test_verify():
    right, wrong = grpoc.verify(RIGHT), grpoc.verify(WRONG)
    assert (right and right.ok and right.exit_code == 0 and set(right.stages.values()) == {"right"}
            and right.json["right"])
    assert not wrong and wrong.exit_code in (1, 3) and "right" not in wrong.stages["loss"][:5]
    assert "loss" in wrong.text and str(wrong) == wrong.text
    with pytest.raises(ValueError, match="none.safetensors"):
        grpoc.verify("none.safetensors")
    with pytest.raises(ValueError, match="veryl"):
        grpoc.verify(RIGHT, profile="veryl")


def policy_loss(logp, old, adv, mask):
    ratio = (logp - old).exp()
    token_loss = -torch.min(ratio * adv[:, None], ratio.clamp(0.8, 1.2) * adv[:, None])
    return (token_loss * mask).sum() / mask.sum()


@pytest.mark.parametrize("wrong", [False, True])
def test_decorator(tmp_path, wrong):
    """A loss of one's own, its derivative included: the second's gradient is another loss's."""
    torch.manual_seed(1)
    logp = (-torch.rand(4, 5)).requires_grad_()
    old, adv, mask = (logp.detach() + 0.3 * torch.randn(4, 5), torch.tensor([1.0, -1, 0.5, -0.5]),
                      torch.ones(4, 5))
    mask[1, 3:] = 0
    function = grpoc.dumps(tmp_path, loss_type="bnpo", num_generations=2)(policy_loss)
    if wrong:
        function = grpoc.dumps(tmp_path, loss_type="grpo", num_generations=2)(policy_loss)
    assert function(logp, old, adv, mask).item() == policy_loss(logp, old, adv, mask).item()
    result = grpoc.verify(tmp_path / "loss-1.safetensors")
    assert {"ratio", "per_token_loss", "loss", "dlogp"} <= set(result.stages) and result.ok != wrong
    assert result.stages["per_token_loss"] == "right"
    if wrong:
        assert "right" != result.stages["loss"] and "right" != result.stages["dlogp"]


# ---- installed ---------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """A virtual environment with nothing but the package. What TRL needs is borrowed from here, since it is
    gigabytes."""
    path = tmp_path_factory.mktemp("clean")
    subprocess.run([sys.executable, "-m", "venv", path / "venv"], check=True)
    done = subprocess.run([path / "venv/bin/pip", "install", "-q", ROOT / "bindings"], capture_output=True,
                          text=True)
    if done.returncode and "No matching distribution" in done.stderr:
        pytest.skip(f"no build backend or NumPy to be had: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr[-2000:]
    return path


def run(clean, folder, *command):
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    env.update(PATH=f"{clean / 'venv/bin'}{os.pathsep}{env['PATH']}",
               PYTHONPATH=sysconfig.get_paths()["purelib"])
    return subprocess.run(list(map(str, command)), cwd=folder, env=env, capture_output=True, text=True)


def test_program_is_inside(clean, tmp_path):
    """The wheel's own program, not the clone's: it stands in the environment."""
    done = run(clean, tmp_path, clean / "venv/bin/python", "-c",
               "import grpoc, grpoc.equations as e\nprint(grpoc.program.find('grpo'), e.PATH)")
    assert done.returncode == 0 and all(str(clean) in p for p in done.stdout.split()), done
    assert run(clean, tmp_path, "grpo64", "help").returncode == 0
    assert not (ROOT / "bindings" / "build").exists() and not list((ROOT / "bindings").glob("*.egg-info"))


def test_three_commands(clean, tmp_path):
    """The first was `pip install`. The second runs a script that trains with TRL, as it is; the third is the
    verdict."""
    done = run(clean, tmp_path, "python", "-m", "grpoc", "trl", ROOT / "bindings/examples/first_trl.py")
    assert done.returncode == 0, done.stderr[-2000:]
    told = [line.split() for line in done.stdout.splitlines() if line.startswith("grpo verify")]
    assert [t[3] for t in told] == ["dumps/step-1-generation.safetensors", "dumps/step-1-micro-1.safetensors"]
    for command in told:
        verdict = run(clean, tmp_path, *command)
        assert verdict.returncode == 0, verdict.stdout


def test_plugin(clean, tmp_path):
    (tmp_path / "test_mine.py").write_text(f"""
def test_right(assert_grpo):
    assert assert_grpo({str(RIGHT)!r}).exit_code == 0

def test_wrong(assert_grpo):
    assert_grpo({str(WRONG)!r})
""")
    done = run(clean, tmp_path, "python", "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 1 and "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "stage" in done.stdout and "D16-sequence-mean" in done.stdout, done.stdout
