// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Special functions: fp32 vectors in the vector buffer, word by word, and their quantised rows in the activation buffer. Steps and
// their order: docs/numerics.md. Loops over words are pipelined, `Lanes` elements of a word side by side.
#pragma once

#include "blocks.hpp"
#include "fp32.hpp"
#include "types.hpp"

namespace flight {

constexpr int kAccumulators = 256;  // of an ordered sum

// A sum in the order of docs/numerics.md: element e goes to accumulator e % 256, then a tree.
struct OrderedSum {
  std::uint32_t acc[kAccumulators / kVbWord][kVbWord];

  void clear() {
  clear:
    for (int i = 0; i < kAccumulators / kVbWord; ++i) {
#pragma HLS pipeline II = 1
      for (int l = 0; l < kVbWord; ++l) {
#pragma HLS unroll
        acc[i][l] = 0;
      }
    }
  }
  void put(int element, std::uint32_t value) {
#pragma HLS inline
    std::uint32_t& a = acc[element % kAccumulators / kVbWord][element % kVbWord];
    a = fp32::add(a, value);
  }
  std::uint32_t sum() {
  tree:
    for (int h = kAccumulators / 2; h > 0; h /= 2) {
#pragma HLS loop_tripcount min = 8 max = 8
    level:
      for (int i = 0; i < h; ++i) {
#pragma HLS pipeline II = 1
#pragma HLS dependence variable = acc type = inter dependent = false
#pragma HLS loop_tripcount min = 1 max = 128
        std::uint32_t& a = acc[i / kVbWord][i % kVbWord];
        const int j = i + h;
        a = fp32::add(a, acc[j / kVbWord][j % kVbWord]);
      }
    }
    return acc[0][0];
  }
};

constexpr int words_of(int len) { return (len + kVbWord - 1) / kVbWord; }

// Issues of `Lanes` elements in a word.
template <class Config>
constexpr int kIssues = kVbWord / Config::kLanes;

// Scale and multiplier of the codes for a largest magnitude (docs/numerics.md, "Quantised activations").
struct CodeScale {
  std::uint32_t scale, inverse;
  std::int32_t top;
};

enum class Quant : std::uint8_t { kNone = 0, kA8 = 1, kDual = 2, kKv8 = 3, kKv4 = 4 };

inline CodeScale code_scale(std::uint32_t a, Quant kind) {
  const bool kv = kind == Quant::kKv8 || kind == Quant::kKv4;
  const std::uint32_t inverse_top = kind == Quant::kA8 ? numerics::kInvA8 : kind == Quant::kDual ? numerics::kInvDual : kind == Quant::kKv8 ? numerics::kInvKv8 : numerics::kInvKv4;
  const std::uint32_t float_top = kind == Quant::kDual ? numerics::kFloatDual : numerics::kFloatA8;
  const std::int32_t top = kind == Quant::kA8 ? numerics::kTopA8 : kind == Quant::kDual ? numerics::kTopDual : kind == Quant::kKv8 ? numerics::kTopKv8 : numerics::kTopKv4;
  if (a < numerics::kQuantTiny) return CodeScale{0, 0, top};
  std::uint32_t scale = fp32::mul(a, inverse_top);
  if (kv) scale = fp32::up_to_bf16(scale);
  return CodeScale{scale, kv ? fp32::recip(scale) : fp32::mul(fp32::recip(a), float_top), top};
}

// The header window of an activation row.
template <class Config>
void put_header(ActivationBuffer<Config>& ab, std::uint32_t row, std::uint32_t scale) {
#pragma HLS inline
  for (int i = 0; i < kWindow; ++i) {
#pragma HLS unroll
    ab.window[row % Config::kAbWindows][i] = i < 4 ? static_cast<std::int8_t>(scale >> (8 * i)) : std::int8_t{0};
  }
}

// A window of codes: itself, or its high and low halves.
template <class Config>
void put_codes(ActivationBuffer<Config>& ab, std::uint32_t row, int window, bool dual, const std::int32_t (&code)[kWindow]) {
#pragma HLS inline
  const std::uint32_t at = row + 1 + (dual ? 2 * window : window);
  for (int i = 0; i < kWindow; ++i) {
#pragma HLS unroll
    const std::int32_t high = (code[i] + 64) >> 7;
    ab.window[at % Config::kAbWindows][i] = static_cast<std::int8_t>(dual ? high : code[i]);
    if (dual) ab.window[(at + 1) % Config::kAbWindows][i] = static_cast<std::int8_t>(code[i] - 128 * high);
  }
}

// Quantises `len` elements from `unit` on whose largest magnitude is `a`.
template <class Config>
void quantise(VectorBuffer<Config>& vb, ActivationBuffer<Config>& ab, std::uint32_t unit, int len, std::uint32_t a, Quant kind, std::uint32_t row) {
  const CodeScale s = code_scale(a, kind);
  put_header<Config>(ab, row, s.scale);
  std::int32_t code[kWindow];
#pragma HLS array_partition variable = code type = complete
codes:
  for (int g = 0; g < words_of(len) * kIssues<Config>; ++g) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 4 max = 256
    for (int l = 0; l < Config::kLanes; ++l) {
#pragma HLS unroll
      const int e = g * Config::kLanes + l;
      code[e % kWindow] = e < len ? fp32::to_int(fp32::mul(vb.get(unit * kVbWord + e), s.inverse), -s.top, s.top) : 0;
    }
    if ((g + 1) % kIssues<Config> == 0) put_codes<Config>(ab, row, g / kIssues<Config>, kind == Quant::kDual, code);
  }
}

