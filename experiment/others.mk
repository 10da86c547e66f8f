# others.mk: the nine other methods beside GRPO, PPO and DPO, each with its authors' claim put to the test, at
# the smallest scale. `make others` calls it as `make experiment` calls experiment.mk, whose stages it shares:
# in the same folder GRPO, PPO and DPO are made once. What is done is kept.

include experiment/arms.mk
override SCALES = 0.25M
# Prompts a row where a reply is dear or there are several to a prompt: Collab, diversity.
N_FEW  = 32
export N_FEW WEIGHTS

override METHODS   = GRPO PPO DPO
override ABLATIONS =
override SEARCHED  = $(foreach m,TDPO BMC GR FLOW MAXMIN AIHF DVPO MPO COLLAB, \
                         $(foreach n,1 2 3 4 5 6,$(m)-$(n)))

# ---- the arms, by method: what it is (KIND), whose files it reads (FROM), its options (ARM) --------
# TDPO: a frontier of score against KL. Pair losses stand at DPO's best: its rate and three passes.
BETAS = 0.03 0.1 0.3 1
TDPO  = $(foreach b,0.03 0.1 1,DPO-beta-$(b)) $(foreach l,1 2,$(BETAS:%=TDPO$(l)-%)) \
        TDPO2-alpha-0.25 TDPO2-alpha-1
define beta
ARM.DPO-beta-$(1)   = --beta $(1) --num-train-epochs 3
ARM.TDPO1-$(1) = --loss-type tdpo1 --beta $(1) --num-train-epochs 3
ARM.TDPO2-$(1) = --loss-type tdpo2 --beta $(1) --num-train-epochs 3
endef
$(foreach b,$(BETAS),$(eval $(call beta,$(b))))
ARM.TDPO2-alpha-0.25  = --loss-type tdpo2 --tdpo-alpha 0.25 --beta 0.1 --num-train-epochs 3
ARM.TDPO2-alpha-1     = --loss-type tdpo2 --tdpo-alpha 1 --beta 0.1 --num-train-epochs 3

# BMC: bridged pairs, weighted tokens, both, and the control; on the best against the worst of eight replies
# and on the second against the fourth.
BMC = control BC MC BMC near near-control near-BC near-MC near-BMC
FROM.control      = corrected
FROM.BC           = bridged
FROM.BMC          = bridged
FROM.near         = near-pairs
FROM.near-control = near-corrected
FROM.near-BC      = near-bridged
FROM.near-MC      = near-pairs
FROM.near-BMC     = near-bridged
plain-dpo         = --beta 0.3 --num-train-epochs 3
weighted-dpo      = $(plain-dpo) --bmc-delta 2
$(foreach a,control BC near near-control near-BC,$(eval ARM.$(a) = $(plain-dpo)))
$(foreach a,MC BMC near-MC near-BMC,$(eval ARM.$(a) = $(weighted-dpo)))

# Group-robust DPO: pairs of two groups of raters, 80 : 20; a quarter is held out.
GR = rated rated-fixed rated-mean rated-sum rated-ipo
$(foreach a,$(GR),$(eval FROM.$(a) = prefs-80))
rated           = --beta 0.1 --num-train-epochs 2 --eval-split 0.25
ARM.rated       = $(rated) --group-column group --group-weights none
ARM.rated-fixed = $(rated) --group-column group --group-loss mean --group-weights fixed
ARM.rated-mean  = $(rated) --group-column group --group-loss mean --group-step-size 0.3
ARM.rated-sum   = $(rated) --group-column group --group-loss sum --group-step-size 0.01
ARM.rated-ipo   = $(rated) --group-column group --group-loss mean --group-step-size 0.01 --loss-type ipo_sum

# GDPO by flows: the reward model's scores at four alphas, the authors' scores, and the authors' program.
FLOW = flow-2.5 flow-5 flow-10 flow-20 flow-pair flow-program
$(foreach a,2.5 5 10 20, \
    $(eval ARM.flow-$(a) = --loss-type flow_tb --flow-scores column --flow-alpha $(a) --num-train-epochs 3))
