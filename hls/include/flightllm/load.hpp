// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Loads and stores of the execute process: vectors, tables, masks, scales and the KV cache. Element r of a vector lies on channel
// r % C; the channels move side by side.
#pragma once

#include "fp32.hpp"
#include "channel.hpp"
#include "tiles.hpp"

namespace flight {

// Asks a channel for the words that hold `bytes` bytes from `address` on.
template <class Config>
int ask(ChannelPorts<Config>& channel, std::uint64_t address, std::uint32_t bytes) {
#pragma HLS inline
  const std::uint64_t first = address / kPortBytes<Config>, last = (address + bytes + kPortBytes<Config> - 1) / kPortBytes<Config>;
  const auto words = static_cast<std::uint32_t>(last - first);
  if (words) channel.load_requests.write(ReadRequest{first, words, 0, 0});
  return static_cast<int>(words);
}

// Bytes `at` .. `at + Bytes - 1` of a word, at a multiple of Bytes.
template <class Config, int Bytes>
std::uint32_t piece(const Word<Config>& word, int at) {
#pragma HLS inline
  const std::uint64_t value = word[at / 8] >> (8 * (at % 8));
  return static_cast<std::uint32_t>(Bytes == 4 ? value : value & ((std::uint64_t{1} << (8 * Bytes)) - 1));
}

// One striped row of `slots` slots from memory to VB element `to`, widened to fp32.
template <class Config>
void load_row(Channels<Config>& channels, std::uint64_t address, int slots, bool half, std::uint32_t to, VectorBuffer<Config>& vb) {
  const int size = half ? 2 : 4;
  int words = 0;
ask:
  for (int c = 0; c < Config::kChannels; ++c) {
#pragma HLS unroll
    words = ask<Config>(channels[c], address, slots * size);
  }
  int slot = 0;
  int at = static_cast<int>(address % kPortBytes<Config>);
words:
  for (int w = 0; w < words; ++w) {
#pragma HLS loop_tripcount min = 1 max = 64
    Word<Config> word[Config::kChannels];
#pragma HLS array_partition variable = word type = complete
    for (int c = 0; c < Config::kChannels; ++c) {
#pragma HLS unroll
      word[c] = channels[c].loads.read();
    }
  slots:
    for (; at < kPortBytes<Config> && slot < slots; at += size, ++slot) {
#pragma HLS pipeline II = 2
#pragma HLS loop_tripcount min = 4 max = 32
      for (int c = 0; c < Config::kChannels; ++c) {
#pragma HLS unroll
        const std::uint32_t value = half ? fp32::from_half(static_cast<std::uint16_t>(piece<Config, 2>(word[c], at))) : piece<Config, 4>(word[c], at);
        vb.put(to + slot * Config::kChannels + c, value);
      }
    }
    at = 0;
  }
}

template <class Config>
void load_vectors(const isa::ldv::Operands o, Channels<Config>& channels, VectorBuffer<Config>& vb) {
rows:
  for (int t = 0; t < o.rows; ++t) {
#pragma HLS loop_tripcount min = 1 max = 64
    load_row<Config>(channels, o.addr + std::uint64_t{o.row} * t, static_cast<int>(o.slots), o.dtype == static_cast<std::uint32_t>(isa::ldv::Dtype::kF16),
                     kVbWord * (o.dst + t * o.dst_row), vb);
  }
}

// Rows of a table by token ids. Returns false if an id is outside the table; its row is left alone then.
template <class Config>
bool gather(const isa::ldg::Operands o, Channels<Config>& channels, VectorBuffer<Config>& vb) {
  bool good = true;
rows:
  for (int t = 0; t < o.rows; ++t) {
#pragma HLS loop_tripcount min = 1 max = 64
    const std::uint64_t address = o.ids + 4 * static_cast<std::uint64_t>(t);
    ask<Config>(channels[0], address, 4);
    const Word<Config> word = channels[0].loads.read();
    const std::uint32_t id = piece<Config, 4>(word, static_cast<int>(address % kPortBytes<Config>));
    if (id >= o.limit) {
      good = false;
      continue;
    }
    load_row<Config>(channels, o.table + std::uint64_t{o.row} * id, static_cast<int>(o.slots), o.dtype == static_cast<std::uint32_t>(isa::ldg::Dtype::kF16),
                     kVbWord * (o.dst + t * o.dst_row), vb);
  }
  return good;
}

template <class Config>
void load_mask(const isa::ldm::Operands o, Channels<Config>& channels, MaskBuffer<Config>& mb) {
  const int words = ask<Config>(channels[0], o.addr, o.nbytes);
  std::uint32_t done = 0;
  int at = static_cast<int>(o.addr % kPortBytes<Config>);
words:
  for (int w = 0; w < words; ++w) {
#pragma HLS loop_tripcount min = 1 max = 8
    const Word<Config> word = channels[0].loads.read();
  bytes:
    for (; at < kPortBytes<Config> && done < o.nbytes; ++at, ++done) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1 max = 64
      if (o.dst + done < Config::kMbBytes) mb.byte[o.dst + done] = static_cast<std::uint8_t>(piece<Config, 1>(word, at));
    }
    at = 0;
  }
}