// Vectors (i0, i1) of a special function.
template <class Operands>
struct Vectors {
  const Operands& o;
  int n0() const { return o.n0 > 0 ? o.n0 : 0; }
  std::uint32_t src(int i0, int i1) const { return o.src + i0 * o.src_s0 + i1 * o.src_s1; }
  std::uint32_t dst(int i0, int i1) const { return o.dst + i0 * o.dst_s0 + i1 * o.dst_s1; }
  std::uint32_t row(int i0, int i1) const { return o.ab + i0 * o.ab_s0 + i1 * o.ab_s1; }
};

// Writes `len` elements from word `unit` on, element e of which is `value(e)`, and quantises them if asked.
template <class Config, class Value>
void write_vector(VectorBuffer<Config>& vb, ActivationBuffer<Config>& ab, std::uint32_t unit, int len, Quant kind, std::uint32_t row, Value value) {
#pragma HLS inline
  std::uint32_t largest = 0;
result:
  for (int g = 0; g < words_of(len) * kIssues<Config>; ++g) {
#pragma HLS pipeline II = 1
// an element is read and written once
#pragma HLS dependence variable = vb.word type = inter dependent = false
#pragma HLS loop_tripcount min = 4 max = 256
    for (int l = 0; l < Config::kLanes; ++l) {
#pragma HLS unroll
      const int e = g * Config::kLanes + l;
      if (e < len) {
        const std::uint32_t y = value(e);
        vb.put(unit * kVbWord + e, y);
        const std::uint32_t a = fp32::magnitude(y);
        if (a > largest) largest = a;
      }
    }
  }
  if (kind != Quant::kNone) quantise<Config>(vb, ab, unit, len, largest, kind, row);
}

