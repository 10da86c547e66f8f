"""`grpo verify` on dumps of a live TRL GRPOTrainer and of a hand-written loop, with settings that are right
and settings that are not; and the golden dumps written again by make_dumps.py, whose own mathematics is held
against the same live dumps."""
import contextlib
import json
import random
import subprocess
import sys

import pytest
import torch
from reward_program import LABELS, scores
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support import BUILDS, ROOT, close, load
from grpoc import Dump                      # after support, which knows where it is

sys.path.insert(0, str(ROOT / "tests"))
import make_dumps

GOLDEN = ROOT / "tests" / "golden"


@contextlib.contextmanager
def double():
    """For make_dumps.py, which runs in float64; TRL makes some quotients in the default type, and would dump
    float64."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)




TRAIN = dict(reward_weights=[0.5, 1.0, 0.25], num_generations=4, max_completion_length=12,
             per_device_train_batch_size=8, learning_rate=1e-3, max_steps=2, lr_scheduler_type="constant",
             seed=3)
REUSE = dict(num_iterations=2, beta=0.05, adam_epsilon=1e-6)
ACCUMULATE = dict(per_device_train_batch_size=4, gradient_accumulation_steps=2, steps_per_generation=4,
                  num_iterations=2, beta=0.05)
CASES = {
    "defaults": {},
    **{loss: dict(REUSE, loss_type=loss)
       for loss in ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "vespo", "luspo")},
    **{"sequence-" + loss: dict(REUSE, loss_type=loss, importance_sampling_level="sequence", epsilon=0.02,
                                epsilon_high=0.03)
       for loss in ("grpo", "dapo", "luspo")},
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
    "equal-weights": dict(reward_weights=[1.0, 1.0, 1.0]),
}


def train(language, path, settings, **extra):
    """Two steps of TRL's own loop, sampling included; the folder with the dumps."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from grpoc.trl import Dumps
    from trl import GRPOConfig, GRPOTrainer
    config = GRPOConfig(output_dir=str(path / "run"), logging_steps=1, save_strategy="no", report_to=[],
                        use_cpu=True, bf16=False, gradient_checkpointing=False, disable_tqdm=True,
                        optim="adamw_torch", **{**TRAIN, **settings})

    def reward(label):
        def f(prompts, completions, completion_ids, **_):
            return [scores(p[-1]["content"], c[0]["content"],
                           "stop" if ids[-1] == language.end else "length")[label]
                    for p, c, ids in zip(prompts, completions, completion_ids)]
        f.__name__ = label
        return f
    model = AutoModelForCausalLM.from_pretrained(str(language.final), dtype=torch.float32)
    trainer = GRPOTrainer(model=model, reward_funcs=[reward(k) for k in LABELS], args=config,
                          processing_class=language.tokenizer,
                          callbacks=[Dumps(path / "dumps", steps=[1, 2])],
                          train_dataset=Dataset.from_list(
                              [{"prompt": [{"role": "user", "content": r["prompt"]}]}
                               for r in language.rows[:40]]), **extra)
    trainer.train()
    return path / "dumps"


def read(path):
    with safe_open(path, "pt") as f:
        meta = f.metadata()
    return {k: v.long() if k.endswith("_ids") else v.double()
            for k, v in load_file(path).items()}, json.loads(meta["config"])


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
def test_reference_against_trl(live, name):
    """What make_dumps.py calls right is what TRL computes: every stage without a model, from the dump's own
    numbers."""
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
            if tensor not in t or stage in make_dumps.MODEL_STAGES or stage == "mask" or (
                stage == "advantages" and not generation):
                continue
            with double():
                found = make_dumps.explain(stage, config, t, "float32", None, None)
            assert found == "right", f"{path.name}: {stage} {found}"
            seen.add(stage)
    assert {"rewards", "advantages", "ratio", "per_token_loss", "loss", "dlogp"} <= seen, seen


# ---- grpo verify on the same dumps -------------------------------------------------------------------------

