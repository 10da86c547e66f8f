#!/usr/bin/env python3
"""Writes tests/data/jinja.jsonl: pieces of the language of chat templates, and what transformers' jinja2
makes of them.

    python tests/make_jinja_vectors.py [SNIPPETS]          (needs transformers and jinja2)

A row: "template", and "text" with what it writes for INPUT, or neither: jinja2 refuses it and so must we. Run
it again only to add cases: SNIPPETS (default: the templates that the file has now) is a text file of
templates, parted by lines of four dashes. """
import datetime, json, pathlib, sys

import jinja2
import transformers
from transformers.utils import chat_template_utils as utils

PATH = pathlib.Path(__file__).resolve().parent / "data/jinja.jsonl"
INPUT = {"messages": [{"role": "system", "content": "Be  brief. "},
                      {"role": "user", "content": "héllo wörld\n"},
                      {"role": "assistant", "content": " 'a' \"b\"\t", "n": 3, "f": 1.5, "w": 2.0,
                       "big": 9007199254740993, "z": None, "t": True, "l": [1, [2, {"k": "v"}]],
                       "d": {"b": 1, "a": 2, "B": 0}}],
         "bos_token": "<s>", "nums": [3, 1, 2, 3], "empty": [], "words": ["b", "A", "a", "C"]}


class Fixed(datetime.datetime):
    @classmethod
    def now(cls, tz=None): return cls(2024, 7, 26)


def main():
    utils.datetime = Fixed
    rows = [json.loads(line) for line in PATH.read_text().splitlines()[1:]] if PATH.exists() else []
    templates = (pathlib.Path(sys.argv[1]).read_text().removesuffix("\n").split("\n----\n")
                 if len(sys.argv) > 1 else [r["template"] for r in rows])
    with PATH.open("w") as f:
        f.write(json.dumps({
            "made_by": f"tests/make_jinja_vectors.py, jinja2 {jinja2.__version__}, "
                       f"transformers {transformers.__version__}",
            "input": INPUT}) + "\n")
        for template in templates:
            row = {"template": template}
            try: row["text"] = utils._compile_jinja_template(template).render(**INPUT)
            except Exception as e: print(f"refused: {template[:60]!r}: {e}")
            f.write(json.dumps(row) + "\n")


if __name__ == "__main__": main()
