"""Dumps for `grpo verify` from verl, whose code stays as it is:

    import grpoc.verl
    watch = grpoc.verl.Watch("dumps", n=8)

in the process that trains, before the first step. verl does so in its workers by itself when the actor's
option `model.external_lib` is grpoc.verl_worker. Each call writes a file:

    advantages-N    an advantage estimator of core_algos: rewards, the advantages of each token, the groups
    policy-N        a policy loss: log-probabilities, advantages, the tokens' losses, the loss, its derivative
    kl-N            kl_penalty: the estimate of each token
    loss-N          in place of the last two, where the trainer calls ppo_loss (from 0.6): the whole, KL and
                    entropy included"""
import verl.trainer.ppo.core_algos as core

from . import watching

ACTOR = ("clip_ratio", "clip_ratio_low", "clip_ratio_high", "clip_ratio_c", "use_kl_loss", "kl_loss_coef",
         "kl_loss_type", "entropy_coeff")
OF_MODE = {"sapo": ("tau_pos", "tau_neg"), "clip_cov": ("clip_cov_ratio", "clip_cov_lb", "clip_cov_ub"),
           "kl_cov": ("kl_cov_ratio", "ppo_kl_coef")}


def get(config, key):
    """A member of a dataclass, of omegaconf's, or of a dictionary; None where there is none."""
    return config.get(key) if hasattr(config, "get") else getattr(config, key, None)


def plain(mode, config, local):
    """What a policy loss reads of the actor's configuration, under its own names. Before 0.6 the vanilla loss
    has arguments instead."""
    out = {"clip_ratio" + k: local.get("cliprange" + k) for k in ("", "_low", "_high")}
    out["clip_ratio_c"] = local.get("clip_ratio_c")
    if config is not None:
        inner = get(config, "policy_loss")
        out.update({k: get(config, k) for k in ACTOR if get(config, k) is not None})
        out.update({k: get(c, k) for k in OF_MODE.get(mode, ())
                    for c in (config, inner) if c is not None and get(c, k) is not None})
        out.update(get(config, "global_batch_info") or {})
    return {k: v for k, v in out.items() if v is not None}


class Watch(watching.Watch):
    def start(self):
        self.profile = self.profile or watching.version("verl")
        self.matrix = self.whole = None
        self.wrap(core.agg_loss, self.aggregated)
        self.wrap(core.kl_penalty, self.penalty)
        registry = dict(getattr(core, "POLICY_LOSS_REGISTRY", {}))
        for mode, function in registry.items():
            self.wrap(function, lambda local, result, mode=mode: self.policy(mode, local, result))
        if "vanilla" not in registry:                   # before 0.6
            self.wrap(core.compute_policy_loss, lambda local, result: self.policy("vanilla", local, result))
        for name, function in dict(getattr(core, "ADV_ESTIMATOR_REGISTRY", {})).items():
            self.wrap(function, lambda local, result, name=name: self.advantage(name, local, result))
        try:
            from verl.workers.utils import losses
        except ImportError:
            return
        self.around(losses.ppo_loss)

    def wrap(self, function, seen):
        self.undo.append(watching.replace("verl", function, watching.watched(function, seen)))

    def aggregated(self, local, result):
        self.matrix = (local["loss_mat"], local["loss_mask"], local["loss_agg_mode"])

    def policy(self, mode, local, result):
        if "log_prob" not in local or self.matrix is None:
            return
        loss, logps = result[0], local["log_prob"]
        token_loss, mask, aggregation = self.matrix
        tensors = {"per_token_logps": logps, "old_per_token_logps": local["old_log_prob"],
                   "advantages": local["advantages"], "per_token_loss": token_loss, **watching.masks(mask),
                   "importance_sampling_ratio": local.get("rollout_is_weights"),
                   "policy_mask": local.get("corr")}
        config = {"loss_mode": mode, "loss_agg_mode": aggregation, **plain(mode, local.get("config"), local)}
        if self.whole is not None:
            self.whole[0].update(tensors)
            self.whole[1].update(config)
            return
        self.write("policy", dict(tensors, loss=loss, grad_per_token_logps=watching.gradient(loss, logps)),
                   **{**config, "use_kl_loss": False, "entropy_coeff": 0})

    def penalty(self, local, result):
        tensors = {"per_token_logps": local["logprob"], "ref_per_token_logps": local["ref_logprob"],
                   "per_token_kl": result}
        config = {"use_kl_loss": True, "kl_loss_type": local["kl_penalty"]}
        if self.whole is not None:
            self.whole[0].update(tensors)
            self.whole[1].update(config)
        else:
            self.write("kl", tensors, **config)

    def around(self, function):
        """ppo_loss: what is called inside becomes one dump."""
        def seen(local, result):
            tensors, config = self.whole
            self.whole = None
            logps = tensors["per_token_logps"]
            if config.get("kl_loss_coef") and "per_token_kl" in tensors:
                # a token's loss is policy and KL together
                tensors["per_token_loss"] = (tensors["per_token_loss"]
                                             + config["kl_loss_coef"] * tensors["per_token_kl"])
            # KL's and entropy's, and most losses'
            config["loss_agg_mode"] = get(local["config"], "loss_agg_mode")
            self.write("loss", dict(tensors, entropies=local.get("entropy"), loss=result[0],
                                    grad_per_token_logps=watching.gradient(result[0], logps)), **config)
        inner = watching.watched(function, seen)

        def ppo_loss(*args, **kwargs):
            self.whole = ({}, {})
            return inner(*args, **kwargs)
        self.undo.append(watching.replace("verl", function, ppo_loss))

    def advantage(self, name, local, result):
        if local.get("index") is None or "token_level_rewards" not in local:
            return                                      # no group: not GRPO's
        codes = {}
        groups = [codes.setdefault(str(x), len(codes)) for x in local["index"]]
        name = getattr(name, "value", name)
        config = {"adv_estimator": name}
        if name == "grpo":
            config["norm_adv_by_std_in_grpo"] = bool(local.get("norm_adv_by_std_in_grpo", True))
        self.write("advantages", {"rewards": local["token_level_rewards"].sum(-1), "advantages": result[0],
                                  "group_ids": groups, **watching.masks(local["response_mask"])}, **config)
