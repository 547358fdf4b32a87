// Generated from flightllm/isa by `python -m flightllm.isa.generate`. Do not edit.
// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace flight::isa {

constexpr int kInstructionBits = 512;
constexpr int kInstructionBytes = 64;
constexpr int kRegisters = 32;
constexpr int kLoopDepth = 4;
constexpr int kBlockPositions = 64;
constexpr int kWindowPositions = 16;

// Slots that the K cache keeps side by side, window by window.
constexpr int key_slots(int channels) {
  return kBlockPositions / channels < 4 ? kBlockPositions / channels : 4;
}

enum HostRegister : int {
  kRegZero = 0,
  kRegPos = 1,
  kRegNtok = 2,
  kRegKvlen = 3,
  kRegCore = 4,
  kRegNlog = 5,
  kRegMasken = 6,
};

// Bits of the wait and signal masks.
enum TokenUnit : int {
  kTokenL = 0,
  kTokenM = 1,
  kTokenS = 2,
  kTokenT = 3,
};

enum class Opcode : std::uint8_t {
  HALT = 0x00,
  BARRIER = 0x01,
  ALU = 0x02,
  LOOP = 0x03,
  LDW = 0x08,
  LDV = 0x10,
  LDG = 0x11,
  LDM = 0x12,
  LDS = 0x13,
  LDK = 0x14,
  MM = 0x18,
  MMQK = 0x19,
  MMPV = 0x1a,
  NORM = 0x20,
  ACT = 0x21,
  ADD = 0x22,
  ROPE = 0x23,
  SOFTMAX = 0x24,
  STV = 0x28,
  STKV = 0x29,
  XCHG = 0x2a,
};

// Position of a field in the instruction word.
struct Field {
  int lo;
  int bits;
};

// Value of a field in an instruction held as eight 64-bit words, least significant first.
constexpr std::uint64_t extract(const std::uint64_t (&word)[8], Field f) {
  const int at = f.lo / 64;
  const int shift = f.lo % 64;
  std::uint64_t value = word[at] >> shift;
  if (shift + f.bits > 64) value |= word[at + 1] << (64 - shift);
  return f.bits == 64 ? value : value & ((std::uint64_t{1} << f.bits) - 1);
}

// Whether all bits from `lo` on are zero.
constexpr bool zero_from(const std::uint64_t (&word)[8], int lo) {
  std::uint64_t rest = 0;
  for (int i = 0; i < 8; ++i) {
#pragma HLS unroll
    if (64 * i >= lo) {
      rest |= word[i];
    } else if (64 * (i + 1) > lo) {
      rest |= word[i] >> (lo - 64 * i);
    }
  }
  return rest == 0;
}

// base + R[r] * stride, modulo the size of the field.
inline std::uint64_t resolve_address(const std::uint64_t (&word)[8], Field base, Field reg, Field stride,
                                     const std::int32_t (&regs)[kRegisters]) {
#pragma HLS inline
  const std::uint64_t value = static_cast<std::uint64_t>(static_cast<std::int64_t>(regs[extract(word, reg)]));
  return (extract(word, base) + value * extract(word, stride)) & ((std::uint64_t{1} << base.bits) - 1);
}

// immediate + R[r], 32 bits signed.
inline std::uint64_t resolve_count(const std::uint64_t (&word)[8], Field immediate, Field reg,
                                   const std::int32_t (&regs)[kRegisters]) {
#pragma HLS inline
  return (extract(word, immediate) + static_cast<std::uint32_t>(regs[extract(word, reg)])) & 0xFFFFFFFF;
}

// An instruction on its way to its unit.
constexpr int kMaxOperands = 8;
struct Dispatch {
  std::uint64_t word[8];
  std::uint64_t operand[kMaxOperands];
  std::uint8_t error;  // not 0: the program cannot go on
};

constexpr Field kOpcode{0, 6};
constexpr Field kWait{6, 4};
constexpr Field kSignal{10, 4};

namespace halt {
}  // namespace halt

namespace barrier {
}  // namespace barrier

namespace alu {
constexpr Field op{14, 3};
constexpr Field rd{17, 5};
constexpr Field ra{22, 5};
constexpr Field rb{27, 5};
constexpr Field imm{32, 32};
enum class Op : std::uint8_t { kAdd = 0, kSub = 1, kMul = 2, kAnd = 3, kShl = 4, kShr = 5, kMin = 6, kMax = 7 };

// Fields as the unit works with them: addresses and counts resolved.
struct Operands {
  std::uint32_t op;
  std::uint32_t rd;
  std::uint32_t ra;
  std::uint32_t rb;
  std::uint32_t imm;
};

inline Operands operands(const Dispatch& d) {
#pragma HLS inline
  Operands o;
  o.op = static_cast<std::uint32_t>(extract(d.word, op));
  o.rd = static_cast<std::uint32_t>(extract(d.word, rd));
  o.ra = static_cast<std::uint32_t>(extract(d.word, ra));
  o.rb = static_cast<std::uint32_t>(extract(d.word, rb));
  o.imm = static_cast<std::uint32_t>(extract(d.word, imm));
  return o;
}
}  // namespace alu

namespace loop {
constexpr Field rd{14, 5};
constexpr Field count{19, 24};
constexpr Field count_r{43, 5};
constexpr Field body{48, 24};

// Fields as the unit works with them: addresses and counts resolved.
struct Operands {
  std::uint32_t rd;
  std::int32_t count;
  std::uint32_t body;
};

inline Operands operands(const Dispatch& d) {
#pragma HLS inline
  Operands o;
  o.rd = static_cast<std::uint32_t>(extract(d.word, rd));
  o.count = static_cast<std::int32_t>(d.operand[0]);
  o.body = static_cast<std::uint32_t>(extract(d.word, body));
  return o;
}
}  // namespace loop

namespace ldw {
constexpr Field addr{14, 40};
constexpr Field addr_r{54, 5};
constexpr Field addr_s{59, 40};
constexpr Field nbytes{99, 32};

// Fields as the unit works with them: addresses and counts resolved.
struct Operands {
  std::uint64_t addr;
  std::uint32_t nbytes;
};

inline Operands operands(const Dispatch& d) {
#pragma HLS inline
  Operands o;
  o.addr = static_cast<std::uint64_t>(d.operand[0]);
  o.nbytes = static_cast<std::uint32_t>(extract(d.word, nbytes));
  return o;
}
}  // namespace ldw

