"""A small language of our own making for tests that need text, and the last line of a run: "N passed, N failed"."""
import pytest
from support import run, write_jsonl

NAMES = ["the cat", "a dog", "my friend", "the old man", "a small bird", "the teacher"]
VERBS = ["sees", "likes", "follows", "paints", "calls"]


def sentences(n):
    rows = []
    for i in range(n):
        who, verb, whom = NAMES[i % 6], VERBS[i % 5], NAMES[(i * 7 + 3) % 6]
        rows.append({"prompt": f"Who {verb} {whom}?", "completion": f"{who} {verb} {whom}."})
    return rows


class Language:
    """base: random weights, final: after some training, both with a tokenizer of single bytes: a text has one token list."""

    def __init__(self, path):
        from transformers import AutoTokenizer
        self.path, self.rows, self.base, self.final = path, sentences(60), path / "base", path / "sft" / "final"
        self.data = write_jsonl(path / "pairs.jsonl", self.rows)
        run("f32", "init", tokenizer_data=self.data, output_dir=self.base, vocab_size=260, hidden_size=32, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, intermediate_size=48, max_position_embeddings=96, initializer_range=0.1)
        run("f32", "sft", model=self.base, dataset=self.data, output_dir=path / "sft", max_steps=400, learning_rate=1e-2)
        self.tokenizer = AutoTokenizer.from_pretrained(str(self.base))
        self.end = self.tokenizer.convert_tokens_to_ids("<end>")

    def prompt_ids(self, prompt):
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        return list(self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False))

    def completion_ids(self, text, ended=True):
        """A turn of this template opens with a blank."""
        ids = self.tokenizer(" " + text if text else "", add_special_tokens=False)["input_ids"]
        return ids + [self.end] if ended else ids


@pytest.fixture(scope="session")
def language(tmp_path_factory):
    return Language(tmp_path_factory.mktemp("language"))


def pytest_unconfigure(config):
    """A test that could not start counts as failed."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    count = lambda *keys: sum(len(reporter.stats.get(k, [])) for k in keys)
    print(f"{count('passed')} passed, {count('failed', 'error')} failed")
