// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Plays inputs to a module, one set a clock cycle, and records its outputs. For modules whose inputs do not depend on their
// outputs. ports.hpp (written by player.py) names the model's class, its clock and its ports.

#include <cstdint>
#include <cstring>

#include "ports.hpp"
#include "verilated.h"

// Each row of `in` has the bytes of all inputs, of `out` those of all outputs, as Verilator stores them. Outputs are those before
// the clock edge: what registers behind the edge would take. Returns the cycles played: fewer if an assertion in the design failed.
extern "C" int64_t player_run(int64_t cycles, const uint8_t* in, uint8_t* out) {
  VerilatedContext context;
  context.fatalOnError(false);
  context.randReset(2);  // registers without a reset are random
  TOP top(&context);
  top.CLOCK = 0;
  for (int64_t i = 0; i < cycles; i++) {
#define PUT(port)                              \
  std::memcpy(&top.port, in, sizeof(top.port)); \
  in += sizeof(top.port);
    INPUTS(PUT)
    top.eval();
#define GET(port)                               \
  std::memcpy(out, &top.port, sizeof(top.port)); \
  out += sizeof(top.port);
    OUTPUTS(GET)
    top.CLOCK = 1;
    top.eval();
    top.CLOCK = 0;
    top.eval();
    if (context.gotError() || context.gotFinish()) return i;
  }
  top.final();
  return cycles;
}
