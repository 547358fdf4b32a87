// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// AXI4 slave of one memory channel: flat memory behind an HbmChannel, cycle by cycle. Each kernel cycle: take `out()` as the
// slave's outputs, let the design settle, then call `step(master)` with the master's outputs of the same cycle.
//
// Several bursts are in flight; answers of one ID come in order. A read sees memory as it was when its address was taken, a write
// changes memory when its response is given: whoever does not wait for the response reads old data, as is legal.
// Options by seed: random extra latency, answers of different IDs interleaved, random back-pressure on all five channels.
// Breaches of the protocol by the master are kept as a message, the first one counts. An access outside the memory is one, unless
// `attach` has made it a decode error, as the interconnect of a card answers it.
#pragma once

#include <cinttypes>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "hbm_channel.hpp"

namespace flightllm {

struct AxiOptions {
  double period_ns = 1000.0 / 225;  // of the kernel clock
  double jitter_ns = 0;             // extra latency of a burst, uniform from 0
  double stall = 0;                 // probability of a cycle without ready (or without an answer), per channel
  std::uint64_t seed = 1;
  std::uint32_t max_reads = 16;     // bursts in flight that the master has promised not to exceed
  std::uint32_t max_writes = 32;
};

struct AxiMaster {
  bool arvalid = false, rready = false, awvalid = false, wvalid = false, wlast = false, bready = false;
  std::uint64_t araddr = 0, awaddr = 0;
  std::uint8_t arlen = 0, arid = 0, awlen = 0, awid = 0;
  const std::uint8_t *wdata = nullptr, *wstrb = nullptr;
};

struct AxiSlave {
  bool arready = false, rvalid = false, rlast = false, awready = false, wready = false, bvalid = false;
  std::uint8_t rid = 0, rresp = 0, bid = 0, bresp = 0;
  const std::uint8_t *rdata = nullptr;
};

class AxiMemory {
public:
  std::uint64_t read_bytes = 0, written_bytes = 0, reads = 0, writes = 0;
  HbmChannel hbm;
  // Called when a write changes memory: offset, bytes, strobes (a bit per byte).
  std::function<void(std::uint64_t, const std::vector<std::uint8_t> &, const std::vector<std::uint8_t> &)> on_write;

  AxiMemory(std::uint8_t *memory, std::uint64_t size, std::uint64_t base, unsigned beat_bytes, const HbmTiming &timing,
            const AxiOptions &options, double phase)
      : hbm(timing, phase), memory_(memory), size_(size), base_(base), beat_(beat_bytes), o_(options),
        random_(options.seed * 0x9E3779B97F4A7C15ull + 1) {}

  const AxiSlave &out() const { return out_; }
  const std::string &error() const { return error_; }
  // Other memory from now on; what is outside it is answered with DECERR.
  void attach(std::uint8_t *memory, std::uint64_t size, std::uint64_t base) {
    memory_ = memory;
    size_ = size;
    base_ = base;
    decodes_ = true;
  }
  bool idle() const { return reads_.empty() && writes_.empty() && wbeats_.empty(); }
  // Accesses that touch this byte are answered with `resp`.
  void inject(std::uint64_t address, bool write, std::uint8_t resp) { faults_.push_back({address, write, resp}); }

  // The clock edge. Returns true if anything was transferred.
  bool step(const AxiMaster &m) {
    const double now = double(cycle_) * o_.period_ns;
    check_stable(m);
    bool moved = false;
    if (out_.rvalid && m.rready) {
      moved = true;
      read_bytes += beat_;
      Read &r = *current_;
      if (++r.sent == r.beats) {
        for (std::size_t i = 0; i < reads_.size(); i++)
          if (reads_[i].get() == current_) {
            reads_.erase(reads_.begin() + std::ptrdiff_t(i));
            break;
          }
        current_ = nullptr;
      }
      out_.rvalid = false;
    }
    if (out_.bvalid && m.bready) {
      moved = true;
      writes_.pop_front();
      out_.bvalid = false;
    }
    if (m.arvalid && out_.arready) {
      moved = true;
      take_read(m, now);
    }
    if (m.awvalid && out_.awready) {
      moved = true;
      take_write(m);
    }
    if (m.wvalid && out_.wready) {
      moved = true;
      wbeats_.push_back({{m.wdata, m.wdata + beat_}, {m.wstrb, m.wstrb + beat_ / 8}, m.wlast});
      for (unsigned i = 0; i < beat_; i++)
        written_bytes += m.wstrb[i / 8] >> (i % 8) & 1;
    }
    collect_writes(now);
    serve(now);
    ++cycle_;
    answer(double(cycle_) * o_.period_ns);
    return moved;
  }