// Scales of the KV cache: bf16 [slot][head] of the candidate blocks to VB [head][position].
template <class Config>
void load_scales(const isa::lds::Operands o, const Blocks& blocks, Channels<Config>& channels, VectorBuffer<Config>& vb) {
  const int heads = static_cast<int>(o.heads);
blocks:
  for (int b = 0; heads && b < blocks.count; ++b) {
#pragma HLS loop_tripcount min = 1 max = 64
    const int first = first_unit(blocks.block[b], Config::kChannels);
    const int slots = end_unit(blocks.block[b], blocks.len, Config::kChannels) - first;
    const std::uint64_t address = o.addr + std::uint64_t{2} * o.heads * first;
    int words = 0;
    for (int c = 0; c < Config::kChannels; ++c) {
#pragma HLS unroll
      words = ask<Config>(channels[c], address, 2 * heads * slots);
    }
    int slot = 0, head = 0;
    int at = static_cast<int>(address % kPortBytes<Config>);
  words:
    for (int w = 0; w < words; ++w) {
#pragma HLS loop_tripcount min = 1 max = 64
      Word<Config> word[Config::kChannels];
#pragma HLS array_partition variable = word type = complete
      for (int c = 0; c < Config::kChannels; ++c) {
#pragma HLS unroll
        word[c] = channels[c].loads.read();
      }
    elements:
      for (; at < kPortBytes<Config> && slot < slots; at += 2) {
#pragma HLS pipeline II = 2
#pragma HLS loop_tripcount min = 4 max = 32
        for (int c = 0; c < Config::kChannels; ++c) {
#pragma HLS unroll
          const std::uint32_t to = kVbWord * (o.dst + head * o.dst_head) + (first + slot) * Config::kChannels + c;
          vb.put(to, piece<Config, 2>(word[c], at) << 16);
        }
        if (++head == heads) {
          head = 0;
          ++slot;
        }
      }
      at = 0;
    }
  }
}

// Keys or values of a head: the units of the active blocks, in runs.
template <class Config>
void load_keys(const isa::ldk::Operands o, const Blocks& blocks, Channels<Config>& channels) {
  const bool keys = o.kind == static_cast<std::uint32_t>(isa::ldk::Kind::kK);
  const int gran = keys ? isa::key_slots(Config::kChannels) * Config::kChannels : kWindow;
  int b = 0;
runs:
  while (b < blocks.count) {
#pragma HLS loop_tripcount min = 1 max = 16
    int last = b;
  run:
    while (last + 1 < blocks.count && blocks.block[last + 1] == blocks.block[last] + 1) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 0 max = 64
      ++last;
    }
    const int first = first_unit(blocks.block[b], gran), end = end_unit(blocks.block[last], blocks.len, gran);
    const std::uint64_t address = o.addr + std::uint64_t{o.unit_bytes} * first;
    for (int c = 0; c < Config::kChannels; ++c) {
#pragma HLS unroll
      channels[c].key_requests.write(request_of<Config>(address, (end - first) * o.unit_bytes));
    }
    b = last + 1;
  }
}