namespace ldv {
constexpr Field dtype{14, 1};
constexpr Field addr{15, 40};
constexpr Field addr_r{55, 5};
constexpr Field addr_s{60, 40};
constexpr Field row{100, 32};
constexpr Field slots{132, 20};
constexpr Field rows{152, 16};
constexpr Field rows_r{168, 5};
constexpr Field dst{173, 20};
constexpr Field dst_r{193, 5};
constexpr Field dst_s{198, 20};
constexpr Field dst_row{218, 20};
enum class Dtype : std::uint8_t { kF32 = 0, kF16 = 1 };

// Fields as the unit works with them: addresses and counts resolved.
struct Operands {
  std::uint32_t dtype;
  std::uint64_t addr;
  std::uint32_t row;
  std::uint32_t slots;
  std::int32_t rows;
  std::uint32_t dst;
  std::uint32_t dst_row;
};

inline Operands operands(const Dispatch& d) {
#pragma HLS inline
  Operands o;
  o.dtype = static_cast<std::uint32_t>(extract(d.word, dtype));
  o.addr = static_cast<std::uint64_t>(d.operand[0]);
  o.row = static_cast<std::uint32_t>(extract(d.word, row));
  o.slots = static_cast<std::uint32_t>(extract(d.word, slots));
  o.rows = static_cast<std::int32_t>(d.operand[1]);
  o.dst = static_cast<std::uint32_t>(d.operand[2]);
  o.dst_row = static_cast<std::uint32_t>(extract(d.word, dst_row));
  return o;
}
}  // namespace ldv

namespace ldg {
constexpr Field dtype{14, 1};
constexpr Field ids{15, 40};
constexpr Field ids_r{55, 5};
constexpr Field ids_s{60, 40};
constexpr Field table{100, 40};
constexpr Field row{140, 32};
constexpr Field limit{172, 24};
constexpr Field slots{196, 20};
constexpr Field rows{216, 16};
constexpr Field rows_r{232, 5};
constexpr Field dst{237, 20};
constexpr Field dst_r{257, 5};
constexpr Field dst_s{262, 20};
constexpr Field dst_row{282, 20};
enum class Dtype : std::uint8_t { kF32 = 0, kF16 = 1 };

// Fields as the unit works with them: addresses and counts resolved.
struct Operands {
  std::uint32_t dtype;
  std::uint64_t ids;
  std::uint64_t table;
  std::uint32_t row;
  std::uint32_t limit;
  std::uint32_t slots;
  std::int32_t rows;
  std::uint32_t dst;
  std::uint32_t dst_row;
};

inline Operands operands(const Dispatch& d) {
#pragma HLS inline
  Operands o;
  o.dtype = static_cast<std::uint32_t>(extract(d.word, dtype));
  o.ids = static_cast<std::uint64_t>(d.operand[0]);
  o.table = static_cast<std::uint64_t>(extract(d.word, table));
  o.row = static_cast<std::uint32_t>(extract(d.word, row));
  o.limit = static_cast<std::uint32_t>(extract(d.word, limit));
  o.slots = static_cast<std::uint32_t>(extract(d.word, slots));
  o.rows = static_cast<std::int32_t>(d.operand[1]);
  o.dst = static_cast<std::uint32_t>(d.operand[2]);
  o.dst_row = static_cast<std::uint32_t>(extract(d.word, dst_row));
  return o;
}
}  // namespace ldg

namespace ldm {
constexpr Field addr{14, 40};
constexpr Field addr_r{54, 5};
constexpr Field addr_s{59, 40};
constexpr Field nbytes{99, 16};
constexpr Field dst{115, 16};
constexpr Field dst_r{131, 5};
constexpr Field dst_s{136, 16};

// Fields as the unit works with them: addresses and counts resolved.
struct Operands {
  std::uint64_t addr;
  std::uint32_t nbytes;
  std::uint32_t dst;
};

inline Operands operands(const Dispatch& d) {
#pragma HLS inline
  Operands o;
  o.addr = static_cast<std::uint64_t>(d.operand[0]);
  o.nbytes = static_cast<std::uint32_t>(extract(d.word, nbytes));
  o.dst = static_cast<std::uint32_t>(d.operand[1]);
  return o;
}
}  // namespace ldm

namespace lds {
constexpr Field len{14, 24};
constexpr Field len_r{38, 5};
constexpr Field sink{43, 12};
constexpr Field first{55, 12};
constexpr Field first_r{67, 5};
constexpr Field addr{72, 40};
constexpr Field addr_r{112, 5};
constexpr Field addr_s{117, 40};
constexpr Field heads{157, 10};
constexpr Field dst{167, 20};
constexpr Field dst_r{187, 5};
constexpr Field dst_s{192, 20};
constexpr Field dst_head{212, 20};

// Fields as the unit works with them: addresses and counts resolved.
struct Operands {
  std::int32_t len;
  std::uint32_t sink;
  std::int32_t first;
  std::uint64_t addr;
  std::uint32_t heads;
  std::uint32_t dst;
  std::uint32_t dst_head;
};

inline Operands operands(const Dispatch& d) {
#pragma HLS inline
  Operands o;
  o.len = static_cast<std::int32_t>(d.operand[0]);
  o.sink = static_cast<std::uint32_t>(extract(d.word, sink));
  o.first = static_cast<std::int32_t>(d.operand[1]);
  o.addr = static_cast<std::uint64_t>(d.operand[2]);
  o.heads = static_cast<std::uint32_t>(extract(d.word, heads));
  o.dst = static_cast<std::uint32_t>(d.operand[3]);
  o.dst_head = static_cast<std::uint32_t>(extract(d.word, dst_head));
  return o;
}
}  // namespace lds

namespace ldk {
constexpr Field len{14, 24};
constexpr Field len_r{38, 5};
constexpr Field sink{43, 12};
constexpr Field first{55, 12};
constexpr Field first_r{67, 5};
constexpr Field mask{72, 16};
constexpr Field mask_r{88, 5};
constexpr Field mask_s{93, 16};
constexpr Field masked{109, 1};
constexpr Field masked_r{110, 5};
constexpr Field kind{115, 1};
constexpr Field addr{116, 40};
constexpr Field addr_r{156, 5};
constexpr Field addr_s{161, 40};
constexpr Field unit_bytes{201, 20};
enum class Kind : std::uint8_t { kK = 0, kV = 1 };

// Fields as the unit works with them: addresses and counts resolved.
struct Operands {
  std::int32_t len;
  std::uint32_t sink;
  std::int32_t first;
  std::uint32_t mask;
  std::int32_t masked;
  std::uint32_t kind;
  std::uint64_t addr;
  std::uint32_t unit_bytes;
};

inline Operands operands(const Dispatch& d) {
#pragma HLS inline
  Operands o;
  o.len = static_cast<std::int32_t>(d.operand[0]);
  o.sink = static_cast<std::uint32_t>(extract(d.word, sink));
  o.first = static_cast<std::int32_t>(d.operand[1]);
  o.mask = static_cast<std::uint32_t>(d.operand[2]);
  o.masked = static_cast<std::int32_t>(d.operand[3]);
  o.kind = static_cast<std::uint32_t>(extract(d.word, kind));
  o.addr = static_cast<std::uint64_t>(d.operand[4]);
  o.unit_bytes = static_cast<std::uint32_t>(extract(d.word, unit_bytes));
  return o;
}
}  // namespace ldk

