"""Reward models against transformers' ...ForSequenceClassification: scores, one training step, folders both
ways."""
import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file
from support import (DTYPE, LIMITS, adamw, checkpoint, close, close_gradients, close_parameters, load,
                     model_tool, read_log, run, write_jsonl)
from test_model import make_model, save

LABELS = ["politeness", "meaningfulness", "safety"]


def labelled(language):
    """Rows with labels on unlike scales, some of them missing; some replies cut, one empty, several to one
    prompt."""
    rows = []
    for i, r in enumerate(language.rows[:14]):
        row = {**r, "labels": {"politeness": i % 5 / 4, "meaningfulness": 10.0 + 3 * math.sin(i),
                               "safety": (-1.0) ** i}}
        if i % 4 == 1:
            row["labels"]["safety"] = None
        if i % 7 == 2:
            del row["labels"]["meaningfulness"]
        if i % 5 == 3:
            row |= {"completion": r["completion"][:6], "finish_reason": "length"}
        rows.append(row)
    rows.append({**rows[3], "completion": "no."})
    rows.insert(4, {**rows[3], "completion": ""})
    return rows


def ids_of(language, rows):
    return [language.prompt_ids(r["prompt"])
            + language.completion_ids(r["completion"], r.get("finish_reason") != "length") for r in rows]


def transformers_scores(model, ids):
    with torch.no_grad():
        return torch.stack([model(torch.tensor([x])).logits[0] for x in ids])


def our_scores(build, folder, data, labels, **options):
    rows = [json.loads(line)
            for line in run(build, "score", dataset=data, reward_model=folder, **options).splitlines()]
    return torch.tensor([[r["scores"][k] for k in labels] for r in rows], dtype=torch.float64)


@pytest.mark.parametrize("build", ["f64", "f32"])
@pytest.mark.parametrize("normalize", [True, False])
def test_trained_folder(language, build, normalize, tmp_path):
    """What `grpo reward` writes, loaded by transformers, gives the scores of `grpo score` less reward_mean
    (E45)."""
    rows = labelled(language)
    data = write_jsonl(tmp_path / "labelled.jsonl", rows)
    run(build, "reward", model=language.final, dataset=data, output_dir=tmp_path / "run", max_steps=12,
        learning_rate=3e-3, normalize_labels=normalize,
        per_device_train_batch_size=4, labels=",".join(LABELS))
    folder = tmp_path / "run" / "final"
    model = load(folder, build, classifier=True)
    config = json.loads((folder / "config.json").read_text())
    assert model.config.num_labels == 3 and model.config.problem_type == "regression"
    assert [model.config.id2label[k] for k in range(3)] == LABELS and model.config.label2id["safety"] == 2
    mean = torch.tensor(config["reward_mean"], dtype=torch.float64)
    assert normalize == bool(mean.abs().sum() > 0)
    got, want = (our_scores(build, folder, data, LABELS),
                 transformers_scores(model, ids_of(language, rows)).double())
    for k, name in enumerate(LABELS):
        close(name, got[:, k] - mean[k], want[:, k],
              LIMITS[build]["score"] * (1 + mean[k].abs().item() / want[:, k].abs().max().item()))


