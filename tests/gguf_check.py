"""Shows that a folder that grpo wrote is loaded elsewhere and means the same there (docs/real-model.md).

    make gguf-check MODEL=FOLDER

FOLDER is a Llama or Mistral model in Hugging Face's format. llama.cpp's own program makes a GGUF file of it,
build/gguf-check/model.gguf, in which every weight must have the folder's bits. Then `grpo sample
--temperature 0` answers five prompts, and transformers and llama.cpp, both in float32 on the CPU, must choose
each of its tokens too and find the replies as likely. They are given grpo's token whatever they chose, which
is their own as long as they agree, so that one difference does not bring others. Where the best logit is
less than NEAR above that of grpo's token, a difference is a tie and not a failure. At last one weight is
altered, and each of the three checks must notice.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
PLACE = ROOT / "build" / "gguf-check"
PROMPTS = ("What is the capital of France?", "How do I boil an egg?", "Why is the sky blue? Tell a child.",
           "Write two sentences about the sea.", "Add 1234 and 88. Is 7,50 € fair for a café crème?")
LENGTH = 40
NEAR = 1e-3     # logits of a tie; and a reply's log-probability, per token, may differ by so much
THREADS = min(2, os.cpu_count() or 1)


class BadInput(Exception):
    """One line: file, place, what was found, what was expected, what to do."""


# ---- the weights ------------------------------------------------------------------------------------------

def read_config(folder):
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        found = getattr(e, "strerror", None) or "not JSON"
        raise BadInput(f"{folder}/config.json: {found}; expected a model's folder in Hugging Face's "
                       "format: make gguf-check MODEL=FOLDER")
    if config.get("model_type") not in ("llama", "mistral"):
        raise BadInput(f"{folder}/config.json: model_type: found {config.get('model_type')!r}, expected "
                       "llama or mistral: how llama.cpp orders the rows of others is not known here")
    return config


def folder_weights(folder):
    """{name: float32 array}"""
    import torch
    from safetensors.torch import load_file
    weights = {}
    for path in sorted(folder.glob("*.safetensors")):
        weights.update(load_file(path))
    return {name: w.to(torch.float32).numpy() for name, w in weights.items()}


def unpermute(w, n_head):
    """llama.cpp rotates neighbouring rows, Hugging Face's format the halves of a head."""
    return w.reshape(n_head, w.shape[0] // n_head // 2, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def different_tensors(folder, path, config):
    """How many tensors there are, and the names of those that differ in a bit or that one of both lacks"""
    from gguf import MODEL_ARCH, GGUFReader, get_tensor_name_map
    heads = config["num_attention_heads"]
    heads_of = {"q_proj": heads, "k_proj": config.get("num_key_value_heads") or heads}
    names = get_tensor_name_map(MODEL_ARCH.LLAMA, config["num_hidden_layers"])      # llama.cpp's own table
    ours = folder_weights(folder)
    theirs = {t.name: t.data for t in GGUFReader(path).tensors}
    theirs.pop("rope_freqs.weight", None)       # made from config.json: no weight of the folder
    differ = []
    for name, w in ours.items():
        stem, _, kind = name.rpartition(".")
        there = theirs.pop(f"{names.get_name(stem)}.{kind}", None)
        n_head = heads_of.get(stem.rpartition(".")[2])
        same = there is not None and there.dtype == np.float32 and there.shape == w.shape
        if not same or (unpermute(there, n_head) if n_head else there).tobytes() != w.tobytes():
            differ.append(name)
    return len(ours) + len(theirs), differ + list(theirs)


def altered_copy(path):
    """A copy of the GGUF file in which the last norm's largest weight is doubled, and which that is"""
    from gguf import GGUFReader
    copy = path.with_name("altered.gguf")
    shutil.copyfile(path, copy)
    norm = next(t for t in GGUFReader(copy, "r+").tensors if t.name == "output_norm.weight").data
    which = int(np.argmax(np.abs(norm)))
    norm[which] *= 2
    norm.flush()
    return copy, which


# ---- the programs: ids in, logits of the next token out ---------------------------------------------------

class Transformers:
    name = "transformers"

    def __init__(self, folder):
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        self.torch = torch
        torch.set_num_threads(THREADS)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def prompt_ids(self, prompt):
        text = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True)
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def start(self):
        self.past = None

    def logits(self, ids):
        with self.torch.no_grad():
            out = self.model(self.torch.tensor([ids]), past_key_values=self.past, use_cache=True)
        self.past = out.past_key_values
        return out.logits[0, -1].numpy()


