// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// What flows between the processes of the matrix unit. A tile is what is replayed: an entry of a weight stream (the rows of a strip
// in one block of columns, one pass), a batch of keys, or a block of values.
//
//   ring -> gearbox -> chains -> scale -> drain -> vector buffer        (gearbox, chains, scale: one of each per channel)
//   activation buffer -> feed -> chains
#pragma once

#include "blocks.hpp"
#include "channel.hpp"

namespace flight {

constexpr int kMaxRows = 8;        // rows per VPU of a strip
constexpr int kScaleBeats = 32;    // of a tile: kMaxRows rows x 4 groups
constexpr int kQuad = 4;           // scale beats that the gearbox hands out together: whole 8-byte words, whatever the VPUs
constexpr int kHeadCodes = 256;    // codes of a head at most
constexpr int kHeadWindows = kHeadCodes / kWindow;

// Beats of a tile at most: 8 rows x 8 windows of weights, or 4 windows of all dimensions of a head.
template <class Config>
constexpr int kTileBeats = [] {
  const int values = isa::kBlockPositions / kWindow * ceil_div(kHeadCodes, Config::kChannels * Config::kVpus);
  return values > 64 ? values : 64;
}();

struct Tile {
  bool end;            // no tile: the instruction is over
  bool first, last;    // of its strip
  bool scaled, affine;  // weights have scales; keys and values are scaled by the special functions
  std::uint16_t rows, windows;  // VPU beats down the strip; windows of 16 columns
  std::uint16_t group;          // windows of a partial sum
  std::uint8_t share, bits;     // slots of a beat; bits of a code
  std::uint16_t window;         // the first, in the activation row
  std::uint16_t capture;        // rows of accumulators that the strip has
  std::uint16_t units;          // of keys that the tile holds
};

// Codes of a beat: of VPU v, 16 codes of `bits` bits from bit 16 * bits * v on; indices of 4 bits likewise.
template <class Config>
struct Beat {
  std::uint64_t codes[2 * Config::kVpus];
  std::uint64_t indices[Config::kVpus];
};

// A window of two tokens (or of the high and low codes of one), and the sums of the codes.
struct Activation {
  std::int8_t code[2][kWindow];
  std::int16_t sum[2];
};

// Sums of a group for one slot of each VPU, both tokens; sums of the activations.
template <class Config>
struct Partial {
  std::int32_t p[Config::kVpus][2];
  std::int32_t a[2];
};

using Accumulator = ap_int<48>;

template <class Config>
struct Captured {
  Accumulator sum[Config::kVpus];
};

// Slots that the VPUs of a strip of attention stand for; -1: nothing is written.
template <class Config>
struct Strip {
  std::int32_t slot[Config::kVpus];
  bool end;
};

template <class Config>
struct Sigmas {
  std::uint8_t value[kQuad][Config::kVpus];
};
template <class Config>
struct Mus {
  std::int16_t value[kQuad][Config::kVpus];
};

// What a weight stream has besides codes.
template <class Config>
struct ScaleStreams {
  hls::stream<Sigmas<Config>, 16> sigmas;
  hls::stream<Mus<Config>, 16> mus;
  hls::stream<std::uint64_t, 4 * kMaxRows * Config::kVpus> headers;  // rho and bias of a strip and the next, two in a word
};

// Tiles for the gearboxes of attention; those of weights find theirs in the stream.
using GearTiles = hls::stream<Tile, 8>;

// Streams of the processes of one channel.
template <class Config>
struct MpuStreams {
  hls::stream<Tile, 8> chain_tiles, scale_tiles;
  hls::stream<Beat<Config>, 64> beats;
  hls::stream<Activation, 64> activations;
  hls::stream<Partial<Config>, 32> partials[kMaxShare];
  hls::stream<Captured<Config>, Config::kAccEntries> captured;
};

// Tokens of an instruction: rows of activations, and where they lie.
struct Tokens {
  int n0, n1;
  std::uint32_t ab, ab_s0, ab_s1;
  std::uint32_t dst, dst_s0, dst_s1;  // VB units of 16
  bool dual;

  int count() const {
#pragma HLS inline
    return n0 * n1;
  }
  int pairs() const {
#pragma HLS inline
    return dual ? count() : (count() + 1) / 2;
  }
};

// An instruction of the matrix unit: what it is, and the fields that its processes need. One region carries out all three, so that chains,
// scale stages and streams exist once.
enum class MatrixKind : std::uint8_t { kWeights, kKeys, kValues };

struct MatrixJob {
  MatrixKind kind;
  Tokens tokens;
  Range range;                // of keys; no keys for weights
  isa::mm::Operands weights;  // valid for weights only
  int columns;                // of a head: keys
  int slots, stored;          // of a head: values, those written and those in memory
  int bits;                   // of a code: keys and values
};

template <class Operands>
void attention_job(const Operands& o, MatrixJob& job) {
#pragma HLS inline
  job.tokens = Tokens{o.n0 > 0 ? o.n0 : 0, static_cast<int>(o.n1), o.ab, o.ab_s0, o.ab_s1, o.dst, o.dst_s0, o.dst_s1, o.dual != 0};
  job.range = range_of(o);
  job.bits = o.bits ? 4 : 8;
}

inline MatrixJob matrix_job(const isa::Dispatch& d) {
#pragma HLS inline
  MatrixJob job{};
  const auto opcode = static_cast<isa::Opcode>(isa::extract(d.word, isa::kOpcode));
  if (opcode == isa::Opcode::MM) {
    const isa::mm::Operands o = isa::mm::operands(d);
    job.kind = MatrixKind::kWeights;
    job.weights = o;
    job.tokens = Tokens{o.tokens > 0 ? o.tokens : 0, 1, o.ab, o.ab_row, 0, o.dst, o.dst_row, 0, o.dual != 0};
  } else if (opcode == isa::Opcode::MMQK) {
    const isa::mmqk::Operands o = isa::mmqk::operands(d);
    job.kind = MatrixKind::kKeys;
    attention_job(o, job);
    job.columns = static_cast<int>(o.k);
  } else {
    const isa::mmpv::Operands o = isa::mmpv::operands(d);
    job.kind = MatrixKind::kValues;
    attention_job(o, job);
    job.slots = static_cast<int>(o.slots);
    job.stored = static_cast<int>(o.row_slots);
  }
  return job;
}

}  // namespace flight
