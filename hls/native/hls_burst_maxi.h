// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// hls::burst_maxi for native runs: requests and their data in order, on memory of the host. What lies outside is a fault of the
// run, as an AXI error would be; reads of it give zeros.
#pragma once

#include <ap_int.h>

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "fiber.hpp"

namespace hls {

template <class T>
class burst_maxi {
 public:
  // memory: `words` elements that begin at the address which the host gave as the argument.
  burst_maxi(void* memory, std::size_t words) : memory_(static_cast<unsigned char*>(memory)), words_(words) {}

  void read_request(std::size_t offset, std::size_t length) { reads_.push_back({offset, length}); }
  T read() {
    if (head_ == reads_.size()) throw std::logic_error("a word is read that was not requested");
    Burst& burst = reads_[head_];
    T value{};
    if (burst.at < words_) {
      std::memcpy(&value, memory_ + burst.at * sizeof(T), sizeof(T));
    } else {
      flight::native::current().read_fault = true;
    }
    ++flight::native::current().moves;
    ++burst.at;
    if (--burst.left == 0 && ++head_ == reads_.size()) {
      reads_.clear();
      head_ = 0;
    }
    return value;
  }

  void write_request(std::size_t offset, std::size_t length) {
    if (write_.left) throw std::logic_error("a write begins before the last one has all its words");
    write_ = {offset, length};
  }
  void write(const T& value, ap_int<sizeof(T)> mask = -1) {
    if (!write_.left) throw std::logic_error("a word is written that was not requested");
    if (write_.at < words_) {
      const auto* from = reinterpret_cast<const unsigned char*>(&value);
      unsigned char* to = memory_ + write_.at * sizeof(T);
      for (std::size_t i = 0; i < sizeof(T); ++i) {
        if (mask[static_cast<int>(i)]) to[i] = from[i];
      }
    } else {
      flight::native::current().write_fault = true;
    }
    ++flight::native::current().moves;
    ++write_.at;
    if (--write_.left == 0) ++owed_;
  }
  void write_response() {
    if (!owed_) throw std::logic_error("a response is awaited that no write owes");
    --owed_;
  }

 private:
  struct Burst {
    std::size_t at = 0, left = 0;
  };
  unsigned char* memory_;
  std::size_t words_;
  std::vector<Burst> reads_;
  std::size_t head_ = 0;
  Burst write_{};
  int owed_ = 0;
};

}  // namespace hls