ARM.flow-pair    = --loss-type flow_subtb --flow-scores pair --flow-alpha 1 --num-train-epochs 3
ARM.flow-program = --loss-type flow_db --flow-reward program --flow-scores pair --flow-alpha 0.1 \
                   --num-train-epochs 3

# MaxMin-RLHF: one reward model, one for each group that em found, one for each group that is known; and the
# case of a weak network.
MAXMIN = one-model max-min known-groups max-min-weak
FROM.one-model    = one-reward
FROM.max-min      = em-250
FROM.known-groups = known
FROM.max-min-weak = em-60
ARM.one-model     = $(BETA)
$(foreach a,max-min known-groups max-min-weak, \
    $(eval ARM.$(a) = $(BETA) --multi-objective-aggregation worst_group))

# AIHF: demonstrations of quality .6 and few or many preferences: SFT on the demonstrations, then a reward
# model, then GRPO; both at once; and at once in the form without a reward network. The stages draw as many
# replies as AIHF does, of which a fifth answers demonstrations' prompts.
AMOUNTS = 100 400 1600
AIHF = demonstrated $(foreach n,$(AMOUNTS),stages-$(n) together-$(n) direct-$(n))
KIND.demonstrated = demonstrated
$(foreach n,$(AMOUNTS),$(eval FROM.stages-$(n) = rewarded-$(n)) \
    $(eval FROM.together-$(n) = preferred-$(n))$(eval FROM.direct-$(n) = preferred-$(n)))

# DVPO: PPO with the values of a frozen model, no reward model and no critic in training.
DVPO = dvpo-q dvpo-td
$(foreach a,$(DVPO),$(eval KIND.$(a) = dvpo)$(eval FROM.$(a) = value))
frozen      = --kl-coef 0.005 --num-ppo-epochs 1
ARM.dvpo-q  = $(frozen) --advantage q
ARM.dvpo-td = $(frozen) --advantage td --lam 1

# MPO: policies of one goal each, near enough to the reference, and their mixtures; Collab's agents are two of
# them.
GOALS = goal-politeness goal-meaningfulness goal-actionability goal-safety
ARM.goal-politeness     = $(call one,1,0,0,0) --beta 0.15
ARM.goal-meaningfulness = $(call one,0,1,0,0) --beta 0.15
ARM.goal-actionability  = $(call one,0,0,1,0) --beta 0.15
ARM.goal-safety         = $(call one,0,0,0,1) --beta 0.15
KIND.GRPO-equal = train
ARM.GRPO-equal  = $(call one,0.25,0.25,0.25,0.25) --beta 0.15
# The same with weights in the place of the measured ones (naive), with those of E252, and with those of
# mirror descent.
MPO = mixture-naive mixture-given mixture-worst
$(foreach a,naive given worst,$(eval KIND.mixture-$(a) = mixture)$(eval FROM.mixture-$(a) = mix-$(a)))

# Collab, and what it is compared with, on fewer prompts.
COLLAB = agent-actionability agent-safety collab collab-wide best-of-n
$(foreach a,actionability safety,$(eval KIND.agent-$(a) = greedy)$(eval FROM.agent-$(a) = goal-$(a)))
KIND.collab      = collab
ARM.collab       = --top-k 5 --top-p 0.7
KIND.collab-wide = collab
ARM.collab-wide  = --top-k 5 --top-p 1
KIND.best-of-n   = best-of
FROM.best-of-n   = collab

