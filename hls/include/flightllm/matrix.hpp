// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// The matrix unit: MM, MMQK and MMPV as dataflow regions over the MPUs of all channels.
#pragma once

#include "chain.hpp"
#include "fp32.hpp"
#include "gearbox.hpp"
#include "scale.hpp"

namespace flight {

constexpr int kDrainLanes = 16;

// Reads the activation rows: first the scales of all tokens, then for every tile and pair the windows in the order of the beats, to
// all channels alike.
template <class Config>
void feed(const Tokens tokens, const ActivationBuffer<Config>& ab, hls::stream<Tile, 8>& tiles, hls::stream<std::uint32_t, Config::kAccEntries>& scales,
          MpuStreams<Config> (&mpu)[Config::kChannels]) {
  std::uint32_t base[Config::kAccEntries];  // header windows of the tokens
  int t = 0;
rows:
  for (int i0 = 0; i0 < tokens.n0; ++i0) {
#pragma HLS loop_tripcount min = 1 max = 64
  heads:
    for (int i1 = 0; i1 < tokens.n1; ++i1) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1 max = 8
      const std::uint32_t at = (tokens.ab + i0 * tokens.ab_s0 + i1 * tokens.ab_s1) % Config::kAbWindows;
      std::uint32_t scale = 0;
      for (int j = 0; j < 4; ++j) {
#pragma HLS unroll
        scale |= static_cast<std::uint32_t>(static_cast<std::uint8_t>(ab.window[at][j])) << (8 * j);
      }
      scales.write(scale);
      base[t % Config::kAccEntries] = at;
      ++t;
    }
  }
  const int count = tokens.count(), pairs = tokens.pairs();

tiles:
  while (true) {
#pragma HLS loop_tripcount min = 1 max = 4096
    const Tile tile = tiles.read();
    if (tile.end) break;
    int pair = 0, row = 0, w = 0;
  beats:
    for (int n = 0; n < pairs * tile.rows * tile.windows; ++n) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 16 max = 2048
      const int window = tile.window + w;
      const int first = tokens.dual ? pair : 2 * pair;
      Activation x;
      for (int h = 0; h < 2; ++h) {
#pragma HLS unroll
        const bool there = tokens.dual || first + h < count;
        const std::uint32_t at = tokens.dual ? base[first % Config::kAccEntries] + 1 + 2 * window + h : base[(first + (there ? h : 0)) % Config::kAccEntries] + 1 + window;
        std::int16_t sum = 0;
        for (int j = 0; j < kWindow; ++j) {
#pragma HLS unroll
          x.code[h][j] = there && at < Config::kAbWindows ? ab.window[at][j] : std::int8_t{0};
          sum = static_cast<std::int16_t>(sum + x.code[h][j]);
        }
        x.sum[h] = sum;
      }
      for (int c = 0; c < Config::kChannels; ++c) {
#pragma HLS unroll
        mpu[c].activations.write(x);
      }
      if (++w == tile.windows) {
        w = 0;
        if (++row == tile.rows) {
          row = 0;
          ++pair;
        }
      }
    }
  }
}

// Rows of accumulators to the vector buffer: rho * float(I), times the token's scale, plus bias, plus what is there.
template <class Config>
void drain_weights(const isa::mm::Operands o, const Tokens tokens, hls::stream<std::uint32_t, Config::kAccEntries>& scales,
                   MpuStreams<Config> (&mpu)[Config::kChannels], ScaleStreams<Config> (&headers)[Config::kChannels], VectorBuffer<Config>& vb) {
  constexpr int kStrip = Config::kVpus * kMaxRows;
  std::uint32_t scale[Config::kAccEntries];
  std::uint32_t rho[Config::kChannels][kStrip + 1], bias[Config::kChannels][kStrip + 1];
#pragma HLS array_partition variable = rho type = complete dim = 1
#pragma HLS array_partition variable = bias type = complete dim = 1
  const int count = tokens.count(), slots = static_cast<int>(o.slots);
  const int strip_slots = Config::kVpus << o.rows_per_vpu;
scales:
  for (int t = 0; t < count; ++t) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1 max = 64
    scale[t % Config::kAccEntries] = scales.read();
  }
