// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Timing of one HBM2 pseudo-channel behind its controller: when does the column access of 32 bytes happen?
//
// Modelled: 16 banks with an open row each (rows stay open until another row or a refresh), the data bus (32 bytes every
// ccd_short_ns, within a bank group every ccd_long_ns), row cycle, change of direction, refresh of all banks. Requests are served
// in order; activations of different banks overlap. Not modelled: tFAW, tRRD, reordering, ECC (a partial write costs a whole one).
//
// Address bits from 5 up are the U280's default (policy RGBCG): 1 bank group, 5 column, 2 bank, 1 bank group, then row.
// Defaults are fitted to Shuhai (Wang et al., FCCM 2020, arXiv 2005.04324), measured on a U280; tests/sim compares.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

namespace flightllm {

// All in ns. With every number zero the memory is ideal.
struct HbmTiming {
  double hit_ns = 106.6;           // address in to data out, row open
  double activate_ns = 15.5;       // row activation before the column access
  double precharge_ns = 15.6;      // closing another row before that
  double row_active_ns = 33.6;     // activation to precharge, at least
  double ccd_short_ns = 32 / 14.4; // 32 bytes on the data bus
  double ccd_long_ns = 64 / 14.4;  // from one access to the next within a bank group
  double turn_ns = 8.0;            // read to write or back
  double write_recovery_ns = 16.0; // write to precharge
  double refresh_every_ns = 3900.0;
  double refresh_ns = 285.0;       // the channel stands still
  double write_ns = 60.0;          // write accepted by the controller to its response
};

class HbmChannel {
public:
  static constexpr unsigned kAtom = 32; // bytes of a column access
  std::uint64_t hits = 0, closed = 0, misses = 0, refreshes = 0;

  // phase: 0..1, offset of the refreshes of this channel
  HbmChannel(const HbmTiming &timing, double phase)
      : t_(timing), next_refresh_(timing.refresh_every_ns * (0.5 + 0.5 * phase)) {}

  // Earliest time at which the bus takes another access.
  double bus_free() const { return bus_free_; }
  double front_ns() const { return t_.hit_ns / 2; }  // from the port to the bank
  double back_ns() const { return t_.hit_ns / 2; }   // from the bank to the port
  const HbmTiming &timing() const { return t_; }

  // Serve one access that came to the port at `arrival`; returns the time of the column access. Call in order.
  double serve(std::uint64_t address, bool write, double arrival) {
    const double there = arrival + front_ns();
    const std::uint64_t word = address / kAtom;
    const unsigned group = (word & 1) | ((word >> 8 & 1) << 1);
    Bank &bank = banks_[group * 4 + (word >> 6 & 3)];
    const std::int64_t row = std::int64_t(word >> 9);
    while (true) {
      double ready = std::max(there, closed_until_);
      double opened = bank.opened;
      const bool hit = bank.row == row;
      if (!hit) {
        if (bank.row >= 0)
          ready = std::max({ready, bank.opened + t_.row_active_ns, bank.busy_until}) + t_.precharge_ns;
        opened = ready;
      }
      // a row that was opened for an access just before may still be opening
      ready = std::max(ready, opened + t_.activate_ns);
      double column = std::max(ready, bus_free_);
      column = std::max(column, group_free_[group]);
      if (write != writing_)
        column = std::max(column, last_ + t_.ccd_short_ns + t_.turn_ns);
      if (t_.refresh_every_ns > 0 && column >= next_refresh_) {
        refresh(column);
        continue;
      }
      ++(hit ? hits : bank.row >= 0 ? misses : closed);
      bank.row = row;
      bank.opened = opened;
      bank.busy_until = column + (write ? t_.write_recovery_ns : t_.ccd_long_ns);
      writing_ = write;
      last_ = column;
      bus_free_ = column + t_.ccd_short_ns;
      group_free_[group] = column + t_.ccd_long_ns;
      return column;
    }
  }

private:
  struct Bank {
    std::int64_t row = -1;
    double opened = -1e9, busy_until = 0;
  };

  void refresh(double now) {
    // of the refreshes of a long pause only the last one can matter
    const double missed = (now - next_refresh_) / t_.refresh_every_ns;
    if (missed >= 1) {
      refreshes += std::uint64_t(missed);
      next_refresh_ += t_.refresh_every_ns * double(std::uint64_t(missed));
    }
    ++refreshes;
    closed_until_ = std::max(next_refresh_, bus_free_) + t_.refresh_ns;
    next_refresh_ += t_.refresh_every_ns;
    for (Bank &bank : banks_)
      bank = Bank{};
  }

  HbmTiming t_;
  std::array<Bank, 16> banks_{};
  std::array<double, 4> group_free_{};
  double bus_free_ = 0, last_ = -1e9, closed_until_ = 0, next_refresh_;
  bool writing_ = false;
};

} // namespace flightllm