# The search: the first settings are those of the arms above; its kinds are KIND.TDPO and so on.
$(foreach m,TDPO BMC GR FLOW,$(eval KIND.$(m) = dpo))
KIND.MAXMIN = grouped
KIND.AIHF   = aihf
KIND.DVPO   = dvpo
KIND.MPO    = searched-mixture
KIND.COLLAB = collab
FROM.GR     = prefs-80
FROM.MAXMIN = em-250
FROM.AIHF   = preferred-400
FROM.DVPO   = value
FROM.BMC    = bridged
ARM.TDPO-1 = --learning-rate 1e-3 --loss-type tdpo2 --beta 0.1 --num-train-epochs 3
ARM.TDPO-2 = --learning-rate 5e-4 --loss-type tdpo2 --beta 0.1 --num-train-epochs 3
ARM.TDPO-3 = --learning-rate 2e-3 --loss-type tdpo2 --beta 0.1 --num-train-epochs 3
ARM.TDPO-4 = --learning-rate 1e-3 --loss-type tdpo2 --beta 0.1 --num-train-epochs 1
ARM.TDPO-5 = --learning-rate 1e-3 --loss-type tdpo2 --beta 0.05 --num-train-epochs 3
ARM.TDPO-6 = --learning-rate 1e-3 --loss-type tdpo2 --beta 0.3 --num-train-epochs 3
ARM.BMC-1 = --learning-rate 1e-3 --bmc-delta 2 --beta 0.3 --num-train-epochs 3
ARM.BMC-2 = --learning-rate 1e-3 --bmc-delta 1.5 --beta 0.3 --num-train-epochs 3
ARM.BMC-3 = --learning-rate 1e-3 --bmc-delta 3 --beta 0.3 --num-train-epochs 3
ARM.BMC-4 = --learning-rate 5e-4 --bmc-delta 2 --beta 0.3 --num-train-epochs 3
ARM.BMC-5 = --learning-rate 1e-3 --bmc-delta 2 --beta 0.1 --num-train-epochs 3
ARM.BMC-6 = --learning-rate 1e-3 --bmc-delta 2 --beta 0.3 --num-train-epochs 1
ARM.GR-1 = --learning-rate 1e-3 $(ARM.rated-mean)
ARM.GR-2 = --learning-rate 5e-4 $(ARM.rated-mean)
ARM.GR-3 = --learning-rate 1e-3 $(rated) --group-column group --group-loss mean --group-step-size 0.1
ARM.GR-4 = --learning-rate 1e-3 $(rated) --group-column group --group-loss mean --group-step-size 0.5
ARM.GR-5 = --learning-rate 1e-3 $(ARM.rated-sum)
ARM.GR-6 = --learning-rate 5e-4 $(ARM.rated-sum)
ARM.FLOW-1 = --learning-rate 1e-3 $(ARM.flow-10)
ARM.FLOW-2 = --learning-rate 5e-4 $(ARM.flow-10)
ARM.FLOW-3 = --learning-rate 1e-3 $(ARM.flow-5)
ARM.FLOW-4 = --learning-rate 1e-3 $(ARM.flow-20)
ARM.FLOW-5 = --learning-rate 1e-3 $(ARM.flow-10) --loss-type flow_subtb
ARM.FLOW-6 = --learning-rate 2e-3 $(ARM.flow-10)
worst = --multi-objective-aggregation worst_group
ARM.MAXMIN-1 = --learning-rate 6e-4 --beta 0.04 $(worst)
ARM.MAXMIN-2 = --learning-rate 3e-4 --beta 0.04 $(worst)
ARM.MAXMIN-3 = --learning-rate 6e-4 --beta 0.15 $(worst)
ARM.MAXMIN-4 = --learning-rate 1.2e-3 --beta 0.04 $(worst)
ARM.MAXMIN-5 = --learning-rate 6e-4 --beta 0.08 $(worst)
ARM.MAXMIN-6 = --learning-rate 6e-4 --beta 0.04 --multi-objective-aggregation min
ARM.AIHF-1 = --learning-rate 6e-4 $(TOGETHER)
ARM.AIHF-2 = --learning-rate 3e-4 $(TOGETHER)
ARM.AIHF-3 = --learning-rate 6e-4 $(TOGETHER) --reward-learning-rate 3e-4
ARM.AIHF-4 = --learning-rate 6e-4 $(TOGETHER) --reward-steps 10
ARM.AIHF-5 = --learning-rate 6e-4 $(TOGETHER) --demo-weight 0.3
ARM.AIHF-6 = --learning-rate 6e-4 $(TOGETHER) --demo-loss difference
ARM.DVPO-1 = --learning-rate 1.2e-3 $(ARM.dvpo-q)
ARM.DVPO-2 = --learning-rate 6e-4 $(ARM.dvpo-q)
ARM.DVPO-3 = --learning-rate 1.2e-3 $(ARM.dvpo-td)
ARM.DVPO-4 = --learning-rate 6e-4 $(ARM.dvpo-td)
ARM.DVPO-5 = --learning-rate 1.2e-3 $(frozen) --advantage td --lam 0.95
ARM.DVPO-6 = --learning-rate 6e-4 --kl-coef 0.01 --num-ppo-epochs 1 --advantage td --lam 1
mirror = --steps 200 --prompts-per-step 8
ARM.MPO-1 = --num-generations 24 $(mirror) --step-size 1
ARM.MPO-2 = --num-generations 24 $(mirror) --step-size 0.3
ARM.MPO-3 = --num-generations 24 $(mirror) --step-size 3
ARM.MPO-4 = --num-generations 8 $(mirror) --step-size 1
ARM.MPO-5 = --num-generations 48 $(mirror) --step-size 1
ARM.MPO-6 = --num-generations 24 --steps 50 --prompts-per-step 8 --step-size 1
ARM.COLLAB-1 = --top-k 5 --top-p 0.7
ARM.COLLAB-2 = --top-k 3 --top-p 0.7
ARM.COLLAB-3 = --top-k 5 --top-p 0.5
ARM.COLLAB-4 = --top-k 5 --top-p 0.9
ARM.COLLAB-5 = --top-k 3 --top-p 0.9
ARM.COLLAB-6 = --top-k 5 --top-p 0.7 --alpha 0.02

