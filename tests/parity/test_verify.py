"""`grpo verify` on dumps of a live TRL GRPOTrainer and of a hand-written loop, with settings that are right and settings that are not; and the golden
dumps written again by make_dumps.py, whose own mathematics is held against the same live dumps."""
import json
import pathlib
import subprocess
import sys

import pytest
import torch
from reward_program import LABELS, scores
from safetensors import safe_open
from safetensors.torch import load_file
from support import BUILDS, ROOT

sys.path.insert(0, str(ROOT / "tests"))
import make_dumps


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)



TRAIN = dict(num_generations=4, max_completion_length=12, per_device_train_batch_size=8, learning_rate=1e-3, max_steps=2, lr_scheduler_type="constant")
REUSE = dict(num_iterations=2, beta=0.05, adam_epsilon=1e-6)
ACCUMULATE = dict(per_device_train_batch_size=4, gradient_accumulation_steps=2, steps_per_generation=4, num_iterations=2, beta=0.05)
CASES = {
    "defaults": {},
    **{loss: dict(REUSE, loss_type=loss) for loss in ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "vespo", "luspo")},
    **{"sequence-" + loss: dict(REUSE, loss_type=loss, importance_sampling_level="sequence", epsilon=0.02, epsilon_high=0.03) for loss in ("grpo", "dapo", "luspo")},
    **{"accumulate-" + loss: dict(ACCUMULATE, loss_type=loss) for loss in ("grpo", "bnpo", "dapo", "cispo")},
    "no-beta": dict(num_iterations=2),
    "no-bias-correction": dict(REUSE, use_bias_correction_kl=False),
    "scale-batch": dict(scale_rewards="batch"),
    "scale-none": dict(scale_rewards="none"),
    "normalize-then-sum": dict(multi_objective_aggregation="normalize_then_sum"),
    "temperature": dict(REUSE, temperature=0.7),
    "delta": dict(REUSE, delta=1.3, epsilon=0.1, epsilon_high=0.15),
    "entropy": dict(REUSE, entropy_coef=0.02, top_entropy_quantile=0.4),
    "masked-truncated": dict(REUSE, mask_truncated_completions=True),
}


NOISE = ["D15-naive-k3"]        # exp(D) - D - 1 in float32, as TRL writes it: next to the reference not even one digit is left (E302)


def train(language, path, settings, **extra):
    """Two steps of TRL's own loop, sampling included; the folder with the dumps."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import GRPOConfig
    from trl_dump import DumpingGRPOTrainer
    config = GRPOConfig(output_dir=str(path / "run"), reward_weights=[0.5, 1.0, 0.25], logging_steps=1, save_strategy="no", report_to=[], use_cpu=True, bf16=False,
                        gradient_checkpointing=False, disable_tqdm=True, optim="adamw_torch", seed=3, **{**TRAIN, **settings})

    def reward(label):
        def f(prompts, completions, completion_ids, **_):
            return [scores(p[-1]["content"], c[0]["content"], "stop" if ids[-1] == language.end else "length")[label] for p, c, ids in zip(prompts, completions, completion_ids)]
        f.__name__ = label
        return f
    model = AutoModelForCausalLM.from_pretrained(str(language.final), dtype=torch.float32)
    trainer = DumpingGRPOTrainer(model=model, reward_funcs=[reward(k) for k in LABELS], args=config, processing_class=language.tokenizer, dump_steps=[1, 2], dump_folder=path / "dumps",
                                 train_dataset=Dataset.from_list([{"prompt": [{"role": "user", "content": r["prompt"]}]} for r in language.rows[:40]]), **extra)
    trainer.train()
    return path / "dumps"


def read(path):
    with safe_open(path, "pt") as f:
        meta = f.metadata()
    return {k: v.long() if k.endswith("_ids") else v.double() for k, v in load_file(path).items()}, json.loads(meta["config"])


@pytest.fixture(scope="module")
def live(language, tmp_path_factory):
    """Dumps of a case, made once."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = train(language, tmp_path_factory.mktemp(name), CASES[name])
        return made[name]
    return get


@pytest.mark.parametrize("name", CASES)
def test_reference_against_trl(live, name, double):
    """What make_dumps.py calls right is what TRL computes: every stage without a model, from the dump's own numbers."""
    folder = live(name)
    files = sorted(folder.glob("*.safetensors"))
    assert files
    seen = set()
    for path in files:
        t, config = read(path)
        if isinstance(config.get("eos_token_id"), list):
            config["eos_token_id"] = config["eos_token_id"][0]
        generation = "rewards" in t
        for stage, tensor in make_dumps.STAGES.items():
            if tensor not in t or stage in make_dumps.MODEL_STAGES or stage == "mask" or (stage == "advantages" and not generation):
                continue
            found = make_dumps.explain(stage, config, t, "float32", None, None)
            assert found == "right" or found == NOISE and stage == "kl", f"{path.name}: {stage} {found}"
            seen.add(stage)
    assert {"rewards", "advantages", "ratio", "per_token_loss", "loss", "dlogp"} <= seen, seen
