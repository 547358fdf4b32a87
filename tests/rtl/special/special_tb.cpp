// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Testbench of special_unit: buffers around it are plain memories that grant at random.

#include <cstdint>
#include <cstring>
#include <deque>
#include <random>

#include "Vspecial_unit.h"
#include "verilated.h"

extern "C" int64_t special_run(const uint32_t* ops, int op_words, int op_count, uint32_t* vb, uint64_t vb_words, uint8_t* ab,
                               uint64_t ab_windows, const uint8_t* mb, int slow, uint32_t seed, int64_t limit) {
  VerilatedContext context;
  Vspecial_unit top(&context);
  std::mt19937 rng(seed);
  auto chance = [&](int percent) { return int(rng() % 100) < percent; };
  std::deque<std::pair<int64_t, uint32_t>> reads[4];
  int next_op = 0, given = 0;
  int64_t cycle = 0;
  uint32_t mb_pipe[2] = {0, 0};
  top.clk_i = 0;
  for (; cycle < limit && given < op_count; cycle++) {
    const bool reset = cycle < 4;
    top.rst_ni = !reset;
    top.op_valid_i = !reset && next_op < op_count;
    if (next_op < op_count) std::memcpy(&top.op_i, ops + size_t(next_op) * op_words, size_t(op_words) * 4);
    top.take_ready_i = slow ? chance(30) : 1;
    top.mb_data_i = mb[mb_pipe[1] & 0xffff];
    top.rd_ready_i = slow ? rng() & 15 : 15;
    top.wr_ready_i = slow ? chance(60) : 1;
    int answered = 0;
    for (int s = 0; s < 4; s++) {
      if (!reads[s].empty() && reads[s].front().first == cycle) {
        answered |= 1 << s;
        std::memcpy(reinterpret_cast<uint32_t*>(&top.rd_rdata_i) + 16 * s, vb + size_t(reads[s].front().second) * 16, 64);
        reads[s].pop_front();
      }
    }
    top.rd_rvalid_i = answered;
    top.eval();
    if (!reset) {
      if (top.op_valid_i && top.op_ready_o) next_op++;
      for (int s = 0; s < 4; s++) {
        if (!(top.rd_valid_o >> s & 1) || !(top.rd_ready_i >> s & 1)) continue;
        uint64_t packed[2] = {0, 0};
        std::memcpy(packed, &top.rd_addr_o, sizeof(top.rd_addr_o));
        uint32_t addr = 0;
        for (int bit = 0; bit < 20; bit++) addr |= uint32_t(packed[(20 * s + bit) / 64] >> ((20 * s + bit) % 64) & 1) << bit;
        if (addr >= vb_words) return -4;
        reads[s].push_back({cycle + 3, addr});
      }
      if (top.wr_valid_o && top.wr_ready_i) {
        if (top.wr_addr_o >= vb_words) return -5;
        uint32_t data[16];
        std::memcpy(data, &top.wr_data_o, 64);
        for (int i = 0; i < 16; i++)
          if (top.wr_mask_o >> i & 1) vb[size_t(top.wr_addr_o) * 16 + i] = data[i];
      }
      if (top.ab_valid_o) {
        uint8_t data[32];
        std::memcpy(data, &top.ab_data_o, 32);
        for (int i = 0; i < 2; i++) {
          if (!(top.ab_mask_o >> i & 1)) continue;
          if (top.ab_addr_o + i >= ab_windows) return -6;
          std::memcpy(ab + (size_t(top.ab_addr_o) + i) * 16, data + 16 * i, 16);
        }
      }
      if (top.give_valid_o) {
        if (top.give_mask_o != ((ops[size_t(given) * op_words] >> 10) & 15)) return -7;
        given++;
      }
    }
    mb_pipe[1] = mb_pipe[0];
    mb_pipe[0] = top.mb_addr_o;
    top.clk_i = 1;
    top.eval();
    top.clk_i = 0;
    top.eval();
  }
  top.final();
  return given < op_count ? -1 : cycle;
}
