// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// hls::stream for native runs: a queue between two processes that waits when it is empty or full. It holds as many elements as
// its depth says if the run asks for that; otherwise more, so that processes change less often.
#pragma once

#include <cstddef>
#include <memory>

#include "fiber.hpp"

namespace hls {

template <class T, int Depth = 2>
class stream {
 public:
  stream() = default;
  explicit stream(const char*) {}
  stream(const stream&) = delete;
  stream& operator=(const stream&) = delete;

  bool empty() const { return used_ == 0; }
  bool full() {
    prepare();
    return used_ == room_;
  }
  std::size_t size() const { return used_; }

  T read() {
    while (used_ == 0) flight::native::yield();
    ++flight::native::current().moves;
    T value = ring_[first_];
    first_ = first_ + 1 == room_ ? 0 : first_ + 1;
    --used_;
    return value;
  }
  void read(T& value) { value = read(); }
  bool read_nb(T& value) {
    if (used_ == 0) return false;
    value = read();
    return true;
  }

  void write(const T& value) {
    prepare();
    while (used_ == room_) flight::native::yield();
    ++flight::native::current().moves;
    std::size_t at = first_ + used_;
    if (at >= room_) at -= room_;
    ring_[at] = value;
    ++used_;
  }
  bool write_nb(const T& value) {
    if (full()) return false;
    write(value);
    return true;
  }

 private:
  static constexpr std::size_t kFew = 64;
  void prepare() {
    if (room_) return;
    room_ = Depth;
    if (!flight::native::current().exact_depths && room_ < kFew) room_ = kFew;
    ring_.reset(new T[room_]);
  }

  std::unique_ptr<T[]> ring_;
  std::size_t room_ = 0, first_ = 0, used_ = 0;
};

}  // namespace hls