def verify(path, **options):
    """The report, its stages by name, and the exit code."""
    line = [str(BUILDS["f32"]), "verify", "--json", "--dump", str(path)]
    for k, v in options.items():
        line += ["--" + k.replace("_", "-"), str(v)]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode in (0, 1, 3), f"{' '.join(line)}: {done.stderr}"
    report = json.loads(done.stdout)
    return report, {s["stage"]: s for s in report["stages"]}, done.returncode


def models(folder, path):
    """The folders for a dump of a run: weights before its step, those that generated its completions, the
    reference."""
    step = int(path.name.split("-")[1])
    drawn = max(n for n in range(1, step + 1) if (folder / f"step-{n}-generation.safetensors").exists())
    out = dict(model=folder / f"step-{step}-model", old_model=folder / f"step-{drawn}-model")
    if (folder / "reference").exists():
        out["ref_model"] = folder / "reference"
    return out


# a micro-batch has no scores, the update of several no ids
NOT_THERE = {"advantages": "micro", "grad": "update"}


@pytest.mark.parametrize("name", CASES)
def test_right_settings(live, name):
    """An unmodified TRL is right in every stage, and the report says so."""
    folder, seen = live(name), set()
    for path in sorted(folder.glob("*.safetensors")):
        report, stages, code = verify(path, **models(folder, path))
        for stage, s in stages.items():
            assert s["kind"] == "right", f"{path.name}: {stage}: {s['verdict']}"
        assert code == 0 and report["right"]
        for x in report["not_judged"]:
            assert NOT_THERE.get(x["stage"], "?") in path.name, f"{path.name}: {x}"
        seen |= set(stages)
    assert {"mask", "logps", "entropies", "rewards", "advantages", "ratio", "per_token_loss", "loss", "dlogp",
            "grad", "grad_norm", "step"} <= seen, seen
    assert ("kl" in seen and "ref" in seen) == (CASES[name].get("beta", 0) != 0)


def declared(path, to, **changes):
    """The same numbers with other settings in the metadata."""
    with safe_open(path, "pt") as f:
        meta = f.metadata()
    save_file(load_file(path), to,
              metadata={**meta, "config": json.dumps({**json.loads(meta["config"]), **changes})})
    return to


# run, its file, what the metadata says instead, stage that is wrong, a name among those reported
WRONG = [
    ("dapo", "step-2-micro-1", dict(loss_type="grpo"), "loss", "D16-token-mean"),
    ("grpo", "step-2-micro-1", dict(loss_type="dapo"), "loss", "D16-sequence-mean"),
    ("dr_grpo", "step-2-micro-1", dict(loss_type="bnpo"), "loss", "D16-fixed-length"),
    ("grpo", "step-2-micro-1", dict(gradient_accumulation_steps=2), "loss", "ga-missing"),
    ("defaults", "step-1-generation", dict(scale_rewards="none"), "advantages", "scale-group"),
    ("scale-none", "step-1-generation", dict(scale_rewards="group"), "advantages", "scale-none"),
    ("scale-batch", "step-1-generation", dict(scale_rewards="group"), "advantages", "scale-batch"),
    ("defaults", "step-1-generation", dict(multi_objective_aggregation="normalize_then_sum"), "advantages",
     "aggregation-sum"),
    ("normalize-then-sum", "step-1-generation", dict(multi_objective_aggregation="sum_then_normalize"),
     "advantages", "aggregation-gdpo"),
    ("equal-weights", "step-1-generation", dict(reward_weights=[0.5, 1.0, 0.25]), "rewards",
     "weights-ignored"),
    ("defaults", "step-1-micro-1", dict(temperature=0.7), "logps", "D8-no-temperature"),
    ("grpo", "step-1-generation", dict(temperature=0.7), "ref", "D8-no-temperature"),
    ("grpo", "step-2-micro-1", dict(importance_sampling_level="sequence"), "ratio", "level-token"),
    ("sequence-grpo", "step-2-micro-1", dict(importance_sampling_level="token"), "ratio", "level-sequence"),
    ("no-bias-correction", "step-2-micro-1", dict(use_bias_correction_kl=True), "kl",
     "D15-no-bias-correction"),
    ("sequence-grpo", "step-2-micro-1", dict(epsilon=0.03, epsilon_high=0.02), "per_token_loss",
     "clip-swapped"),
    ("sequence-grpo", "step-2-micro-1", dict(epsilon=0.02, epsilon_high=0.06), "per_token_loss", None),
    ("defaults", "step-1-micro-1", dict(learning_rate=2e-3), "step", None),
]


