// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// From words of the port to what a beat needs: the streams of docs/streams.md, cut into scales and codes.
#pragma once

#include "tiles.hpp"

namespace flight {

// 8-byte words on their way from the port's width to the width of a beat.
template <class Config>
struct Gearbox {
  static constexpr int kSize = 3 * Config::kVpus + kPortWords<Config>;
  std::uint64_t word[kSize];
  int have;

  // Words `first` .. `first + count - 1` of a word of the port.
  void fill(const Word<Config>& from, int first, int count) {
#pragma HLS inline
    for (int i = 0; i < kPortWords<Config>; ++i) {
#pragma HLS unroll
      if (i < count) word[have + i] = from[first + i];
    }
    have += count;
  }
  void drop(int count) {
#pragma HLS inline
    for (int i = 0; i < kSize; ++i) {
#pragma HLS unroll
      word[i] = i + count < kSize ? word[i + count] : 0;
    }
    have -= count;
  }
};

// Words of a port taken out of a ring; tells the channel about whole bursts.
struct Taken {
  int words, told;
  void count(Credits& credits) {
#pragma HLS inline
    ++words;
    if (words - told == kBurstWords) {
      credits.write(kBurstWords);
      told = words;
    }
  }
  void settle(Credits& credits) {
#pragma HLS inline
    if (words != told) credits.write(static_cast<std::uint16_t>(words - told));
    told = words;
  }
};

// Entries of a strip at most: blocks times passes.
constexpr int kMaxEntries = 2048;

// The weight stream of one channel. `feed` gets the tiles as well, from channel 0.
template <class Config, bool First>
void weight_gearbox(const isa::mm::Operands o, WeightStream<Config>& in, Credits& credits, MpuStreams<Config>& out, ScaleStreams<Config>& scales,
                    hls::stream<Tile, 8>& feed) {
  Gearbox<Config> box;
#pragma HLS array_partition variable = box.word type = complete
  box.have = 0;
  Taken taken{0, 0};
  std::uint8_t format[kMaxEntries];
  const int m = 1 << o.rows_per_vpu;
  const int strip_slots = Config::kVpus * m;
  const int slots = static_cast<int>(o.slots);
  const int columns = (static_cast<int>(o.k) + kWindow - 1) / kWindow * kWindow;
  const int blocks = ceil_div(columns, kBlock);
  const int group = 2 << o.group;  // windows

strips:
  for (int slot = 0; slot < slots; slot += strip_slots) {
#pragma HLS loop_tripcount min = 1 max = 32
    const int r = smaller(strip_slots, slots - slot);
    // format table, then rho and bias
    int entries = 0;
    if (o.table) {
      int done = 0;
    table:
      while (done < blocks) {
#pragma HLS pipeline II = 8
#pragma HLS loop_tripcount min = 1 max = 16
        if (box.have < 1) {
          box.fill(in.read(), 0, kPortWords<Config>);
          taken.count(credits);
        }
        for (int i = 0; i < 8; ++i) {
          if (done < blocks) {
            const std::uint8_t byte = static_cast<std::uint8_t>(box.word[0] >> (8 * i));
            format[entries % kMaxEntries] = byte;
            ++entries;
            if (!(byte & 0x40)) ++done;
          }
        }
        box.drop(1);
      }
    } else {
      entries = blocks;
    }
    const int header = (r + 1) / 2 * (o.bias ? 2 : 1);
  header:
    for (int i = 0; i < header; ++i) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 8 max = 48
      if (box.have < 1) {
        box.fill(in.read(), 0, kPortWords<Config>);
        taken.count(credits);
      }
      scales.headers.write(box.word[0]);
      box.drop(1);
    }

    int block = 0;
  entry:
    for (int e = 0; e < entries; ++e) {
#pragma HLS loop_tripcount min = 1 max = 128
      const std::uint8_t byte = o.table ? format[e % kMaxEntries] : static_cast<std::uint8_t>(o.format);
      const int share = 1 << (byte >> 3 & 3);
      const bool sparse = share > 1;
      const int windows = smaller(kBlock, columns - block * kBlock) / kWindow;
      const int groups = ceil_div(windows, group);
      const int rows = ceil_div(r, share * Config::kVpus);
      const int last_vpus = smaller(Config::kVpus, r - (rows - 1) * share * Config::kVpus);
      Tile tile{};
      tile.scaled = true;
      tile.first = e == 0;
      tile.last = e == entries - 1;
      tile.affine = (byte & 0x20) != 0;
      tile.rows = rows;
      tile.windows = windows;
      tile.group = group;
      tile.share = share;
      tile.bits = kWidth[byte & 7];
      tile.window = block * (kBlock / kWindow);
      tile.capture = ceil_div(r, Config::kVpus);
      out.chain_tiles.write(tile);
      out.scale_tiles.write(tile);
      if constexpr (First) feed.write(tile);

      const int scale_beats = rows * groups * share;
      const int sigma_items = ceil_div(scale_beats, kQuad);
      const int mu_items = tile.affine ? sigma_items : 0;
      const int items = sigma_items + mu_items + rows * windows;
      int item = 0, row = 0, window = 0;
    items:
      while (item < items) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 16 max = 128
        const bool sigma = item < sigma_items;
        const bool mu = !sigma && item < sigma_items + mu_items;
        const int quad = sigma ? item : item - sigma_items;
        const int beats = smaller(kQuad, scale_beats - kQuad * quad);
        const int vpus = row == rows - 1 ? last_vpus : Config::kVpus;
        const int code_words = (vpus * tile.bits + 3) / 4;
        const int need = sigma ? ceil_div(beats * Config::kVpus, 8)
                         : mu  ? ceil_div(beats * Config::kVpus * 3, 16)
                               : code_words + (sparse ? vpus : 0);
        if (box.have < need) {
          box.fill(in.read(), 0, kPortWords<Config>);
          taken.count(credits);
        }
        if (box.have >= need) {
          if (sigma) {
            Sigmas<Config> s;
            for (int i = 0; i < kQuad * Config::kVpus; ++i) {
#pragma HLS unroll
              s.value[i / Config::kVpus][i % Config::kVpus] = static_cast<std::uint8_t>(box.word[i / 8] >> (8 * (i % 8)));
            }
            scales.sigmas.write(s);
          } else if (mu) {
            Mus<Config> s;
            for (int i = 0; i < kQuad * Config::kVpus; ++i) {
#pragma HLS unroll
              const int at = 12 * i / 64, shift = 12 * i % 64;
              std::uint64_t bits = box.word[at] >> shift;
              if (shift > 52) bits |= box.word[at + 1] << (64 - shift);
              s.value[i / Config::kVpus][i % Config::kVpus] = static_cast<std::int16_t>(static_cast<std::int16_t>(bits << 4) >> 4);
            }
            scales.mus.write(s);
          } else {
            Beat<Config> beat;
            for (int i = 0; i < 2 * Config::kVpus; ++i) {
#pragma HLS unroll
              beat.codes[i] = box.word[i];
            }
            for (int i = 0; i < Config::kVpus; ++i) {
#pragma HLS unroll
              beat.indices[i] = sparse ? box.word[code_words + i] : 0;
            }
            out.beats.write(beat);
            if (++window == windows) {
              window = 0;
              ++row;
            }
          }
          box.drop(need);
          ++item;
        }
      }
      if (!(byte & 0x40) || !o.table) ++block;
    }
  }
  // a stream is padded to 64 bytes
