"""`grpo sample` against transformers: reported log-probabilities, greedy tokens, what penalty and filters
keep and how often it is drawn (E23, E29)."""
import json
import shutil

import pytest
import torch
from support import LIMITS, close, load, log_softmax_values, run, write_jsonl
from transformers import (GenerationConfig, LogitsProcessorList, MinPLogitsWarper,
                          RepetitionPenaltyLogitsProcessor, TemperatureLogitsWarper, TopKLogitsWarper,
                          TopPLogitsWarper)


def samples(build, language, path, rows, **options):
    data = write_jsonl(path / "prompts.jsonl", rows)
    return [json.loads(line)
            for line in run(build, "sample", model=options.pop("model", language.final), dataset=data,
                            **options).splitlines()]


def ids_of(language, r):
    """A completion may lack the blank that opens a turn: its length tells."""
    completion = language.completion_ids(r["completion"], r["finish_reason"] == "stop")
    if len(completion) == r["completion_length"] + 1:
        completion = completion[1:]
    assert len(completion) == r["completion_length"], (
        "a completion's text does not give its tokens back: choose another seed")
    return language.prompt_ids(r["prompt"]), completion


def logps(model, prompt, completion, temperature):
    with torch.no_grad():
        z = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1:-1]
    return log_softmax_values(z, torch.tensor(completion), temperature)[0]


@pytest.mark.parametrize("build", ["f64", "f32"])
@pytest.mark.parametrize("settings", [dict(), dict(temperature=0.7), dict(temperature=0),
                                      dict(top_k=3, temperature=1.1), dict(top_p=0.8), dict(min_p=0.1),
                                      dict(repetition_penalty=1.4, temperature=0.8)],
                         ids=["plain", "temperature", "greedy", "top-k", "top-p", "min-p", "penalty"])
def test_logp(language, build, settings, tmp_path):
    """logp is the sum over all of the vocabulary at the temperature, whatever the filters and the penalty; kl
    that against a second model."""
    model, other = load(language.final, build), load(language.base, build)
    rows = [{"prompt": r["prompt"]} for r in language.rows[:6]]
    rows.append({"prompt": [{"role": "user", "content": "Say at?"}, {"role": "assistant", "content": "at."},
                            {"role": "user", "content": "Say on?"}]})
    temperature = settings.get("temperature", 1.0) or 1.0
    got = samples(build, language, tmp_path, rows, num_generations=3, max_completion_length=14,
                  reference=language.base, batch=4, **settings)
    assert len(got) == 21
    for r in got:
        prompt, completion = ids_of(language, r)
        lp = logps(model, prompt, completion, temperature)
        ref = logps(other, prompt, completion, temperature)
        limit = LIMITS[build]["logp"] * len(completion)
        close("logp", r["logp"], lp.sum(), limit, absolute=True)
        close("kl", r["kl"], (lp.double() - ref.double()).sum(), 2 * limit, absolute=True)
    if temperature == 1.0 and "temperature" in settings:
        assert all(len({r["completion"] for r in got[i:i + 3]}) == 1 for i in range(0, 21, 3))      # greedy


def test_greedy(language, tmp_path):
    """Temperature 0 gives generate(do_sample=False)'s tokens."""
    model = load(language.final, "f64")
    for r in samples("f64", language, tmp_path, [{"prompt": r["prompt"]} for r in language.rows[:8]],
                     temperature=0, max_completion_length=20):
        prompt, completion = ids_of(language, r)
        with torch.no_grad():
            want = model.generate(torch.tensor([prompt]),
                                  attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                                  do_sample=False, max_new_tokens=20)[0, len(prompt):].tolist()
        assert completion == want


@pytest.mark.parametrize("settings",
                         [dict(repetition_penalty=1.3),
                          dict(do_sample=False, repetition_penalty=1.15, max_new_tokens=9, temperature=0.3),
                          dict(do_sample=True, top_k=1, repetition_penalty=2.5)],
                         ids=["penalty", "greedy", "top-k-1"])
