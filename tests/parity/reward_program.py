"""A program for --reward-cmd that writes down what it is asked: python reward_program.py LOG. Its scores are
multiples of 1/64, exact in float and double, so that two trainers that are given the same completions see the
same rewards to the last bit."""
import json
import sys

LABELS = ["short", "letters", "mixed"]


def scores(prompt, completion, finish_reason):
    """Unscored now and then (E61, E87), unlike in scale, all dependent on the text."""
    total = sum((i + 1) * ord(c) for i, c in enumerate(completion)) + len(prompt)
    return {"short": (24 - len(completion)) / 32,
            "letters": sum(completion.count(c) for c in "eat ") / 16 + (finish_reason == "stop"),
            "mixed": None if total % 6 == 0 else (total % 64) / 64}


def main():
    with open(sys.argv[1], "a") as log:
        for line in sys.stdin:
            asked = json.loads(line)
            log.write(json.dumps({k: asked[k] for k in ("id", "prompt", "completion", "finish_reason")})
                      + "\n")
            print(json.dumps({
                "id": asked["id"],
                "scores": scores(asked["prompt"], asked["completion"], asked["finish_reason"])}), flush=True)


if __name__ == "__main__":
    main()
