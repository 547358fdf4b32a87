// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Which blocks of 64 key positions an instruction visits (docs/machine.md, "Attention over blocks").
#pragma once

#include "types.hpp"

namespace flight {

constexpr int kMaxBlocks = 4096;  // the fields for block numbers have 12 bits

// Blocks of an instruction, in order.
struct Blocks {
  std::uint16_t block[kMaxBlocks];
  int count;
  std::int32_t len;  // keys
};

// Operands of a block range; instructions without a mask set masked to 0.
struct Range {
  std::int32_t len;
  std::uint32_t sink;
  std::int32_t first;
  std::uint32_t mask;
  std::int32_t masked;
};

template <class Operands>
Range range_of(const Operands& o) {
#pragma HLS inline
  return Range{o.len, o.sink, o.first, o.mask, o.masked};
}

template <class Config>
void list_blocks(const Range o, const MaskBuffer<Config>& mb, Blocks& out) {
  out.count = 0;
  out.len = o.len;
  const int last = o.len > 0 ? (o.len - 1) / isa::kBlockPositions : -1;
  const bool masks = o.masked != 0;
list:
  for (int b = 0; b <= last && b < kMaxBlocks; ++b) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1 max = 64
    const bool candidate = static_cast<std::uint32_t>(b) < o.sink || b >= o.first || b == last;
    const std::uint32_t at = o.mask + b / 8;
    const bool set = !masks || b == last || (at < Config::kMbBytes && (mb.byte[at] >> (b % 8) & 1));
    if (candidate && set) out.block[out.count++] = b;
  }
}

// End of a block's keys.
inline std::int32_t block_end(int block, std::int32_t len) {
#pragma HLS inline
  const std::int32_t stop = (block + 1) * isa::kBlockPositions;
  return stop < len ? stop : len;
}

// Units of `gran` positions that a block has: first and one past the last.
inline int first_unit(int block, int gran) {
#pragma HLS inline
  return block * isa::kBlockPositions / gran;
}
inline int end_unit(int block, std::int32_t len, int gran) {
#pragma HLS inline
  return (block_end(block, len) + gran - 1) / gran;
}

}  // namespace flight