strips:
  for (int slot = 0; slot < slots; slot += strip_slots) {
#pragma HLS loop_tripcount min = 1 max = 32
    const int r = smaller(strip_slots, slots - slot);
    const int words = (r + 1) / 2;
  header:
    for (int i = 0; i < words * (o.bias ? 2 : 1); ++i) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 8 max = 48
      for (int c = 0; c < Config::kChannels; ++c) {
#pragma HLS unroll
        const std::uint64_t word = headers[c].headers.read();
        const auto low = static_cast<std::uint32_t>(word), high = static_cast<std::uint32_t>(word >> 32);
        if (i < words) {
          rho[c][2 * i] = low;
          rho[c][2 * i + 1] = high;
        } else {
          bias[c][2 * (i - words)] = low;
          bias[c][2 * (i - words) + 1] = high;
        }
      }
    }
  rows:
    for (int row = 0; row * Config::kVpus < r; ++row) {
#pragma HLS loop_tripcount min = 1 max = 8
    tokens:
      for (int t = 0; t < count; ++t) {
#pragma HLS loop_tripcount min = 1 max = 64
        Captured<Config> captured[Config::kChannels];
#pragma HLS array_partition variable = captured type = complete dim = 0
        for (int c = 0; c < Config::kChannels; ++c) {
#pragma HLS unroll
          captured[c] = mpu[c].captured.read();
        }
        const int here = smaller(Config::kVpus, r - row * Config::kVpus);
      elements:
        for (int n = 0; n < here * Config::kChannels; n += smaller(kDrainLanes, Config::kChannels)) {
#pragma HLS pipeline II = 1
#pragma HLS dependence variable = vb.word type = inter dependent = false
#pragma HLS loop_tripcount min = 4 max = 24
          for (int l = 0; l < smaller(kDrainLanes, Config::kChannels); ++l) {
#pragma HLS unroll
            const int v = (n + l) / Config::kChannels, c = (n + l) % Config::kChannels;
            const int local = row * Config::kVpus + v;
            std::uint32_t y = fp32::mul(fp32::mul(fp32::from_int(captured[c].sum[v].to_int64()), rho[c][local]), scale[t % Config::kAccEntries]);
            if (o.bias) y = fp32::add(y, bias[c][local]);
            const std::uint32_t at = kVbWord * (tokens.dst + t * tokens.dst_s0) + (slot + local) * Config::kChannels + c;
            vb.put(at, o.accumulate ? fp32::add(vb.get(at), y) : y);
          }
        }
      }
    }
  }
}

// A tile of an attention instruction, to the gearboxes.
template <class Config>
void tell(const Tile& tile, GearTiles (&gears)[Config::kChannels]) {
#pragma HLS inline
  for (int c = 0; c < Config::kChannels; ++c) {
#pragma HLS unroll
    gears[c].write(tile);
  }
}

