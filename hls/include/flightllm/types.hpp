// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Types and macros that all parts of the kernel share. `Config` is the architecture config of a build (hls/flightllm_top.cpp.j2).
#pragma once

#include <ap_int.h>
#include <hls_burst_maxi.h>
#include <hls_stream.h>
#include <hls_vector.h>

#include <cstdint>

#include "csd_chain.hpp"
#include "flightllm_isa.hpp"

// A process of a dataflow region. In synthesis these are plain calls under `#pragma HLS dataflow`. Natively a call would have to
// end before the next begins, which processes that talk both ways cannot: there each becomes a fiber (hls/native). `index` is
// the variable of an unrolled loop that the call uses.
#ifdef __SYNTHESIS__
#define FLIGHTLLM_REGION(region)
#define FLIGHTLLM_PROCESS(region, ...) __VA_ARGS__
#define FLIGHTLLM_PROCESS_AT(region, index, ...) __VA_ARGS__
#define FLIGHTLLM_JOIN(region)
#define FLIGHTLLM_IDLE()
#else
#define FLIGHTLLM_REGION(region) ::flight::native::Region region
#define FLIGHTLLM_PROCESS(region, ...) (region).start([&] { __VA_ARGS__; })
#define FLIGHTLLM_PROCESS_AT(region, index, ...) (region).start([&, index] { __VA_ARGS__; })
#define FLIGHTLLM_JOIN(region) (region).join()
// a process that polls has found nothing to do
#define FLIGHTLLM_IDLE() ::flight::native::yield()
#endif

namespace flight {

constexpr int kBlock = 128;     // columns of a block of a weight stream
constexpr int kVbWord = 16;     // fp32 elements of a word of the vector buffer
constexpr int kWidth[8] = {2, 3, 4, 5, 6, 8, 8, 8};  // bits, by width index of a format byte

constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }
constexpr int smaller(int a, int b) { return a < b ? a : b; }

// A word of a memory port.
template <class Config>
using Word = hls::vector<std::uint64_t, Config::kPortBits / 64>;

// Words of 8 bytes in a word of the port; bytes of it.
template <class Config>
constexpr int kPortWords = Config::kPortBits / 64;
template <class Config>
constexpr int kPortBytes = Config::kPortBits / 8;

// Error codes of the ERROR register (docs/registers.md).
enum Error : std::uint8_t { kNoError = 0, kIllegal = 1, kReadError = 2, kWriteError = 3, kTokenId = 4, kHalt = 6, kBuffer = 7 };

// The vector buffer: fp32 bit patterns. An access beyond the end reads zero, writes nothing, and is remembered.
template <class Config>
struct VectorBuffer {
  std::uint32_t word[Config::kVbWords][kVbWord];
  bool beyond;

  std::uint32_t get(std::uint32_t element) {
#pragma HLS inline
    if (element / kVbWord >= Config::kVbWords) {
      beyond = true;
      return 0;
    }
    return word[element / kVbWord][element % kVbWord];
  }
  void put(std::uint32_t element, std::uint32_t value) {
#pragma HLS inline
    if (element / kVbWord >= Config::kVbWords) {
      beyond = true;
      return;
    }
    word[element / kVbWord][element % kVbWord] = value;
  }
};

// The activation buffer: windows of 16 codes.
template <class Config>
struct ActivationBuffer {
  std::int8_t window[Config::kAbWindows][kWindow];
};

// The mask buffer.
template <class Config>
struct MaskBuffer {
  std::uint8_t byte[Config::kMbBytes];
};

}  // namespace flight
