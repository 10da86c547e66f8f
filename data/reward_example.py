# A reward of your own, for --reward-cmd: one line of JSON in for each reply, one line of JSON with its scores
# out.
import json
import sys

for line in sys.stdin:
    # "id", "prompt", "completion", "finish_reason", and whatever the data row has
    reply = json.loads(line)
    brief = 1 - len(reply["completion"].split()) / 40
    ended = float(reply["finish_reason"] == "stop")     # null would be "not scored"
    print(json.dumps({"id": reply["id"], "scores": {"brief": brief, "ended": ended}}), flush=True)
