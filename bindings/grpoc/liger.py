"""Dumps for `grpo verify` from Liger-Kernel's GRPO loss, whose code stays as it is:

    import grpoc.liger
    watch = grpoc.liger.Watch("dumps")

Each forward pass of LigerFusedLinearGRPOLoss then writes loss-N: what the class computes of a batch is put
together from its chunks. While it is watched it is not compiled, because what is inside a compiled function
cannot be seen."""
import liger_kernel.chunked_loss.grpo_loss as grpo_loss
import torch

from . import watching

OPTIONS = ("beta", "loss_type", "epsilon_low", "epsilon_high", "delta", "max_completion_length",
           "importance_sampling_level", "temperature", "use_bias_correction_kl", "sapo_temperature_pos",
           "sapo_temperature_neg", "vespo_k_pos", "vespo_lambda_pos", "vespo_k_neg", "vespo_lambda_neg")
ARRAYS = ("per_token_logps", "old_per_token_logps", "ref_per_token_logps", "per_token_loss", "kl_div",
          "coef_1", "gradient")


class Watch(watching.Watch):
    def start(self):
        self.profile = self.profile or watching.version("liger-kernel").replace("liger-kernel", "liger")
        self.chunks = []
        inner, outer = grpo_loss.LigerFusedLinearGRPOFunction, grpo_loss.LigerFusedLinearGRPOLoss
        function, forward = inner.ppo_loss_fn, outer.forward
        inner.ppo_loss_fn = staticmethod(watching.watched(function, self.chunk))
        outer.forward = self.forward(forward)
        self.undo += [lambda: setattr(inner, "ppo_loss_fn", staticmethod(function)),
                      lambda: setattr(outer, "forward", forward)]

    def chunk(self, local, result):
        local["gradient"] = watching.gradient(result[0], local["per_token_logps"])
        self.chunks.append({k: local[k].detach() for k in ARRAYS if local.get(k) is not None})

    def forward(self, function):
        def seen(local, result):
            its = local["self"]
            one = {k: torch.cat([c[k].expand(c[k].shape[0], c[k].shape[1]) for c in self.chunks])
                   for k in self.chunks[0]}
            tensors = {"per_token_logps": one["per_token_logps"], "advantages": local["advantages"],
                       **watching.masks(local["attention_mask"]),
                       "completion_ids": local["selected_token_ids"],
                       "per_token_loss": one["per_token_loss"].expand_as(one["per_token_logps"]),
                       "importance_sampling_ratio": local.get("vllm_is_ratio"), "loss": result[0],
                       "grad_per_token_logps": one.get("gradient"),
                       "old_per_token_logps": (None if local["old_per_token_logps"] is None
                                               else one["old_per_token_logps"])}
            if its.beta:
                tensors.update(ref_per_token_logps=one["ref_per_token_logps"], per_token_kl=one["kl_div"])
            config = {k: getattr(its, k) for k in OPTIONS if getattr(its, k, None) is not None}
            if local.get("num_items_in_batch") is not None:
                config["num_items_in_batch"] = float(local["num_items_in_batch"])
            self.write("loss", tensors, **config)
        inside = watching.watched(function, seen)

        def forward(its, *args, **kwargs):
            self.chunks, compiled = [], its.compiled
            its.compiled = False
            try:
                return inside(its, *args, **kwargs)
            finally:
                its.compiled = compiled
        return forward
