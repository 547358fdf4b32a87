// The fp32 functions of the HLS kernel on arrays, with the interface of tests/rtl/fp/fp_bench.cpp.
#include "flightllm/fp32.hpp"

using namespace flight;

extern "C" std::int64_t fp_run(std::int64_t n, const std::uint32_t* a, const std::uint32_t* b, const std::int64_t* integers, int function, int top,
                               int, std::uint32_t* sum, std::uint32_t* product, std::uint32_t* real, std::int32_t* whole, std::uint32_t* table) {
  for (std::int64_t i = 0; i < n; ++i) {
    sum[i] = fp32::add(a[i], b[i]);
    product[i] = fp32::mul(a[i], b[i]);
    real[i] = fp32::from_int(integers[i]);
    whole[i] = fp32::to_int(a[i], -top, top);
    table[i] = function == 0 ? fp32::exp2(a[i]) : function == 1 ? fp32::recip(a[i]) : fp32::rsqrt(a[i]);
  }
  return 0;
}

extern "C" void fp_half(const std::uint16_t* h, std::uint32_t* out) {
  for (int i = 0; i < 65536; ++i) out[i] = fp32::from_half(h[i]);
}

extern "C" void fp_max(std::int64_t n, const std::uint32_t* a, const std::uint32_t* b, std::uint32_t* out) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = fp32::maximum(a[i], b[i]);
}
