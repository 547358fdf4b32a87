// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// hls::vector for native runs: N elements side by side, as one word of a port.
#pragma once

#include <cstddef>

namespace hls {

template <class T, std::size_t N>
struct vector {
  T data_[N];
  T& operator[](std::size_t i) { return data_[i]; }
  const T& operator[](std::size_t i) const { return data_[i]; }
};

}  // namespace hls
