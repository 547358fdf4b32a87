// Random pushes and pops of both rings of a channel against two queues. Returns the number of words checked, or -1 - cycle at the
// first difference. out: pushes to K, beats of W that had to wait, cycles with a hold.
#include <cstdint>
#include <deque>
#include <random>
#include "Vring.h"

namespace {

struct Queue {
  std::deque<uint64_t> words;  // pushed and not popped
  int visible = 0;             // words that a pop may take
  uint64_t take() {
    const uint64_t w = words.front();
    words.pop_front();
    return w;
  }
};

}  // namespace

extern "C" int64_t ring_run(uint64_t seed, int64_t cycles, int w_words, int k_words, int w_percent, int k_percent,
                            int w_pop_percent, int k_pop_percent, int64_t* out) {
  Vring top;
  std::mt19937_64 rng(seed);
  auto chance = [&](int percent) { return int(rng() % 100) < percent; };
  Queue w, k;
  std::deque<std::pair<int64_t, std::deque<uint64_t>>> wanted;
  int64_t checked = 0;
  int waiting = 0;        // beats of W that are not written
  int stage = 0;          // words of K that are not written
  bool stall = false, gap = false;
  out[0] = out[1] = out[2] = 0;
  auto* data = reinterpret_cast<uint32_t*>(&top.data_o);
  auto* w_in = reinterpret_cast<uint32_t*>(&top.w_data_i);
  auto* k_in = reinterpret_cast<uint32_t*>(&top.k_data_i);
  auto word = [](const uint32_t* p, int i) { return uint64_t(p[2 * i + 1]) << 32 | p[2 * i]; };
  for (int64_t cycle = 0; cycle < cycles; cycle++) {
    const bool reset = cycle < 3;
    top.rst_ni = !reset;
    for (int i = 0; i < 16; i++) w_in[i] = uint32_t(rng()), k_in[i] = uint32_t(rng());
    // a beat of W comes whenever there is room for it, except in the gap that was asked for
    const bool push = !reset && !gap && chance(w_percent) && int(w.words.size()) + 8 <= w_words;
    int first = int(rng() % 8), count = 1 + int(rng() % (8 - first));
    if (chance(30)) first = 0, count = 8;
    if (reset || stall || !chance(k_percent) || count > k_words - int(k.words.size())) count = 0;
    top.w_push_i = push;
    top.k_push_i = count > 0;
    top.k_first_i = first;
    top.k_count_i = count;
    top.w_pop_i = top.k_pop_i = 0;
    top.clk_i = 0;
    top.eval();
    if (!reset) {
      if (int(top.w_level_o) != (w.visible > 63 ? 63 : w.visible) || int(top.w_count_o) != w.visible) return -1 - cycle;
      if (int(top.k_level_o) != (k.visible > 63 ? 63 : k.visible) || int(top.k_count_o) != k.visible) return -1 - cycle;
      if (int(top.k_free_o) != k_words - int(k.words.size())) return -1 - cycle;
    }
    // one of the two pops
    bool from_k = rng() & 1;
    if (!chance(from_k ? k_pop_percent : w_pop_percent)) from_k = !from_k;
    Queue& queue = from_k ? k : w;
    int pop = !reset && chance(from_k ? k_pop_percent : w_pop_percent) ? int(rng() % 17) : 0;
    if (pop > queue.visible) pop = queue.visible;
    (from_k ? top.k_pop_i : top.w_pop_i) = pop;
    top.eval();
    if (!wanted.empty() && wanted.front().first == cycle) {
      const auto& words_out = wanted.front().second;
      for (size_t i = 0; i < words_out.size(); i++, checked++)
        if (word(data, i) != words_out[i]) return -1 - cycle;
      wanted.pop_front();
    }
    if (pop) {
      wanted.push_back({cycle + 3, {}});
      for (int i = 0; i < pop; i++) wanted.back().second.push_back(queue.take());
      queue.visible -= pop;
    }
    // one write: a beat of W that waits, else words of K, else the beat that comes
    if (push) {
      for (int i = 0; i < 8; i++) w.words.push_back(word(w_in, i));
      waiting++;
    }
    const bool k_writes = stage && waiting == (push ? 1 : 0);
    if (k_writes) {
      k.visible += stage;
      stage = 0;
    } else if (waiting) {
      waiting--;
      w.visible += 8;
    }
    if (waiting > 1 || (stage && count)) return -1 - cycle;
    if (!reset && bool(top.k_stall_o) != (waiting > 0)) return -1 - cycle;
    out[0] += count > 0;
    out[1] += !stall && waiting;
    if (count) stage = count;
    for (int i = 0; i < count; i++) k.words.push_back(word(k_in, first + i));
    const bool hold = waiting && !stall;  // asked for once a wait; the beat under way still comes
    stall = waiting > 0;
    gap = top.hold_o;
    out[2] += gap;
    top.clk_i = 1;
    top.eval();
    if (!reset && bool(top.hold_o) != hold) return -1 - cycle;
  }
  return checked;
}
