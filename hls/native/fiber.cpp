// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
#include "fiber.hpp"

#include <sys/mman.h>
#include <ucontext.h>

#include <chrono>
#include <deque>
#include <new>

namespace flight::native {
namespace {

// Kernels keep their buffers in local arrays; pages that nothing touches cost nothing.
constexpr std::size_t kStackBytes = std::size_t{64} << 20;

struct Fiber {
  ucontext_t context{};
  void* stack = nullptr;
  std::function<void()> body;
  int* open = nullptr;  // counts the living processes of its region
  bool ended = false;
};

struct Scheduler {
  std::deque<Fiber*> ready;
  std::vector<void*> stacks;  // of fibers that have ended
  ucontext_t main{};
  Fiber* active = nullptr;
  bool stopping = false;
};

thread_local Run* g_run = nullptr;
thread_local Scheduler* g_scheduler = nullptr;

void* take_stack(Scheduler& s) {
  if (!s.stacks.empty()) {
    void* stack = s.stacks.back();
    s.stacks.pop_back();
    return stack;
  }
  void* stack = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (stack == MAP_FAILED) throw std::bad_alloc();
  return stack;
}

void trampoline() {
  Fiber* fiber = g_scheduler->active;
  try {
    fiber->body();
  } catch (const Stopped&) {
  }
  fiber->body = nullptr;
  fiber->ended = true;
  if (fiber->open) --*fiber->open;
  ++g_run->moves;
  swapcontext(&fiber->context, &g_scheduler->main);
}

Fiber* make(Scheduler& s, std::function<void()> body, int* open) {
  auto* fiber = new Fiber;
  fiber->stack = take_stack(s);
  fiber->body = std::move(body);
  fiber->open = open;
  getcontext(&fiber->context);
  fiber->context.uc_stack.ss_sp = fiber->stack;
  fiber->context.uc_stack.ss_size = kStackBytes;
  fiber->context.uc_link = &s.main;
  makecontext(&fiber->context, trampoline, 0);
  return fiber;
}

}  // namespace

Run& current() { return *g_run; }

Outcome run(const std::function<void()>& body, double seconds) {
  using Clock = std::chrono::steady_clock;
  const auto until = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  Run state = g_run ? *g_run : Run{};
  Run* outer = g_run;
  Scheduler scheduler;
  g_run = outer ? outer : &state;
  g_scheduler = &scheduler;
  scheduler.ready.push_back(make(scheduler, body, nullptr));
  Outcome outcome = Outcome::kDone;
  std::uint64_t moves = g_run->moves;
  std::size_t still = 0;  // fibers that ran since anything moved
  int slices = 0;
  while (!scheduler.ready.empty()) {
    Fiber* fiber = scheduler.ready.front();
    scheduler.ready.pop_front();
    scheduler.active = fiber;
    swapcontext(&scheduler.main, &fiber->context);
    if (fiber->ended) {
      scheduler.stacks.push_back(fiber->stack);
      delete fiber;
    } else {
      scheduler.ready.push_back(fiber);
    }
    still = g_run->moves == moves ? still + 1 : 0;
    moves = g_run->moves;
    if (!scheduler.stopping && still > 2 * scheduler.ready.size() + 2) {
      outcome = Outcome::kDeadlock;
      scheduler.stopping = true;
    }
    if (!scheduler.stopping && (++slices & 1023) == 0 && Clock::now() > until) {
      outcome = Outcome::kTimeout;
      scheduler.stopping = true;
    }
  }
  for (void* stack : scheduler.stacks) munmap(stack, kStackBytes);
  g_scheduler = nullptr;
  g_run = outer;
  return outcome;
}

void yield() {
  Scheduler& s = *g_scheduler;
  if (s.stopping) throw Stopped{};
  Fiber* self = s.active;
  swapcontext(&self->context, &s.main);
  if (g_scheduler->stopping) throw Stopped{};
}

void Region::start(std::function<void()> process) {
  ++open_;
  joined_ = false;
  g_scheduler->ready.push_back(make(*g_scheduler, std::move(process), &open_));
}

void Region::join() {
  // a region is left only when its processes have: they work on its variables
  bool stopped = false;
  while (open_ > 0) {
    try {
      yield();
    } catch (const Stopped&) {
      stopped = true;
      Fiber* self = g_scheduler->active;
      if (open_ > 0) swapcontext(&self->context, &g_scheduler->main);
    }
  }
  joined_ = true;
  if (stopped) throw Stopped{};
}

Region::~Region() noexcept(false) {
  if (!joined_) join();
}

}  // namespace flight::native