template <class Config>
void norm(const isa::norm::Operands o, VectorBuffer<Config>& vb, ActivationBuffer<Config>& ab) {
  const Vectors<isa::norm::Operands> v{o};
  const bool layer = o.kind == static_cast<std::uint32_t>(isa::norm::Kind::kLayer);
  const int len = static_cast<int>(o.len);
  OrderedSum sum;
#pragma HLS array_partition variable = sum.acc type = complete dim = 2
vectors:
  for (int n = 0; n < v.n0() * static_cast<int>(o.n1); ++n) {
#pragma HLS loop_tripcount min = 1 max = 64
    const int i0 = n / static_cast<int>(o.n1), i1 = n % static_cast<int>(o.n1);
    const std::uint32_t src = v.src(i0, i1) * kVbWord;
    std::uint32_t minus_mean = 0;
    if (layer) {
      sum.clear();
    mean:
      for (int g = 0; g < words_of(len) * kIssues<Config>; ++g) {
#pragma HLS pipeline II = 1
// an accumulator comes again after sixteen words
#pragma HLS dependence variable = sum.acc type = inter distance = 16 dependent = true
#pragma HLS loop_tripcount min = 4 max = 256
        for (int l = 0; l < Config::kLanes; ++l) {
#pragma HLS unroll
          const int e = g * Config::kLanes + l;
          if (e < len) sum.put(e, vb.get(src + e));
        }
      }
      minus_mean = fp32::neg(fp32::mul(sum.sum(), o.inv_n));
    }
    sum.clear();
  square:
    for (int g = 0; g < words_of(len) * kIssues<Config>; ++g) {
#pragma HLS pipeline II = 1
// an accumulator comes again after sixteen words
#pragma HLS dependence variable = sum.acc type = inter distance = 16 dependent = true
#pragma HLS loop_tripcount min = 4 max = 256
      for (int l = 0; l < Config::kLanes; ++l) {
#pragma HLS unroll
        const int e = g * Config::kLanes + l;
        if (e < len) {
          const std::uint32_t x = vb.get(src + e);
          const std::uint32_t c = layer ? fp32::add(x, minus_mean) : x;
          sum.put(e, fp32::mul(c, c));
        }
      }
    }
    const std::uint32_t r = fp32::rsqrt(fp32::add(fp32::mul(sum.sum(), o.inv_n), o.eps));
    write_vector<Config>(vb, ab, v.dst(i0, i1), len, static_cast<Quant>(o.quant), v.row(i0, i1), [&](int e) {
      const std::uint32_t x = vb.get(src + e);
      const std::uint32_t c = layer ? fp32::add(x, minus_mean) : x;
      const std::uint32_t y = fp32::mul(fp32::mul(c, r), vb.get(o.gamma * kVbWord + e));
      return layer ? fp32::add(y, vb.get(o.beta * kVbWord + e)) : y;
    });
  }
}

inline std::uint32_t activation(isa::act::Kind kind, std::uint32_t x) {
#pragma HLS inline
  switch (kind) {
    case isa::act::Kind::kRelu:
      return fp32::maximum(x, 0);
    case isa::act::Kind::kSilu:
      return fp32::mul(x, fp32::sigmoid(x));
    case isa::act::Kind::kGelu: {
      const std::uint32_t inner = fp32::add(fp32::kOne, fp32::mul(fp32::mul(x, x), numerics::kGeluC));
      return fp32::mul(x, fp32::sigmoid(fp32::mul(fp32::mul(x, numerics::kGeluK), inner)));
    }
    default:
      return x;
  }
}

// Results that depend on one element of each operand: `value(i0, i1, e)` is element e of vector (i0, i1).
template <class Config, class Operands, class Value>
void each_element(const Operands& o, VectorBuffer<Config>& vb, ActivationBuffer<Config>& ab, Value value) {
#pragma HLS inline
  const Vectors<Operands> v{o};
  const int len = static_cast<int>(o.len);
vectors:
  for (int n = 0; n < v.n0() * static_cast<int>(o.n1); ++n) {
#pragma HLS loop_tripcount min = 1 max = 64
    const int i0 = n / static_cast<int>(o.n1), i1 = n % static_cast<int>(o.n1);
    write_vector<Config>(vb, ab, v.dst(i0, i1), len, static_cast<Quant>(o.quant), v.row(i0, i1), [&](int e) { return value(i0, i1, e); });
  }
}

