// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Instruction fetch, registers, loops and dispatch. Weight loads go straight to the channels, which run ahead as far as the ring
// has room; everything else goes to the execute process, in the order of the program. So the tokens between units, by which the
// RTL orders units that run side by side, have nothing left to order.
#pragma once

#include "channel.hpp"

namespace flight {

// Arguments of a run, from the registers of the host.
struct Arguments {
  std::uint32_t pos, ntok, nlog, masken;
  std::uint64_t program;
  std::uint32_t instructions;
};

// Instructions that wait for the execute process: as many as the queues of the RTL's four units hold.
template <class Config>
using DispatchStream = hls::stream<isa::Dispatch, 4 * Config::kQueueDepth>;

struct Loop {
  std::uint32_t begin, end, left;
  std::uint8_t counter;
};

inline std::int32_t alu(std::uint32_t op, std::int32_t a, std::int32_t b) {
#pragma HLS inline
  const auto x = static_cast<std::uint32_t>(a), y = static_cast<std::uint32_t>(b);
  switch (static_cast<isa::alu::Op>(op)) {
    case isa::alu::Op::kAdd:
      return static_cast<std::int32_t>(x + y);
    case isa::alu::Op::kSub:
      return static_cast<std::int32_t>(x - y);
    case isa::alu::Op::kMul:
      return static_cast<std::int32_t>(x * y);
    case isa::alu::Op::kAnd:
      return static_cast<std::int32_t>(x & y);
    case isa::alu::Op::kShl:
      return static_cast<std::int32_t>(x << (y & 31));
    case isa::alu::Op::kShr:
      return a >> (y & 31);
    case isa::alu::Op::kMin:
      return a < b ? a : b;
    default:
      return a > b ? a : b;
  }
}

// Carries out the program of one core. Ends after HALT, or after the first instruction that is illegal: the execute process is told
// either way.
template <class Config>
void sequencer(const Arguments arguments, std::uint32_t core, FetchPorts<Config>& fetch, ChannelPorts<Config> (&channels)[Config::kChannels],
               DispatchStream<Config>& dispatch) {
  std::int32_t regs[isa::kRegisters];
clear:
  for (int i = 0; i < isa::kRegisters; ++i) {
#pragma HLS unroll
    regs[i] = 0;
  }
  regs[isa::kRegPos] = static_cast<std::int32_t>(arguments.pos);
  regs[isa::kRegNtok] = static_cast<std::int32_t>(arguments.ntok);
  regs[isa::kRegKvlen] = static_cast<std::int32_t>(arguments.pos + arguments.ntok);
  regs[isa::kRegCore] = static_cast<std::int32_t>(core);
  regs[isa::kRegNlog] = static_cast<std::int32_t>(arguments.nlog);
  regs[isa::kRegMasken] = static_cast<std::int32_t>(arguments.masken);

  isa::Dispatch buffer[kFetchInstructions];
  Loop loops[isa::kLoopDepth];
#pragma HLS array_partition variable = loops type = complete
  int depth = 0;
  std::uint32_t pc = 0, low = 0, high = 0;  // instructions low .. high - 1 are in the buffer

step:
  while (true) {
#pragma HLS loop_tripcount min = 1000 max = 100000
    isa::Dispatch d{};
    bool legal = pc < arguments.instructions;
    if (legal) {
      if (pc < low || pc >= high) {
        const std::uint32_t count = smaller(kFetchInstructions, arguments.instructions - pc);
        const std::uint64_t address = arguments.program + std::uint64_t{isa::kInstructionBytes} * pc;
        constexpr int kWords = isa::kInstructionBytes / kPortBytes<Config>;
        fetch.requests.write(request_of<Config>(address, count * isa::kInstructionBytes));
      fill:
        for (std::uint32_t i = 0; i < count * kWords; ++i) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 16 max = 64
          const Word<Config> word = fetch.words.read();
          for (int j = 0; j < kPortWords<Config>; ++j) {
#pragma HLS unroll
            buffer[i / kWords].word[i % kWords * kPortWords<Config> + j] = word[j];
          }
        }
        low = pc;
        high = pc + count;
      }
      for (int j = 0; j < 8; ++j) {
#pragma HLS unroll
        d.word[j] = buffer[pc - low].word[j];
      }
      legal = isa::legal(d.word);
    }
    const auto opcode = static_cast<isa::Opcode>(isa::extract(d.word, isa::kOpcode));
    std::uint32_t after = pc + 1;
    if (legal) {
      isa::resolve(d.word, regs, d.operand);
      if (opcode == isa::Opcode::ALU) {
        const isa::alu::Operands o = isa::alu::operands(d);
        const auto b = static_cast<std::int32_t>(static_cast<std::uint32_t>(regs[o.rb]) + o.imm);
        const std::int32_t value = alu(o.op, regs[o.ra], b);
        if (o.rd) regs[o.rd] = value;
      } else if (opcode == isa::Opcode::LOOP) {
        const isa::loop::Operands o = isa::loop::operands(d);
        const std::uint32_t end = pc + 1 + o.body;
        const std::uint32_t limit = depth ? loops[depth - 1].end : arguments.instructions;
        if (o.body < 1 || end > limit || depth == isa::kLoopDepth) {
          legal = false;
        } else if (o.count <= 0) {
          after = end;
        } else {
          if (o.rd) regs[o.rd] = 0;
          loops[depth] = Loop{pc + 1, end, static_cast<std::uint32_t>(o.count), static_cast<std::uint8_t>(o.rd)};
          ++depth;
        }
      } else if (opcode == isa::Opcode::LDW) {
        const isa::ldw::Operands o = isa::ldw::operands(d);
      weights:
        for (int c = 0; c < Config::kChannels; ++c) {
#pragma HLS unroll
          channels[c].weight_requests.write(request_of<Config>(o.addr, o.nbytes));
        }
      } else if (opcode != isa::Opcode::BARRIER) {
        if (opcode == isa::Opcode::HALT && depth) legal = false;
      }
    }
    if (!legal) {
      d.word[0] = static_cast<std::uint64_t>(isa::Opcode::HALT);
      d.error = kIllegal;
      dispatch.write(d);
      break;
    }
    const bool local = opcode == isa::Opcode::ALU || opcode == isa::Opcode::LOOP || opcode == isa::Opcode::LDW || opcode == isa::Opcode::BARRIER;
    if (!local) dispatch.write(d);
    if (opcode == isa::Opcode::HALT) break;
  back:
    while (depth && after == loops[depth - 1].end) {
#pragma HLS loop_tripcount min = 0 max = 4
      Loop& top = loops[depth - 1];
      if (--top.left) {
        if (top.counter) ++regs[top.counter];
        after = top.begin;
        break;
      }
      --depth;
    }
    pc = after;
  }
}

}  // namespace flight