def test_generation_config(language, settings, tmp_path):
    """A folder whose generation_config.json leaves one choice of a token gives the tokens of generate() on
    that folder."""
    folder = tmp_path / "model"
    shutil.copytree(language.final, folder)
    said = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(dict(said, **settings)))
    model = load(folder, "f64")
    limit = {} if "max_new_tokens" in settings else dict(max_new_tokens=20)
    got = samples("f64", language, tmp_path, [{"prompt": r["prompt"]} for r in language.rows[:8]],
                  model=folder, **({"max_completion_length": 20} if limit else {}))
    plain = samples("f64", language, tmp_path, [{"prompt": r["prompt"]} for r in language.rows[:8]],
                    temperature=0, max_completion_length=20)
    for r in got:
        prompt, completion = ids_of(language, r)
        with torch.no_grad():
            want = model.generate(torch.tensor([prompt]),
                                  attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                                  generation_config=GenerationConfig.from_pretrained(folder),
                                  **limit)[0, len(prompt):].tolist()
        assert completion == want
    assert any(a["completion"] != b["completion"] for a, b in zip(got, plain)), (
        "the settings change nothing: the test sees nothing")


@pytest.mark.parametrize("settings", [dict(), dict(temperature=1.7), dict(top_k=5), dict(top_p=0.7),
                                      dict(min_p=0.2), dict(temperature=1.5, top_k=7, top_p=0.9, min_p=0.05),
                                      dict(repetition_penalty=1.6, temperature=1.2, top_k=9)],
                         ids=["plain", "temperature", "top-k", "top-p", "min-p", "all", "penalty"])
def test_distribution(language, settings, tmp_path):
    """Frequencies of 6000 first tokens after a forced blank: transformers' warpers in transformers' order;
    nothing outside what they keep is ever drawn."""
    n, row = 6000, {"prompt": "Say tea?"}
    model, prompt = load(language.final, "f64"), language.prompt_ids(row["prompt"])
    got = samples("f64", language, tmp_path, [row], num_generations=n, max_completion_length=2, **settings)
    blank = language.tokenizer(" ", add_special_tokens=False)["input_ids"]
    seconds = []
    for r in got:
        ids = language.completion_ids(r["completion"], r["finish_reason"] == "stop")
        if r["completion_length"] == 2 and len(ids) == 2 and ids[0] == blank[0]:
            seconds.append(ids[1])
    assert len(seconds) > 0.9 * n
    # only single characters can be told from their text
    told = [language.tokenizer(chr(c), add_special_tokens=False)["input_ids"][0] for c in range(128)]
    seconds = torch.tensor([x for x in seconds if x in told])
    with torch.no_grad():
        z = model(torch.tensor([prompt + blank])).logits[0, -1:]
    warp = LogitsProcessorList()
    if settings.get("repetition_penalty"):
        warp.append(RepetitionPenaltyLogitsProcessor(settings["repetition_penalty"]))
    if settings.get("temperature"):
        warp.append(TemperatureLogitsWarper(settings["temperature"]))
    if settings.get("top_k"):
        warp.append(TopKLogitsWarper(settings["top_k"]))
    if settings.get("top_p"):
        warp.append(TopPLogitsWarper(settings["top_p"]))
    if settings.get("min_p"):
        warp.append(MinPLogitsWarper(settings["min_p"]))
    p = warp(torch.tensor([prompt + blank]), z).softmax(-1)[0]
    p = torch.zeros_like(p).index_copy(0, torch.tensor(told), p[told])
    p /= p.sum()
    count = torch.bincount(seconds, minlength=p.numel()).double()
    assert not count[p == 0].any(), "a token that the filters drop was drawn"
    expected = p * len(seconds)
    seen = expected > 5
    chi2 = ((count - expected) ** 2 / expected)[seen].sum().item()
    degrees = int(seen.sum()) - 1
    assert degrees >= 2 and chi2 < degrees + 5 * (2 * degrees) ** 0.5 + 5, (chi2, degrees)
    assert (expected[~seen].sum() - count[~seen].sum()).abs() < 5 * (expected[~seen].sum() + 1) ** 0.5