template <class Config>
void act(const isa::act::Operands o, VectorBuffer<Config>& vb, ActivationBuffer<Config>& ab) {
  each_element<Config>(o, vb, ab, [&](int i0, int i1, int e) {
    const std::uint32_t y = activation(static_cast<isa::act::Kind>(o.kind), vb.get((o.src + i0 * o.src_s0 + i1 * o.src_s1) * kVbWord + e));
    return o.gated ? fp32::mul(y, vb.get((o.gate + i0 * o.gate_s0 + i1 * o.gate_s1) * kVbWord + e)) : y;
  });
}

template <class Config>
void add(const isa::add::Operands o, VectorBuffer<Config>& vb, ActivationBuffer<Config>& ab) {
  each_element<Config>(o, vb, ab, [&](int i0, int i1, int e) {
    return fp32::add(vb.get((o.src + i0 * o.src_s0 + i1 * o.src_s1) * kVbWord + e), vb.get((o.other + i0 * o.other_s0 + i1 * o.other_s1) * kVbWord + e));
  });
}

template <class Config>
void rope(const isa::rope::Operands o, VectorBuffer<Config>& vb, ActivationBuffer<Config>& ab) {
  const Vectors<isa::rope::Operands> v{o};
  const int len = static_cast<int>(o.len), half = len / 2;
vectors:
  for (int n = 0; n < v.n0() * static_cast<int>(o.n1); ++n) {
#pragma HLS loop_tripcount min = 1 max = 2048
    const int i0 = n / static_cast<int>(o.n1), i1 = n % static_cast<int>(o.n1);
    const std::uint32_t src = v.src(i0, i1) * kVbWord, dst = v.dst(i0, i1) * kVbWord;
    const std::uint32_t table = (o.table + i0 * o.table_s0) * kVbWord;
    std::uint32_t largest = 0;
  // halves need not begin at a word, so elements are taken one by one of both
  result:
    for (int i = 0; i < half; ++i) {
#pragma HLS pipeline II = 2
#pragma HLS dependence variable = vb.word type = inter dependent = false
#pragma HLS loop_tripcount min = 8 max = 64
      const std::uint32_t low = vb.get(src + i), high = vb.get(src + half + i);
      const std::uint32_t cos = vb.get(table + i), sin = vb.get(table + half + i);
      const std::uint32_t a = fp32::add(fp32::mul(low, cos), fp32::neg(fp32::mul(high, sin)));
      const std::uint32_t b = fp32::add(fp32::mul(high, cos), fp32::mul(low, sin));
      vb.put(dst + i, a);
      vb.put(dst + half + i, b);
      const std::uint32_t ma = fp32::magnitude(a), mb = fp32::magnitude(b);
      if (ma > largest) largest = ma;
      if (mb > largest) largest = mb;
    }
    const auto kind = static_cast<Quant>(o.quant);
    if (kind != Quant::kNone) quantise<Config>(vb, ab, v.dst(i0, i1), len, largest, kind, v.row(i0, i1));
  }
}

// Keys that a query sees.
struct Sight {
  std::int32_t query;
  std::int64_t window, sink;
  bool sees(std::int32_t key) const {
#pragma HLS inline
    return key <= query && (window == 0 || key < sink || key > query - window);
  }
};

// Position of the first key of issue `g` over the blocks.
template <class Config>
std::int32_t position(const Blocks& blocks, int g) {
#pragma HLS inline
  constexpr int kOfBlock = isa::kBlockPositions / Config::kLanes;
  return blocks.block[g / kOfBlock] * isa::kBlockPositions + g % kOfBlock * Config::kLanes;
}