@pytest.mark.parametrize("case", WRONG,
                         ids=lambda c: f"{c[0]}-{'-'.join(f'{k}={v}' for k, v in c[2].items())}")
def test_wrong_settings(live, tmp_path, case):
    """Settings that say something else than the trainer did: the stage is named, and what it did where the
    catalogue has it."""
    run, file, changes, stage, name = case
    folder = live(run)
    path = folder / (file + ".safetensors")
    _, stages, code = verify(declared(path, tmp_path / path.name, **changes), **models(folder, path))
    assert code in (1, 3)
    found = stages[stage]
    assert (found["kind"] in ("wrong", "differs") and name in found["names"]
            if name else found["kind"] != "right"), f"{stage}: {found['verdict']}"


def test_other_weights(live):
    """A folder that the numbers were not computed with: wrong, and no mistake of the catalogue is blamed."""
    folder = live("defaults")
    _, stages, code = verify(folder / "step-1-micro-1.safetensors", model=folder / "step-2-model")
    assert code == 1 and stages["logps"]["kind"] != "right" and not stages["logps"]["names"]


# ---- a loop written by hand --------------------------------------------------------------------------------

def loop(language, path, wrong=None):
    """One GRPO step in forty lines of PyTorch, with one mistake on request, and its dump."""
    torch.manual_seed(0)
    model = load(language.final, "f32")
    group, width, tau, end, pad = 4, 12, 0.8, language.end, language.tokenizer.pad_token_id or 0
    prompts = [language.prompt_ids(r["prompt"]) for r in language.rows[:2]]
    longest = max(map(len, prompts))
    ids = torch.full((2 * group, longest + width), pad)
    attended = torch.zeros_like(ids)
    for i in range(2 * group):
        p = prompts[i // group]
        ids[i, longest - len(p):longest], attended[i, longest - len(p):longest] = torch.tensor(p), 1
    live = torch.ones(2 * group, dtype=torch.bool)
    for t in range(longest, longest + width):
        position = (attended.cumsum(1) - 1).clamp(min=0)
        with torch.no_grad():
            z = model(input_ids=ids[:, :t], attention_mask=attended[:, :t],
                      position_ids=position[:, :t]).logits[:, -1]
        drawn = torch.multinomial((z / tau).softmax(-1), 1)[:, 0]
        ids[live, t], attended[live, t] = drawn[live], 1
        live = live & (drawn != end)
    mask = attended[:, longest:].float()
    completion = ids[:, longest:]
    if wrong == "D9-no-stop":
        mask = mask * (completion != end)
    reward = torch.tensor([sum(map(int, c)) % 7 / 7 + i / 10 for i, c in enumerate(completion)])
    r = reward.view(-1, group)
    if wrong == "groups-interleaved":
        r = reward.view(group, -1).T
    std = r.std(1, correction=0 if wrong == "D1-population" else 1, keepdim=True)
    advantage = (r - r.mean(1, keepdim=True)) / (std + (0 if wrong == "D1-eps-0" else 1e-4))
    advantage = (advantage.T if wrong == "groups-interleaved" else advantage).reshape(-1)

    z = model(input_ids=ids, attention_mask=attended,
              position_ids=(attended.cumsum(1) - 1).clamp(min=0)).logits
    rows = z[:, longest:] if wrong == "D10-shift" else z[:, longest - 1:-1]
    if wrong == "D28-logits-bf16":
        rows = rows.bfloat16().float()
    logp = (rows / (1 if wrong == "D8-no-temperature" else tau)).log_softmax(-1).gather(
        -1, completion[..., None])[..., 0]
    logp.retain_grad()
    ratio = (logp - logp.detach()).exp()
    token_loss = -torch.min(ratio * advantage[:, None], ratio.clamp(0.8, 1.2) * advantage[:, None])
    if wrong == "loss-sign":
        token_loss = -token_loss
    loss = ((token_loss * mask).sum() / mask.sum() if wrong == "D16-token-mean"
            else ((token_loss * mask).sum(1) / mask.sum(1)).mean())
    optimizer = (
        torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1) if wrong == "D29-decay-all"
        else torch.optim.AdamW(
            [{"params": [p for p in model.parameters() if p.dim() == 2], "weight_decay": 0.1},
             {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0}], lr=1e-3))
    loss.backward()
    dump = Dump(path / "loop.safetensors", producer="a loop", loss_type="grpo", num_generations=group,
                temperature=tau, learning_rate=1e-3, weight_decay=0.1,
                max_grad_norm=1.0, eos_token_id=end, pad_token_id=pad).gradients(model)
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return dump.parameters(model).add(
        prompt_ids=ids[:, :longest], prompt_mask=attended[:, :longest], completion_ids=completion,
        completion_mask=mask, rewards=reward, advantages=advantage,
        per_token_logps=logp, ratio=ratio, per_token_loss=token_loss, loss=loss,
        grad_per_token_logps=logp.grad, grad_norm=norm).write()


