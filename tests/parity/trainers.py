"""Runs released trainers' own functions on random batches and writes a dump of each by the package's hooks:

    python trainers.py trl FOLDER COUNT

in an environment where the trainer can be imported (test_trainers.py says how). A batch is on policy, off
policy or far off; its rows have unequal lengths, sometimes none, sometimes with a gap as tools leave it;
references are near and far."""
import importlib.abc
import importlib.machinery
import inspect
import pathlib
import random
import sys
import types

import torch

torch.set_num_threads(1)


# ---- loading what was written for a cluster ----------------------------------------------------------------

class StandIn(types.ModuleType):
    """A package that is not installed, and that the functions under test import but do not use."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (), {"__init__": lambda self, *a, **k: None,
                               "__call__": lambda self, *a, **k: None})
        setattr(self, name, made)
        return made


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, names):
        self.names = names

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.names:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        return StandIn(spec.name)

    def exec_module(self, module):
        pass


def stand_in(*names):
    sys.meta_path.append(Finder(names))         # the last to be asked: what is installed is taken


def bare(*packages):
    """Packages whose modules are imported without running the package's own __init__."""
    for name in packages:
        module = types.ModuleType(name)
        module.__path__ = [str(pathlib.Path(p, *name.split("."))) for p in sys.path
                           if pathlib.Path(p, *name.split(".")).is_dir()]
        sys.modules[name] = module


# ---- a random batch ----------------------------------------------------------------------------------------