class LlamaCpp:
    name = "llama.cpp"

    def __init__(self, path):
        from llama_cpp import GGML_TYPE_F32, Llama
        self.llama = Llama(str(path), n_ctx=512, n_threads=THREADS, n_threads_batch=THREADS,
                           type_k=GGML_TYPE_F32, type_v=GGML_TYPE_F32, verbose=False)

    def prompt_ids(self, prompt):
        """With the template and the tokenizer of the GGUF file"""
        from llama_cpp.llama_chat_format import Jinja2ChatFormatter
        llama = self.llama
        piece = lambda token: llama.detokenize([token], special=True).decode() if token >= 0 else ""
        write = Jinja2ChatFormatter(template=llama.metadata["tokenizer.chat_template"],
                                    eos_token=piece(llama.token_eos()), bos_token=piece(llama.token_bos()))
        text = write(messages=[{"role": "user", "content": prompt}]).prompt
        return llama.tokenize(text.encode(), add_bos=False, special=True)

    def start(self):
        self.llama.reset()

    def logits(self, ids):
        self.llama.eval(ids)
        return np.ctypeslib.as_array(self.llama._ctx.get_logits_ith(-1), (self.llama.n_vocab(),)).copy()


def grpo_replies(folder):
    """What `grpo sample` writes: one reply for each prompt"""
    data = PLACE / "prompts.jsonl"
    data.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in PROMPTS), encoding="utf-8")
    line = [ROOT / "grpo", "sample", "--model", folder, "--dataset", data, "--temperature", "0",
            "--repetition-penalty", "1", "--max-completion-length", str(LENGTH)]
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode:
        raise BadInput(done.stderr.strip() or f"grpo sample ends with exit code {done.returncode}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def reply_ids(reply, program, prompt):
    """The tokens of grpo's reply: those of its text, if they are as many as grpo counts. Else, since a text
    can be cut in other ways, too, so many of transformers' own choice, if they spell it; None if not."""
    tokenizer = program.tokenizer
    ids = tokenizer(reply["completion"], add_special_tokens=False)["input_ids"]
    ids += [tokenizer.eos_token_id] if reply["finish_reason"] == "stop" else []
    if len(ids) == reply["completion_length"]:
        return ids
    program.start()
    ids, given = [], prompt
    while len(ids) < reply["completion_length"]:
        given = [int(np.argmax(program.logits(given)))]
        ids += given
    return ids if tokenizer.decode(ids, skip_special_tokens=True) == reply["completion"] else None


# ---- the comparison ---------------------------------------------------------------------------------------

def compare(program, prompt, ids):
    """What the program says of a reply: how many tokens are its choice, how many are ties, the places of the
    others, and the reply's log-probability"""
    equal, ties, others, logp, given = 0, 0, [], 0.0, prompt
    program.start()
    for place, token in enumerate(ids):
        z = program.logits(given).astype(np.float64)
        given = [token]
        best, top = int(np.argmax(z)), z.max()
        logp += z[token] - top - np.log(np.exp(z - top).sum())
        if best == token:
            equal += 1
        elif top - z[token] < NEAR:
            ties += 1
        else:
            others.append(place)
    return equal, ties, others, logp


class Count:
    def __init__(self):
        self.passed = self.failed = 0

    def of(self, passed, failed, complaint=None):
        self.passed, self.failed = self.passed + passed, self.failed + failed
        if failed and complaint:
            print(f"FAILED: {complaint}")


def check_replies(count, replies, programs):
    tokens, equal, ties = 0, {p.name: 0 for p in programs}, {p.name: 0 for p in programs}
    print(f"\n{'prompt':48} {'tokens':>6}" + "".join(f" {p.name:>12} {'logp':>8}" for p in programs))
    for prompt, reply in zip(PROMPTS, replies):
        prompts = [p.prompt_ids(prompt) for p in programs]
        count.of(prompts[0] == prompts[1], prompts[0] != prompts[1], f"the tokens of the prompt {prompt!r}")
        ids = reply_ids(reply, programs[0], prompts[0])
        if ids is None:
            count.of(0, 1, f"the reply {reply['completion']!r} is not what transformers says")
            continue
        tokens += len(ids)
        told, complaints = f"{prompt[:48]:48} {len(ids):6}", []
        for program, start in zip(programs, prompts):
            same, tied, others, logp = compare(program, start, ids)
            off = abs(logp - reply["logp"]) / len(ids)
            equal[program.name] += same
            ties[program.name] += tied
            told += f" {f'{same}/{len(ids)}':>12} {off:8.1e}"
            complaints.append((same, len(others), f"{program.name}: other tokens, at {others} of this reply"))
            complaints.append((off < NEAR, off >= NEAR, f"{program.name}: the reply's log-probability"))
        print(told)
        for passed, failed, complaint in complaints:
            count.of(passed, failed, complaint)
    print(f"{'all':48} {tokens:6}" + "".join(f" {f'{equal[p.name]}/{tokens}':>12} {'':8}" for p in programs))
    print(f"logp: how far the reply's log-probability is from grpo's, per token (below {NEAR:g})")
    for name, n in ties.items():
        if n:
            print(f"{n} ties in {name}: grpo's token is less than {NEAR:g} below the best")


def noticed(program, reply, prompt, ids):
    _, _, others, logp = compare(program, prompt, ids)
    return bool(others) or abs(logp - reply["logp"]) / len(ids) >= NEAR


def check_alteration(count, folder, path, config, reply, transformers):
    """One weight altered: the check has to fail."""
    copy, which = altered_copy(path)
    prompt = transformers.prompt_ids(PROMPTS[0])
    ids = reply_ids(reply, transformers, prompt)
    found = {"tensors": different_tensors(folder, copy, config)[1] == ["model.norm.weight"]}
    with transformers.torch.no_grad():
        transformers.model.model.norm.weight[which] *= 2
    for program in (transformers, LlamaCpp(copy)):
        found[program.name] = ids is not None and noticed(program, reply, prompt, ids)
    copy.unlink()
    told = ", ".join(f"{name}: {'noticed' if yes else 'NOT NOTICED'}" for name, yes in found.items())
    print(f"with one weight doubled (model.norm.weight[{which}])  {told}")
    count.of(sum(found.values()), len(found) - sum(found.values()))


def main(arguments):
    if len(arguments) != 2:
        raise BadInput(f"gguf_check: {max(0, len(arguments) - 1)} folders; expected one: "
                       "make gguf-check MODEL=FOLDER")
    convert, folder = map(pathlib.Path, arguments)
    config = read_config(folder)
    PLACE.mkdir(parents=True, exist_ok=True)
    path, count = PLACE / "model.gguf", Count()
    done = subprocess.run([sys.executable, convert, folder, "--outtype", "f32", "--outfile", path],
                          capture_output=True, text=True)
    if done.returncode:
        raise BadInput(f"{folder}: llama.cpp's convert_hf_to_gguf.py ends with "
                       f"{(done.stderr.strip().splitlines() or ['nothing'])[-1]!r}; expected a GGUF file")
    n, differ = different_tensors(folder, path, config)
    print(f"{folder} > {path.relative_to(ROOT)}: {n - len(differ)} of {n} tensors have the same bits")
    count.of(n - len(differ), len(differ), f"tensors that differ or are missing: {', '.join(differ[:5])}")
    replies, transformers = grpo_replies(folder), Transformers(folder)
    check_replies(count, replies, [transformers, LlamaCpp(path)])
    check_alteration(count, folder, path, config, replies[0], transformers)
    print(f"{count.passed} passed, {count.failed} failed")
    return 1 if count.failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BadInput as e:
        print(e, file=sys.stderr)
        sys.exit(2)