LOOP = {None: None, "D9-no-stop": "mask", "groups-interleaved": "advantages", "D1-population": "advantages",
        "D1-eps-0": "advantages", "D8-no-temperature": "logps",
        "D10-shift": "logps", "D28-logits-bf16": "logps", "loss-sign": "per_token_loss",
        "D16-token-mean": "loss", "D29-decay-all": "step"}


# what some trainer does on purpose
CHOICES = ("D1-population", "D1-eps-0", "D16-token-mean", "D29-decay-all")


@pytest.mark.parametrize("wrong", LOOP, ids=str)
def test_loop(language, tmp_path, wrong):
    """The one stage with the mistake gets its name; what follows from it, from its own numbers, is right
    again."""
    _, stages, code = verify(loop(language, tmp_path, wrong), model=language.final)
    assert code == (0 if wrong is None else 3 if wrong in CHOICES else 1)
    for stage, s in stages.items():
        if stage == LOOP[wrong]:
            assert wrong in s["names"], f"{stage}: {s['verdict']}"
        elif stage in ("dlogp", "grad") and LOOP[wrong] in ("logps", "per_token_loss", "loss"):
            assert s["kind"] == "right" or wrong in s["names"] or LOOP[wrong] == "logps", (
                f"{stage}: {s['verdict']}")
        else:
            assert s["kind"] == "right", f"{stage}: {s['verdict']}"


# ---- the golden dumps --------------------------------------------------------------------------------------

def test_every_entry_has_a_dump():
    """Each name of verify --list stands in the expectations of a dump that was made with this mistake."""
    listed = json.loads(subprocess.run([str(BUILDS["f32"]), "verify", "--list", "--json"],
                                       capture_output=True, text=True, check=True).stdout)
    manifest = json.loads((GOLDEN / "mistakes.json").read_text())
    shown = {name for file, m in manifest.items() for stage, verdict in m["expect"].items()
             for name in verdict if file == f"{name}-{stage}.safetensors"}
    assert sorted(x["name"] for x in listed if x["name"] not in shown) == []


@pytest.mark.parametrize("name", make_dumps.FOLDERS)
def test_network_against_transformers(name):
    """The network of dump_math.py, from which its mistakes are made, against transformers in float64: logits
    and gradients."""
    with double():
        config, t, folder = make_dumps.SCENARIOS[name]({})
        w, h = make_dumps.read_folder(GOLDEN / folder)
        w = {k: v.requires_grad_() for k, v in w.items()}
        right = make_dumps.Right(config, t, w, h)
        theirs = load(GOLDEN / folder, "f64")
        mask = right.make_mask()
        ids, attended = (torch.cat([t["prompt_ids"], t["completion_ids"]], 1),
                         torch.cat([t["prompt_mask"], mask], 1))
        z = theirs(input_ids=ids, attention_mask=attended,
                   position_ids=right.positions(attended).long()).logits
        ours, z = right.make_logits() * mask[..., None], right.predicting(z) * mask[..., None]
        close("logits", ours, z, 1e-11)
        seed = torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
        (z * seed).sum().backward()
        names = list(w)
        for k, g in zip(names, torch.autograd.grad((ours * seed).sum(), [w[k] for k in names])):
            close(k, g, dict(theirs.named_parameters())[k].grad, 1e-10)


