// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// The execute process of a core, and the exchange between cores. The regions around them are in the generated top, with a port each.
#pragma once

#include "load.hpp"
#include "matrix.hpp"
#include "sequencer.hpp"
#include "special.hpp"

namespace flight {

// Words of vectors that go from one core to another.
struct ExchangeWord {
  std::uint32_t element[kVbWord];
};
using ExchangeStream = hls::stream<ExchangeWord, 64>;
// Streams from each core to the others: [from][its place among the others]. One core has one that nobody uses.
template <class Config>
constexpr int kOthers = Config::kCores > 1 ? Config::kCores - 1 : 1;
template <class Config>
using Exchanges = ExchangeStream[Config::kCores][kOthers<Config>];
constexpr int place_of(int to, int from) { return to < from ? to : to - 1; }

// Copies this core's rows to the others', theirs to here (docs/isa.md, XCHG). Words of all cores go in step, so the streams between
// two cores never fill up.
template <class Config, int Core>
void exchange(const isa::xchg::Operands o, Exchanges<Config>& streams, VectorBuffer<Config>& vb) {
rows:
  for (int t = 0; t < o.n0; ++t) {
#pragma HLS loop_tripcount min = 1 max = 64
  words:
    for (std::uint32_t w = 0; w < o.n; ++w) {
#pragma HLS pipeline II = 4
#pragma HLS loop_tripcount min = 4 max = 256
      ExchangeWord own;
      for (int l = 0; l < kVbWord; ++l) {
#pragma HLS unroll
        own.element[l] = vb.get(kVbWord * (o.src + t * o.src_row + w) + l);
      }
      for (int k = 0; k < Config::kCores; ++k) {
#pragma HLS unroll
        if (k != Core) streams[Core][place_of(k, Core)].write(own);
      }
      for (int k = 0; k < Config::kCores; ++k) {
#pragma HLS unroll
        const ExchangeWord word = k != Core ? streams[k][place_of(Core, k)].read() : own;
        for (int l = 0; l < kVbWord; ++l) {
#pragma HLS unroll
          vb.put(kVbWord * (o.dst + t * o.dst_row + k * o.n + w) + l, word.element[l]);
        }
      }
    }
  }
}

// Executes all instructions but those of the sequencer and the weight loads, in the order of the program. `error` is the first.
template <class Config, int Core>
void execute(DispatchStream<Config>& dispatch, ChannelPorts<Config> (&channels)[Config::kChannels],
             Exchanges<Config>& streams, std::uint8_t& error) {
  VectorBuffer<Config> vb;
#pragma HLS array_partition variable = vb.word type = complete dim = 2
#pragma HLS bind_storage variable = vb.word type = ram_t2p impl = uram
  ActivationBuffer<Config> ab;
#pragma HLS array_partition variable = ab.window type = complete dim = 2
#pragma HLS bind_storage variable = ab.window type = ram_t2p impl = uram
  MaskBuffer<Config> mb;
  Blocks blocks;
  vb.beyond = false;
  std::uint8_t first = kNoError;

instructions:
  while (true) {
#pragma HLS loop_tripcount min = 1000 max = 100000
    const isa::Dispatch d = dispatch.read();
    const auto opcode = static_cast<isa::Opcode>(isa::extract(d.word, isa::kOpcode));
    if (opcode == isa::Opcode::HALT) {
      if (first == kNoError) first = d.error;
      break;
    }
    switch (opcode) {
      case isa::Opcode::LDV:
        load_vectors<Config>(isa::ldv::operands(d), channels, vb);
        break;
      case isa::Opcode::LDG:
        if (!gather<Config>(isa::ldg::operands(d), channels, vb) && first == kNoError) first = kTokenId;
        break;
      case isa::Opcode::LDM:
        load_mask<Config>(isa::ldm::operands(d), channels, mb);
        break;
      case isa::Opcode::LDS: {
        const isa::lds::Operands o = isa::lds::operands(d);
        list_blocks<Config>(Range{o.len, o.sink, o.first, 0, 0}, mb, blocks);
        load_scales<Config>(o, blocks, channels, vb);
        break;
      }
      case isa::Opcode::LDK: {
        const isa::ldk::Operands o = isa::ldk::operands(d);
        list_blocks<Config>(range_of(o), mb, blocks);
        load_keys<Config>(o, blocks, channels);
        break;
      }
      case isa::Opcode::MM:
      case isa::Opcode::MMQK:
      case isa::Opcode::MMPV: {
        const MatrixJob job = matrix_job(d);
        list_blocks<Config>(job.range, mb, blocks);
        matrix<Config>(job, blocks, channels, ab, vb);
        break;
      }
      case isa::Opcode::NORM:
        norm<Config>(isa::norm::operands(d), vb, ab);
        break;
      case isa::Opcode::ACT:
        act<Config>(isa::act::operands(d), vb, ab);
        break;
      case isa::Opcode::ADD:
        add<Config>(isa::add::operands(d), vb, ab);
        break;
      case isa::Opcode::ROPE:
        rope<Config>(isa::rope::operands(d), vb, ab);
        break;
      case isa::Opcode::SOFTMAX: {
        const isa::softmax::Operands o = isa::softmax::operands(d);
        list_blocks<Config>(range_of(o), mb, blocks);
        softmax<Config>(o, blocks, vb, ab);
        break;
      }
      case isa::Opcode::STV:
        store_vectors<Config>(isa::stv::operands(d), vb, channels);
        break;
      case isa::Opcode::STKV:
        append<Config>(isa::stkv::operands(d), ab, channels);
        break;
      case isa::Opcode::XCHG:
        exchange<Config, Core>(isa::xchg::operands(d), streams, vb);
        break;
      default:
        break;
    }
    if (vb.beyond && first == kNoError) first = kBuffer;
  }

  // stop the channels; what is left in the rings goes, so that the next run finds them empty
  for (int c = 0; c < Config::kChannels; ++c) {
#pragma HLS unroll
    WriteRequest<Config> stop{};
    stop.end = true;
    stop.strobe = 1;
    channels[c].writes.write(stop);
  }
  bool left = false;
stop:
  for (int c = 0; c < Config::kChannels; ++c) {
    left |= channels[c].answers.read().left;
  }
leftover:
  for (int c = 0; c < Config::kChannels; ++c) {
    Word<Config> word;
    KeyWord<Config> key;
  weights:
    while (channels[c].weights.read_nb(word)) {
#pragma HLS loop_tripcount min = 0 max = 1
      left = true;
    }
  keys:
    while (channels[c].keys.read_nb(key)) {
#pragma HLS loop_tripcount min = 0 max = 1
      left = true;
    }
  }
  if (left && first == kNoError) first = kHalt;
  error = first;
}

}  // namespace flight
