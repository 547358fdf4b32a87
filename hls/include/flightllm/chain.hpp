// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// The CSD-chains of one MPU: codes of a beat to operands, a chain for each VPU (csd_chain.hpp), sums over the windows of a group.
#pragma once

#include "csd_chain.hpp"
#include "tiles.hpp"
#ifdef FLIGHTLLM_BLACKBOX
#include "csd_chain_blackbox.hpp"
#endif

namespace flight {

// 16 codes of `Bits` bits of each VPU, sign-extended to operands of 8 bits.
template <class Config, int Bits>
void unpack(const Beat<Config>& beat, std::int8_t (&code)[Config::kVpus][kWindow]) {
#pragma HLS inline
  for (int v = 0; v < Config::kVpus; ++v) {
#pragma HLS unroll
    for (int i = 0; i < kWindow; ++i) {
#pragma HLS unroll
      const int at = (v * kWindow + i) * Bits;
      const int shift = at % 64;
      std::uint64_t bits = beat.codes[at / 64] >> shift;
      if (shift + Bits > 64) bits |= beat.codes[at / 64 + 1] << (64 - shift);
      code[v][i] = static_cast<std::int8_t>(static_cast<std::int8_t>(bits << (8 - Bits)) >> (8 - Bits));
    }
  }
}

// The operands of a beat, for the width of its codes.
template <class Config>
void dequantise(const Beat<Config>& beat, int bits, std::int8_t (&code)[Config::kVpus][kWindow]) {
#pragma HLS inline
  switch (bits) {
    case 2:
      return unpack<Config, 2>(beat, code);
    case 3:
      return unpack<Config, 3>(beat, code);
    case 4:
      return unpack<Config, 4>(beat, code);
    case 5:
      return unpack<Config, 5>(beat, code);
    case 6:
      return unpack<Config, 6>(beat, code);
    default:
      return unpack<Config, 8>(beat, code);
  }
}

// One VPU by its packed activations, or by the RTL of its chain (docs/hls-blackbox.md): macro FLIGHTLLM_BLACKBOX.
inline void vpu_chain(const std::int8_t (&code)[kWindow], std::uint64_t indices, int share, const Activation& x,
                      const std::int32_t (&packed)[kWindow], std::int32_t (&sum)[kMaxShare][2]) {
#pragma HLS inline
#ifdef FLIGHTLLM_BLACKBOX
  (void)packed;
  call_csd_chain_blackbox(code, indices, share, x.code, sum);
#else
  (void)x;
  csd_chain(code, indices, share, packed, sum);
#endif
}

// All chains of an MPU, for every tile as often as there are pairs of tokens: the first time codes come from the stream, afterwards
// from the replay buffer. Sums of a group leave when it ends.
template <class Config>
void chains(const Tokens tokens, MpuStreams<Config>& s) {
  Beat<Config> replay[kTileBeats<Config>];
#pragma HLS aggregate variable = replay compact = bit
#pragma HLS bind_storage variable = replay type = ram_2p impl = lutram
  std::int32_t sums[Config::kVpus][kMaxShare][2];
#pragma HLS array_partition variable = sums type = complete dim = 0
  const int pairs = tokens.pairs();

tiles:
  while (true) {
#pragma HLS loop_tripcount min = 1 max = 4096
    const Tile tile = s.chain_tiles.read();
    if (tile.end) break;
    const int beats = tile.rows * tile.windows;
    const int passes = pairs > 0 ? pairs : 1;
    int beat_at = 0, at = 0, groups_left = tile.group;
    std::int32_t a0 = 0, a1 = 0;
    bool begins = true;
  beats:
    for (int n = 0; n < beats * passes; ++n) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 16 max = 2048
      Beat<Config> beat;
      if (n < beats) {
        beat = s.beats.read();
        replay[beat_at % kTileBeats<Config>] = beat;
      } else {
        beat = replay[beat_at % kTileBeats<Config>];
      }
      beat_at = beat_at + 1 == beats ? 0 : beat_at + 1;
      if (pairs == 0) continue;
      const Activation x = s.activations.read();
      std::int32_t packed[kWindow];
#pragma HLS array_partition variable = packed type = complete
      for (int i = 0; i < kWindow; ++i) {
#pragma HLS unroll
        packed[i] = pack(x.code[0][i], x.code[1][i]);
      }
      std::int8_t code[Config::kVpus][kWindow];
#pragma HLS array_partition variable = code type = complete dim = 0
      dequantise<Config>(beat, tile.bits, code);
      for (int v = 0; v < Config::kVpus; ++v) {
#pragma HLS unroll
        std::int32_t sum[kMaxShare][2];
#pragma HLS array_partition variable = sum type = complete dim = 0
        vpu_chain(code[v], beat.indices[v], tile.share, x, packed, sum);
        for (int i = 0; i < kMaxShare; ++i) {
#pragma HLS unroll
          if (i < tile.share) {
            for (int t = 0; t < 2; ++t) {
#pragma HLS unroll
              sums[v][i][t] = (begins ? 0 : sums[v][i][t]) + sum[i][t];
            }
          }
        }
      }
      a0 = (begins ? 0 : a0) + x.sum[0];
      a1 = (begins ? 0 : a1) + x.sum[1];
      ++at;
      --groups_left;
      const bool row_ends = at == tile.windows;
      const bool ends = groups_left == 0 || row_ends;
      if (row_ends) at = 0;
      if (ends) {
        groups_left = tile.group;
        for (int i = 0; i < kMaxShare; ++i) {
#pragma HLS unroll
          if (i < tile.share) {
            Partial<Config> partial;
            for (int v = 0; v < Config::kVpus; ++v) {
#pragma HLS unroll
              partial.p[v][0] = sums[v][i][0];
              partial.p[v][1] = sums[v][i][1];
            }
            partial.a[0] = a0;
            partial.a[1] = a1;
            s.partials[i].write(partial);
          }
        }
      }
      begins = ends;
    }
  }
}

}  // namespace flight
