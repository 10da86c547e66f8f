"""Supervised fine-tuning against PyTorch and TRL's SFTTrainer (E32, E280 to E288), and the folders that it
writes."""
import json
import pathlib
import sys

import pytest
import torch
from safetensors.torch import load_file
from support import (DTYPE, LIMITS, adamw, checkpoint, close, close_gradients, close_parameters, load,
                     log_softmax_values, model_tool, read_log, run, write_jsonl)
from test_model import make_model, save

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import make_tokenizer_vectors as made


def examples(language):
    """A cut completion trains without the end token, a conversation has earlier turns."""
    rows = [dict(r) for r in language.rows[:6]]
    rows[2] |= {"finish_reason": "length"}
    rows.append({"messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Who?"},
                              {"role": "assistant", "content": "a dog."},
                              {"role": "user", "content": "Who else?"},
                              {"role": "assistant", "content": "the cat."}]})
    rows.append({"prompt": [{"role": "user", "content": "Say it."}],
                 "completion": [{"role": "assistant", "content": "it."}]})
    return rows


def tokens(language, row):
    """Prompt and completion ids of a row."""
    if "messages" in row:
        return (language.prompt_ids(row["messages"][:-1]),
                language.completion_ids(row["messages"][-1]["content"]))
    text = row["completion"] if isinstance(row["completion"], str) else row["completion"][0]["content"]
    return (language.prompt_ids(row["prompt"]),
            language.completion_ids(text, row.get("finish_reason") != "length"))


def start_folder(language, kind, path):
    if kind == "tied":
        return language.base
    save(make_model("Qwen3", dict(head_dim=12, vocab_size=260)), path / "start")
    language.tokenizer.save_pretrained(str(path / "start"))
    return path / "start"


def sft_loss(model, pairs):
    """E32 over a window, and the sum of entropies."""
    total = entropy = n = 0
    for prompt, completion in pairs:
        z = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1:-1]
        lp, h = log_softmax_values(z, torch.tensor(completion))
        total, entropy, n = total - lp.sum(), entropy + h.sum(), n + len(completion)
    return total / n, entropy.item() / n


@pytest.mark.parametrize("build", ["f64", "f32"])
@pytest.mark.parametrize("kind", ["tied", "qwen3"])
def test_one_step(language, build, kind, tmp_path):
    rows, lr, limit = examples(language), 1e-3, LIMITS[build]
    folder = start_folder(language, kind, tmp_path)
    run(build, "sft", model=folder, dataset=write_jsonl(tmp_path / "data.jsonl", rows),
        output_dir=tmp_path / "run", per_device_train_batch_size=4, gradient_accumulation_steps=2,
        max_steps=1, learning_rate=lr, max_grad_norm=0.5)
    model = load(folder, build)
    named = list(model.named_parameters())
    loss, entropy = sft_loss(model, [tokens(language, r) for r in rows])
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    assert norm > 0.5
    grads = {k: p.grad.clone() for k, p in named}
    adamw(model, lr, 0.0).step()

    log = read_log(tmp_path / "run" / "log.jsonl")[0]
    close("loss", log["loss"], loss.item(), limit["loss"])
    close("entropy", log["entropy"], entropy, limit["logp"])
    close("grad_norm", log["grad_norm"], norm.item(), limit["norm"])
    assert (log["learning_rate"] == lr
            and log["num_tokens"]
            == sum(len(p) + len(c) for p, c in map(lambda r: tokens(language, r), rows)))
    moment, square, _ = checkpoint(tmp_path / "run", named)
    close_gradients({k: 10 * v for k, v in moment.items()}, grads, limit["grad"])
    close_gradients({k: 1000 * v for k, v in square.items()}, {k: g * g for k, g in grads.items()},
                    2 * limit["grad"])
    final = load_file(tmp_path / "run" / "final" / "model.safetensors")
    share = close_parameters(final, {k: p.detach() for k, p in named}, grads, lr, limit["step"],
                             limit["grad"])
    assert share > (0.2 if build == "f32" else 0.6), share


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant_with_warmup", "cosine_with_min_lr"])
def test_five_steps(language, schedule, tmp_path):
    """Five steps in double with warm-up, decay of weights and other betas: the whole optimiser against
    PyTorch, the rate against transformers."""
    import transformers
    rows, lr, limit = examples(language), 2e-3, LIMITS["f64"]
    more = dict(min_lr_ratio=0.25) if schedule == "cosine_with_min_lr" else {}
    run("f64", "sft", model=language.base, dataset=write_jsonl(tmp_path / "data.jsonl", rows),
        output_dir=tmp_path / "run", per_device_train_batch_size=8, max_steps=5,
        learning_rate=lr, lr_scheduler_type=schedule, warmup_steps=2, weight_decay=0.1, adam_beta1=0.8,
        adam_beta2=0.95, adam_epsilon=1e-6, **more)
    model = load(language.base, "f64")
    named, pairs = list(model.named_parameters()), [tokens(language, r) for r in rows]
    optimiser = adamw(model, lr, 0.1, betas=(0.8, 0.95), eps=1e-6)
    rates = transformers.get_scheduler(schedule, optimiser, 2, 5, {"min_lr_rate": 0.25} if more else None)
    for log in read_log(tmp_path / "run" / "log.jsonl"):
        optimiser.zero_grad()
        loss, _ = sft_loss(model, pairs)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        close(f"step {log['step']} loss", log["loss"], loss.item(), 1e-10)
        close(f"step {log['step']} grad_norm", log["grad_norm"], norm.item(), 1e-9)
        close("rate", log["learning_rate"], rates.get_last_lr()[0], 1e-14)
        optimiser.step()
        rates.step()
    assert log["step"] == 5
    moment, square, weights = checkpoint(tmp_path / "run", named)
    for k, p in named:
        close("exp_avg " + k, moment[k], optimiser.state[p]["exp_avg"], 1e-8)
        close("exp_avg_sq " + k, square[k], optimiser.state[p]["exp_avg_sq"], 1e-8)
        close(k, weights[k], p, 1e-8)


