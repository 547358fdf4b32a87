// The HLS kernel's sequencer alone: what it dispatches, and which weights it asks for.
#include "flightllm/sequencer.hpp"

using namespace flight;

namespace {
struct Config {
  static constexpr int kChannels = 1, kPortBits = 512, kWRingBytes = 4096, kKRingBytes = 4096, kQueueDepth = 2;
};
}  // namespace

// host: pos, ntok, nlog, masken, core. out: of each instruction its 8 words, kMaxOperands operands, and its error; LDW: opcode and the
// request instead. Returns the number of instructions, -1 if they are more than `room`, -2 if nothing moves any more.
extern "C" int sequencer_run(const std::uint64_t* program, std::uint32_t instructions, const std::uint32_t* host, std::uint64_t* out, int room) {
  constexpr int kRow = 8 + isa::kMaxOperands + 1;
  int count = 0;
  const auto outcome = native::run(
      [&] {
        native::current().exact_depths = true;
        ChannelPorts<Config> channels[1];
        FetchPorts<Config> fetch;
        DispatchStream<Config> dispatch;
        bool ended = false;
        native::Region region;
        region.start([&] { sequencer<Config>(Arguments{host[0], host[1], host[2], host[3], 0, instructions}, host[4], fetch, channels, dispatch); });
        region.start([&] {
          while (!ended) {
            ReadRequest r;
            if (fetch.requests.read_nb(r)) {
              for (std::uint32_t i = 0; i < r.words; ++i) {
                Word<Config> word;
                for (int j = 0; j < 8; ++j) word[j] = program[8 * (r.first + i) + j];
                fetch.words.write(word);
              }
            } else if (channels[0].weight_requests.read_nb(r)) {
              if (count < room) {
                out[kRow * count] = static_cast<std::uint64_t>(isa::Opcode::LDW);
                out[kRow * count + 1] = r.first;
                out[kRow * count + 2] = r.words;
              }
              ++count;
            } else {
              native::yield();
            }
          }
        });
        region.start([&] {
          while (!ended) {
            const isa::Dispatch d = dispatch.read();
            if (count < room) {
              for (int i = 0; i < 8; ++i) out[kRow * count + i] = d.word[i];
              for (int i = 0; i < isa::kMaxOperands; ++i) out[kRow * count + 8 + i] = d.operand[i];
              out[kRow * count + kRow - 1] = d.error;
            }
            ++count;
            if (isa::extract(d.word, isa::kOpcode) != static_cast<std::uint64_t>(isa::Opcode::HALT)) continue;
            while (!channels[0].weight_requests.empty()) native::yield();
            ended = true;
          }
        });
        region.join();
      },
      60.0);
  return outcome != native::Outcome::kDone ? -2 : count > room ? -1 : count;
}
