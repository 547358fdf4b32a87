// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0

#include <cstdint>

#include "Vfp_bench.h"
#include "verilated.h"

// One operand set a cycle, with gaps; results in the order of the operands. Returns 0, or how many results are missing.
extern "C" int64_t fp_run(int64_t n, const uint32_t* a, const uint32_t* b, const int64_t* integers, int function, int top_code,
                          int gap, uint32_t* add, uint32_t* mul, uint32_t* real, int32_t* whole, uint32_t* table) {
  VerilatedContext context;
  Vfp_bench top(&context);
  int64_t at[5] = {0, 0, 0, 0, 0};
  top.clk_i = 0;
  top.function_i = function;
  top.top_i = top_code;
  int64_t next = 0;
  for (int64_t cycle = 0; cycle < n * (gap ? 2 : 1) + 20; cycle++) {
    top.rst_ni = cycle >= 3;
    top.valid_i = cycle >= 3 && next < n && !(gap && cycle % gap == 0);
    if (top.valid_i) {
      top.a_i = a[next];
      top.b_i = b[next];
      top.int_i = uint64_t(integers[next]) & ((uint64_t(1) << 48) - 1);
      next++;
    }
    top.clk_i = 1;
    top.eval();
    top.clk_i = 0;
    top.eval();
    if (cycle < 3) continue;
    if (top.valid_o & 1) add[at[0]++] = top.add_o;
    if (top.valid_o & 2) mul[at[1]++] = top.mul_o;
    if (top.valid_o & 4) real[at[2]++] = top.float_o;
    if (top.valid_o & 8) whole[at[3]++] = int16_t(top.int_o);
    if (top.valid_o & 16) table[at[4]++] = top.table_o;
  }
  top.final();
  int64_t missing = 0;
  for (int64_t count : at) missing += n - count;
  return missing;
}
