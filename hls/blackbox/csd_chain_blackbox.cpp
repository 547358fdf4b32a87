// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// The C++ model of the black box: what it computes, by the code that the kernel without it has.

#include "flightllm/csd_chain_blackbox.hpp"

void csd_chain_blackbox(ap_uint<128> codes, ap_uint<64> indices, ap_uint<2> n_index, ap_uint<128> window0, ap_uint<128> window1,
                        ap_uint<152>& sums0, ap_uint<152>& sums1) {
#pragma HLS inline off
  using namespace flight;
  std::int8_t code[kWindow];
  std::int32_t packed[kWindow];
  for (int i = 0; i < kWindow; ++i) {
    const ap_int<8> weight = codes.range(8 * i + 7, 8 * i);
    const ap_int<8> low = window0.range(8 * i + 7, 8 * i);
    const ap_int<8> high = window1.range(8 * i + 7, 8 * i);
    code[i] = weight;
    packed[i] = pack(low, high);
  }
  std::int32_t sum[kMaxShare][2] = {};
  csd_chain(code, indices.to_uint64(), 1 << n_index.to_int(), packed, sum);
  for (int i = 0; i < kMaxShare; ++i) {
    const ap_int<kBoxSumBits> low = sum[i][0];
    const ap_int<kBoxSumBits> high = sum[i][1];
    sums0.range(kBoxSumBits * i + kBoxSumBits - 1, kBoxSumBits * i) = low;
    sums1.range(kBoxSumBits * i + kBoxSumBits - 1, kBoxSumBits * i) = high;
  }
}
