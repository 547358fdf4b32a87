// Random pushes and pops of a ring against a queue. Returns the number of words checked, or -1 - cycle at the first difference.
#include <cstdint>
#include <cstring>
#include <deque>
#include <random>
#include "Vring.h"

extern "C" int64_t ring_run(uint64_t seed, int64_t cycles, int words, int whole, int push_percent, int pop_percent) {
  Vring top;
  std::mt19937_64 rng(seed);
  auto chance = [&](int percent) { return int(rng() % 100) < percent; };
  std::deque<uint64_t> queue;
  std::deque<std::pair<int64_t, std::deque<uint64_t>>> wanted;
  int64_t checked = 0;
  int visible = 0, pushed_before = 0;  // words that a pop may take; a push is visible one cycle later
  auto* out = reinterpret_cast<uint32_t*>(&top.data_o);
  auto* in = reinterpret_cast<uint32_t*>(&top.push_data_i);
  for (int64_t cycle = 0; cycle < cycles; cycle++) {
    const bool reset = cycle < 3;
    top.rst_ni = !reset;
    int count = 0, first = 0, pop = 0;
    for (int i = 0; i < 16; i++) in[i] = uint32_t(rng());
    const int room = words - int(queue.size());
    if (!reset && chance(push_percent)) {
      first = whole ? 0 : int(rng() % 8);
      count = whole ? 8 : 1 + int(rng() % (8 - first));
      if (count > room) count = 0;
    }
    top.push_valid_i = count > 0;
    top.push_first_i = first;
    top.push_count_i = count ? count : 8;
    top.clk_i = 0;
    top.eval();
    if (!reset) {
      if (int(top.level_o) != (visible > 16 ? 16 : visible)) return -1 - cycle;
      if (int(top.free_o) != room) return -1 - cycle;
    }
    if (!reset && chance(pop_percent)) pop = int(rng() % 17);
    if (pop > visible) pop = visible;
    top.pop_i = pop;
    top.eval();
    if (!wanted.empty() && wanted.front().first == cycle) {
      const auto& words_out = wanted.front().second;
      for (size_t i = 0; i < words_out.size(); i++, checked++)
        if ((uint64_t(out[2 * i + 1]) << 32 | out[2 * i]) != words_out[i]) return -1 - cycle;
      wanted.pop_front();
    }
    if (pop) {
      wanted.push_back({cycle + 3, std::deque<uint64_t>(queue.begin(), queue.begin() + pop)});
      queue.erase(queue.begin(), queue.begin() + pop);
    }
    for (int i = 0; i < count; i++) queue.push_back(uint64_t(in[2 * (first + i) + 1]) << 32 | in[2 * (first + i)]);
    visible += pushed_before - pop;
    pushed_before = count;
    top.clk_i = 1;
    top.eval();
  }
  return checked;
}