class Batch:
    def __init__(self, rng):
        self.rng, g = rng, torch.Generator().manual_seed(rng.randrange(2 ** 31))
        self.dtype = rng.choice([torch.float32] * 4 + [torch.float64])
        self.groups, self.size, self.width = rng.randint(1, 4), rng.randint(2, 5), rng.randint(3, 9)
        self.rows = self.groups * self.size
        noise = lambda scale: scale * torch.randn(self.rows, self.width, generator=g, dtype=self.dtype)
        self.logps = (-torch.rand(self.rows, self.width, generator=g, dtype=self.dtype)
                      * rng.choice([1, 4, 12]) - 0.01)
        self.off = rng.choice([0, 0.05, 0.3, 1.5])
        self.old = self.logps + noise(self.off)
        self.sampler = self.old + noise(rng.choice([0.01, 0.3]))
        self.ref = self.logps + noise(rng.choice([1e-4, 1e-2, 0.3, 2]))
        self.entropies = torch.rand(self.rows, self.width, generator=g, dtype=self.dtype) * 3
        length = [rng.randint(1, self.width) for _ in range(self.rows)]
        length[rng.randrange(self.rows)] = self.width
        if rng.random() < 0.25:
            length[rng.randrange(self.rows)] = 0
        self.completion = torch.zeros(self.rows, self.width, dtype=torch.long)
        for i, n in enumerate(length):
            self.completion[i, :n] = 1
        self.tool = torch.ones_like(self.completion)
        if rng.random() < 0.2:
            self.tool[:, 1:1 + rng.randint(1, 2)] = 0
        if not (self.completion * self.tool).any():
            self.completion[0] = 1
            self.tool[0] = 1
        self.mask = self.completion * self.tool
        self.rewards = torch.rand(self.rows, generator=g, dtype=self.dtype)
        if rng.random() < 0.3:
            self.rewards = self.rewards.round()                     # whole groups of one reward among them
        self.advantages = torch.randn(self.rows, generator=g, dtype=self.dtype)
        self.index = [str(i // self.size) for i in range(self.rows)]

    def single(self):
        """In float32: for functions that add 1e-8 to a denominator, which is an error of double's size
        only."""
        for name, x in vars(self).items():
            if torch.is_tensor(x) and x.dtype == torch.float64:
                setattr(self, name, x.float())
        self.dtype = torch.float32

    def fill(self):
        """No empty row: for releases that divide by the tokens of a row and call the loss NaN."""
        self.mask[self.mask.sum(1) == 0, 0] = 1

    def leaf(self):
        return self.logps.clone().requires_grad_()


def batches(count, seed):
    rng = random.Random(seed)
    for _ in range(count):
        yield rng, Batch(rng)


# ---- TRL ---------------------------------------------------------------------------------------------------

def trl(folder, count):
    """GRPOTrainer._compute_loss of a trainer without a model, whose log-probabilities are the batch's."""
    from collections import defaultdict
    from dataclasses import fields

    import trl
    from grpoc import Dump
    from grpoc import trl as hook
    from grpoc.watching import gradient, watched
    source = inspect.getsource(inspect.unwrap(trl.GRPOTrainer._compute_loss))
    kinds = [k for k in ("grpo", "bnpo", "dr_grpo", "dapo", "dapo", "cispo", "sapo", "luspo", "vespo")
             if f'"{k}"' in source]
    known, same = {f.name for f in fields(trl.GRPOConfig)}, lambda x, *_, **__: x
    alone = types.SimpleNamespace(num_processes=1, process_index=0, sync_gradients=False, gather=same,
                                  reduce=same, gather_for_metrics=same, pad_across_processes=same)

    class Bare(trl.GRPOTrainer):
        def __init__(self, args, batch, logps):
            self.args, self.batch, self.logps = args, batch, logps
            vars(self).update({k: getattr(args, k) for k in known if not hasattr(type(self), k)})
            self.epsilon_low, self.epsilon_high = args.epsilon, (
                args.epsilon if args.epsilon_high is None else args.epsilon_high)
            self.model = types.SimpleNamespace(training=True)
            self.accelerator = alone
            self._metrics = {"train": defaultdict(list)}
            self.current_gradient_accumulation_steps = args.gradient_accumulation_steps
            self.reward_weights, self.reward_func_names = torch.ones(1), ["reward"]
            self.processing_class = types.SimpleNamespace(eos_token_id=1, pad_token_id=0)
            self.aux_loss_enabled = self.use_adaptive_entropy = self._entropy_bonus_enabled = False
            self.eos_token_ids, self._tokenizer = [1], self.processing_class
            self._entropy_bonus_enabled = getattr(args, "entropy_coef", 0) != 0

        def _get_per_token_logps_and_entropies(self, *_, **kwargs):
            return (self.logps, self.batch.entropies, None)[:3 if "compute_aux_loss" in kwargs else 2]

    for n, (rng, b) in enumerate(batches(count, 1)):
        o = dict(loss_type=rng.choice(kinds),
                 importance_sampling_level=rng.choice(["token", "token", "sequence"]),
                 epsilon=rng.choice([0.2, 0.1, 3e-4]),
                 epsilon_high=rng.choice([None, 0.28, 4e-4]), delta=rng.choice([None, None, 1.5]),
                 beta=rng.choice([0.0, 0.04, 0.5]),
                 top_entropy_quantile=rng.choice([1.0, 1.0, 0.4]),
                 off_policy_mask_threshold=rng.choice([None, None, 0.1]),
                 entropy_coef=rng.choice([0.0, 0.0, 0.02]), gradient_accumulation_steps=rng.choice([1, 2, 4]),
                 use_vllm=rng.random() < 0.3, max_completion_length=b.width,
                 vllm_importance_sampling_mode="token_truncate")
        if o["loss_type"] in ("cispo", "sapo", "vespo"):
            o["importance_sampling_level"] = "token"
        if o["loss_type"] == "luspo":
            o["importance_sampling_level"] = "sequence"
            # before 1.10 its mean takes in the numbers that stand in padding, if they are [B,T]
            if "mask.sum(1, keepdim=True)" in source:
                o.update(beta=0.0, top_entropy_quantile=1.0, use_vllm=False, off_policy_mask_threshold=None)
        args = trl.GRPOConfig(output_dir="none", use_cpu=True, bf16=False, report_to=[],
                              per_device_train_batch_size=b.rows,
                              num_generations=b.size, **{k: v for k, v in o.items() if k in known})
        logps = b.leaf()
        # TRL makes some numbers in the default type, in doubles' case not the batch's
        torch.set_default_dtype(b.dtype)
        trainer = Bare(args, b, logps)
        ids = torch.full_like(b.completion, 5)
        ids[b.completion == 0] = 0
        inputs = dict(prompt_ids=torch.full((b.rows, 2), 5),
                      prompt_mask=torch.ones(b.rows, 2, dtype=torch.long), completion_ids=ids,
                      completion_mask=b.completion, advantages=b.advantages,
                      num_items_in_batch=b.mask.sum() * o["gradient_accumulation_steps"])
        if b.off:
            inputs["old_per_token_logps"] = b.old
        if (b.tool == 0).any():
            inputs["tool_mask"] = b.tool
        if args.beta:
            inputs["ref_per_token_logps"] = b.ref
        if args.use_vllm:
            inputs.update(old_per_token_logps=b.old, sampling_per_token_logps=b.sampler)
            cap = getattr(args, "vllm_importance_sampling_clip_max",
                          getattr(args, "vllm_importance_sampling_cap", 3.0))
            inputs["importance_sampling_ratio"] = torch.exp((b.old - b.sampler) * b.mask).clamp(max=cap)
        seen = {}
        watched(trl.GRPOTrainer._compute_loss, lambda local, result: seen.update(local))(
            trainer, trainer.model, inputs)
        tensors = dict(hook.loss_tensors(seen), grad_per_token_logps=gradient(seen["loss"], logps))
        Dump(folder / f"loss-{n}.safetensors", hook.PROFILE, producer=f"TRL {trl.__version__}",
             **{**hook.settings(trainer), "num_items_in_batch": int(inputs["num_items_in_batch"]),
                "entropy_coef": hook.entropy_coef(trainer)}
             ).add(tensors).write()


# ---- verl --------------------------------------------------------------------------------------------------

class Config(dict):
    """A configuration as verl's functions read it: members by name, None where there is none."""

    def __getattr__(self, name):
        return self.get(name)


class Data(Config):
    """The padded batch that ppo_loss makes of a TensorDict."""

    def select(self, *_):
        return self

    def to_padded_tensor(self):
        return self


def verl(folder, count):
    """The advantage estimators, the policy losses and, where there is one, ppo_loss with KL and entropy."""
    import numpy as np
    stand_in("ray", "omegaconf", "tensordict", "codetiming", "hydra", "pylatexenc", "flash_attn", "orjson",
             "torchdata",
             "PIL", "cv2", "qwen_vl_utils")
    bare("verl", "verl.utils.tracking", "verl.utils.dataset")
    sys.modules["verl"].DataProto = sys.modules["verl.utils.tracking"].RLInsightLogger = object
    import verl.trainer.ppo.core_algos as core
    core.ActorConfig = Config                           # one loss asserts its configuration's class
    try:
        from verl.workers.utils import losses
        losses.no_padding_2_padding = lambda x, _: x
    except ImportError:
        losses = None
    from grpoc.verl import Watch
    modes = [m for m in ("gspo", "gpg", "cispo", "sapo", "clip_cov", "kl_cov")
             if m in core.POLICY_LOSS_REGISTRY]
    kinds = ["low_var_kl", "kl", "mse", "abs"]
    if "base_kl_penalty" in core.kl_penalty.__code__.co_varnames:       # a plus that works
        kinds += ["k1", "k2", "k3", "k3+"]
    for n, (rng, b) in enumerate(batches(count, 2)):
        config = Config(
            clip_ratio=0.2, clip_ratio_low=rng.choice([0.2, 0.1]), clip_ratio_high=rng.choice([0.2, 0.28]),
            clip_ratio_c=rng.choice([3.0, 1.5]), use_kl_loss=rng.random() < 0.5,
            kl_loss_coef=rng.choice([0.001, 0.3]), kl_loss_type=rng.choice(kinds),
            entropy_coeff=rng.choice([0, 0, 0.01]), tau_pos=1.0, tau_neg=1.05,
            loss_agg_mode=rng.choice(["token-mean", "token-mean", "seq-mean-token-mean", "seq-mean-token-sum",
                                      "seq-mean-token-sum-norm"]),
            global_batch_info=Config(),
            policy_loss=Config(loss_mode=rng.choice(["vanilla"] * 4 + modes), clip_cov_ratio=0.2,
                               clip_cov_lb=0.1, clip_cov_ub=5.0, kl_cov_ratio=0.2, ppo_kl_coef=0.1))
        if (config.loss_agg_mode == "seq-mean-token-mean" or losses is None
                or config.policy_loss.loss_mode in ("gspo", "sapo")):
            b.single()
        if "vanilla" not in core.POLICY_LOSS_REGISTRY:
            b.fill()
        mask, tokens = b.mask.to(b.dtype), torch.zeros(b.rows, b.width, dtype=b.dtype)
        # the score stands at one token, as verl's reward managers leave it
        tokens[:, -1] = b.rewards
        torch.set_default_dtype(b.dtype)
        with Watch(folder / str(n)):
            registry = {getattr(k, "value", k): f for k, f in core.ADV_ESTIMATOR_REGISTRY.items()}
            estimator = registry[rng.choice([
                e for e in ("grpo", "grpo", "rloo", "opo", "reinforce_plus_plus_baseline") if e in registry])]
            parameters = (estimator.__code__ if not hasattr(estimator, "__wrapped__")
                          else estimator.__wrapped__.__code__)
            more = ({"norm_adv_by_std_in_grpo": rng.random() < 0.6}
                    if "norm_adv_by_std_in_grpo" in parameters.co_varnames else {})
            advantages = estimator(token_level_rewards=tokens, response_mask=mask,
                                   index=np.array(b.index, dtype=object), **more)[0]
            logps = b.leaf()
            old = logps.detach() if not b.off else b.old
            if losses is not None:
                losses.ppo_loss(config, {"log_probs": logps, "entropy": b.entropies if config.entropy_coeff
                                         else None},
                                Data(dp_size=1, batch_num_tokens=rng.choice([None, 2 * int(b.mask.sum())]),
                                     global_batch_size=rng.choice([None, 2 * b.rows]), response_mask=b.mask,
                                     old_log_probs=old, advantages=advantages,
                                     **({"ref_log_prob": b.ref} if config.use_kl_loss else {})))
            elif "vanilla" in core.POLICY_LOSS_REGISTRY or config.policy_loss.loss_mode != "vanilla":
                core.get_policy_loss_fn(config.policy_loss.loss_mode)(
                    old_log_prob=old, log_prob=logps, advantages=advantages, response_mask=mask,
                    loss_agg_mode=config.loss_agg_mode, config=config)
                core.kl_penalty(logps, b.ref, config.kl_loss_type)
            else:
                core.compute_policy_loss(old, logps, advantages, mask, 0.2, config.clip_ratio_low,
                                         config.clip_ratio_high, config.clip_ratio_c, config.loss_agg_mode)
                core.kl_penalty(logps, b.ref, config.kl_loss_type)


# ---- OpenRLHF ----------------------------------------------------------------------------------------------

def openrlhf(folder, count):
    """PolicyLoss and compute_approx_kl, and both together as the actor's training step adds them."""
    stand_in("deepspeed")
    bare("openrlhf", "openrlhf.models")
    import openrlhf.models.loss as loss_module
    import openrlhf.models.utils as utils
    from grpoc import Dump
    from grpoc.openrlhf import Watch
    from grpoc.watching import gradient, masks, version
    known = inspect.signature(loss_module.PolicyLoss.__init__).parameters
    for n, (rng, b) in enumerate(batches(count, 3)):
        o = dict(clip_eps_low=rng.choice([0.2, 0.1]), clip_eps_high=rng.choice([0.2, 0.28]),
                 dual_clip=rng.choice([None, None, 3.0]),
                 token_level_loss=rng.random() < 0.5, policy_loss_type=rng.choice(["ppo", "ppo", "gspo"]))
        b.single()
        if not hasattr(loss_module, "aggregate_loss"):
            b.fill()
        mask, logps, estimator = b.mask.to(b.dtype), b.leaf(), rng.choice(["k1", "k2", "k3"])
        advantages = b.advantages[:, None] * torch.ones_like(mask)
        old = logps.detach() if not b.off else b.old
        torch.set_default_dtype(b.dtype)
        with Watch(folder / str(n)):
            module = loss_module.PolicyLoss(**{k: v for k, v in o.items() if k in known})
            policy = module(logps, old, advantages, action_mask=mask)[0]
            kl = utils.compute_approx_kl(logps, b.ref, kl_estimator=estimator)
        if not hasattr(loss_module, "aggregate_loss"):
            continue
        total = policy + 0.04 * loss_module.aggregate_loss(kl, mask, token_level_loss=module.token_level_loss)
        Dump(folder / f"{n}/both-1.safetensors", version("openrlhf"), **dict(
            eps_clip_low_high=[o["clip_eps_low"], o["clip_eps_high"]], dual_clip=o["dual_clip"],
            policy_loss_type=o["policy_loss_type"], token_level_loss=module.token_level_loss,
            kl_estimator=estimator, beta=0.04)).add(
            per_token_logps=logps, old_per_token_logps=old, ref_per_token_logps=b.ref, advantages=advantages,
            **masks(mask), per_token_kl=kl, loss=total, grad_per_token_logps=gradient(total, logps)).write()


# ---- Liger-Kernel ------------------------------------------------------------------------------------------

def liger(folder, count):
    """LigerFusedLinearGRPOLoss, from hidden rows and a head to the loss."""
    bare("liger_kernel", "liger_kernel.chunked_loss")
    import liger_kernel.chunked_loss.grpo_loss as grpo_loss
    from grpoc.liger import Watch
    known = inspect.signature(grpo_loss.LigerFusedLinearGRPOLoss.__init__).parameters
    types_of = ["grpo", "bnpo", "dr_grpo", "dapo", "dapo", "cispo", "sapo"] + (
        ["luspo", "vespo"] if "vespo_k_pos" in known else [])
    for n, (rng, b) in enumerate(batches(count, 4)):
        kind = rng.choice(types_of)
        level = (rng.choice(["token", "sequence"]) if kind in ("grpo", "bnpo", "dr_grpo", "dapo") else
                 "sequence" if kind == "luspo" else "token")
        o = dict(beta=rng.choice([0.0, 0.04]), epsilon_low=rng.choice([0.2, 0.1]),
                 epsilon_high=rng.choice([0.2, 0.28]), loss_type=kind,
                 importance_sampling_level=level, max_completion_length=b.width,
                 chunk_size=rng.choice([1, 2]), compiled=False,
                 delta=rng.choice([None, None, 1.5]) if kind in ("grpo", "bnpo", "dr_grpo", "dapo", "luspo")
                 else None, use_bias_correction_kl=rng.random() < 0.5)
        if kind == "luspo":
            # with a KL its mean takes in the numbers that stand in padding
            o["beta"] = 0.0
        o["use_ref_model"] = o["beta"] != 0
        with Watch(folder / str(n)):
            module = grpo_loss.LigerFusedLinearGRPOLoss(**{k: v for k, v in o.items() if k in known})
            hidden = torch.randn(b.rows, b.width, 6, requires_grad=True)
            weight = torch.randn(11, 6, requires_grad=True)
            ids = torch.randint(0, 11, (b.rows, b.width))
            with torch.no_grad():
                logps = (hidden @ weight.T).log_softmax(-1).gather(-1, ids[..., None])[..., 0]
            module(hidden, weight, ids, b.mask, b.advantages.float(),
                   ref_per_token_logps=(logps + (b.ref - b.logps)).float(),
                   old_per_token_logps=(logps + (b.old - b.logps)).float() if b.off else None)


if __name__ == "__main__":
    globals()[sys.argv[1]](pathlib.Path(sys.argv[2]), int(sys.argv[3]))