# ---- what makes them -------------------------------------------------------------------------------
DPOS = $(TDPO) $(BMC) $(GR) $(FLOW)
$(foreach a,$(DPOS),$(eval KIND.$(a) = dpo))
$(foreach a,$(MAXMIN),$(eval KIND.$(a) = grouped))
$(foreach n,$(AMOUNTS),$(eval KIND.stages-$(n) = staged)$(eval KIND.together-$(n) = aihf) \
    $(eval KIND.direct-$(n) = direct))
RATE.grouped.0.25M      = $(RATE.train.0.25M)
RATE.staged.0.25M       = $(RATE.train.0.25M)
RATE.aihf.0.25M         = $(RATE.train.0.25M)
RATE.dvpo.0.25M         = $(RATE.ppo.0.25M)
RATE.direct.0.25M       = $(RATE.dpo.0.25M)
RATE.demonstrated.0.25M = 1e-3
ARM.demonstrated        = --num-train-epochs 3 --save-steps 50
TOGETHER = $(BETA) --reward-model none --rounds 10 --policy-steps 10 --reward-steps 20 \
           --reward-learning-rate 1e-3 --reward-clip=-1000,1000
$(foreach n,$(AMOUNTS),$(eval ARM.stages-$(n) = $(BETA) --max-steps 125) \
    $(eval ARM.together-$(n) = $(TOGETHER)) \
    $(eval ARM.direct-$(n) = --beta 0.3 --num-train-epochs 3 --demonstration-weight 1))

include experiment/experiment.mk