namespace mm {
constexpr Field ab{14, 20};
constexpr Field ab_r{34, 5};
constexpr Field ab_s{39, 20};
constexpr Field ab_row{59, 20};
constexpr Field tokens{79, 16};
constexpr Field tokens_r{95, 5};
constexpr Field k{100, 24};
constexpr Field slots{124, 20};
constexpr Field dst{144, 20};
constexpr Field dst_r{164, 5};
constexpr Field dst_s{169, 20};
constexpr Field dst_row{189, 20};
constexpr Field format{209, 8};
constexpr Field table{217, 1};
constexpr Field group{218, 2};
constexpr Field rows_per_vpu{220, 2};
constexpr Field bias{222, 1};
constexpr Field accumulate{223, 1};
constexpr Field dual{224, 1};
enum class Group : std::uint8_t { k32 = 0, k64 = 1, k128 = 2 };
enum class RowsPerVpu : std::uint8_t { k1 = 0, k2 = 1, k4 = 2, k8 = 3 };

// Fields as the unit works with them: addresses and counts resolved.
struct Operands {
  std::uint32_t ab;
  std::uint32_t ab_row;
  std::int32_t tokens;
  std::uint32_t k;
  std::uint32_t slots;
  std::uint32_t dst;
  std::uint32_t dst_row;
  std::uint32_t format;
  std::uint32_t table;
  std::uint32_t group;
  std::uint32_t rows_per_vpu;
  std::uint32_t bias;
  std::uint32_t accumulate;
  std::uint32_t dual;
};

inline Operands operands(const Dispatch& d) {
#pragma HLS inline
  Operands o;
  o.ab = static_cast<std::uint32_t>(d.operand[0]);
  o.ab_row = static_cast<std::uint32_t>(extract(d.word, ab_row));
  o.tokens = static_cast<std::int32_t>(d.operand[1]);
  o.k = static_cast<std::uint32_t>(extract(d.word, k));
  o.slots = static_cast<std::uint32_t>(extract(d.word, slots));
  o.dst = static_cast<std::uint32_t>(d.operand[2]);
  o.dst_row = static_cast<std::uint32_t>(extract(d.word, dst_row));
  o.format = static_cast<std::uint32_t>(extract(d.word, format));
  o.table = static_cast<std::uint32_t>(extract(d.word, table));
  o.group = static_cast<std::uint32_t>(extract(d.word, group));
  o.rows_per_vpu = static_cast<std::uint32_t>(extract(d.word, rows_per_vpu));
  o.bias = static_cast<std::uint32_t>(extract(d.word, bias));
  o.accumulate = static_cast<std::uint32_t>(extract(d.word, accumulate));
  o.dual = static_cast<std::uint32_t>(extract(d.word, dual));
  return o;
}
}  // namespace mm

namespace mmqk {
constexpr Field len{14, 24};
constexpr Field len_r{38, 5};
constexpr Field sink{43, 12};
constexpr Field first{55, 12};
constexpr Field first_r{67, 5};
constexpr Field mask{72, 16};
constexpr Field mask_r{88, 5};
constexpr Field mask_s{93, 16};
constexpr Field masked{109, 1};
constexpr Field masked_r{110, 5};
constexpr Field ab{115, 20};
constexpr Field ab_r{135, 5};
constexpr Field ab_s{140, 20};
constexpr Field ab_s0{160, 20};
constexpr Field ab_s1{180, 20};
constexpr Field n0{200, 16};
constexpr Field n0_r{216, 5};
constexpr Field n1{221, 10};
constexpr Field bits{231, 1};
constexpr Field dst{232, 20};
constexpr Field dst_r{252, 5};
constexpr Field dst_s{257, 20};
constexpr Field dst_s0{277, 20};
constexpr Field dst_s1{297, 20};
constexpr Field dual{317, 1};
constexpr Field k{318, 16};
enum class Bits : std::uint8_t { k8 = 0, k4 = 1 };

// Fields as the unit works with them: addresses and counts resolved.
struct Operands {
  std::int32_t len;
  std::uint32_t sink;
  std::int32_t first;
  std::uint32_t mask;
  std::int32_t masked;
  std::uint32_t ab;
  std::uint32_t ab_s0;
  std::uint32_t ab_s1;
  std::int32_t n0;
  std::uint32_t n1;
  std::uint32_t bits;
  std::uint32_t dst;
  std::uint32_t dst_s0;
  std::uint32_t dst_s1;
  std::uint32_t dual;
  std::uint32_t k;
};

inline Operands operands(const Dispatch& d) {
#pragma HLS inline
  Operands o;
  o.len = static_cast<std::int32_t>(d.operand[0]);
  o.sink = static_cast<std::uint32_t>(extract(d.word, sink));
  o.first = static_cast<std::int32_t>(d.operand[1]);
  o.mask = static_cast<std::uint32_t>(d.operand[2]);
  o.masked = static_cast<std::int32_t>(d.operand[3]);
  o.ab = static_cast<std::uint32_t>(d.operand[4]);
  o.ab_s0 = static_cast<std::uint32_t>(extract(d.word, ab_s0));
  o.ab_s1 = static_cast<std::uint32_t>(extract(d.word, ab_s1));
  o.n0 = static_cast<std::int32_t>(d.operand[5]);
  o.n1 = static_cast<std::uint32_t>(extract(d.word, n1));
  o.bits = static_cast<std::uint32_t>(extract(d.word, bits));
  o.dst = static_cast<std::uint32_t>(d.operand[6]);
  o.dst_s0 = static_cast<std::uint32_t>(extract(d.word, dst_s0));
  o.dst_s1 = static_cast<std::uint32_t>(extract(d.word, dst_s1));
  o.dual = static_cast<std::uint32_t>(extract(d.word, dual));
  o.k = static_cast<std::uint32_t>(extract(d.word, k));
  return o;
}
}  // namespace mmqk

