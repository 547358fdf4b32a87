// Generated from flightllm/isa by `python -m flightllm.isa.generate`. Do not edit.
// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace flightllm::isa {

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
}  // namespace alu

namespace loop {
constexpr Field rd{14, 5};
constexpr Field count{19, 24};
constexpr Field count_r{43, 5};
constexpr Field body{48, 24};
}  // namespace loop

namespace ldw {
constexpr Field addr{14, 40};
constexpr Field addr_r{54, 5};
constexpr Field addr_s{59, 40};
constexpr Field nbytes{99, 32};
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
}  // namespace ldg

namespace ldm {
constexpr Field addr{14, 40};
constexpr Field addr_r{54, 5};
constexpr Field addr_s{59, 40};
constexpr Field nbytes{99, 16};
constexpr Field dst{115, 16};
constexpr Field dst_r{131, 5};
constexpr Field dst_s{136, 16};
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
}  // namespace xchg

}  // namespace flightllm::isa