padding:
  while (taken.words * kPortBytes<Config> % 64) {
#pragma HLS loop_tripcount min = 0 max = 3
    in.read();
    taken.count(credits);
  }
  taken.settle(credits);
  Tile end{};
  end.end = true;
  out.chain_tiles.write(end);
  out.scale_tiles.write(end);
  if constexpr (First) feed.write(end);
}

// Keys: units of S slots side by side fill the VPUs, V / S units a tile.
template <class Config, bool First>
void key_gearbox(int bits, KeyStream<Config>& in, Credits& credits, GearTiles& tiles, MpuStreams<Config>& out, hls::stream<Tile, 8>& feed) {
  constexpr int kSlots = isa::key_slots(Config::kChannels);
  static_assert(Config::kVpus % kSlots == 0, "VPUs take whole units");
  Gearbox<Config> box;
#pragma HLS array_partition variable = box.word type = complete
  box.have = 0;
  Taken taken{0, 0};
  std::uint64_t codes[kHeadWindows][2 * Config::kVpus];
#pragma HLS array_partition variable = codes type = complete dim = 2
  const int need = kSlots * bits / 4;  // 8-byte words of a window of a unit

tiles:
  while (true) {
#pragma HLS loop_tripcount min = 1 max = 64
    const Tile tile = tiles.read();
    out.chain_tiles.write(tile);
    out.scale_tiles.write(tile);
    if constexpr (First) feed.write(tile);
    if (tile.end) break;
    int unit = 0, window = 0;
  fill:
    while (unit < tile.units) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 16 max = 128
      if (box.have < need) {
        const KeyWord<Config> word = in.read();
        box.fill(word.data, word.first, word.count);
        taken.count(credits);
      }
      if (box.have >= need) {
        for (int i = 0; i < 2 * kSlots; ++i) {
#pragma HLS unroll
          if (i < need) codes[window % kHeadWindows][unit * need + i] = box.word[i];
        }
        box.drop(need);
        if (++window == tile.windows) {
          window = 0;
          ++unit;
        }
      }
    }
  emit:
    for (int w = 0; w < tile.windows; ++w) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 4 max = 16
      Beat<Config> beat;
      for (int i = 0; i < 2 * Config::kVpus; ++i) {
#pragma HLS unroll
        beat.codes[i] = i < tile.units * need ? codes[w % kHeadWindows][i] : 0;
      }
      for (int i = 0; i < Config::kVpus; ++i) {
#pragma HLS unroll
        beat.indices[i] = 0;
      }
      out.beats.write(beat);
    }
  }
  taken.settle(credits);
}

