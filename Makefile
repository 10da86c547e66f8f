# grpo.c: make · make demo · make test · make parity · make debug
#
# The compiler's own CFLAGS may choose speed; the flags that fix the bits stand last (docs/numerics.md).

CC     ?= cc
CFLAGS ?= -O3
ARCH   ?= native
OPENMP ?= auto

# ---- what this compiler and CPU can do -----------------------------------------------------------------------------
probe   = $(shell mkdir -p build && printf '$(1)' | $(CC) $(2) -x c - -o build/probe -lm 2>/dev/null && echo yes)
ARCHFLAG := $(if $(filter none,$(ARCH)),,$(if $(call probe,int main(void){return 0;},-march=$(ARCH)),-march=$(ARCH),$(if $(call probe,int main(void){return 0;},-mcpu=$(ARCH)),-mcpu=$(ARCH))))
FMA      := $(call probe,\n\#ifndef __FMA__\n\#ifndef __ARM_FEATURE_FMA\n\#ifndef __aarch64__\n\#error no\n\#endif\n\#endif\n\#endif\nint main(void){return 0;}\n,$(ARCHFLAG))
OMPFLAG  := $(if $(filter no,$(OPENMP)),,$(if $(call probe,\#include <omp.h>\nint main(void){return omp_get_max_threads()<1;}\n,-fopenmp),-fopenmp,$(if $(call probe,\#include <omp.h>\nint main(void){return omp_get_max_threads()<1;}\n,-Xpreprocessor -fopenmp -lomp),-Xpreprocessor -fopenmp)))
OMPLIB   := $(if $(findstring preprocessor,$(OMPFLAG)),-lomp)

WARN  = -Wall -Wextra -Wpedantic -Wno-unknown-pragmas
FIXED = -std=c11 -D_POSIX_C_SOURCE=200809L -ffp-contract=off -fno-math-errno -fno-trapping-math
ALL   = $(CFLAGS) $(ARCHFLAG) $(OMPFLAG) $(WARN) -I. -MMD -MP $(FIXED)

# ---- sources -------------------------------------------------------------------------------------------------------
LIB  = $(wildcard lib/*.c)
TOP  = $(filter-out main.c,$(wildcard *.c))
CMD  = $(wildcard cmd/*.c)
SRC  = $(LIB) $(TOP) $(CMD)
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

build/f32/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL) -c -o $@ $<
build/f64/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL) -DREAL_IS_DOUBLE -c -o $@ $<

# one test program: make build/f32/tests/test_json
build/f32/tests/%: build/f32/tests/%.o $(OBJ32)
	$(CC) $(CFLAGS) $(ARCHFLAG) $(OMPFLAG) -o $@ $^ $(OMPLIB) -lm
build/f64/tests/%: build/f64/tests/%.o $(OBJ64)
	$(CC) $(CFLAGS) $(ARCHFLAG) $(OMPFLAG) -o $@ $^ $(OMPLIB) -lm
build/make_world: build/f32/data/make_world.o build/f32/data/world.o $(OBJ32)
	$(CC) $(CFLAGS) $(ARCHFLAG) $(OMPFLAG) -o $@ $^ $(OMPLIB) -lm

clean:
	rm -rf build/f32 build/f64 grpo grpo64

.PHONY: all announce clean
.SECONDARY:
-include $(wildcard build/f32/*.d build/f32/*/*.d build/f64/*.d build/f64/*/*.d)
