// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Scale and accumulate: sigma * P + mu * A into 48-bit integers, one scale beat a cycle; the scales of a tile are kept for its replays.
#pragma once

#include "tiles.hpp"

namespace flight {

template <class Config>
void scale(const Tokens tokens, MpuStreams<Config>& s, ScaleStreams<Config>& scales) {
  Accumulator acc[Config::kAccEntries][2][Config::kVpus];  // both tokens of a pair side by side
#pragma HLS array_partition variable = acc type = complete dim = 2
#pragma HLS array_partition variable = acc type = complete dim = 3
#pragma HLS bind_storage variable = acc type = ram_2p impl = bram
  std::uint8_t sigma[kScaleBeats][Config::kVpus];
#pragma HLS array_partition variable = sigma type = complete dim = 2
  std::int16_t mu[kScaleBeats][Config::kVpus];
#pragma HLS array_partition variable = mu type = complete dim = 2
  // the groups of a row add up here, so that an accumulator is read and written once a row: never twice in a pass
  Accumulator row_sum[kMaxShare][2][Config::kVpus];
#pragma HLS array_partition variable = row_sum type = complete dim = 0
  Sigmas<Config> sigmas;
#pragma HLS array_partition variable = sigmas.value type = complete dim = 0
  Mus<Config> mus;
#pragma HLS array_partition variable = mus.value type = complete dim = 0
  const int count = tokens.count(), pairs = tokens.pairs();
  const int lanes = tokens.dual ? 1 : 2;

tiles:
  while (true) {
#pragma HLS loop_tripcount min = 1 max = 4096
    const Tile tile = s.scale_tiles.read();
    if (tile.end) break;
    const int groups = ceil_div(tile.windows, tile.group);
    const int beats = tile.rows * groups * tile.share;
    const int passes = pairs > 0 ? pairs : 1;
    int beat = 0, pass = 0, row = 0, g = 0, i = 0;
  beats:
    for (int n = 0; n < beats * passes; ++n) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 4 max = 1024
#pragma HLS dependence variable = acc type = inter dependent = false
      if (tile.scaled && pass == 0) {
        if (beat % kQuad == 0) {
          sigmas = scales.sigmas.read();
          if (tile.affine) mus = scales.mus.read();
        }
        for (int v = 0; v < Config::kVpus; ++v) {
#pragma HLS unroll
          sigma[beat % kScaleBeats][v] = sigmas.value[beat % kQuad][v];
          mu[beat % kScaleBeats][v] = tile.affine ? mus.value[beat % kQuad][v] : std::int16_t{0};
        }
      }
      if (pairs > 0) {
        Partial<Config> partial{};
        for (int n = 0; n < kMaxShare; ++n) {
#pragma HLS unroll
          if (n == i) partial = s.partials[n].read();
        }
        const int entry = ((row * tile.share + i) * pairs + pass) % Config::kAccEntries;
        for (int v = 0; v < Config::kVpus; ++v) {
#pragma HLS unroll
          std::int64_t sum[2];
          for (int h = 0; h < 2; ++h) {
#pragma HLS unroll
            sum[h] = tile.scaled ? static_cast<std::int64_t>(sigma[beat % kScaleBeats][v]) * partial.p[v][h] +
                                       static_cast<std::int64_t>(mu[beat % kScaleBeats][v]) * partial.a[h]
                                 : partial.p[v][h];
          }
          if (tokens.dual) sum[0] = sum[0] * 128 + sum[1];
          for (int h = 0; h < 2; ++h) {
#pragma HLS unroll
            if (h < lanes) {
              const Accumulator total = (g == 0 ? Accumulator(0) : row_sum[i][h][v]) + Accumulator(sum[h]);
              row_sum[i][h][v] = total;
              if (g == groups - 1) acc[entry][h][v] = (tile.first ? Accumulator(0) : acc[entry][h][v]) + total;
            }
          }
        }
      }
      ++beat;
      if (++i == tile.share) {
        i = 0;
        if (++g == groups) {
          g = 0;
          ++row;
        }
      }
      if (beat == beats) {
        beat = 0;
        row = 0;
        ++pass;
      }
    }
    if (tile.last) {
      int t = 0;
      row = 0;
    capture:
      for (int n = 0; n < tile.capture * count; ++n) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1 max = 512
        const int entry = (row * pairs + (tokens.dual ? t : t / 2)) % Config::kAccEntries;
        Captured<Config> captured;
        for (int v = 0; v < Config::kVpus; ++v) {
#pragma HLS unroll
          captured.sum[v] = acc[entry][tokens.dual ? 0 : t % 2][v];
        }
        s.captured.write(captured);
        if (++t == count) {
          t = 0;
          ++row;
        }
      }
    }
  }
}

}  // namespace flight
