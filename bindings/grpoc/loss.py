"""A decorator for a loss function of one's own."""
import functools

from . import watching

# what people call these
NAMES = {"per_token_logps": ("per_token_logps", "logps", "logp", "log_probs", "log_prob", "logprobs"),
         "old_per_token_logps": ("old_per_token_logps", "old_logps", "old_logp", "old", "old_log_probs",
                                 "old_log_prob"),
         "ref_per_token_logps": ("ref_per_token_logps", "ref_logps", "ref_logp", "ref", "ref_log_probs",
                                 "ref_log_prob"),
         "advantages": ("advantages", "advantage", "adv"),
         "completion_mask": ("completion_mask", "mask", "response_mask", "action_mask"),
         "per_token_loss": ("per_token_loss", "token_loss", "token_losses"),
         "per_token_kl": ("per_token_kl", "token_kl"), "ratio": ("ratio", "ratios")}


class Watch(watching.Watch):
    def start(self):
        pass


def dumps(folder="dumps", profile=None, names=None, at_most=100, **config):
    """Writes loss-N for every call of the function that it decorates, whose result is the loss, or
    begins with it:

        @grpoc.dumps("dumps", "verl-0.9", clip_ratio_high=0.28)
        def loss(logp, old, adv, mask):
            ratio = (logp - old).exp()
            token_loss = -torch.min(ratio * adv, ratio.clamp(0.8, 1.28) * adv)
            return (token_loss * mask).sum() / mask.sum()

    Arguments and local variables with ordinary names are found (NAMES); names says the others, as in
    names={"per_token_loss": "x"}. The derivative by the log-probabilities is taken where PyTorch knows it.
    config: the settings of docs/verify.md, or the profile's own options."""
    watch = Watch(folder, profile, at_most, **config)
    named = {k: (v,) for k, v in (names or {}).items()}

    def decorate(function):
        def seen(local, result):
            loss = result[0] if isinstance(result, tuple) else result
            tensors = {}
            for name, called in {**NAMES, **named}.items():
                tensors[name] = next((local[c] for c in called if hasattr(local.get(c), "shape")), None)
            logps, mask = tensors["per_token_logps"], tensors.pop("completion_mask")
            tensors.update({} if mask is None else watching.masks(mask))
            watch.write("loss", dict(tensors, loss=loss, grad_per_token_logps=watching.gradient(loss, logps)))
        return functools.wraps(function)(watching.watched(function, seen))
    return decorate
