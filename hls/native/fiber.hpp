// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Native execution of dataflow processes: each is a fiber (ucontext) that runs until a stream stops it. One thread, a fixed order,
// so every run is the same; when nothing can move any more the run ends with an error instead of hanging.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace flight::native {

// Thrown inside fibers when a run is given up.
struct Stopped {};

enum class Outcome : int { kDone = 0, kDeadlock = 1, kTimeout = 2 };

// Everything about one run that shims share.
struct Run {
  bool exact_depths = false;       // streams hold what they say, no more
  std::uint64_t moves = 0;         // transfers on streams and ports: what progress is
  bool read_fault = false;         // a port read outside its memory
  bool write_fault = false;
};

Run& current();

// Runs `body` as the first process, and whatever it starts, until it ends. seconds: limit of wall time.
Outcome run(const std::function<void()>& body, double seconds);

// Lets the other processes run. Called by streams that must wait, and by processes that poll.
void yield();

// A dataflow region: processes run side by side, join() waits for all of them.
class Region {
 public:
  ~Region() noexcept(false);
  void start(std::function<void()> process);
  void join();

 private:
  int open_ = 0;
  bool joined_ = true;
};

}  // namespace flight::native