namespace mmpv {
constexpr Field len{14, 24};
constexpr Field len_r{38, 5};
constexpr Field sink{43, 12};
constexpr Field first{55, 12};
constexpr Field first_r{67, 5};
constexpr Field mask{72, 16};
constexpr Field mask_r{88, 5};
constexpr Field mask_s{93, 16};
constexpr Field masked{109, 1};
constexpr Field masked_r{110, 5};
constexpr Field ab{115, 20};
constexpr Field ab_r{135, 5};
constexpr Field ab_s{140, 20};
constexpr Field ab_s0{160, 20};
constexpr Field ab_s1{180, 20};
constexpr Field n0{200, 16};
constexpr Field n0_r{216, 5};
constexpr Field n1{221, 10};
constexpr Field bits{231, 1};
constexpr Field dst{232, 20};
constexpr Field dst_r{252, 5};
constexpr Field dst_s{257, 20};
constexpr Field dst_s0{277, 20};
constexpr Field dst_s1{297, 20};
constexpr Field dual{317, 1};
constexpr Field slots{318, 12};
constexpr Field row_slots{330, 12};
enum class Bits : std::uint8_t { k8 = 0, k4 = 1 };

// Fields as the unit works with them: addresses and counts resolved.
struct Operands {
  std::int32_t len;
  std::uint32_t sink;
  std::int32_t first;
  std::uint32_t mask;
  std::int32_t masked;
  std::uint32_t ab;
  std::uint32_t ab_s0;
  std::uint32_t ab_s1;
  std::int32_t n0;
  std::uint32_t n1;
  std::uint32_t bits;
  std::uint32_t dst;
  std::uint32_t dst_s0;
  std::uint32_t dst_s1;
  std::uint32_t dual;
  std::uint32_t slots;
  std::uint32_t row_slots;
};

inline Operands operands(const Dispatch& d) {
#pragma HLS inline
  Operands o;
  o.len = static_cast<std::int32_t>(d.operand[0]);
  o.sink = static_cast<std::uint32_t>(extract(d.word, sink));
  o.first = static_cast<std::int32_t>(d.operand[1]);
  o.mask = static_cast<std::uint32_t>(d.operand[2]);
  o.masked = static_cast<std::int32_t>(d.operand[3]);
  o.ab = static_cast<std::uint32_t>(d.operand[4]);
  o.ab_s0 = static_cast<std::uint32_t>(extract(d.word, ab_s0));
  o.ab_s1 = static_cast<std::uint32_t>(extract(d.word, ab_s1));
  o.n0 = static_cast<std::int32_t>(d.operand[5]);
  o.n1 = static_cast<std::uint32_t>(extract(d.word, n1));
  o.bits = static_cast<std::uint32_t>(extract(d.word, bits));
  o.dst = static_cast<std::uint32_t>(d.operand[6]);
  o.dst_s0 = static_cast<std::uint32_t>(extract(d.word, dst_s0));
  o.dst_s1 = static_cast<std::uint32_t>(extract(d.word, dst_s1));
  o.dual = static_cast<std::uint32_t>(extract(d.word, dual));
  o.slots = static_cast<std::uint32_t>(extract(d.word, slots));
  o.row_slots = static_cast<std::uint32_t>(extract(d.word, row_slots));
  return o;
}
}  // namespace mmpv

namespace norm {
constexpr Field src{14, 20};
constexpr Field src_r{34, 5};
constexpr Field src_s{39, 20};
constexpr Field src_s0{59, 20};
constexpr Field src_s1{79, 20};
constexpr Field dst{99, 20};
constexpr Field dst_r{119, 5};
constexpr Field dst_s{124, 20};
constexpr Field dst_s0{144, 20};
constexpr Field dst_s1{164, 20};
constexpr Field n0{184, 16};
constexpr Field n0_r{200, 5};
constexpr Field n1{205, 10};
constexpr Field len{215, 24};
constexpr Field quant{239, 3};
constexpr Field ab{242, 20};
constexpr Field ab_r{262, 5};
constexpr Field ab_s{267, 20};
constexpr Field ab_s0{287, 20};
constexpr Field ab_s1{307, 20};
constexpr Field kind{327, 1};
constexpr Field gamma{328, 20};
constexpr Field beta{348, 20};
constexpr Field inv_n{368, 32};
constexpr Field eps{400, 32};
enum class Quant : std::uint8_t { kNone = 0, kA8 = 1, kDual = 2, kKv8 = 3, kKv4 = 4 };
enum class Kind : std::uint8_t { kRms = 0, kLayer = 1 };

// Fields as the unit works with them: addresses and counts resolved.
struct Operands {
  std::uint32_t src;
  std::uint32_t src_s0;
  std::uint32_t src_s1;
  std::uint32_t dst;
  std::uint32_t dst_s0;
  std::uint32_t dst_s1;
  std::int32_t n0;
  std::uint32_t n1;
  std::uint32_t len;
  std::uint32_t quant;
  std::uint32_t ab;
  std::uint32_t ab_s0;
  std::uint32_t ab_s1;
  std::uint32_t kind;
  std::uint32_t gamma;
  std::uint32_t beta;
  std::uint32_t inv_n;
  std::uint32_t eps;
};

inline Operands operands(const Dispatch& d) {
#pragma HLS inline
  Operands o;
  o.src = static_cast<std::uint32_t>(d.operand[0]);
  o.src_s0 = static_cast<std::uint32_t>(extract(d.word, src_s0));
  o.src_s1 = static_cast<std::uint32_t>(extract(d.word, src_s1));
  o.dst = static_cast<std::uint32_t>(d.operand[1]);
  o.dst_s0 = static_cast<std::uint32_t>(extract(d.word, dst_s0));
  o.dst_s1 = static_cast<std::uint32_t>(extract(d.word, dst_s1));
  o.n0 = static_cast<std::int32_t>(d.operand[2]);
  o.n1 = static_cast<std::uint32_t>(extract(d.word, n1));
  o.len = static_cast<std::uint32_t>(extract(d.word, len));
  o.quant = static_cast<std::uint32_t>(extract(d.word, quant));
  o.ab = static_cast<std::uint32_t>(d.operand[3]);
  o.ab_s0 = static_cast<std::uint32_t>(extract(d.word, ab_s0));
  o.ab_s1 = static_cast<std::uint32_t>(extract(d.word, ab_s1));
  o.kind = static_cast<std::uint32_t>(extract(d.word, kind));
  o.gamma = static_cast<std::uint32_t>(extract(d.word, gamma));
  o.beta = static_cast<std::uint32_t>(extract(d.word, beta));
  o.inv_n = static_cast<std::uint32_t>(extract(d.word, inv_n));
  o.eps = static_cast<std::uint32_t>(extract(d.word, eps));
  return o;
}
}  // namespace norm

