// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// A CSD-chain: 16 DSPs over a window of 16 activations. Each DSP selects its activation by an index (sparse MUX); at N = 16 the whole
// chain is one output, else the reduction nodes cut it into 16 / N. Two tokens share a weight in a DSP: one in the low 18 bits of
// the product, the other above; eight products fit the low bits, so the chain adjusts in its middle.
// This header stands alone: it goes with the black box (csd_chain_blackbox.hpp).
#pragma once

#include <cstdint>

namespace flight {

constexpr int kWindow = 16;     // activations that a CSD-chain sees in a beat; codes of a VPU beat
constexpr int kMaxShare = 8;    // slots that share a VPU beat at N = 2
constexpr int kPackShift = 18;  // of the second token

// The activations of both tokens as a DSP multiplies them.
inline std::int32_t pack(std::int8_t low, std::int8_t high) {
#pragma HLS inline
  return high * (1 << kPackShift) + low;
}

// Sum of eight packed products to the sums of both tokens.
inline void adjust(std::int64_t packed, std::int32_t& low, std::int32_t& high) {
#pragma HLS inline
  const std::int32_t l = static_cast<std::int32_t>(static_cast<std::uint32_t>(packed) << (32 - kPackShift)) >> (32 - kPackShift);
  low = l;
  high = static_cast<std::int32_t>((packed - l) >> kPackShift);
}

// One VPU: `share` sums of 16 / share products each, for two tokens.
inline void csd_chain(const std::int8_t (&weight)[kWindow], std::uint64_t indices, int share, const std::int32_t (&packed)[kWindow],
                      std::int32_t (&sum)[kMaxShare][2]) {
#pragma HLS inline
  std::int64_t product[kWindow];
#pragma HLS array_partition variable = product type = complete
  for (int i = 0; i < kWindow; ++i) {
#pragma HLS unroll
    const int index = share == 1 ? i : static_cast<int>(indices >> (4 * i) & 15);
    product[i] = static_cast<std::int64_t>(weight[i]) * packed[index];
#pragma HLS bind_op variable = product op = mul impl = dsp
  }
  // reduction nodes: pairs, fours, eights; outputs leave where the share says
  std::int64_t two[8], four[4], eight[2];
  for (int i = 0; i < 8; ++i) {
#pragma HLS unroll
    two[i] = product[2 * i] + product[2 * i + 1];
  }
  for (int i = 0; i < 4; ++i) {
#pragma HLS unroll
    four[i] = two[2 * i] + two[2 * i + 1];
  }
  for (int i = 0; i < 2; ++i) {
#pragma HLS unroll
    eight[i] = four[2 * i] + four[2 * i + 1];
  }
  if (share == 1) {
    std::int32_t low[2], high[2];
    adjust(eight[0], low[0], high[0]);
    adjust(eight[1], low[1], high[1]);
    sum[0][0] = low[0] + low[1];
    sum[0][1] = high[0] + high[1];
    return;
  }
  for (int i = 0; i < kMaxShare; ++i) {
#pragma HLS unroll
    if (i < share) adjust(share == 8 ? two[i] : share == 4 ? four[i % 4] : eight[i % 2], sum[i][0], sum[i][1]);
  }
}

}  // namespace flight
