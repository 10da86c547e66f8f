# arms.mk: what the experiment compares. A name is scale/seed/arm; every arm of a scale and seed starts from
# the same SFT weights, sees the same prompts and the same reward model, and draws the same number of replies.

SCALES = 0.25M 0.52M 2.0M
SEEDS  = 1 2 3
# Evaluation draw of the tables and its prompts a row (lookalike: half); the search looks at draw 98.
JUDGED = 96
N_EVAL = 256

SHAPE.0.25M = --hidden-size 64 --num-hidden-layers 4 --num-attention-heads 4 --intermediate-size 176
SHAPE.0.52M = --hidden-size 96 --num-hidden-layers 4 --num-attention-heads 4 --intermediate-size 256
SHAPE.2.0M  = --hidden-size 160 --num-hidden-layers 6 --num-attention-heads 4 --intermediate-size 432

# Peak rates: the search's best at the smallest scale (GRPO-2, PPO-8, DPO-6 below), then as one over width.
RATE.sft.0.25M   = 5e-3
RATE.sft.0.52M   = 4e-3
RATE.sft.2.0M    = 2e-3
RATE.train.0.25M = 6e-4
RATE.train.0.52M = 4e-4
RATE.train.2.0M  = 2.4e-4
RATE.ppo.0.25M   = 1.2e-3
RATE.ppo.0.52M   = 8e-4
RATE.ppo.2.0M    = 4.8e-4
RATE.dpo.0.25M   = 1e-3
RATE.dpo.0.52M   = 6.7e-4
RATE.dpo.2.0M    = 4e-4

# Amounts: pairs for SFT, rows for the reward model, updates of GRPO and PPO (16 prompts of 8 replies each),
# and so the prompts of all methods.
N_SFT    = 72000
N_REWARD = 15000
STEPS    = 220
# The one reward model of a seed, for all scales and methods, grows from the policy of this scale.
REWARD_SCALE = 0.25M

WEIGHTS = politeness=0.15,meaningfulness=0.2,actionability=0.15,safety=0.5
one     = --reward-weights politeness=$(1),meaningfulness=$(2),actionability=$(3),safety=$(4)

# ---- the methods, at every scale; -time: as many updates as take GRPO's time -------------------------------
METHODS = GRPO PPO DPO PPO-time DPO-time
BETA    = --beta 0.04
KIND.GRPO     = train
ARM.GRPO      = --reward-weights $(WEIGHTS) $(BETA)
KIND.PPO      = ppo
ARM.PPO       = --reward-weights $(WEIGHTS) --kl-coef 0.005 --lam 1 --num-ppo-epochs 1
KIND.DPO      = dpo
ARM.DPO       = --beta 0.3 --num-train-epochs 3
KIND.PPO-time = ppo
ARM.PPO-time  = $(ARM.PPO)
KIND.DPO-time = dpo
ARM.DPO-time  = $(ARM.DPO)

# ---- ablations of GRPO, at the smallest scale --------------------------------------------------------------
ABLATION_SCALE = 0.25M
ABLATIONS = only-politeness only-meaningfulness only-actionability only-safety equal collapsed \
    normalize-then-sum mo-grpo safety-floor beta-0 beta-0.01 beta-0.15
ARM.only-politeness     = $(call one,1,0,0,0) $(BETA)
ARM.only-meaningfulness = $(call one,0,1,0,0) $(BETA)
ARM.only-actionability  = $(call one,0,0,1,0) $(BETA)
ARM.only-safety         = $(call one,0,0,0,1) $(BETA)
ARM.equal               = $(call one,0.25,0.25,0.25,0.25) $(BETA)
ARM.collapsed           = $(BETA)
ARM.normalize-then-sum  = --reward-weights $(WEIGHTS) $(BETA) --multi-objective-aggregation normalize_then_sum
ARM.mo-grpo             = --reward-weights $(WEIGHTS) $(BETA) --multi-objective-aggregation mo_grpo
ARM.safety-floor        = --reward-weights $(WEIGHTS) $(BETA) --reward-floors safety=0.95
ARM.beta-0              = --reward-weights $(WEIGHTS) --beta 0
ARM.beta-0.01           = --reward-weights $(WEIGHTS) --beta 0.01
ARM.beta-0.15           = --reward-weights $(WEIGHTS) --beta 0.15