namespace act {
constexpr Field src{14, 20};
constexpr Field src_r{34, 5};
constexpr Field src_s{39, 20};
constexpr Field src_s0{59, 20};
constexpr Field src_s1{79, 20};
constexpr Field dst{99, 20};
constexpr Field dst_r{119, 5};
constexpr Field dst_s{124, 20};
constexpr Field dst_s0{144, 20};
constexpr Field dst_s1{164, 20};
constexpr Field n0{184, 16};
constexpr Field n0_r{200, 5};
constexpr Field n1{205, 10};
constexpr Field len{215, 24};
constexpr Field quant{239, 3};
constexpr Field ab{242, 20};
constexpr Field ab_r{262, 5};
constexpr Field ab_s{267, 20};
constexpr Field ab_s0{287, 20};
constexpr Field ab_s1{307, 20};
constexpr Field kind{327, 2};
constexpr Field gated{329, 1};
constexpr Field gate{330, 20};
constexpr Field gate_r{350, 5};
constexpr Field gate_s{355, 20};
constexpr Field gate_s0{375, 20};
constexpr Field gate_s1{395, 20};
enum class Quant : std::uint8_t { kNone = 0, kA8 = 1, kDual = 2, kKv8 = 3, kKv4 = 4 };
enum class Kind : std::uint8_t { kCopy = 0, kRelu = 1, kSilu = 2, kGelu = 3 };

// Fields as the unit works with them: addresses and counts resolved.
struct Operands {
  std::uint32_t src;
  std::uint32_t src_s0;
  std::uint32_t src_s1;
  std::uint32_t dst;
  std::uint32_t dst_s0;
  std::uint32_t dst_s1;
  std::int32_t n0;
  std::uint32_t n1;
  std::uint32_t len;
  std::uint32_t quant;
  std::uint32_t ab;
  std::uint32_t ab_s0;
  std::uint32_t ab_s1;
  std::uint32_t kind;
  std::uint32_t gated;
  std::uint32_t gate;
  std::uint32_t gate_s0;
  std::uint32_t gate_s1;
};

inline Operands operands(const Dispatch& d) {
#pragma HLS inline
  Operands o;
  o.src = static_cast<std::uint32_t>(d.operand[0]);
  o.src_s0 = static_cast<std::uint32_t>(extract(d.word, src_s0));
  o.src_s1 = static_cast<std::uint32_t>(extract(d.word, src_s1));
  o.dst = static_cast<std::uint32_t>(d.operand[1]);
  o.dst_s0 = static_cast<std::uint32_t>(extract(d.word, dst_s0));
  o.dst_s1 = static_cast<std::uint32_t>(extract(d.word, dst_s1));
  o.n0 = static_cast<std::int32_t>(d.operand[2]);
  o.n1 = static_cast<std::uint32_t>(extract(d.word, n1));
  o.len = static_cast<std::uint32_t>(extract(d.word, len));
  o.quant = static_cast<std::uint32_t>(extract(d.word, quant));
  o.ab = static_cast<std::uint32_t>(d.operand[3]);
  o.ab_s0 = static_cast<std::uint32_t>(extract(d.word, ab_s0));
  o.ab_s1 = static_cast<std::uint32_t>(extract(d.word, ab_s1));
  o.kind = static_cast<std::uint32_t>(extract(d.word, kind));
  o.gated = static_cast<std::uint32_t>(extract(d.word, gated));
  o.gate = static_cast<std::uint32_t>(d.operand[4]);
  o.gate_s0 = static_cast<std::uint32_t>(extract(d.word, gate_s0));
  o.gate_s1 = static_cast<std::uint32_t>(extract(d.word, gate_s1));
  return o;
}
}  // namespace act

namespace add {
constexpr Field src{14, 20};
constexpr Field src_r{34, 5};
constexpr Field src_s{39, 20};
constexpr Field src_s0{59, 20};
constexpr Field src_s1{79, 20};
constexpr Field dst{99, 20};
constexpr Field dst_r{119, 5};
constexpr Field dst_s{124, 20};
constexpr Field dst_s0{144, 20};
constexpr Field dst_s1{164, 20};
constexpr Field n0{184, 16};
constexpr Field n0_r{200, 5};
constexpr Field n1{205, 10};
constexpr Field len{215, 24};
constexpr Field quant{239, 3};
constexpr Field ab{242, 20};
constexpr Field ab_r{262, 5};
constexpr Field ab_s{267, 20};
constexpr Field ab_s0{287, 20};
constexpr Field ab_s1{307, 20};
constexpr Field other{327, 20};
constexpr Field other_r{347, 5};
constexpr Field other_s{352, 20};
constexpr Field other_s0{372, 20};
constexpr Field other_s1{392, 20};
enum class Quant : std::uint8_t { kNone = 0, kA8 = 1, kDual = 2, kKv8 = 3, kKv4 = 4 };

// Fields as the unit works with them: addresses and counts resolved.
struct Operands {
  std::uint32_t src;
  std::uint32_t src_s0;
  std::uint32_t src_s1;
  std::uint32_t dst;
  std::uint32_t dst_s0;
  std::uint32_t dst_s1;
  std::int32_t n0;
  std::uint32_t n1;
  std::uint32_t len;
  std::uint32_t quant;
  std::uint32_t ab;
  std::uint32_t ab_s0;
  std::uint32_t ab_s1;
  std::uint32_t other;
  std::uint32_t other_s0;
  std::uint32_t other_s1;
};

inline Operands operands(const Dispatch& d) {
#pragma HLS inline
  Operands o;
  o.src = static_cast<std::uint32_t>(d.operand[0]);
  o.src_s0 = static_cast<std::uint32_t>(extract(d.word, src_s0));
  o.src_s1 = static_cast<std::uint32_t>(extract(d.word, src_s1));
  o.dst = static_cast<std::uint32_t>(d.operand[1]);
  o.dst_s0 = static_cast<std::uint32_t>(extract(d.word, dst_s0));
  o.dst_s1 = static_cast<std::uint32_t>(extract(d.word, dst_s1));
  o.n0 = static_cast<std::int32_t>(d.operand[2]);
  o.n1 = static_cast<std::uint32_t>(extract(d.word, n1));
  o.len = static_cast<std::uint32_t>(extract(d.word, len));
  o.quant = static_cast<std::uint32_t>(extract(d.word, quant));
  o.ab = static_cast<std::uint32_t>(d.operand[3]);
  o.ab_s0 = static_cast<std::uint32_t>(extract(d.word, ab_s0));
  o.ab_s1 = static_cast<std::uint32_t>(extract(d.word, ab_s1));
  o.other = static_cast<std::uint32_t>(d.operand[4]);
  o.other_s0 = static_cast<std::uint32_t>(extract(d.word, other_s0));
  o.other_s1 = static_cast<std::uint32_t>(extract(d.word, other_s1));
  return o;
}
}  // namespace add

