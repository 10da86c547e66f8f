# experiment.mk: the stages of the experiment and what each stands on. `make experiment` calls it with as many
# jobs as there are cores; every stage is one thread (the same bits as with more, and small networks share no
# work well). What is done is kept: call it again to go on.

include experiment/arms.mk

main      = $(foreach k,$(SEEDS),$(foreach s,$(SCALES),$(s)/$(k)/base $(METHODS:%=$(s)/$(k)/%)))
ablations = $(foreach k,$(SEEDS),$(ABLATIONS:%=$(ABLATION_SCALE)/$(k)/%))
before    = $(foreach k,$(SEEDS),world/$(k) reward/$(k) \
                $(foreach s,$(SCALES),$(s)/$(k)/init $(s)/$(k)/sft $(s)/$(k)/pairs))
collapsed = $(if $(filter collapsed,$(ABLATIONS)),$(SEEDS:%=collapsed/%))
searched  = $(SEARCHED:%=search/1/%)

export EXPERIMENT SEEDS JUDGED N_EVAL N_SFT N_REWARD STEPS REWARD_SCALE ABLATION_SCALE JOBS
export STAGES = $(if $(filter search,$(MAKECMDGOALS)),world/1 reward/1 \
    $(foreach x,init sft pairs,$(ABLATION_SCALE)/1/$(x)) $(searched) search/1/base,$(before) $(collapsed) \
    $(main) $(ablations))
stage = @sh experiment/stage.sh $@

all: methods ablations
methods: $(main)
ablations: $(ablations)
search: $(searched) search/1/base

# A seed changes everything but the world's pairs: text, prompts, weights, draws.
define seed
world/$(1): ; $$(stage) world
reward/$(1): $(REWARD_SCALE)/$(1)/sft ; $$(stage) reward
collapsed/$(1): reward/$(1) ; $$(stage) collapsed $(shell echo '$(WEIGHTS)' | sed 's/[a-z]*=//g')
endef
define scale
$(1)/$(2)/init: world/$(2) ; $$(stage) init $(SHAPE.$(1))
$(1)/$(2)/sft: $(1)/$(2)/init ; $$(stage) sft --learning-rate $(RATE.sft.$(1))
$(1)/$(2)/base: $(1)/$(2)/sft reward/$(2) ; $$(stage) base
$(1)/$(2)/pairs: $(1)/$(2)/sft reward/$(2) ; $$(stage) pairs --reward-weights $(WEIGHTS)
$(1)/$(2)/PPO-time: $(1)/$(firstword $(SEEDS))/GRPO $(1)/$(firstword $(SEEDS))/PPO
$(1)/$(2)/DPO-time: $(1)/$(firstword $(SEEDS))/GRPO $(1)/$(firstword $(SEEDS))/DPO
endef
define arm
$(1)/$(2)/$(3): $(1)/$(2)/sft $(if $(filter collapsed,$(3)),collapsed,reward)/$(2) \
    $(if $(filter dpo,$(KIND.$(3))),$(1)/$(2)/pairs)
	$$(stage) $(or $(KIND.$(3)),train)$(FROM.$(3):%=:%) \
	    --learning-rate $(RATE.$(or $(KIND.$(3)),train).$(1)) $(ARM.$(3))
endef
# The search shares the SFT weights and the pairs of the smallest scale's first seed.
define candidate
search/1/$(1): $(ABLATION_SCALE)/1/sft reward/1 $(ABLATION_SCALE)/1/pairs
	$$(stage) $(KIND.$(firstword $(subst -, ,$(1))))$(FROM.$(firstword $(subst -, ,$(1))):%=:%) $(ARM.$(1))
endef
$(foreach k,$(SEEDS),$(eval $(call seed,$(k))) \
    $(foreach s,$(SCALES),$(eval $(call scale,$(s),$(k))) \
        $(foreach a,$(METHODS),$(eval $(call arm,$(s),$(k),$(a))))))
$(foreach k,$(SEEDS),$(foreach a,$(ABLATIONS),$(eval $(call arm,$(ABLATION_SCALE),$(k),$(a)))))
$(foreach a,$(SEARCHED),$(eval $(call candidate,$(a))))
search/1/base: $(ABLATION_SCALE)/1/sft reward/1 ; $(stage) base

# ---- the tables, the claims and the page, from what the runs left ----------------------------------
empty =
comma = ,
space = $(empty) $(empty)
runs   = $(subst $(space),$(comma),$(strip $(foreach k,$(SEEDS),$(EXPERIMENT)/$(1)/$(k)/$(2)/run)))
shown  = $(foreach s,$(SCALES),$(s)/SFT=$(call runs,$(s),base) \
             $(foreach m,$(METHODS),$(s)/$(m)=$(call runs,$(s),$(m)))) \
         $(foreach a,SFT=base GRPO=GRPO $(foreach a,$(ABLATIONS),$(a)=$(a)), \
             ablations/$(firstword $(subst =, ,$(a)))=$(call \
                 runs,$(ABLATION_SCALE),$(lastword $(subst =, ,$(a)))))
judges = reward/four-scores=$(subst $(space),$(comma),$(strip $(SEEDS:%=$(EXPERIMENT)/reward/%/run))) \
         $(if $(collapsed),reward/collapsed=$(subst $(space),$(comma),$(strip \
             $(SEEDS:%=$(EXPERIMENT)/collapsed/%/run))))
found  = search/SFT=$(EXPERIMENT)/search/1/base/run \
         $(foreach a,$(SEARCHED),search/$(a)=$(EXPERIMENT)/search/1/$(a)/run)
out    = $(EXPERIMENT)/results
# What was set otherwise than in arms.mk, in the pages' words; empty: this is the whole experiment.
amounts = SCALES SEEDS METHODS ABLATIONS SEARCHED JUDGED N_EVAL N_SFT N_REWARD STEPS REWARD_SCALE \
          ABLATION_SCALE WEIGHTS BETA
instead = $(shell sed -n 's/^$(1) *= *\([^$$]*\)$$/ instead of \1/p' experiment/arms.mk)
reduced = $(subst @,,$(subst ;@,,$(strip $(foreach v,$(amounts),$(if $(filter-out file,$(origin $(v))), \
              $(v) $(or $(strip $($(v))),none)$(call instead,$(v));)))@))
results: all search
	@mkdir -p $(out); rm -f $(out)/*.html
	@./grpo report $(shown) $(judges) \
	    --title "GRPO, PPO and DPO on the demonstration world$(if $(reduced), (a smaller run: $(reduced)))" \
	    --output $(out)/report.html --json > $(out)/result.json
	@./grpo report $(found) --title "The search for settings" --output $(out)/search.html --json \
	    > $(out)/search.json
	@build/experiment_tables results $(out)/result.json $(out)/search.json "$(reduced)" > $(out)/README.md
	@build/experiment_tables claims $(out)/result.json "$(reduced)" > $(out)/claims.md
	@echo "tables: $(out)/README.md, claims: $(out)/claims.md, page: $(out)/report.html" >&2

.PHONY: results all methods ablations search $(main) $(ablations) $(before) $(collapsed) $(searched) \
        search/1/base