  // A cycle of the design's reset: everything in flight is forgotten, memory and counters stay, and refreshes go on.
  void rest() {
    ++cycle_;
    reads_.clear();
    writes_.clear();
    wbeats_.clear();
    current_ = nullptr;
    out_ = AxiSlave{};
    held_ = AxiMaster{};
    held_ar_ = held_aw_ = held_w_ = false;
    error_.clear();
  }

private:
  static constexpr std::uint8_t kDecodeError = 3;
  struct Read {
    std::uint64_t offset;
    unsigned beats, sent = 0, served = 0; // served: atoms
    std::uint8_t id;
    double arrival, extra;
    std::vector<double> ready;            // time of each beat
    std::vector<std::uint8_t> data, resp;
  };
  struct Write {
    std::uint64_t offset;
    unsigned beats, filled = 0, served = 0;
    std::uint8_t id, resp = 0;
    double arrival = 0, done = -1;        // response time
    double extra = 0;
    std::vector<std::uint8_t> data, strb;
  };
  struct Beat {
    std::vector<std::uint8_t> data, strb;
    bool last;
  };
  struct Fault {
    std::uint64_t address;
    bool write;
    std::uint8_t resp;
  };

  double uniform() { // xorshift64*
    random_ ^= random_ >> 12;
    random_ ^= random_ << 25;
    random_ ^= random_ >> 27;
    return double((random_ * 0x2545F4914F6CDD1Dull) >> 11) * 0x1p-53;
  }
  bool stalls() { return o_.stall > 0 && uniform() < o_.stall; }

  __attribute__((format(printf, 2, 3))) void fail(const char *format, ...) {
    if (!error_.empty())
      return;
    char text[300];
    va_list args;
    va_start(args, format);
    std::vsnprintf(text, sizeof text, format, args);
    va_end(args);
    error_ = text;
  }

  bool outside(std::uint64_t address, std::uint64_t bytes) const {
    return address < base_ || address - base_ > size_ || bytes > size_ - (address - base_);
  }

  // Address within the memory; false (and an error) if the burst is not legal.
  bool check_burst(const char *what, std::uint64_t address, unsigned len, std::uint64_t *offset) {
    const std::uint64_t bytes = std::uint64_t(len + 1) * beat_;
    *offset = address - base_;
    if (address % beat_)
      fail("%s address %#" PRIx64 " is not aligned to the port", what, address);
    else if ((address & 4095) + bytes > 4096)
      fail("%s burst of %" PRIu64 " bytes at %#" PRIx64 " crosses 4 KB", what, bytes, address);
    else if (outside(address, bytes) && !decodes_)
      fail("%s burst of %" PRIu64 " bytes at %#" PRIx64 " is outside the channel's memory, %" PRIu64 " bytes at %#" PRIx64, what,
           bytes, address, size_, base_);
    else
      return true;
    return false;
  }