namespace rope {
constexpr Field src{14, 20};
constexpr Field src_r{34, 5};
constexpr Field src_s{39, 20};
constexpr Field src_s0{59, 20};
constexpr Field src_s1{79, 20};
constexpr Field dst{99, 20};
constexpr Field dst_r{119, 5};
constexpr Field dst_s{124, 20};
constexpr Field dst_s0{144, 20};
constexpr Field dst_s1{164, 20};
constexpr Field n0{184, 16};
constexpr Field n0_r{200, 5};
constexpr Field n1{205, 10};
constexpr Field len{215, 24};
constexpr Field quant{239, 3};
constexpr Field ab{242, 20};
constexpr Field ab_r{262, 5};
constexpr Field ab_s{267, 20};
constexpr Field ab_s0{287, 20};
constexpr Field ab_s1{307, 20};
constexpr Field table{327, 20};
constexpr Field table_s0{347, 20};
enum class Quant : std::uint8_t { kNone = 0, kA8 = 1, kDual = 2, kKv8 = 3, kKv4 = 4 };

// Fields as the unit works with them: addresses and counts resolved.
struct Operands {
  std::uint32_t src;
  std::uint32_t src_s0;
  std::uint32_t src_s1;
  std::uint32_t dst;
  std::uint32_t dst_s0;
  std::uint32_t dst_s1;
  std::int32_t n0;
  std::uint32_t n1;
  std::uint32_t len;
  std::uint32_t quant;
  std::uint32_t ab;
  std::uint32_t ab_s0;
  std::uint32_t ab_s1;
  std::uint32_t table;
  std::uint32_t table_s0;
};

inline Operands operands(const Dispatch& d) {
#pragma HLS inline
  Operands o;
  o.src = static_cast<std::uint32_t>(d.operand[0]);
  o.src_s0 = static_cast<std::uint32_t>(extract(d.word, src_s0));
  o.src_s1 = static_cast<std::uint32_t>(extract(d.word, src_s1));
  o.dst = static_cast<std::uint32_t>(d.operand[1]);
  o.dst_s0 = static_cast<std::uint32_t>(extract(d.word, dst_s0));
  o.dst_s1 = static_cast<std::uint32_t>(extract(d.word, dst_s1));
  o.n0 = static_cast<std::int32_t>(d.operand[2]);
  o.n1 = static_cast<std::uint32_t>(extract(d.word, n1));
  o.len = static_cast<std::uint32_t>(extract(d.word, len));
  o.quant = static_cast<std::uint32_t>(extract(d.word, quant));
  o.ab = static_cast<std::uint32_t>(d.operand[3]);
  o.ab_s0 = static_cast<std::uint32_t>(extract(d.word, ab_s0));
  o.ab_s1 = static_cast<std::uint32_t>(extract(d.word, ab_s1));
  o.table = static_cast<std::uint32_t>(extract(d.word, table));
  o.table_s0 = static_cast<std::uint32_t>(extract(d.word, table_s0));
  return o;
}
}  // namespace rope

namespace softmax {
constexpr Field len{14, 24};
constexpr Field len_r{38, 5};
constexpr Field sink{43, 12};
constexpr Field first{55, 12};
constexpr Field first_r{67, 5};
constexpr Field mask{72, 16};
constexpr Field mask_r{88, 5};
constexpr Field mask_s{93, 16};
constexpr Field masked{109, 1};
constexpr Field masked_r{110, 5};
constexpr Field src{115, 20};
constexpr Field src_r{135, 5};
constexpr Field src_s{140, 20};
constexpr Field src_s0{160, 20};
constexpr Field src_s1{180, 20};
constexpr Field ks{200, 20};
constexpr Field vs{220, 20};
constexpr Field kv_s{240, 20};
constexpr Field group{260, 10};
constexpr Field n0{270, 16};
constexpr Field n0_r{286, 5};
constexpr Field n1{291, 10};
constexpr Field qpos{301, 24};
constexpr Field qpos_r{325, 5};
constexpr Field window{330, 24};
constexpr Field sink_tokens{354, 16};
constexpr Field alpha{370, 32};
constexpr Field ab{402, 20};
constexpr Field ab_r{422, 5};
constexpr Field ab_s{427, 20};
constexpr Field ab_s0{447, 20};
constexpr Field ab_s1{467, 20};

// Fields as the unit works with them: addresses and counts resolved.
struct Operands {
  std::int32_t len;
  std::uint32_t sink;
  std::int32_t first;
  std::uint32_t mask;
  std::int32_t masked;
  std::uint32_t src;
  std::uint32_t src_s0;
  std::uint32_t src_s1;
  std::uint32_t ks;
  std::uint32_t vs;
  std::uint32_t kv_s;
  std::uint32_t group;
  std::int32_t n0;
  std::uint32_t n1;
  std::int32_t qpos;
  std::uint32_t window;
  std::uint32_t sink_tokens;
  std::uint32_t alpha;
  std::uint32_t ab;
  std::uint32_t ab_s0;
  std::uint32_t ab_s1;
};

inline Operands operands(const Dispatch& d) {
#pragma HLS inline
  Operands o;
  o.len = static_cast<std::int32_t>(d.operand[0]);
  o.sink = static_cast<std::uint32_t>(extract(d.word, sink));
  o.first = static_cast<std::int32_t>(d.operand[1]);
  o.mask = static_cast<std::uint32_t>(d.operand[2]);
  o.masked = static_cast<std::int32_t>(d.operand[3]);
  o.src = static_cast<std::uint32_t>(d.operand[4]);
  o.src_s0 = static_cast<std::uint32_t>(extract(d.word, src_s0));
  o.src_s1 = static_cast<std::uint32_t>(extract(d.word, src_s1));
  o.ks = static_cast<std::uint32_t>(extract(d.word, ks));
  o.vs = static_cast<std::uint32_t>(extract(d.word, vs));
  o.kv_s = static_cast<std::uint32_t>(extract(d.word, kv_s));
  o.group = static_cast<std::uint32_t>(extract(d.word, group));
  o.n0 = static_cast<std::int32_t>(d.operand[5]);
  o.n1 = static_cast<std::uint32_t>(extract(d.word, n1));
  o.qpos = static_cast<std::int32_t>(d.operand[6]);
  o.window = static_cast<std::uint32_t>(extract(d.word, window));
  o.sink_tokens = static_cast<std::uint32_t>(extract(d.word, sink_tokens));
  o.alpha = static_cast<std::uint32_t>(extract(d.word, alpha));
  o.ab = static_cast<std::uint32_t>(d.operand[7]);
  o.ab_s0 = static_cast<std::uint32_t>(extract(d.word, ab_s0));
  o.ab_s1 = static_cast<std::uint32_t>(extract(d.word, ab_s1));
  return o;
}
}  // namespace softmax

namespace stv {
constexpr Field src{14, 20};
constexpr Field src_r{34, 5};
constexpr Field src_s{39, 20};
constexpr Field src_row{59, 20};
constexpr Field rows{79, 16};
constexpr Field rows_r{95, 5};
constexpr Field slots{100, 20};
constexpr Field addr{120, 40};
constexpr Field addr_r{160, 5};
constexpr Field addr_s{165, 40};
constexpr Field row{205, 32};

// Fields as the unit works with them: addresses and counts resolved.
struct Operands {
  std::uint32_t src;
  std::uint32_t src_row;
  std::int32_t rows;
  std::uint32_t slots;
  std::uint64_t addr;
  std::uint32_t row;
};

inline Operands operands(const Dispatch& d) {
#pragma HLS inline
  Operands o;
  o.src = static_cast<std::uint32_t>(d.operand[0]);
  o.src_row = static_cast<std::uint32_t>(extract(d.word, src_row));
  o.rows = static_cast<std::int32_t>(d.operand[1]);
  o.slots = static_cast<std::uint32_t>(extract(d.word, slots));
  o.addr = static_cast<std::uint64_t>(d.operand[2]);
  o.row = static_cast<std::uint32_t>(extract(d.word, row));
  return o;
}
}  // namespace stv

