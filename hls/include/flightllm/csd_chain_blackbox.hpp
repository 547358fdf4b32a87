// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// A CSD-chain as a black box of Vitis HLS: this signature stands for the module of rtl/blackbox in synthesis, for
// hls/blackbox/csd_chain_blackbox.cpp in simulation (docs/hls-blackbox.md).
#pragma once

#include <ap_int.h>

#include "csd_chain.hpp"

// Arguments are packed, element 0 lowest: 16 codes of 8 bits, 16 indices of 4 bits (not looked at if dense), N index (dense, N = 8, 4, 2),
// 16 activations of each token (-127 .. 127); 8 sums of 19 bits of each token, those that N does not give are zero.
void csd_chain_blackbox(ap_uint<128> codes, ap_uint<64> indices, ap_uint<2> n_index, ap_uint<128> window0, ap_uint<128> window1,
                        ap_uint<152>& sums0, ap_uint<152>& sums1);

namespace flight {

constexpr int kBoxSumBits = 19;  // 16 products of 127 and -128

// `csd_chain` by the black box. window: of both tokens.
inline void call_csd_chain_blackbox(const std::int8_t (&code)[kWindow], std::uint64_t indices, int share,
                                    const std::int8_t (&window)[2][kWindow], std::int32_t (&sum)[kMaxShare][2]) {
#pragma HLS inline
  ap_uint<128> codes, window0, window1;
  for (int i = 0; i < kWindow; ++i) {
#pragma HLS unroll
    codes.range(8 * i + 7, 8 * i) = static_cast<std::uint8_t>(code[i]);
    window0.range(8 * i + 7, 8 * i) = static_cast<std::uint8_t>(window[0][i]);
    window1.range(8 * i + 7, 8 * i) = static_cast<std::uint8_t>(window[1][i]);
  }
  const ap_uint<2> n_index = share == 8 ? 3 : share == 4 ? 2 : share == 2 ? 1 : 0;
  ap_uint<152> sums0, sums1;
  csd_chain_blackbox(codes, indices, n_index, window0, window1, sums0, sums1);
  for (int i = 0; i < kMaxShare; ++i) {
#pragma HLS unroll
    const ap_int<kBoxSumBits> low = sums0.range(kBoxSumBits * i + kBoxSumBits - 1, kBoxSumBits * i);
    const ap_int<kBoxSumBits> high = sums1.range(kBoxSumBits * i + kBoxSumBits - 1, kBoxSumBits * i);
    sum[i][0] = low;
    sum[i][1] = high;
  }
}

}  // namespace flight