// --- stores ---------------------------------------------------------------------------------------------------------

template <class Config>
void write_word(ChannelPorts<Config>& channel, std::uint64_t first, const Word<Config>& data, ap_uint<kPortBytes<Config>> strobe, int words) {
#pragma HLS inline
  channel.writes.write(WriteRequest<Config>{first, data, strobe, static_cast<std::uint16_t>(words), false});
}

// Waits until all that was written is in memory: loads that follow in the program see it.
template <class Config>
void settle(Channels<Config>& channels) {
  for (int c = 0; c < Config::kChannels; ++c) {
#pragma HLS unroll
    WriteRequest<Config> end{};
    end.end = true;
    channels[c].writes.write(end);
  }
  for (int c = 0; c < Config::kChannels; ++c) {
#pragma HLS unroll
    channels[c].answers.read();
  }
}

template <class Config>
void store_vectors(const isa::stv::Operands o, VectorBuffer<Config>& vb, Channels<Config>& channels) {
  constexpr int kElements = kPortBytes<Config> / 4;  // of a word
rows:
  for (int t = 0; t < o.rows; ++t) {
#pragma HLS loop_tripcount min = 1 max = 64
    const std::uint64_t address = o.addr + std::uint64_t{o.row} * t;
    const std::uint32_t from = kVbWord * (o.src + t * o.src_row);
    const int skip = static_cast<int>(address % kPortBytes<Config>) / 4;
    const int words = ceil_div(skip + static_cast<int>(o.slots), kElements);
  words:
    for (int w = 0; w < words; ++w) {
#pragma HLS loop_tripcount min = 1 max = 128
      Word<Config> word[Config::kChannels];
#pragma HLS array_partition variable = word type = complete dim = 0
      ap_uint<kPortBytes<Config>> strobe = 0;
    elements:
      for (int i = 0; i < kElements; ++i) {
#pragma HLS pipeline II = 2
        const int slot = w * kElements + i - skip;
        const bool there = slot >= 0 && slot < static_cast<int>(o.slots);
        for (int j = 0; j < 4; ++j) {
#pragma HLS unroll
          strobe[4 * i + j] = there;
        }
        for (int c = 0; c < Config::kChannels; ++c) {
#pragma HLS unroll
          const std::uint64_t value = there ? vb.get(from + slot * Config::kChannels + c) : 0;
          word[c][i / 2] = i % 2 ? word[c][i / 2] | value << 32 : value;
        }
      }
      for (int c = 0; c < Config::kChannels; ++c) {
#pragma HLS unroll
        write_word<Config>(channels[c], address / kPortBytes<Config> + w, word[c], strobe, 1);
      }
    }
  }
  settle<Config>(channels);
}

// Writes `bytes` (1, 8 or 16) bytes of `low` and `high` at an address that is a multiple of their number.
template <class Config>
void write_bytes(ChannelPorts<Config>& channel, std::uint64_t address, std::uint64_t low, std::uint64_t high, int bytes) {
#pragma HLS inline
  const int at = static_cast<int>(address % kPortBytes<Config>);
  Word<Config> word{};
  ap_uint<kPortBytes<Config>> strobe = 0;
  for (int i = 0; i < kPortWords<Config>; ++i) {
#pragma HLS unroll
    word[i] = i == at / 8 ? low << (8 * (at % 8)) : i == at / 8 + 1 ? high : 0;
  }
  for (int i = 0; i < kPortBytes<Config>; ++i) {
#pragma HLS unroll
    strobe[i] = i >= at && i < at + bytes;
  }
  write_word<Config>(channel, address / kPortBytes<Config>, word, strobe, 1);
}