def test_trl(language, tmp_path):
    """TRL's own SFTTrainer on the same conversations in float: which tokens count, the loss, its norm, the
    entropy (text prompts of ours are user turns)."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer
    rows = [{"prompt": [{"role": "user", "content": r["prompt"]}],
             "completion": [{"role": "assistant", "content": r["completion"]}]} for r in language.rows[:8]]
    run("f32", "sft", model=language.base, dataset=write_jsonl(tmp_path / "data.jsonl", rows),
        output_dir=tmp_path / "run", per_device_train_batch_size=4, gradient_accumulation_steps=2,
        max_steps=3, adam_epsilon=1e-4, learning_rate=1e-3)
    config = SFTConfig(output_dir=str(tmp_path / "trl"), per_device_train_batch_size=4,
                       gradient_accumulation_steps=2, max_steps=3, learning_rate=1e-3, adam_epsilon=1e-4,
                       logging_steps=1, save_strategy="no", report_to=[], use_cpu=True, bf16=False,
                       gradient_checkpointing=False, disable_tqdm=True)
    trainer = SFTTrainer(model=AutoModelForCausalLM.from_pretrained(str(language.base), dtype=torch.float32),
                         args=config, train_dataset=Dataset.from_list(rows),
                         processing_class=language.tokenizer)
    trainer.train()
    ours, theirs = (read_log(tmp_path / "run" / "log.jsonl"),
                    [h for h in trainer.state.log_history if "loss" in h])
    assert len(ours) == len(theirs) == 3
    for a, b in zip(ours, theirs):
        # TRL logs the mean of the micro-batches' entropies, we that of all tokens; it rounds nothing, but
        # adds losses in float
        close("loss", a["loss"], float(b["loss"]), 1e-5)
        close("grad_norm", a["grad_norm"], float(b["grad_norm"]), 1e-4)
        close("learning_rate", a["learning_rate"], float(b["learning_rate"]), 1e-6)
        close("entropy", a["entropy"], float(b["entropy"]), 1e-2)
        assert a["num_tokens"] == b["num_tokens"]


@pytest.mark.parametrize("size,accumulate", [(8, 1), (2, 4), (16, 1)])
def test_short_last_batch(language, size, accumulate, tmp_path):
    """The last batch of an epoch has the rows that are left: as many updates as TRL makes, after the same
    shares of the data."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer
    row = language.rows[0]
    rows = [{"prompt": [{"role": "user", "content": row["prompt"]}],
             "completion": [{"role": "assistant", "content": row["completion"]}]}] * 10
    options = dict(per_device_train_batch_size=size, gradient_accumulation_steps=accumulate,
                   num_train_epochs=3, learning_rate=1e-3)
    run("f32", "sft", model=language.base, dataset=write_jsonl(tmp_path / "data.jsonl", rows),
        output_dir=tmp_path / "run", adam_epsilon=1e-4, **options)
    config = SFTConfig(output_dir=str(tmp_path / "trl"), logging_steps=1, adam_epsilon=1e-4,
                       save_strategy="no", report_to=[], use_cpu=True, bf16=False,
                       gradient_checkpointing=False, disable_tqdm=True, **options)
    trainer = SFTTrainer(model=AutoModelForCausalLM.from_pretrained(str(language.base), dtype=torch.float32),
                         args=config, train_dataset=Dataset.from_list(rows),
                         processing_class=language.tokenizer)
    trainer.train()
    ours, theirs = (read_log(tmp_path / "run" / "log.jsonl"),
                    [h for h in trainer.state.log_history if "loss" in h])
    assert len(ours) == len(theirs) == (3 if size == 16 else 6)
    for a, b in zip(ours, theirs):          # the rows are alike, so their order does not matter
        close("epoch", a["epoch"], b["epoch"], 1e-9)
        close("loss", a["loss"], float(b["loss"]), 1e-4)
        close("grad_norm", a["grad_norm"], float(b["grad_norm"]), 1e-3)


