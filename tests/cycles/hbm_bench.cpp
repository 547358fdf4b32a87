// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Bursts on sim/hbm_channel.hpp alone, atom by atom, for ctypes.
#include "hbm_channel.hpp"

extern "C" void serve(const double *timing, double phase, int count, const unsigned long long *address, const int *atoms,
                      const int *write, const double *arrival, double *first, double *last) {
  flightllm::HbmTiming t;
  static_assert(sizeof t == 11 * sizeof(double));
  for (int i = 0; i < 11; i++)
    (&t.hit_ns)[i] = timing[i];
  flightllm::HbmChannel channel(t, phase);
  for (int i = 0; i < count; i++)
    for (int a = 0; a < atoms[i]; a++) {
      const double at = channel.serve(address[i] + 32ull * a, write[i], arrival[i]);
      if (a == 0)
        first[i] = at;
      last[i] = at;
    }
}
