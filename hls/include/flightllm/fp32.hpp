// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// fp32 arithmetic on bit patterns (docs/numerics.md): subnormals are zero, round to nearest even, one NaN. In integers, so that no
// floating-point core of a tool decides about the last bit.
#pragma once

#include <cstdint>

#include "flightllm_numerics.hpp"

namespace flight::fp32 {

constexpr std::uint32_t kSign = 0x80000000, kMagnitude = 0x7FFFFFFF, kInfinity = 0x7F800000, kNan = 0x7FC00000;
constexpr std::uint32_t kOne = 0x3F800000;

inline std::uint32_t flush(std::uint32_t x) {
#pragma HLS inline
  return (x & kInfinity) ? x : x & kSign;
}

inline bool is_nan(std::uint32_t x) {
#pragma HLS inline
  return (x & kMagnitude) > kInfinity;
}

inline std::uint32_t neg(std::uint32_t x) {
#pragma HLS inline
  return is_nan(x) ? kNan : x ^ kSign;
}

// Places of leading zeros of a number that is not zero, in 64 bits.
inline int leading_zeros(std::uint64_t x) {
#pragma HLS inline
  return __builtin_clzll(x);
}

// sign | 2^(exponent - 127) * significand / 2^(fraction) with `extra` bits below the 24 that stay; rounds to nearest even. The
// significand has its leading one at bit 23 + extra. Below the normal range: zero, before rounding.
inline std::uint32_t round(std::uint32_t sign, int exponent, std::uint64_t significand, int extra) {
#pragma HLS inline
  if (exponent < 1) return sign;
  const std::uint64_t half = std::uint64_t{1} << (extra - 1);
  const std::uint64_t rest = significand & ((std::uint64_t{1} << extra) - 1);
  std::uint32_t kept = static_cast<std::uint32_t>(significand >> extra);
  if (rest > half || (rest == half && (kept & 1))) ++kept;
  if (kept >> 24) {
    kept >>= 1;
    ++exponent;
  }
  if (exponent > 254) return sign | kInfinity;
  return sign | static_cast<std::uint32_t>(exponent) << 23 | (kept & 0x7FFFFF);
}

inline std::uint32_t add(std::uint32_t a, std::uint32_t b) {
#pragma HLS inline off
#pragma HLS pipeline II = 1
  a = flush(a);
  b = flush(b);
  if (is_nan(a) || is_nan(b)) return kNan;
  if ((a & kMagnitude) < (b & kMagnitude)) {
    const std::uint32_t t = a;
    a = b;
    b = t;
  }
  const std::uint32_t sign = a & kSign;
  const bool subtract = ((a ^ b) & kSign) != 0;
  if ((a & kMagnitude) == kInfinity) return subtract && (b & kMagnitude) == kInfinity ? kNan : a;
  if ((b & kMagnitude) == 0) return (a & kMagnitude) == 0 ? (a & b) : a;
  const int exponent = static_cast<int>(a >> 23 & 0xFF);
  const int distance = exponent - static_cast<int>(b >> 23 & 0xFF);
  // three bits below: guard, round and sticky
  const std::uint32_t large = ((a & 0x7FFFFF) | 0x800000) << 3;
  std::uint32_t small = ((b & 0x7FFFFF) | 0x800000) << 3;
  if (distance > 26) {
    small = 1;
  } else {
    const std::uint32_t lost = small & ((std::uint32_t{1} << distance) - 1);
    small = small >> distance | (lost != 0);
  }
  const std::uint32_t sum = subtract ? large - small : large + small;
  if (sum == 0) return 0;
  const int lead = leading_zeros(sum) - 32;  // 4 is the carry, 5 the place of the larger operand's leading one
  // to bit 27, so that 4 bits are below the 24
  const std::uint64_t placed = static_cast<std::uint64_t>(sum) << (lead - 4);
  return round(sign, exponent + 5 - lead, placed, 4);
}

inline std::uint32_t mul(std::uint32_t a, std::uint32_t b) {
#pragma HLS inline off
#pragma HLS pipeline II = 1
  a = flush(a);
  b = flush(b);
  const std::uint32_t sign = (a ^ b) & kSign;
  const std::uint32_t x = a & kMagnitude, y = b & kMagnitude;
  if (x > kInfinity || y > kInfinity) return kNan;
  if (x == kInfinity || y == kInfinity) return x == 0 || y == 0 ? kNan : sign | kInfinity;
  if (x == 0 || y == 0) return sign;
  std::uint64_t product = static_cast<std::uint64_t>((x & 0x7FFFFF) | 0x800000) * ((y & 0x7FFFFF) | 0x800000);
  int exponent = static_cast<int>(x >> 23) + static_cast<int>(y >> 23) - 127;
  if (product >> 47) {
    ++exponent;
  } else {
    product <<= 1;
  }
  return round(sign, exponent, product, 24);
}

// An integer below 2^62 in magnitude, rounded once.
inline std::uint32_t from_int(std::int64_t value) {
#pragma HLS inline off
#pragma HLS pipeline II = 1
  if (value == 0) return 0;
  const std::uint32_t sign = value < 0 ? kSign : 0;
  const std::uint64_t magnitude = static_cast<std::uint64_t>(value < 0 ? -value : value);
  const int lead = leading_zeros(magnitude);
  return round(sign, 127 + 63 - lead, magnitude << lead, 40);
}

// Rounded to nearest even, saturated to [low, high]; NaN gives 0. |low|, |high| < 2^23.
inline std::int32_t to_int(std::uint32_t x, std::int32_t low, std::int32_t high) {
#pragma HLS inline off
#pragma HLS pipeline II = 1
  if (is_nan(x)) return 0;
  const int exponent = static_cast<int>(x >> 23 & 0xFF) - 127;
  const bool minus = (x & kSign) != 0;
  if (exponent > 22) return minus ? low : high;
  if (exponent < -1) return low > 0 ? low : high < 0 ? high : 0;
  const std::uint32_t significand = (x & 0x7FFFFF) | 0x800000;
  const int drop = 23 - exponent;  // 1 to 24
  std::int32_t kept = drop > 23 ? 0 : static_cast<std::int32_t>(significand >> drop);
  const std::uint32_t rest = significand & ((std::uint32_t{1} << drop) - 1);
  const std::uint32_t half = std::uint32_t{1} << (drop - 1);
  if (rest > half || (rest == half && (kept & 1))) ++kept;
  const std::int32_t value = minus ? -kept : kept;
  return value < low ? low : value > high ? high : value;
}

// Whether a < b, both flushed and neither NaN.
inline bool less(std::uint32_t a, std::uint32_t b) {
#pragma HLS inline
  const std::int64_t x = (a & kSign) ? -static_cast<std::int64_t>(a & kMagnitude) : static_cast<std::int64_t>(a);
  const std::int64_t y = (b & kSign) ? -static_cast<std::int64_t>(b & kMagnitude) : static_cast<std::int64_t>(b);
  return x < y;
}

// The larger; a NaN loses against a number, of equal operands the first stays.
inline std::uint32_t maximum(std::uint32_t a, std::uint32_t b) {
#pragma HLS inline
  a = flush(a);
  b = flush(b);
  if (is_nan(a)) return b;
  if (is_nan(b)) return a;
  return less(a, b) ? b : a;
}

// |x| for a largest magnitude, as an integer: NaN counts as 0.
inline std::uint32_t magnitude(std::uint32_t x) {
#pragma HLS inline
  return is_nan(x) ? 0 : flush(x) & kMagnitude;
}

// The quadratic interpolator: table 0 2^x, 1 2/(1+x), 2 2/sqrt(1+x), 3 2/sqrt(2(1+x)); a significand in units of 2^-23.
inline std::uint32_t interpolate(int table, std::uint32_t fraction) {
#pragma HLS inline
  const int i = table * numerics::kSegments + static_cast<int>(fraction >> 16);
  const std::int64_t d = static_cast<std::int64_t>(fraction & 0xFFFF) - 0x8000;
  const std::int64_t inner = numerics::kC1[i] + ((d * numerics::kC2[i]) >> 15);
  const std::int64_t r = numerics::kC0[i] + ((d * inner) >> 15);
  return static_cast<std::uint32_t>((r + 16) >> 5);
}

// sign | significand in [2^23, 2^24] at the biased exponent.
inline std::uint32_t pack(std::uint32_t sign, int exponent, std::uint32_t significand) {
#pragma HLS inline
  if (significand >> 24) {
    significand >>= 1;
    ++exponent;
  }
  if (exponent < 1) return sign;
  if (exponent > 254) return sign | kInfinity;
  return sign | static_cast<std::uint32_t>(exponent) << 23 | (significand & 0x7FFFFF);
}

inline std::uint32_t exp2(std::uint32_t t) {
#pragma HLS inline off
#pragma HLS pipeline II = 1
  t = flush(t);
  if (is_nan(t)) return kNan;
  const bool minus = (t & kSign) != 0;
  const int exponent = static_cast<int>(t >> 23 & 0xFF) - 127;
  if (!minus && exponent >= 7) return kInfinity;                       // 128 and more
  if (minus && (t & kMagnitude) > 0x42FC0000) return 0;                // below -126
  if ((t & kMagnitude) == 0) return pack(0, 127, interpolate(0, 0));
  const std::int64_t significand = (t & 0x7FFFFF) | 0x800000;
  std::int64_t fixed;  // floor(t * 2^23)
  if (exponent >= 0) {
    fixed = significand << exponent;
    if (minus) fixed = -fixed;
  } else if (exponent <= -25) {
    fixed = minus ? -1 : 0;
  } else {
    const int drop = -exponent;
    fixed = minus ? -((significand + (std::int64_t{1} << drop) - 1) >> drop) : significand >> drop;
  }
  return pack(0, static_cast<int>(fixed >> 23) + 127, interpolate(0, static_cast<std::uint32_t>(fixed & 0x7FFFFF)));
}

inline std::uint32_t recip(std::uint32_t x) {
#pragma HLS inline off
#pragma HLS pipeline II = 1
  x = flush(x);
  const std::uint32_t sign = x & kSign;
  const int exponent = static_cast<int>(x >> 23 & 0xFF);
  const std::uint32_t fraction = x & 0x7FFFFF;
  if (exponent == 0) return sign | kInfinity;
  if (exponent == 255) return fraction ? kNan : sign;
  return pack(sign, 253 - exponent, interpolate(1, fraction));
}

inline std::uint32_t rsqrt(std::uint32_t x) {
#pragma HLS inline off
#pragma HLS pipeline II = 1
  x = flush(x);
  const int exponent = static_cast<int>(x >> 23 & 0xFF);
  const std::uint32_t fraction = x & 0x7FFFFF;
  if (exponent == 0) return kInfinity;
  if (x & kSign) return kNan;
  if (exponent == 255) return fraction ? kNan : 0;
  const int power = exponent - 127;
  return pack(0, 126 - (power >> 1), interpolate(power & 1 ? 3 : 2, fraction));
}

inline std::uint32_t sigmoid(std::uint32_t x) {
#pragma HLS inline
  return recip(add(kOne, exp2(mul(x, numerics::kMinusLog2E))));
}

// bf16, rounded up in magnitude, back as fp32.
inline std::uint32_t up_to_bf16(std::uint32_t x) {
#pragma HLS inline
  return (x + 0xFFFF) & 0xFFFF0000;
}

// fp16 to fp32; exact.
inline std::uint32_t from_half(std::uint16_t h) {
#pragma HLS inline
  const std::uint32_t sign = static_cast<std::uint32_t>(h & 0x8000) << 16;
  const std::uint32_t exponent = h >> 10 & 0x1F;
  const std::uint32_t fraction = h & 0x3FF;
  if (exponent == 31) return sign | kInfinity | fraction << 13;
  if (exponent) return sign | (exponent + 112) << 23 | fraction << 13;
  if (!fraction) return sign;
  const int lead = leading_zeros(fraction) - 53;  // places above the leading one, of 11
  return sign | static_cast<std::uint32_t>(113 - lead) << 23 | ((fraction << lead & 0x3FF) << 13);
}

}  // namespace flight::fp32