@pytest.mark.parametrize(
    "build,save_dtype", [("f64", "real"), ("f32", "real"), ("f64", "float32"), ("f32", "bf16")])
@pytest.mark.parametrize("kind", ["tied", "qwen3"])
def test_final_folder(language, build, save_dtype, kind, tmp_path):
    """final/ loads in transformers, with the same logits, the same special ids, the same tokens."""
    from transformers import AutoTokenizer, GenerationConfig
    folder = start_folder(language, kind, tmp_path)
    run(build, "sft", model=folder, dataset=language.data, output_dir=tmp_path / "run", max_steps=3,
        learning_rate=1e-3, save_dtype=save_dtype)
    final = tmp_path / "run" / "final"
    model = load(final, build)
    dtype = {"float32": torch.float32, "bf16": torch.bfloat16}.get(save_dtype, DTYPE[build])
    assert all(t.dtype == dtype for t in load_file(final / "model.safetensors").values())
    declared = json.loads((final / "config.json").read_text())
    assert declared.get("dtype", declared.get("torch_dtype")) == str(dtype).removeprefix("torch.")
    ids = language.prompt_ids("Say tent?")
    got = model_tool(build, final, {"input_ids": [ids], "dlogps": [[0.0] * (len(ids) - 1)]}, tmp_path)
    with torch.no_grad():
        close("logits", got["logits"], model(torch.tensor([ids])).logits[0], LIMITS[build]["logits"])
    tokenizer = AutoTokenizer.from_pretrained(str(final))
    assert (tokenizer.apply_chat_template(
                [{"role": "user", "content": "Say tent?"}], add_generation_prompt=True, return_dict=False)
            == ids)
    assert GenerationConfig.from_pretrained(str(final)).eos_token_id in (language.end, [language.end])
    assert tokenizer.eos_token_id == language.end and tokenizer.pad_token_id == 0


# what stands before a reply: a line end, a text with a blank behind it, a token
TEMPLATES = {
    "zephyr": "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token + '\n' }}"
              "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
    "llama2": "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}"
              "{{ '[INST] ' + m['content'] + ' [/INST]' }}"
              "{% else %}{{ ' ' + m['content'] + ' ' + eos_token }}{% endif %}{% endfor %}",
    "token": "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}"
             "{{ m['content'] + '<|left|>' }}{% else %}{{ m['content'] + eos_token }}{% endif %}{% endfor %}",
}


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("shape", ["llama", "mistral", "gemma"])
def test_tokens_of_characters(shape, template, tmp_path):
    """Tokenizers of SentencePiece's kin: prompt and reply have the ids of the whole conversation, blanks
    before them included."""
    from transformers import PreTrainedTokenizerFast
    (tmp_path / "spec.json").write_text(json.dumps(made.sentencepiece_shapes()[0][shape]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "spec.json"), bos_token="<s>",
                                        eos_token="</s>", pad_token="<unk>", unk_token="<unk>",
                                        chat_template=TEMPLATES[template])
    folder = save(
        make_model("Llama", dict(vocab_size=len(tokenizer), bos_token_id=1, eos_token_id=2, pad_token_id=0)),
        tmp_path / "start")
    tokenizer.save_pretrained(str(folder))
    chats = [("Say hello.", "Hello, the cat."), ("  blanks ", "  two blanks"),
             ("\u4f60\u597d", "\u4f60\u597d the mat"), ("x</s>y", "a b  c"), ("q", "plaintok")]
    pairs = []
    for question, answer in chats:
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        prompt = tokenizer.apply_chat_template(
            messages[:1], add_generation_prompt=True, tokenize=True, return_dict=False)
        whole = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
        assert whole[:len(prompt)] == prompt
        pairs.append((prompt, whole[len(prompt):len(whole) - whole[::-1].index(2)]))
    run("f64", "sft", model=folder,
        dataset=write_jsonl(tmp_path / "data.jsonl", [{"prompt": q, "completion": a} for q, a in chats]),
        output_dir=tmp_path / "run", per_device_train_batch_size=len(chats), max_steps=1, learning_rate=0)
    loss, _ = sft_loss(load(folder, "f64"), pairs)
    close("loss", read_log(tmp_path / "run" / "log.jsonl")[0]["loss"], loss.item(), LIMITS["f64"]["loss"])
