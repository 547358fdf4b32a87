// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Calls the C++ model of the black box on rows of bytes.

#include <cstdint>

#include "flightllm/csd_chain_blackbox.hpp"

namespace {

template <int Bits>
ap_uint<Bits> load(const std::uint8_t* from) {
  ap_uint<Bits> value = 0;
  for (int i = 0; i < Bits / 8; ++i) value.range(8 * i + 7, 8 * i) = from[i];
  return value;
}

}  // namespace

// Rows: codes [16], indices [8], N index, windows [16] [16] in bytes; sums of both tokens [8] [8] in words of 32 bits.
extern "C" void csd_chain_model(std::int64_t calls, const std::uint8_t* codes, const std::uint8_t* indices, const std::uint8_t* n_index,
                                const std::uint8_t* window0, const std::uint8_t* window1, std::int32_t* sums) {
  for (std::int64_t c = 0; c < calls; ++c, codes += 16, indices += 8, ++n_index, window0 += 16, window1 += 16) {
    ap_uint<152> sums0, sums1;
    csd_chain_blackbox(load<128>(codes), load<64>(indices), *n_index, load<128>(window0), load<128>(window1), sums0, sums1);
    for (const ap_uint<152>* out : {&sums0, &sums1}) {
      for (int i = 0; i < 8; ++i) {
        const ap_int<19> sum = out->range(19 * i + 18, 19 * i);
        *sums++ = sum;
      }
    }
  }
}