// Appends to the KV cache (docs/streams.md).
template <class Config>
void append(const isa::stkv::Operands o, const ActivationBuffer<Config>& ab, Channels<Config>& channels) {
  constexpr int kSlots = isa::key_slots(Config::kChannels);
  const bool keys = o.kind == static_cast<std::uint32_t>(isa::stkv::Kind::kK);
  const bool four = o.bits == static_cast<std::uint32_t>(isa::stkv::Bits::k4);
  const int windows = static_cast<int>(o.len) / kWindow;
tokens:
  for (int i0 = 0; i0 < o.n0; ++i0) {
#pragma HLS loop_tripcount min = 1 max = 64
    const std::uint32_t pos = o.pos + i0;
    const int home = static_cast<int>(pos % Config::kChannels);
    const std::uint32_t slot = pos / Config::kChannels;
  heads:
    for (std::uint32_t i1 = 0; i1 < o.n1; ++i1) {
#pragma HLS loop_tripcount min = 1 max = 32
      const std::uint32_t row = o.ab + i0 * o.ab_s0 + i1 * o.ab_s1;
      const std::uint64_t head = o.addr + std::uint64_t{o.head} * i1;
      std::uint32_t scale = 0;
      for (int j = 0; j < 4; ++j) {
#pragma HLS unroll
        scale |= static_cast<std::uint32_t>(static_cast<std::uint8_t>(ab.window[row % Config::kAbWindows][j])) << (8 * j);
      }
    windows:
      for (int w = 0; w < windows; ++w) {
#pragma HLS loop_tripcount min = 1 max = 16
        std::uint8_t code[kWindow];
#pragma HLS array_partition variable = code type = complete
        for (int i = 0; i < kWindow; ++i) {
#pragma HLS unroll
          code[i] = static_cast<std::uint8_t>(ab.window[(row + 1 + w) % Config::kAbWindows][i]);
        }
        if (keys) {
          const int bytes = four ? 8 : 16;
          std::uint64_t data[2] = {0, 0};
          for (int i = 0; i < kWindow; ++i) {
#pragma HLS unroll
            if (four) {
              data[0] |= static_cast<std::uint64_t>(code[i] & 15) << (4 * i);
            } else {
              data[i / 8] |= static_cast<std::uint64_t>(code[i]) << (8 * (i % 8));
            }
          }
          const std::uint64_t at = head + std::uint64_t{slot / kSlots} * o.unit_bytes + slot % kSlots * bytes + std::uint64_t(kSlots) * bytes * w;
          for (int c = 0; c < Config::kChannels; ++c) {
#pragma HLS unroll
            if (c == home) write_bytes<Config>(channels[c], at, data[0], data[1], bytes);
          }
        } else {
          // dimension d: channel d % C, row slot d / C; with 4 bits two row slots share a byte
          const std::uint64_t at = head + std::uint64_t{pos / kWindow} * o.unit_bytes + pos % kWindow;
          for (int i = 0; i < kWindow; ++i) {
#pragma HLS pipeline II = 1
            const int d = w * kWindow + i;
            const int c = d % Config::kChannels, line = d / Config::kChannels;
            if (!four) {
              for (int k = 0; k < Config::kChannels; ++k) {
#pragma HLS unroll
                if (k == c) write_bytes<Config>(channels[k], at + std::uint64_t{16} * line, code[i], 0, 1);
              }
            } else if (line % 2 == 0) {
              const int other = d + Config::kChannels;  // the same channel, next row slot
              const std::uint8_t high = other < static_cast<int>(o.len)
                                            ? static_cast<std::uint8_t>(ab.window[(row + 1 + other / kWindow) % Config::kAbWindows][other % kWindow])
                                            : std::uint8_t{0};
              const std::uint64_t byte = (code[i] & 15) | (high & 15) << 4;
              for (int k = 0; k < Config::kChannels; ++k) {
#pragma HLS unroll
                if (k == c) write_bytes<Config>(channels[k], at + std::uint64_t{16} * (line / 2), byte, 0, 1);
              }
            }
          }
        }
      }
      // the scale as bf16, rounded up in magnitude
      const std::uint64_t at = o.scales + 2 * (std::uint64_t{slot} * o.n1 + i1);
      const std::uint64_t word = fp32::up_to_bf16(scale) >> 16;
      for (int c = 0; c < Config::kChannels; ++c) {
#pragma HLS unroll
        if (c == home) write_bytes<Config>(channels[c], at, word, 0, 2);
      }
    }
  }
  settle<Config>(channels);
}

}  // namespace flight