trained  = $(TDPO) $(BMC) $(GR) $(FLOW) $(MAXMIN) $(AIHF) $(DVPO) $(GOALS) GRPO-equal
diverse  = SFT DPO DPO-beta-0.03 DPO-beta-0.1 DPO-beta-1 $(FLOW)
# Arms whose stages take no learning rate: made of policies that are there.
made     = $(MPO) $(COLLAB)
define method
$(foreach a,$(trained),$(call arm,0.25M,$(1),$(a))
)
0.25M/$(1)/ranked: 0.25M/$(1)/sft reward/$(1) ; $$(stage) ranked --reward-weights $(WEIGHTS)
0.25M/$(1)/bridged: 0.25M/$(1)/pairs ; $$(stage) bridged:pairs --from rejected
0.25M/$(1)/corrected: 0.25M/$(1)/pairs ; $$(stage) bridged:pairs --from chosen
0.25M/$(1)/near-pairs: 0.25M/$(1)/ranked ; $$(stage) near:ranked
0.25M/$(1)/near-bridged: 0.25M/$(1)/near-pairs ; $$(stage) bridged:near-pairs --from rejected
0.25M/$(1)/near-corrected: 0.25M/$(1)/near-pairs ; $$(stage) bridged:near-pairs --from chosen
0.25M/$(1)/prefs-80 0.25M/$(1)/prefs-60 0.25M/$(1)/prefs-250 \
    $(AMOUNTS:%=0.25M/$(1)/preferred-%): 0.25M/$(1)/ranked
0.25M/$(1)/prefs-60: ; $$(stage) prefs 60
0.25M/$(1)/prefs-80: ; $$(stage) prefs 80
0.25M/$(1)/prefs-250: ; $$(stage) prefs 250
$(foreach n,$(AMOUNTS),0.25M/$(1)/preferred-$(n): ; $$(stage) preferred $(n)
0.25M/$(1)/rewarded-$(n): 0.25M/$(1)/preferred-$(n) ; $$(stage) rewarded:preferred-$(n)
)
0.25M/$(1)/demos: 0.25M/$(1)/sft ; $$(stage) demos 500 0.6
0.25M/$(1)/one-reward: 0.25M/$(1)/prefs-250 ; $$(stage) rewarded:prefs-250
0.25M/$(1)/known: 0.25M/$(1)/prefs-250 ; $$(stage) known:prefs-250 --num-train-epochs 2
0.25M/$(1)/em-250: 0.25M/$(1)/prefs-250 ; $$(stage) em:prefs-250 --rounds 5
0.25M/$(1)/em-60: 0.25M/$(1)/prefs-60 ; $$(stage) em:prefs-60 --rounds 8
0.25M/$(1)/value: reward/$(1) ; $$(stage) value
$(foreach a,$(diverse),0.25M/$(1)/diverse-$(a): 0.25M/$(1)/$(a:SFT=sft) ; \
    $$(stage) diverse:$(a:SFT=sft)
)
0.25M/$(1)/mix-naive 0.25M/$(1)/mix-given 0.25M/$(1)/mix-worst: $(GOALS:%=0.25M/$(1)/%)
0.25M/$(1)/mix-naive: ; $$(stage) weights 0.25,0.25,0.25,0.25
0.25M/$(1)/mix-given: 0.25M/$(1)/GRPO-equal ; \
    $$(stage) given:GRPO-equal politeness=0.25,meaningfulness=0.25,actionability=0.25,safety=0.25
0.25M/$(1)/mix-worst: ; \
    $$(stage) mix --num-generations 24 --steps 200 --prompts-per-step 8 --step-size 1
0.25M/$(1)/best-of-n: 0.25M/$(1)/collab
0.25M/$(1)/few: 0.25M/$(1)/sft reward/$(1) ; $$(stage) greedy:sft
0.25M/$(1)/collab 0.25M/$(1)/collab-wide: 0.25M/$(1)/goal-actionability 0.25M/$(1)/goal-safety
$(foreach a,$(made),0.25M/$(1)/$(a): $(FROM.$(a):%=0.25M/$(1)/%) ; \
    $$(stage) $(KIND.$(a))$(FROM.$(a):%=:%) $(ARM.$(a))
)
endef
$(foreach k,$(SEEDS),$(eval $(call method,$(k))))
$(SEARCHED:%=search/1/%): $(filter-out DPO,$(foreach a, \
    bridged prefs-80 em-250 preferred-400 demonstrated value $(GOALS),0.25M/1/$(a)))

