"""Dumps for `grpo verify` from OpenRLHF, whose code stays as it is:

    import grpoc.openrlhf
    watch = grpoc.openrlhf.Watch("dumps", n_samples_per_prompt=8)

in the process that trains, before the first step. Each call writes a file:

    policy-N    PolicyLoss.forward: log-probabilities, advantages, the tokens' losses, the loss, its
                derivative
    kl-N        compute_approx_kl: the estimate of each token"""
import openrlhf.models.loss as loss_module
import openrlhf.models.utils as utils

from . import watching


class Watch(watching.Watch):
    def start(self):
        self.profile = self.profile or watching.version("openrlhf")
        self.token_loss = None
        kind, forward = loss_module.PolicyLoss, loss_module.PolicyLoss.forward
        kind.forward = watching.watched(forward, self.policy, self.within)
        self.undo.append(lambda: setattr(kind, "forward", forward))
        self.undo.append(watching.replace("openrlhf", utils.compute_approx_kl,
                                          watching.watched(utils.compute_approx_kl, self.penalty)))

    def within(self, local):
        """The variable `loss` holds the tokens' losses until they are aggregated."""
        if getattr(local.get("loss"), "ndim", 0) == 2:
            self.token_loss = local["loss"]

    def policy(self, local, result):
        its, logps = local["self"], local["log_probs"]
        tensors = {"per_token_logps": logps, "old_per_token_logps": local["old_log_probs"],
                   "advantages": local["advantages"],
                   **watching.masks(local["action_mask"]),
                   "sampling_per_token_logps": local.get("rollout_log_probs"),
                   "per_token_loss": self.token_loss, "loss": result[0],
                   "grad_per_token_logps": watching.gradient(result[0], logps)}
        config = {"eps_clip_low_high": [its.clip_eps_low, its.clip_eps_high], "dual_clip": its.dual_clip,
                  "token_level_loss": its.token_level_loss,
                  "policy_loss_type": getattr(its, "policy_loss_type", None),
                  "enable_vllm_is_correction": getattr(its, "enable_vllm_is_correction", None)}
        config.update({k: local[k] for k in ("dp_size", "batch_num_tokens", "global_batch_size")
                       if local.get(k) is not None})
        self.write("policy", tensors, beta=0, **config)

    def penalty(self, local, result):
        self.write("kl", {"per_token_logps": local["log_probs"],
                          "ref_per_token_logps": local["log_probs_base"],
                          "per_token_kl": result}, kl_estimator=local["kl_estimator"], beta=1)