  void check_stable(const AxiMaster &m) {
    if (held_ar_ && (!m.arvalid || m.araddr != held_.araddr || m.arlen != held_.arlen || m.arid != held_.arid))
      fail("AR changed before it was taken, address %#" PRIx64, held_.araddr);
    if (held_aw_ && (!m.awvalid || m.awaddr != held_.awaddr || m.awlen != held_.awlen || m.awid != held_.awid))
      fail("AW changed before it was taken, address %#" PRIx64, held_.awaddr);
    if (held_w_ && (!m.wvalid || m.wlast != held_.wlast || std::memcmp(m.wdata, held_data_.data(), beat_) ||
                    std::memcmp(m.wstrb, held_strb_.data(), beat_ / 8)))
      fail("W changed before it was taken");
    held_ar_ = m.arvalid && !out_.arready;
    held_aw_ = m.awvalid && !out_.awready;
    held_w_ = m.wvalid && !out_.wready;
    if (held_ar_ || held_aw_ || held_w_)
      held_ = m;
    if (held_w_) {
      held_data_.assign(m.wdata, m.wdata + beat_);
      held_strb_.assign(m.wstrb, m.wstrb + beat_ / 8);
    }
  }

  void take_read(const AxiMaster &m, double now) {
    auto r = std::make_unique<Read>();
    if (!check_burst("read", m.araddr, m.arlen, &r->offset))
      return;
    if (reads_.size() >= o_.max_reads)
      fail("more than %u reads in flight", o_.max_reads);
    ++reads;
    r->beats = m.arlen + 1u;
    r->id = m.arid;
    r->arrival = now;
    r->extra = o_.jitter_ns > 0 ? uniform() * o_.jitter_ns : 0;
    r->ready.assign(r->beats, -1);
    const std::size_t bytes = std::size_t(r->beats) * beat_;
    if (outside(m.araddr, bytes)) {
      r->data.assign(bytes, 0);
      r->resp.assign(r->beats, kDecodeError);
    } else {
      r->data.assign(memory_ + r->offset, memory_ + r->offset + bytes);
      r->resp.assign(r->beats, 0);
    }
    for (const Fault &f : faults_)
      if (!f.write && f.address >= m.araddr && f.address < m.araddr + std::uint64_t(r->beats) * beat_)
        r->resp[(f.address - m.araddr) / beat_] = f.resp;
    reads_.push_back(std::move(r));
  }

  void take_write(const AxiMaster &m) {
    Write w{};
    if (!check_burst("write", m.awaddr, m.awlen, &w.offset))
      return;
    if (writes_.size() >= o_.max_writes)
      fail("more than %u writes in flight", o_.max_writes);
    ++writes;
    w.beats = m.awlen + 1u;
    w.id = m.awid;
    w.done = -1;
    w.extra = o_.jitter_ns > 0 ? uniform() * o_.jitter_ns : 0;
    w.resp = outside(m.awaddr, std::uint64_t(w.beats) * beat_) ? kDecodeError : 0;
    for (const Fault &f : faults_)
      if (f.write && f.address >= m.awaddr && f.address < m.awaddr + std::uint64_t(w.beats) * beat_)
        w.resp = f.resp;
    writes_.push_back(std::move(w));
  }

  // Data beats belong to the addresses in order; they may come before.
  void collect_writes(double now) {
    if (wbeats_.empty())
      return;
    for (Write &w : writes_) {
      while (w.filled < w.beats && !wbeats_.empty()) {
        Beat &b = wbeats_.front();
        w.data.insert(w.data.end(), b.data.begin(), b.data.end());
        w.strb.insert(w.strb.end(), b.strb.begin(), b.strb.end());
        if (b.last != (++w.filled == w.beats))
          fail("WLAST at beat %u of %u, address %#" PRIx64, w.filled, w.beats, base_ + w.offset);
        wbeats_.pop_front();
        w.arrival = now;
      }
    }
  }

  unsigned atoms(unsigned beats) const { return (beats * beat_ + HbmChannel::kAtom - 1) / HbmChannel::kAtom; }

