// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Testbench of matrix_unit: rings, buffers and tokens around it are models with random delays.

#include <cstdint>
#include <cstring>
#include <deque>
#include <random>
#include <vector>

#include "Vmatrix_unit.h"
#include "verilated.h"

namespace {

struct Ring {
  const uint8_t* data;  // [channels][bytes]
  uint64_t bytes = 0, popped = 0, pushed = 0;  // in words of 8 bytes; pushed: what may be popped now
};

}  // namespace

extern "C" int64_t matrix_run(int channels, const uint32_t* ops, int op_words, int op_count, const uint8_t* w, uint64_t w_words,
                              const uint8_t* k, uint64_t k_words, const uint8_t* ab, uint64_t ab_windows, const uint8_t* mb,
                              float* vb, uint64_t vb_words, int slow, uint32_t seed, int64_t limit, int64_t* stats) {
  VerilatedContext context;
  Vmatrix_unit top(&context);
  std::mt19937 rng(seed);
  auto chance = [&](int percent) { return int(rng() % 100) < percent; };
  auto* words = reinterpret_cast<uint32_t*>(vb);

  struct Pop { uint64_t at; bool is_k; int count, place; };
  std::deque<std::pair<int64_t, Pop>> pops;
  std::deque<std::pair<int64_t, uint32_t>> reads, ab_reads;
  uint64_t w_at = 0, k_at = 0, w_level = 0, k_level = 0;
  int next_op = 0, given = 0;
  int64_t cycle = 0;
  uint32_t ab_a[2] = {0, 0}, ab_b[2] = {0, 0}, mb_pipe[2] = {0, 0};
  std::memset(stats, 0, 4 * sizeof(int64_t));

  top.rst_ni = 0;
  top.clk_i = 0;
  auto load_words = [&](auto& port, int c, const uint8_t* base, uint64_t total, const Pop& p) {
    // 16 words of 64 bits per channel, the first at its place; those that were not asked for are garbage
    auto* dst = reinterpret_cast<uint32_t*>(&port) + c * 32;
    for (int i = 0; i < 16; i++) {
      uint64_t v = (uint64_t(rng()) << 32) | rng();
      if (i < p.count) std::memcpy(&v, base + (uint64_t(c) * total + p.at + i) * 8, 8);
      const int place = (p.place + i) % 16;
      dst[2 * place] = uint32_t(v);
      dst[2 * place + 1] = uint32_t(v >> 32);
    }
  };

  for (; cycle < limit && given < op_count; cycle++) {
    const bool reset = cycle < 4;
    top.rst_ni = !reset;
    // --- inputs of this cycle ---
    top.op_valid_i = !reset && next_op < op_count;
    if (next_op < op_count) std::memcpy(&top.op_i, ops + size_t(next_op) * op_words, size_t(op_words) * 4);
    top.take_ready_i = slow ? chance(30) : 1;
    if (w_level < w_words - w_at && (!slow || chance(50))) w_level += slow ? rng() % 9 : 8;
    if (w_level > w_words - w_at) w_level = w_words - w_at;
    if (k_level < k_words - k_at && (!slow || chance(50))) k_level += slow ? rng() % 9 : 8;
    if (k_level > k_words - k_at) k_level = k_words - k_at;
    uint8_t wl[64] = {0}, kl[64] = {0};  // packed six-bit fields
    auto put_field = [](uint8_t* out, int index, uint64_t v) {
      for (int bit = 0; bit < 6; bit++)
        if (v >> bit & 1) out[(6 * index + bit) / 8] |= uint8_t(1 << (6 * index + bit) % 8);
    };
    for (int c = 0; c < channels; c++) {
      uint64_t a = w_level > 63 ? 63 : w_level, b = k_level > 63 ? 63 : k_level;
      if (slow && c == int(seed % channels)) a = a > 3 && chance(20) ? a - 3 : a;
      put_field(wl, c, a);
      put_field(kl, c, b);
    }
    std::memcpy(&top.w_level_i, wl, sizeof(top.w_level_i));
    std::memcpy(&top.k_level_i, kl, sizeof(top.k_level_i));
    if (!pops.empty() && pops.front().first == cycle) {
      const Pop p = pops.front().second;
      pops.pop_front();
      for (int c = 0; c < channels; c++) {
        if (p.is_k) load_words(top.data_i, c, k, k_words, p);
        else load_words(top.data_i, c, w, w_words, p);
      }
    }
    auto window = [&](auto& port, uint32_t addr) {
      if (addr < ab_windows) std::memcpy(&port, ab + size_t(addr) * 16, 16);
    };
    window(top.ab_a_data_i, ab_a[1]);
    window(top.ab_b_data_i, ab_b[1]);
    top.mb_data_i = mb[mb_pipe[1] & 0xffff];
    top.rd_ready_i = slow ? chance(50) : 1;
    top.wr_ready_i = slow ? chance(60) : 1;
    top.rd_rvalid_i = 0;
    if (!reads.empty() && reads.front().first == cycle) {
      top.rd_rvalid_i = 1;
      std::memcpy(&top.rd_rdata_i, words + size_t(reads.front().second) * 16, 64);
      reads.pop_front();
    }
    top.eval();
    // --- outputs of this cycle ---
    if (!reset) {
      if (top.op_valid_i && top.op_ready_o) next_op++;
      if (top.w_pop_o) {
        if (top.w_pop_o > w_level) return -2;
        pops.push_back({cycle + 3, {w_at, false, top.w_pop_o, 0}});
        w_at += top.w_pop_o;
        w_level -= top.w_pop_o;
      }
      if (top.k_pop_o) {
        if (top.k_pop_o > k_level) return -3;
        pops.push_back({cycle + 3, {k_at, true, top.k_pop_o, top.k_place_o}});
        k_at += top.k_pop_o;
        k_level -= top.k_pop_o;
      }
      if (top.rd_valid_o && top.rd_ready_i) {
        if (top.rd_addr_o >= vb_words) return -4;
        reads.push_back({cycle + 3, top.rd_addr_o});
      }
      if (top.wr_valid_o && top.wr_ready_i) {
        if (top.wr_addr_o >= vb_words) return -5;
        uint32_t data[16];
        std::memcpy(data, &top.wr_data_o, 64);
        for (int i = 0; i < 16; i++)
          if (top.wr_mask_o >> i & 1) words[size_t(top.wr_addr_o) * 16 + i] = data[i];
      }
      if (top.give_valid_o) {
        if (top.give_mask_o != ((ops[size_t(given) * op_words] >> 10) & 15)) return -6;
        given++;
      }
      stats[0] += top.beat_o;
      stats[1] += top.w_pop_o;
      stats[2] += top.w_pop_o != 0;
      stats[3] += top.wait_data_o;
    }
    ab_a[1] = ab_a[0];
    ab_b[1] = ab_b[0];
    ab_a[0] = top.ab_a_addr_o;
    ab_b[0] = top.ab_b_addr_o;
    mb_pipe[1] = mb_pipe[0];
    mb_pipe[0] = top.mb_addr_o;
    top.clk_i = 1;
    top.eval();
    top.clk_i = 0;
    top.eval();
  }
  top.final();
  if (given < op_count) return -1;
  if (w_at != w_words || k_at != k_words) return -7;
  return cycle;
}
