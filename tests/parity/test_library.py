"""The library and its Python side (bindings/grpoc/equations.py) against the known answers, and its structs
against the headers."""
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bindings"))
from grpoc import equations as eq  # noqa: E402

CASES = json.loads((ROOT / "tests/data/known_answers.json").read_text())["cases"]
OF_WINDOW = {"num_items_in_batch", "num_processes", "gradient_accumulation_steps", "steps_per_generation",
             "training"}


def array(x):
    return None if x is None else np.array(x, dtype=float)


def grpo_loss(i):
    given = {k: array(i.get(k)) for k in ("old_logps", "ref_logps", "mask", "entropies", "sampling_logps",
                                          "importance_sampling_ratio")}
    return eq.loss(array(i["logps"]), array(i["advantages"]), **given,
                   **{k: v for k, v in i.get("config", {}).items() if k not in OF_WINDOW or v is not None})


def grpo_advantages(i):
    keys = ("num_generations", "scale_rewards", "multi_objective_aggregation", "missing_labels")
    return eq.advantages(array(i["rewards_per_func"]), i.get("reward_weights"),
                         **{k: i[k] for k in keys if k in i})


KINDS = {
    "grpo_loss": grpo_loss,
    "grpo_advantages": grpo_advantages,
    "kl_estimators": lambda i: eq.kl(i["logps"], i["ref_logps"]),
    "rloo_advantages": lambda i: {
        "advantages": eq.rloo_advantages(array(i["rewards"]), i["num_generations"],
                                         i.get("normalize", False))},
    "importance_sampling_ratio": lambda i: eq.importance_ratio(
        array(i["old_logps"]), array(i["sampling_logps"]), array(i["mask"]), i["mode"], i["clip_min"],
        i["clip_max"]),
    "regression_loss": lambda i: eq.regression_loss(
        array(i["scores"]), array(i["labels"]), i.get("label_weights")),
}
OURS = [c for c in CASES if c["kind"] in KINDS
        and not c["inputs"].get("config", {}).get("use_adaptive_entropy")]


@pytest.mark.parametrize("case", OURS, ids=lambda c: f"{c['id']}-{c['kind']}")
def test_known_answer(case):
    got = KINDS[case["kind"]](case["inputs"])
    compared = 0
    for key, want in case["expected"].items():
        # means of single labels, and the like: not among what the function gives
        if key not in got:
            assert key in ("reward_means", "reward_stds", "some_missing"), f"{key} is not among {sorted(got)}"
            continue
        np.testing.assert_allclose(np.array(got[key], dtype=float), np.array(want, dtype=float),
                                   rtol=case["rtol"], atol=case["atol"], err_msg=key)
        compared += 1
    assert compared


def test_there_are_cases():
    assert {c["kind"] for c in OURS} == set(KINDS) and len(OURS) >= 40


@pytest.mark.parametrize("name,struct", [("GrpoConfig", eq.Config), ("GrpoIn", eq.In),
                                         ("GrpoWindow", eq.Window), ("GrpoMicro", eq.Micro),
                                         ("GrpoSums", eq.Sums), ("GrpoRewardStats", eq.RewardStats),
                                         ("IsrStats", eq.IsrStats), ("GrpoMetrics", eq.Metrics)])
def test_struct_is_the_headers(name, struct):
    header = re.sub(r"/\*.*?\*/", "", (ROOT / "build/lib/grpo64.h").read_text(), flags=re.S)
    body = re.search(r"typedef struct \{([^{}]*)\} %s;" % name, header).group(1)
    if "GRPO_METRICS" in body:          # a list of fields, which the header writes once for struct and names
        rows = re.search(r"#define GRPO_METRICS\(X\)((?:.*\\\n)*.*)", header).group(1)
        body = "".join(f"double {field};" for field in re.findall(r"X\((\w+),", rows))
    kinds = {"double": eq.C.c_double, "int": eq.C.c_int, "bool": eq.C.c_bool, "size_t": eq.C.c_size_t}
    fields = []
    for line in filter(str.strip, body.split(";")):
        kind, names = line.replace("const ", "").replace("unsigned ", "").strip().split(None, 1)
        for field in names.split(","):
            fields.append((field.strip(" *"), eq.C.c_void_p if "*" in field else kinds.get(kind, eq.C.c_int)))
    assert fields == struct._fields_


def test_what_does_not_fit_is_told():
    with pytest.raises(ValueError, match='did you mean "dr_grpo"'):
        eq.config(loss_type="drgrpo")
    with pytest.raises(ValueError, match="epsilon: found 2"):
        eq.config(epsilon=2)
    with pytest.raises(ValueError, match="no such option"):
        eq.config(clip=0.2)
    with pytest.raises(ValueError, match="ref_logps"):
        eq.loss([[-1.0]], [1.0], beta=0.1)
    with pytest.raises(ValueError, match="no multiple"):
        eq.advantages(np.zeros((7, 2)))


def test_float_library():
    code = ("from grpoc import equations as eq; r = eq.loss([[-1, -2]], [1], old_logps=[[-1.1, -2.2]]); "
            "print(r['dlogps'].dtype, r['loss'])")
    env = {"GRPO_LIB": str(next((ROOT / "build/lib").glob("libgrpo32.[sd]*"))),
           "PYTHONPATH": str(ROOT / "bindings")}
    dtype, value = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True,
                                  text=True).stdout.split()
    assert dtype == "float32"
    want = eq.loss([[-1, -2]], [1], old_logps=[[-1.1, -2.2]])["loss"]
    assert float(value) != want and abs(float(value) - want) < 1e-6