namespace stkv {
constexpr Field kind{14, 1};
constexpr Field bits{15, 1};
constexpr Field ab{16, 20};
constexpr Field ab_r{36, 5};
constexpr Field ab_s{41, 20};
constexpr Field ab_s0{61, 20};
constexpr Field ab_s1{81, 20};
constexpr Field n0{101, 16};
constexpr Field n0_r{117, 5};
constexpr Field n1{122, 10};
constexpr Field len{132, 16};
constexpr Field pos{148, 24};
constexpr Field pos_r{172, 5};
constexpr Field addr{177, 40};
constexpr Field addr_r{217, 5};
constexpr Field addr_s{222, 40};
constexpr Field head{262, 32};
constexpr Field unit_bytes{294, 20};
constexpr Field scales{314, 40};
constexpr Field scales_r{354, 5};
constexpr Field scales_s{359, 40};
enum class Kind : std::uint8_t { kK = 0, kV = 1 };
enum class Bits : std::uint8_t { k8 = 0, k4 = 1 };

// Fields as the unit works with them: addresses and counts resolved.
struct Operands {
  std::uint32_t kind;
  std::uint32_t bits;
  std::uint32_t ab;
  std::uint32_t ab_s0;
  std::uint32_t ab_s1;
  std::int32_t n0;
  std::uint32_t n1;
  std::uint32_t len;
  std::int32_t pos;
  std::uint64_t addr;
  std::uint32_t head;
  std::uint32_t unit_bytes;
  std::uint64_t scales;
};

inline Operands operands(const Dispatch& d) {
#pragma HLS inline
  Operands o;
  o.kind = static_cast<std::uint32_t>(extract(d.word, kind));
  o.bits = static_cast<std::uint32_t>(extract(d.word, bits));
  o.ab = static_cast<std::uint32_t>(d.operand[0]);
  o.ab_s0 = static_cast<std::uint32_t>(extract(d.word, ab_s0));
  o.ab_s1 = static_cast<std::uint32_t>(extract(d.word, ab_s1));
  o.n0 = static_cast<std::int32_t>(d.operand[1]);
  o.n1 = static_cast<std::uint32_t>(extract(d.word, n1));
  o.len = static_cast<std::uint32_t>(extract(d.word, len));
  o.pos = static_cast<std::int32_t>(d.operand[2]);
  o.addr = static_cast<std::uint64_t>(d.operand[3]);
  o.head = static_cast<std::uint32_t>(extract(d.word, head));
  o.unit_bytes = static_cast<std::uint32_t>(extract(d.word, unit_bytes));
  o.scales = static_cast<std::uint64_t>(d.operand[4]);
  return o;
}
}  // namespace stkv

namespace xchg {
constexpr Field src{14, 20};
constexpr Field src_r{34, 5};
constexpr Field src_s{39, 20};
constexpr Field src_row{59, 20};
constexpr Field dst{79, 20};
constexpr Field dst_r{99, 5};
constexpr Field dst_s{104, 20};
constexpr Field dst_row{124, 20};
constexpr Field n{144, 20};
constexpr Field n0{164, 16};
constexpr Field n0_r{180, 5};

// Fields as the unit works with them: addresses and counts resolved.
struct Operands {
  std::uint32_t src;
  std::uint32_t src_row;
  std::uint32_t dst;
  std::uint32_t dst_row;
  std::uint32_t n;
  std::int32_t n0;
};

inline Operands operands(const Dispatch& d) {
#pragma HLS inline
  Operands o;
  o.src = static_cast<std::uint32_t>(d.operand[0]);
  o.src_row = static_cast<std::uint32_t>(extract(d.word, src_row));
  o.dst = static_cast<std::uint32_t>(d.operand[1]);
  o.dst_row = static_cast<std::uint32_t>(extract(d.word, dst_row));
  o.n = static_cast<std::uint32_t>(extract(d.word, n));
  o.n0 = static_cast<std::int32_t>(d.operand[2]);
  return o;
}
}  // namespace xchg

// Whether an instruction has a known opcode, legal choices, and zeros where it has no fields.
inline bool legal(const std::uint64_t (&word)[8]) {
#pragma HLS inline
  switch (static_cast<Opcode>(extract(word, kOpcode))) {
    case Opcode::HALT:
      return zero_from(word, 14);
    case Opcode::BARRIER:
      return zero_from(word, 14);
    case Opcode::ALU:
      return zero_from(word, 64);
    case Opcode::LOOP:
      return zero_from(word, 72);
    case Opcode::LDW:
      return zero_from(word, 131);
    case Opcode::LDV:
      return zero_from(word, 238);
    case Opcode::LDG:
      return zero_from(word, 302);
    case Opcode::LDM:
      return zero_from(word, 152);
    case Opcode::LDS:
      return zero_from(word, 232);
    case Opcode::LDK:
      return zero_from(word, 221);
    case Opcode::MM:
      return zero_from(word, 225) && extract(word, Field{218, 2}) <= 2;
    case Opcode::MMQK:
      return zero_from(word, 334);
    case Opcode::MMPV:
      return zero_from(word, 342);
    case Opcode::NORM:
      return zero_from(word, 432) && extract(word, Field{239, 3}) <= 4;
    case Opcode::ACT:
      return zero_from(word, 415) && extract(word, Field{239, 3}) <= 4;
    case Opcode::ADD:
      return zero_from(word, 412) && extract(word, Field{239, 3}) <= 4;
    case Opcode::ROPE:
      return zero_from(word, 367) && extract(word, Field{239, 3}) <= 4;
    case Opcode::SOFTMAX:
      return zero_from(word, 487);
    case Opcode::STV:
      return zero_from(word, 237);
    case Opcode::STKV:
      return zero_from(word, 399);
    case Opcode::XCHG:
      return zero_from(word, 185);
    default:
      return false;
  }
}