// Keys: as many units as the VPUs take are a tile, and a strip of its own.
template <class Config>
void walk_keys(const MatrixJob& job, const Blocks& blocks, GearTiles (&gears)[Config::kChannels], hls::stream<Strip<Config>, 8>& strips) {
  constexpr int kSlots = isa::key_slots(Config::kChannels);
  constexpr int kUnits = Config::kVpus / kSlots;
  constexpr int kPositions = kSlots * Config::kChannels;
  int block = 0;
  int unit = blocks.count ? first_unit(blocks.block[0], kPositions) : 0;
batches:
  while (block < blocks.count) {
#pragma HLS loop_tripcount min = 1 max = 64
    Strip<Config> strip;
    strip.end = false;
    int units = 0;
  units:
    for (int u = 0; u < kUnits; ++u) {
      const bool there = block < blocks.count;
      const int b = there ? blocks.block[block] : 0;
      const int end = end_unit(b, blocks.len, Config::kChannels);
      for (int i = 0; i < kSlots; ++i) {
#pragma HLS unroll
        const int slot = unit * kSlots + i;
        strip.slot[u * kSlots + i] = there && slot < end ? slot : -1;
      }
      if (there) {
        ++units;
        if (++unit == end_unit(b, blocks.len, kPositions)) {
          ++block;
          if (block < blocks.count) unit = first_unit(blocks.block[block], kPositions);
        }
      }
    }
    Tile tile{};
    tile.first = true;
    tile.last = true;
    tile.rows = 1;
    tile.windows = smaller(kHeadWindows, job.columns / kWindow);
    tile.group = tile.windows;
    tile.share = 1;
    tile.bits = job.bits;
    tile.capture = 1;
    tile.units = units;
    tell<Config>(tile, gears);
    strips.write(strip);
  }
  Tile end{};
  end.end = true;
  tell<Config>(end, gears);
  Strip<Config> last;
  last.end = true;
  strips.write(last);
}

// Values: every block is a tile, all of them are one strip.
template <class Config>
void walk_values(const MatrixJob& job, const Blocks& blocks, GearTiles (&gears)[Config::kChannels], hls::stream<Strip<Config>, 8>& strips) {
  const int slots = job.slots;
blocks:
  for (int b = 0; b < blocks.count; ++b) {
#pragma HLS loop_tripcount min = 1 max = 64
    const int block = blocks.block[b];
    const int first = first_unit(block, kWindow);
    Tile tile{};
    tile.first = b == 0;
    tile.last = b == blocks.count - 1;
    tile.rows = ceil_div(job.stored, Config::kVpus);
    tile.windows = end_unit(block, blocks.len, kWindow) - first;
    tile.group = tile.windows;
    tile.share = 1;
    tile.bits = job.bits;
    tile.window = first;
    tile.capture = ceil_div(slots, Config::kVpus);
    tell<Config>(tile, gears);
  }
  Tile end{};
  end.end = true;
  tell<Config>(end, gears);
rows:
  for (int row = 0; blocks.count && row * Config::kVpus < slots; ++row) {
#pragma HLS loop_tripcount min = 1 max = 8
    Strip<Config> strip;
    strip.end = false;
    for (int v = 0; v < Config::kVpus; ++v) {
#pragma HLS unroll
      const int slot = row * Config::kVpus + v;
      strip.slot[v] = slot < slots ? slot : -1;
    }
    strips.write(strip);
  }
  Strip<Config> last;
  last.end = true;
  strips.write(last);
}

// Scores of the keys, or the weighted values: float(I) times the token's scale.
template <class Config>
void drain_attention(const Tokens tokens, hls::stream<Strip<Config>, 8>& strips, hls::stream<std::uint32_t, Config::kAccEntries>& scales,
                     MpuStreams<Config> (&mpu)[Config::kChannels], VectorBuffer<Config>& vb) {
  std::uint32_t scale[Config::kAccEntries];
  const int count = tokens.count();
scales:
  for (int t = 0; t < count; ++t) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1 max = 64
    scale[t % Config::kAccEntries] = scales.read();
  }