$(foreach k,$(SEEDS),$(foreach a,$(BMC) $(GR) $(MAXMIN) $(DVPO) $(AIHF), \
    $(if $(FROM.$(a)),$(eval 0.25M/$(k)/$(a): 0.25M/$(k)/$(FROM.$(a))))))
$(foreach k,$(SEEDS),$(foreach n,$(AMOUNTS), \
    $(eval 0.25M/$(k)/stages-$(n) 0.25M/$(k)/together-$(n) 0.25M/$(k)/direct-$(n): 0.25M/$(k)/demonstrated)) \
    $(eval 0.25M/$(k)/demonstrated: 0.25M/$(k)/demos))

# ---- the page --------------------------------------------------------------------------------------
override amounts = SEEDS N_EVAL N_SFT N_REWARD STEPS REWARD_SCALE WEIGHTS BETA
# A section's arms: name of the page, then that of its stage where that is another. What is not there yet is
# left out, and the page says so.
present  = $(foreach r,$(1),$(if $(wildcard $(EXPERIMENT)/$(r)/run/replies.jsonl),$(EXPERIMENT)/$(r)/run))
joined   = $(if $(strip $(2)),$(1)=$(subst $(space),$(comma),$(strip $(2))))
shown_as = $(call joined,$(1)/$(firstword $(subst =, ,$(2))),$(call \
               present,$(foreach k,$(SEEDS),0.25M/$(k)/$(lastword $(subst =, ,$(2))))))
few      = SFT=few $(COLLAB)
sections = $(foreach a,SFT=base DPO $(TDPO),$(call shown_as,TDPO,$(a))) \
           $(foreach a,SFT=base DPO $(BMC),$(call shown_as,BMC,$(a))) \
           $(foreach a,SFT=base $(GR),$(call shown_as,GR,$(a))) \
           $(foreach a,$(diverse),$(call shown_as,FLOW,$(a)=diverse-$(a))) \
           $(foreach a,SFT=base $(MAXMIN),$(call shown_as,MAXMIN,$(a))) \
           $(foreach a,SFT=base $(AIHF),$(call shown_as,AIHF,$(a))) \
           $(foreach a,SFT=base PPO $(DVPO),$(call shown_as,DVPO,$(a))) \
           $(foreach a,SFT=base GRPO-equal $(GOALS) $(MPO),$(call shown_as,MPO,$(a))) \
           $(foreach a,$(few),$(call shown_as,COLLAB,$(a)))
tried    = $(foreach m,TDPO BMC GR FLOW MAXMIN AIHF DVPO MPO COLLAB,$(foreach n,1 2 3 4 5 6, \
               $(call joined,$(m)/$(m)-$(n),$(call present,search/1/$(m)-$(n)))))
page:
	@mkdir -p $(out); rm -f $(out)/others*.html
	@./grpo report $(sections) --title "The nine other methods" --output $(out)/others.html --json \
	    > $(out)/others.json
	@echo '{"sections":[]}' > $(out)/others-search.json
	@$(if $(strip $(tried)),./grpo report $(tried) --title "Their search" \
	    --output $(out)/others-search.html --json > $(out)/others-search.json)
	@build/experiment_others page $(out)/others.json $(out)/others-search.json $(EXPERIMENT) "$(reduced)" \
	    > $(out)/others.md
	@echo "tables and verdicts: $(out)/others.md, page: $(out)/others.html" >&2
everything = $(foreach k,$(SEEDS),$(addprefix 0.25M/$(k)/,base few GRPO PPO DPO $(trained) \
                 $(diverse:%=diverse-%) $(made)))
others: $(everything) $(SEARCHED:%=search/1/%)
	@$(MAKE) --no-print-directory -f experiment/others.mk EXPERIMENT=$(EXPERIMENT) page
.PHONY: page others $(everything)