OPTIONS = dict(
    loss_type=["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "vespo", "luspo"],
    importance_sampling_level=["token", "sequence", "sequence_token"], beta=[0.0, 0.04, 0.3],
    use_bias_correction_kl=[True, False], epsilon=[0.05, 0.2], epsilon_high=[None, 0.1, 0.28, 1.2],
    delta=[None, None, 1.5], gradient_accumulation_steps=[1, 2, 4],
    steps_per_generation=[1, 2, 8], num_items_in_batch=[None, 90, 170], max_completion_length=[6, 512],
    world_size=[1, 2], top_entropy_quantile=[1.0, 1.0, 0.3, 0.7],
    entropy_coef=[0.0, 0.0, 0.05], off_policy_mask_threshold=[None, None, 0.05, -0.05],
    mask_truncated_completions=[True, False], scale_rewards=["group", "batch", "none"],
    sapo_temperature_pos=[1.0, 2.0], vespo_k_pos=[2.0, 1.0],
    vllm_importance_sampling_mode=["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"],
    vllm_importance_sampling_clip_min=[None, 0.7])


@pytest.mark.parametrize("seed", range(4))
def test_options_in_any_combination(tmp_path, seed):
    """Two implementations, every option drawn at random: all stages agree in float64 and float32."""
    choice = random.Random(seed).choice
    for k in range(10):
        config = {name: choice(values) for name, values in OPTIONS.items()}
        if config["loss_type"] in ("cispo", "sapo", "vespo"):
            config["delta"] = None                      # refused: no effect there
        scenario, dtype = (choice(["tokens", "sampler", "far-clip", "rows", "far-reference"]),
                           choice(["float32", "float64"]))
        with double():
            writer = make_dumps.Writer(tmp_path)
            writer.write(f"{seed}-{k}", make_dumps.Right, *make_dumps.SCENARIOS[scenario](dict(config)),
                         dtype=dtype)
        _, stages, code = verify(tmp_path / f"{seed}-{k}.safetensors")
        assert code == 0 and {"mask", "ratio", "per_token_loss", "loss", "dlogp"} <= set(stages), (
            f"{scenario} {dtype} {config}: {[(n, s['verdict']) for n, s in stages.items()]}")


def test_golden_again(tmp_path):
    """make_dumps.py writes what is committed: the same files, expectations and numbers."""
    subprocess.run([sys.executable, str(ROOT / "tests" / "make_dumps.py"), str(tmp_path)], check=True,
                   capture_output=True)
    assert (tmp_path / "mistakes.json").read_text() == (GOLDEN / "mistakes.json").read_text()
    for path in sorted(tmp_path.rglob("*.safetensors")):
        committed = GOLDEN / path.relative_to(tmp_path)
        new, old = load_file(path), load_file(committed)
        assert new.keys() == old.keys(), path.name
        for k, v in new.items():
            assert v.dtype == old[k].dtype and v.shape == old[k].shape, f"{path.name}: {k}"
            rtol, atol = (1e-6 if v.dtype == torch.float32 else
                          1e-2 if v.dtype.itemsize == 2 else 1e-12), 1e-300
            # PyTorch's sums have another order on another processor: what nearly cancels is off by more than
            # a share of itself
            if v.dtype == torch.float64 and v.numel():
                atol = rtol * old[k].nan_to_num(0, 0, 0).abs().max().item()
            assert torch.allclose(v.double(), old[k].double(), rtol=rtol, atol=atol,
                                  equal_nan=True), f"{path.name}: {k}"