// Values: a block of 64 positions is a tile. The cache has it window by window, the chains take it row by row.
template <class Config, bool First>
void value_gearbox(int bits, int stored, KeyStream<Config>& in, Credits& credits, GearTiles& tiles, MpuStreams<Config>& out, hls::stream<Tile, 8>& feed) {
  Gearbox<Config> box;
#pragma HLS array_partition variable = box.word type = complete
  box.have = 0;
  Taken taken{0, 0};
  Beat<Config> beats[kTileBeats<Config>];
#pragma HLS aggregate variable = beats compact = bit
#pragma HLS bind_storage variable = beats type = ram_2p impl = lutram

tiles:
  while (true) {
#pragma HLS loop_tripcount min = 1 max = 64
    const Tile tile = tiles.read();
    out.chain_tiles.write(tile);
    out.scale_tiles.write(tile);
    if constexpr (First) feed.write(tile);
    if (tile.end) break;
    const int count = tile.rows * tile.windows;
    int row = 0, window = 0;
  fill:
    while (window < tile.windows) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 4 max = 64
      const int slots = smaller(Config::kVpus, stored - row * Config::kVpus);
      const int need = slots * bits / 4;
      if (box.have < need) {
        const KeyWord<Config> word = in.read();
        box.fill(word.data, word.first, word.count);
        taken.count(credits);
      }
      if (box.have >= need) {
        Beat<Config> beat;
        for (int v = 0; v < Config::kVpus; ++v) {
#pragma HLS unroll
          beat.indices[v] = 0;
          if (bits == 8) {
            beat.codes[2 * v] = v < slots ? box.word[2 * v] : 0;
            beat.codes[2 * v + 1] = v < slots ? box.word[2 * v + 1] : 0;
          } else {
            // two row slots share 16 bytes, one in the low and one in the high nibbles
            std::uint64_t codes = 0;
            for (int i = 0; i < kWindow; ++i) {
#pragma HLS unroll
              const std::uint64_t byte = box.word[v / 2 * 2 + i / 8] >> (8 * (i % 8)) & 0xFF;
              codes |= (v % 2 ? byte >> 4 : byte & 15) << (4 * i);
            }
            beat.codes[v] = v < slots ? codes : 0;
            beat.codes[Config::kVpus + v] = 0;
          }
        }
        beats[(row * tile.windows + window) % kTileBeats<Config>] = beat;
        box.drop(need);
        if (++row == tile.rows) {
          row = 0;
          ++window;
        }
      }
    }
  emit:
    for (int n = 0; n < count; ++n) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 4 max = 64
      out.beats.write(beats[n % kTileBeats<Config>]);
    }
  }
  taken.settle(credits);
}

// The gearbox of one channel, for every kind of instruction. Tiles go to chains and scale, from channel 0 to feed as well.
template <class Config, bool First>
void gearbox(const MatrixJob job, ChannelPorts<Config>& channel, GearTiles& tiles, MpuStreams<Config>& out, ScaleStreams<Config>& scales,
             hls::stream<Tile, 8>& feed) {
  switch (job.kind) {
    case MatrixKind::kWeights:
      weight_gearbox<Config, First>(job.weights, channel.weights, channel.weight_credits, out, scales, feed);
      break;
    case MatrixKind::kKeys:
      key_gearbox<Config, First>(job.bits, channel.keys, channel.key_credits, tiles, out, feed);
      break;
    case MatrixKind::kValues:
      value_gearbox<Config, First>(job.bits, job.stored, channel.keys, channel.key_credits, tiles, out, feed);
      break;
  }
}

}  // namespace flight