// Addresses and counts of an instruction for these registers, in the order of its fields.
inline void resolve(const std::uint64_t (&word)[8], const std::int32_t (&regs)[kRegisters],
                    std::uint64_t (&operand)[kMaxOperands]) {
#pragma HLS inline
  switch (static_cast<Opcode>(extract(word, kOpcode))) {
    case Opcode::LOOP:
      operand[0] = resolve_count(word, loop::count, loop::count_r, regs);
      break;
    case Opcode::LDW:
      operand[0] = resolve_address(word, ldw::addr, ldw::addr_r, ldw::addr_s, regs);
      break;
    case Opcode::LDV:
      operand[0] = resolve_address(word, ldv::addr, ldv::addr_r, ldv::addr_s, regs);
      operand[1] = resolve_count(word, ldv::rows, ldv::rows_r, regs);
      operand[2] = resolve_address(word, ldv::dst, ldv::dst_r, ldv::dst_s, regs);
      break;
    case Opcode::LDG:
      operand[0] = resolve_address(word, ldg::ids, ldg::ids_r, ldg::ids_s, regs);
      operand[1] = resolve_count(word, ldg::rows, ldg::rows_r, regs);
      operand[2] = resolve_address(word, ldg::dst, ldg::dst_r, ldg::dst_s, regs);
      break;
    case Opcode::LDM:
      operand[0] = resolve_address(word, ldm::addr, ldm::addr_r, ldm::addr_s, regs);
      operand[1] = resolve_address(word, ldm::dst, ldm::dst_r, ldm::dst_s, regs);
      break;
    case Opcode::LDS:
      operand[0] = resolve_count(word, lds::len, lds::len_r, regs);
      operand[1] = resolve_count(word, lds::first, lds::first_r, regs);
      operand[2] = resolve_address(word, lds::addr, lds::addr_r, lds::addr_s, regs);
      operand[3] = resolve_address(word, lds::dst, lds::dst_r, lds::dst_s, regs);
      break;
    case Opcode::LDK:
      operand[0] = resolve_count(word, ldk::len, ldk::len_r, regs);
      operand[1] = resolve_count(word, ldk::first, ldk::first_r, regs);
      operand[2] = resolve_address(word, ldk::mask, ldk::mask_r, ldk::mask_s, regs);
      operand[3] = resolve_count(word, ldk::masked, ldk::masked_r, regs);
      operand[4] = resolve_address(word, ldk::addr, ldk::addr_r, ldk::addr_s, regs);
      break;
    case Opcode::MM:
      operand[0] = resolve_address(word, mm::ab, mm::ab_r, mm::ab_s, regs);
      operand[1] = resolve_count(word, mm::tokens, mm::tokens_r, regs);
      operand[2] = resolve_address(word, mm::dst, mm::dst_r, mm::dst_s, regs);
      break;
    case Opcode::MMQK:
      operand[0] = resolve_count(word, mmqk::len, mmqk::len_r, regs);
      operand[1] = resolve_count(word, mmqk::first, mmqk::first_r, regs);
      operand[2] = resolve_address(word, mmqk::mask, mmqk::mask_r, mmqk::mask_s, regs);
      operand[3] = resolve_count(word, mmqk::masked, mmqk::masked_r, regs);
      operand[4] = resolve_address(word, mmqk::ab, mmqk::ab_r, mmqk::ab_s, regs);
      operand[5] = resolve_count(word, mmqk::n0, mmqk::n0_r, regs);
      operand[6] = resolve_address(word, mmqk::dst, mmqk::dst_r, mmqk::dst_s, regs);
      break;
    case Opcode::MMPV:
      operand[0] = resolve_count(word, mmpv::len, mmpv::len_r, regs);
      operand[1] = resolve_count(word, mmpv::first, mmpv::first_r, regs);
      operand[2] = resolve_address(word, mmpv::mask, mmpv::mask_r, mmpv::mask_s, regs);
      operand[3] = resolve_count(word, mmpv::masked, mmpv::masked_r, regs);
      operand[4] = resolve_address(word, mmpv::ab, mmpv::ab_r, mmpv::ab_s, regs);
      operand[5] = resolve_count(word, mmpv::n0, mmpv::n0_r, regs);
      operand[6] = resolve_address(word, mmpv::dst, mmpv::dst_r, mmpv::dst_s, regs);
      break;
    case Opcode::NORM:
      operand[0] = resolve_address(word, norm::src, norm::src_r, norm::src_s, regs);
      operand[1] = resolve_address(word, norm::dst, norm::dst_r, norm::dst_s, regs);
      operand[2] = resolve_count(word, norm::n0, norm::n0_r, regs);
      operand[3] = resolve_address(word, norm::ab, norm::ab_r, norm::ab_s, regs);
      break;
    case Opcode::ACT:
      operand[0] = resolve_address(word, act::src, act::src_r, act::src_s, regs);
      operand[1] = resolve_address(word, act::dst, act::dst_r, act::dst_s, regs);
      operand[2] = resolve_count(word, act::n0, act::n0_r, regs);
      operand[3] = resolve_address(word, act::ab, act::ab_r, act::ab_s, regs);
      operand[4] = resolve_address(word, act::gate, act::gate_r, act::gate_s, regs);
      break;
    case Opcode::ADD:
      operand[0] = resolve_address(word, add::src, add::src_r, add::src_s, regs);
      operand[1] = resolve_address(word, add::dst, add::dst_r, add::dst_s, regs);
      operand[2] = resolve_count(word, add::n0, add::n0_r, regs);
      operand[3] = resolve_address(word, add::ab, add::ab_r, add::ab_s, regs);
      operand[4] = resolve_address(word, add::other, add::other_r, add::other_s, regs);
      break;
    case Opcode::ROPE:
      operand[0] = resolve_address(word, rope::src, rope::src_r, rope::src_s, regs);
      operand[1] = resolve_address(word, rope::dst, rope::dst_r, rope::dst_s, regs);
      operand[2] = resolve_count(word, rope::n0, rope::n0_r, regs);
      operand[3] = resolve_address(word, rope::ab, rope::ab_r, rope::ab_s, regs);
      break;
    case Opcode::SOFTMAX:
      operand[0] = resolve_count(word, softmax::len, softmax::len_r, regs);
      operand[1] = resolve_count(word, softmax::first, softmax::first_r, regs);
      operand[2] = resolve_address(word, softmax::mask, softmax::mask_r, softmax::mask_s, regs);
      operand[3] = resolve_count(word, softmax::masked, softmax::masked_r, regs);
      operand[4] = resolve_address(word, softmax::src, softmax::src_r, softmax::src_s, regs);
      operand[5] = resolve_count(word, softmax::n0, softmax::n0_r, regs);
      operand[6] = resolve_count(word, softmax::qpos, softmax::qpos_r, regs);
      operand[7] = resolve_address(word, softmax::ab, softmax::ab_r, softmax::ab_s, regs);
      break;
    case Opcode::STV:
      operand[0] = resolve_address(word, stv::src, stv::src_r, stv::src_s, regs);
      operand[1] = resolve_count(word, stv::rows, stv::rows_r, regs);
      operand[2] = resolve_address(word, stv::addr, stv::addr_r, stv::addr_s, regs);
      break;
    case Opcode::STKV:
      operand[0] = resolve_address(word, stkv::ab, stkv::ab_r, stkv::ab_s, regs);
      operand[1] = resolve_count(word, stkv::n0, stkv::n0_r, regs);
      operand[2] = resolve_count(word, stkv::pos, stkv::pos_r, regs);
      operand[3] = resolve_address(word, stkv::addr, stkv::addr_r, stkv::addr_s, regs);
      operand[4] = resolve_address(word, stkv::scales, stkv::scales_r, stkv::scales_s, regs);
      break;
    case Opcode::XCHG:
      operand[0] = resolve_address(word, xchg::src, xchg::src_r, xchg::src_s, regs);
      operand[1] = resolve_address(word, xchg::dst, xchg::dst_r, xchg::dst_s, regs);
      operand[2] = resolve_count(word, xchg::n0, xchg::n0_r, regs);
      break;
    default:
      break;
  }
}

}  // namespace flight::isa