  // Give the bus to bursts, one at a time: reads in order; writes when eight have gathered, when one has waited long, or
  // when there is nothing to read.
  void serve(double now) {
    while (hbm.bus_free() <= now + o_.period_ns) {
      Read *r = nullptr;
      for (auto &p : reads_)
        if (p->served < atoms(p->beats)) {
          r = p.get();
          break;
        }
      Write *w = nullptr;
      unsigned full = 0;
      for (Write &x : writes_)
        if (x.filled == x.beats && x.served < atoms(x.beats)) {
          if (!w)
            w = &x;
          ++full;
        } else if (x.filled < x.beats) {
          break;
        }
      if (!r && !w)
        return;
      const bool middle = r && r->served > 0;
      draining_ = w && (draining_ || full >= 8 || now - w->arrival > 500);
      if (w && !middle && (!r || draining_)) {
        const double at = hbm.serve(w->offset + std::uint64_t(w->served) * HbmChannel::kAtom, true, w->arrival);
        if (++w->served == atoms(w->beats))
          w->done = std::max(at + hbm.timing().write_ns, w->arrival + hbm.timing().write_ns) + w->extra;
      } else {
        const unsigned byte = r->served * HbmChannel::kAtom;
        const double at = hbm.serve(r->offset + byte, false, r->arrival) + hbm.back_ns() + r->extra;
        for (unsigned b = byte / beat_; b < r->beats && b * beat_ < byte + HbmChannel::kAtom; b++)
          r->ready[b] = (b + 1) * beat_ <= byte + HbmChannel::kAtom ? at : -1;
        ++r->served;
      }
    }
  }

  // Outputs of the coming cycle, which begins at `now`.
  void answer(double now) {
    out_.arready = reads_.size() < o_.max_reads + 4 && !stalls(); // some more than promised, so that a breach is seen
    out_.awready = writes_.size() < o_.max_writes + 4 && !stalls();
    out_.wready = wbeats_.size() < 64 && !stalls();
    if (!out_.rvalid && !stalls()) {
      const bool shuffled = o_.jitter_ns > 0 || o_.stall > 0;
      Read *chosen = nullptr;
      if (current_ && !shuffled) {
        chosen = ready(*current_, now) ? current_ : nullptr; // bursts are not interleaved
      } else {
        unsigned candidates = 0, ids = 0;
        for (auto &p : reads_) {
          const unsigned bit = 1u << p->id;
          if (ids & bit)
            continue; // an older one of this ID goes first
          ids |= bit;
          if (!ready(*p, now))
            continue;
          ++candidates;
          if (!chosen || (shuffled && uniform() * candidates < 1))
            chosen = p.get();
        }
      }
      if (chosen) {
        current_ = chosen;
        out_.rvalid = true;
        out_.rid = chosen->id;
        out_.rdata = chosen->data.data() + std::size_t(chosen->sent) * beat_;
        out_.rresp = chosen->resp[chosen->sent];
        out_.rlast = chosen->sent + 1 == chosen->beats;
      }
    }
    if (!out_.bvalid && !writes_.empty() && writes_.front().done >= 0 && writes_.front().done <= now && !stalls()) {
      const Write &w = writes_.front();
      if (w.resp == 0) {
        for (std::size_t i = 0; i < w.data.size(); i++)
          if (w.strb[i / 8] >> (i % 8) & 1)
            memory_[w.offset + i] = w.data[i];
        if (on_write)
          on_write(w.offset, w.data, w.strb);
      }
      out_.bvalid = true;
      out_.bid = w.id;
      out_.bresp = w.resp;
    }
  }

  static bool ready(const Read &r, double now) { return r.ready[r.sent] >= 0 && r.ready[r.sent] <= now + 1e-6; }

  std::uint8_t *memory_;
  std::uint64_t size_, base_;
  unsigned beat_;
  AxiOptions o_;
  std::uint64_t random_, cycle_ = 0;
  std::vector<std::unique_ptr<Read>> reads_; // in order of their addresses
  std::deque<Write> writes_;
  std::deque<Beat> wbeats_;
  std::vector<Fault> faults_;
  Read *current_ = nullptr;
  bool decodes_ = false, draining_ = false, held_ar_ = false, held_aw_ = false, held_w_ = false;
  AxiMaster held_;
  std::vector<std::uint8_t> held_data_, held_strb_;
  AxiSlave out_;
  std::string error_;
};

} // namespace flightllm