# ---- the search: nine settings of each method, six and then three around the best; smallest scale, first
# seed, development draw
SEARCHED = $(foreach m,GRPO PPO DPO,$(foreach n,1 2 3 4 5 6 7 8 9,$(m)-$(n)))
ARM.GRPO-1 = --reward-weights $(WEIGHTS) --learning-rate 6e-4 --beta 0.08
ARM.GRPO-2 = --reward-weights $(WEIGHTS) --learning-rate 6e-4 --beta 0.04
ARM.GRPO-3 = --reward-weights $(WEIGHTS) --learning-rate 6e-4 --beta 0.15
ARM.GRPO-4 = --reward-weights $(WEIGHTS) --learning-rate 1.2e-3 --beta 0.08
ARM.GRPO-5 = --reward-weights $(WEIGHTS) --learning-rate 3e-4 --beta 0.08
ARM.GRPO-6 = --reward-weights $(WEIGHTS) --learning-rate 1.2e-3 --beta 0.15
ARM.GRPO-7 = --reward-weights $(WEIGHTS) --learning-rate 9e-4 --beta 0.04
ARM.GRPO-8 = --reward-weights $(WEIGHTS) --learning-rate 9e-4 --beta 0.08
ARM.GRPO-9 = --reward-weights $(WEIGHTS) --learning-rate 6e-4 --beta 0.04 --loss-type dapo
ARM.PPO-1  = --reward-weights $(WEIGHTS) --learning-rate 6e-4 --kl-coef 0.01 --lam 1 --num-ppo-epochs 1
ARM.PPO-2  = --reward-weights $(WEIGHTS) --learning-rate 6e-4 --kl-coef 0.03 --lam 1 --num-ppo-epochs 1
ARM.PPO-3  = --reward-weights $(WEIGHTS) --learning-rate 6e-4 --kl-coef 0.01 --lam 0.95 --num-ppo-epochs 1
ARM.PPO-4  = --reward-weights $(WEIGHTS) --learning-rate 1.2e-3 --kl-coef 0.01 --lam 1 --num-ppo-epochs 1
ARM.PPO-5  = --reward-weights $(WEIGHTS) --learning-rate 3e-4 --kl-coef 0.01 --lam 1 --num-ppo-epochs 4
ARM.PPO-6  = --reward-weights $(WEIGHTS) --learning-rate 3e-4 --kl-coef 0.01 --lam 0.95 --num-ppo-epochs 4
ARM.PPO-7  = --reward-weights $(WEIGHTS) --learning-rate 1.2e-3 --kl-coef 0.02 --lam 1 --num-ppo-epochs 1
ARM.PPO-8  = --reward-weights $(WEIGHTS) --learning-rate 1.2e-3 --kl-coef 0.005 --lam 1 --num-ppo-epochs 1
ARM.PPO-9  = --reward-weights $(WEIGHTS) --learning-rate 1.8e-3 --kl-coef 0.01 --lam 1 --num-ppo-epochs 1
ARM.DPO-1  = --learning-rate 3e-4 --beta 0.1 --num-train-epochs 1
ARM.DPO-2  = --learning-rate 1e-3 --beta 0.1 --num-train-epochs 1
ARM.DPO-3  = --learning-rate 3e-4 --beta 0.1 --num-train-epochs 3
ARM.DPO-4  = --learning-rate 1e-3 --beta 0.1 --num-train-epochs 3
ARM.DPO-5  = --learning-rate 3e-4 --beta 0.03 --num-train-epochs 3
ARM.DPO-6  = --learning-rate 1e-3 --beta 0.3 --num-train-epochs 3
ARM.DPO-7  = --learning-rate 1e-3 --beta 1 --num-train-epochs 3
ARM.DPO-8  = --learning-rate 1e-3 --beta 0.5 --num-train-epochs 3
ARM.DPO-9  = --learning-rate 5e-4 --beta 0.3 --num-train-epochs 3