template <class Config>
void softmax(const isa::softmax::Operands o, const Blocks& blocks, VectorBuffer<Config>& vb, ActivationBuffer<Config>& ab) {
  constexpr int kWords = isa::kBlockPositions / kVbWord;
  const int n0 = o.n0 > 0 ? o.n0 : 0;
  OrderedSum sum;
#pragma HLS array_partition variable = sum.acc type = complete dim = 2
rows:
  for (int n = 0; n < n0 * static_cast<int>(o.n1); ++n) {
#pragma HLS loop_tripcount min = 1 max = 512
    const int i0 = n / static_cast<int>(o.n1), i1 = n % static_cast<int>(o.n1);
    const std::uint32_t src = (o.src + i0 * o.src_s0 + i1 * o.src_s1) * kVbWord;
    const std::uint32_t head = o.group ? i1 / o.group : 0;
    const std::uint32_t ks = (o.ks + head * o.kv_s) * kVbWord, vs = (o.vs + head * o.kv_s) * kVbWord;
    const std::uint32_t row = o.ab + i0 * o.ab_s0 + i1 * o.ab_s1;
    const Sight sight{o.qpos + i0, o.window, o.sink_tokens};

    std::uint32_t largest = fp32::kInfinity | fp32::kSign;
  scores:
    for (int g = 0; g < blocks.count * kWords * kIssues<Config>; ++g) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 4 max = 128
      for (int l = 0; l < Config::kLanes; ++l) {
#pragma HLS unroll
        const std::int32_t p = position<Config>(blocks, g) + l;
        if (p < blocks.len && sight.sees(p)) {
          const std::uint32_t t = fp32::mul(fp32::mul(vb.get(src + p), vb.get(ks + p)), o.alpha);
          largest = fp32::maximum(largest, t);
        }
      }
    }
    const std::uint32_t minus = fp32::neg(largest);
    sum.clear();
    std::uint32_t top = 0;
  exponents:
    for (int g = 0; g < blocks.count * kWords * kIssues<Config>; ++g) {
#pragma HLS pipeline II = 1
// an element is read and written once; an accumulator comes again after a block at the earliest, which is four words
#pragma HLS dependence variable = vb.word type = inter dependent = false
#pragma HLS dependence variable = sum.acc type = inter distance = 4 dependent = true
#pragma HLS loop_tripcount min = 4 max = 128
      for (int l = 0; l < Config::kLanes; ++l) {
#pragma HLS unroll
        const std::int32_t p = position<Config>(blocks, g) + l;
        if (p < blocks.len) {
          std::uint32_t u = 0;
          if (sight.sees(p)) {
            const std::uint32_t t = fp32::mul(fp32::mul(vb.get(src + p), vb.get(ks + p)), o.alpha);
            const std::uint32_t e = fp32::exp2(fp32::add(t, minus));
            sum.put(p, e);
            u = fp32::mul(e, vb.get(vs + p));
          }
          vb.put(src + p, u);
          const std::uint32_t a = fp32::magnitude(u);
          if (a > top) top = a;
        }
      }
    }
    const CodeScale s = code_scale(top, Quant::kDual);
    const std::uint32_t scale = fp32::mul(fp32::mul(top, numerics::kInvDual), fp32::recip(sum.sum()));
    put_header<Config>(ab, row, s.inverse == 0 ? 0 : scale);
    std::int32_t code[kWindow];
#pragma HLS array_partition variable = code type = complete
  codes:
    for (int g = 0; g < blocks.count * kWords * kIssues<Config>; ++g) {
#pragma HLS pipeline II = 2
#pragma HLS loop_tripcount min = 4 max = 128
      const std::int32_t at = position<Config>(blocks, g);
      for (int l = 0; l < Config::kLanes; ++l) {
#pragma HLS unroll
        const bool seen = at + l < blocks.len && sight.sees(at + l);
        code[(at + l) % kWindow] = seen ? fp32::to_int(fp32::mul(vb.get(src + at + l), s.inverse), -s.top, s.top) : 0;
      }
      const std::int32_t window = at / kWindow;
      if ((g + 1) % kIssues<Config> == 0 && window * kWindow < blocks.len) put_codes<Config>(ab, row, window, true, code);
    }
  }
}

}  // namespace flight
