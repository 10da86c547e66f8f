/* compute_model.c: the kinds of `grpo compute` that need the network. */
#include "cmd/compute.h"

const ComputeKind compute_model_kinds[] = { { NULL, NULL, NULL, NULL } };