strips:
  while (true) {
#pragma HLS loop_tripcount min = 1 max = 64
    const Strip<Config> strip = strips.read();
    if (strip.end) break;
    int i0 = 0, i1 = 0;
  tokens:
    for (int t = 0; t < count; ++t) {
#pragma HLS loop_tripcount min = 1 max = 64
      Captured<Config> captured[Config::kChannels];
#pragma HLS array_partition variable = captured type = complete dim = 0
      for (int c = 0; c < Config::kChannels; ++c) {
#pragma HLS unroll
        captured[c] = mpu[c].captured.read();
      }
      const std::uint32_t base = kVbWord * (tokens.dst + i0 * tokens.dst_s0 + i1 * tokens.dst_s1);
    elements:
      for (int n = 0; n < Config::kVpus * Config::kChannels; n += smaller(kDrainLanes, Config::kChannels)) {
#pragma HLS pipeline II = 1
#pragma HLS dependence variable = vb.word type = inter dependent = false
#pragma HLS loop_tripcount min = 4 max = 24
        for (int l = 0; l < smaller(kDrainLanes, Config::kChannels); ++l) {
#pragma HLS unroll
          const int v = (n + l) / Config::kChannels, c = (n + l) % Config::kChannels;
          if (strip.slot[v] >= 0) {
            const std::uint32_t y = fp32::mul(fp32::from_int(captured[c].sum[v].to_int64()), scale[t % Config::kAccEntries]);
            vb.put(base + strip.slot[v] * Config::kChannels + c, y);
          }
        }
      }
      if (++i1 == tokens.n1) {
        i1 = 0;
        ++i0;
      }
    }
  }
}

// Tiles and strips of an attention instruction; weights have theirs in the stream.
template <class Config>
void walk(const MatrixJob job, const Blocks& blocks, GearTiles (&gears)[Config::kChannels], hls::stream<Strip<Config>, 8>& strips) {
  if (job.kind == MatrixKind::kKeys) walk_keys<Config>(job, blocks, gears, strips);
  if (job.kind == MatrixKind::kValues) walk_values<Config>(job, blocks, gears, strips);
}

template <class Config>
void drain(const MatrixJob job, hls::stream<Strip<Config>, 8>& strips, hls::stream<std::uint32_t, Config::kAccEntries>& scales,
           MpuStreams<Config> (&mpu)[Config::kChannels], ScaleStreams<Config> (&headers)[Config::kChannels], VectorBuffer<Config>& vb) {
  if (job.kind == MatrixKind::kWeights) {
    drain_weights<Config>(job.weights, job.tokens, scales, mpu, headers, vb);
  } else {
    drain_attention<Config>(job.tokens, strips, scales, mpu, vb);
  }
}

template <class Config>
void matrix(const MatrixJob job, const Blocks& blocks, Channels<Config>& channels, const ActivationBuffer<Config>& ab, VectorBuffer<Config>& vb) {
#pragma HLS dataflow
  MpuStreams<Config> mpu[Config::kChannels];
  ScaleStreams<Config> scale_streams[Config::kChannels];
  GearTiles gears[Config::kChannels];
  hls::stream<Tile, 8> tiles;
  hls::stream<Strip<Config>, 8> strips;
  hls::stream<std::uint32_t, Config::kAccEntries> scales;
  FLIGHTLLM_REGION(region);
  FLIGHTLLM_PROCESS(region, walk<Config>(job, blocks, gears, strips));
  FLIGHTLLM_PROCESS(region, gearbox<Config, true>(job, channels[0], gears[0], mpu[0], scale_streams[0], tiles));
  for (int c = 1; c < Config::kChannels; ++c) {
#pragma HLS unroll
    FLIGHTLLM_PROCESS_AT(region, c, gearbox<Config, false>(job, channels[c], gears[c], mpu[c], scale_streams[c], tiles));
  }
  FLIGHTLLM_PROCESS(region, feed<Config>(job.tokens, ab, tiles, scales, mpu));
  for (int c = 0; c < Config::kChannels; ++c) {
#pragma HLS unroll
    FLIGHTLLM_PROCESS_AT(region, c, chains<Config>(job.tokens, mpu[c]));
    FLIGHTLLM_PROCESS_AT(region, c, scale<Config>(job.tokens, mpu[c], scale_streams[c]));
  }
  FLIGHTLLM_PROCESS(region, drain<Config>(job, strips, scales, mpu, scale_streams, vb));
  FLIGHTLLM_JOIN(region);
}

}  // namespace flight