@pytest.mark.parametrize("build", ["f64", "f32"])
@pytest.mark.parametrize("normalize,pad_is_end", [(True, False), (False, False), (True, True)])
def test_one_step(language, build, normalize, pad_is_end, tmp_path):
    """One step on all rows at once: loss, norm, gradients, parameters (E42 to E45, E280 to E284), missing
    labels and label weights included."""
    rows, lr, limit = labelled(language), 1e-3, LIMITS[build]
    start = tmp_path / "base"
    shutil.copytree(language.final, start)
    if pad_is_end:
        config = json.loads((start / "config.json").read_text())
        (start / "config.json").write_text(json.dumps({**config, "pad_token_id": language.end}))
    data = write_jsonl(tmp_path / "labelled.jsonl", rows)
    options = dict(model=start, dataset=data, per_device_train_batch_size=len(rows) // 2,
                   gradient_accumulation_steps=2, max_steps=1, normalize_labels=normalize,
                   labels=",".join(LABELS), label_weights="safety=2,meaningfulness=0.25,politeness=1",
                   lr_scheduler_type="constant", weight_decay=0.1)
    assert len(rows) % 2 == 0
    # final/ is then the start
    run(build, "reward", output_dir=tmp_path / "start", learning_rate=0.0, **options)
    run(build, "reward", output_dir=tmp_path / "run", learning_rate=lr, **options)

    model = load(tmp_path / "start" / "final", build, classifier=True)
    dtype = DTYPE[build]
    y = torch.tensor([[r["labels"].get(k) if r["labels"].get(k) is not None else math.nan for k in LABELS]
                      for r in rows], dtype=torch.float64)
    there, mean, sd = ~torch.isnan(y), torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    if normalize:
        mean = y.nanmean(0)
        sd = ((y - mean) ** 2).nanmean(0).sqrt()
    with torch.no_grad():
        model.score.weight.div_(sd[:, None].to(dtype))
    u = torch.tensor([1, 0.25, 2], dtype=torch.float64) * there
    target = torch.nan_to_num((y - mean) / sd)
    s = torch.stack([model(torch.tensor([x])).logits[0] for x in ids_of(language, rows)])
    loss = (u.to(dtype) * (s - target.to(dtype)) ** 2).sum() / u.sum().to(dtype)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    grads = {k: p.grad.clone() for k, p in model.named_parameters()}
    named = list(model.named_parameters())
    adamw(model, lr, 0.1).step()
    with torch.no_grad():
        model.score.weight.mul_(sd[:, None].to(dtype))

    log = read_log(tmp_path / "run" / "log.jsonl")[0]
    close("loss", log["loss"], loss.item(), limit["loss"])
    close("grad_norm", log["grad_norm"], norm.item(), limit["norm"])
    moment, _, _ = checkpoint(tmp_path / "run", named)
    close_gradients({k: 10 * v for k, v in moment.items()}, grads, limit["grad"])
    final = load_file(tmp_path / "run" / "final" / "model.safetensors")
    final["score.weight"] = final["score.weight"] / sd[:, None].to(final["score.weight"].dtype)
    want = {k: p.detach() for k, p in named}
    want["score.weight"] = want["score.weight"] / sd[:, None].to(dtype)
    share = close_parameters(final, want, grads, lr, limit["step"], limit["grad"])
    # most rows of the embedding belong to bytes that do not occur
    assert share > (0.1 if build == "f32" else 0.15), share


KINDS = [("Llama", {}), ("Qwen2", dict(tie_word_embeddings=True)),
         ("Qwen3", dict(head_dim=12, attention_bias=True))]


def saved_reward(path, language, kind, settings, pad, dtype=torch.float32):
    """A reward folder as transformers saves it, with our tokenizer."""
    model = make_model(kind, settings, classifier=True, vocab_size=260, num_labels=3,
                       problem_type="regression", pad_token_id=pad,
                       id2label=dict(enumerate(LABELS)), label2id={n: i for i, n in enumerate(LABELS)})
    save(model, path, dtype)
    language.tokenizer.save_pretrained(str(path))
    return path


@pytest.mark.parametrize("build", ["f64", "f32"])
@pytest.mark.parametrize("kind,settings", KINDS, ids=[k for k, _ in KINDS])
@pytest.mark.parametrize("pad", ["own", "end", "none"])
def test_folder_of_transformers(language, build, kind, settings, pad, tmp_path):
    """A folder saved by transformers, scored by us. With pad = end of turn the reading place moves before the
    end token (E40, D12)."""
    pad_id = {"own": language.tokenizer.pad_token_id, "end": language.end, "none": None}[pad]
    folder = saved_reward(tmp_path / "model", language, kind, settings, pad_id,
                          torch.bfloat16 if kind == "Qwen2" else torch.float32)
    rows = labelled(language)
    data = write_jsonl(tmp_path / "data.jsonl", rows)
    want = transformers_scores(load(folder, build, classifier=True), ids_of(language, rows))
    got = our_scores(build, folder, data, LABELS)
    close("scores", got, want, LIMITS[build]["score"])
    one_by_one = our_scores(build, folder, data, LABELS, slice_rows=1)
    assert torch.equal(one_by_one, got)


@pytest.mark.parametrize("build", ["f64", "f32"])
@pytest.mark.parametrize("kind,settings", KINDS, ids=[k for k, _ in KINDS])
def test_gradients(language, build, kind, settings, tmp_path):
    """Scores and gradients of a padded batch (E40, E41, E43)."""
    folder = saved_reward(tmp_path / "model", language, kind, settings, 0)
    torch.manual_seed(2)
    ids = torch.randint(1, 260, (3, 15)).tolist()
    ids[1][9:] = [0] * 6
    ids[2][3:5] = [0, 0]
    weights = torch.randn(3, 3, dtype=torch.float64)
    got = model_tool(build, folder, {"input_ids": ids, "dscores": weights.tolist()}, tmp_path)
    model = load(folder, build, classifier=True)
    s = model(torch.tensor(ids), attention_mask=torch.ones(3, 15, dtype=torch.long)).logits
    (s * weights.to(s.dtype)).sum().backward()
    close("scores", got["scores"], s, LIMITS[build]["score"])
    close_gradients(got, {k: p.grad for k, p in model.named_parameters()}, LIMITS[build]["grad"])
