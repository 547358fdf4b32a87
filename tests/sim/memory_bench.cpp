// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Traffic generator for the memory model alone (sim/axi_memory.hpp), for ctypes.
#include <cstring>
#include <map>

#include "axi_memory.hpp"

using namespace flightllm;

namespace {

std::string text;

struct Bench {
  std::vector<std::uint8_t> data, strb;
  AxiMemory memory;
  AxiMaster m;
  std::uint64_t cycle = 0;
  Bench(std::uint8_t *bytes, std::uint64_t size, unsigned beat, const HbmTiming &t, const AxiOptions &o)
      : data(beat), strb(beat / 8, 0xff), memory(bytes, size, 0x1000000, beat, t, o, 0.0) {
    m.wdata = data.data();
    m.wstrb = strb.data();
    m.rready = m.bready = true;
  }
};

std::uint64_t mix(std::uint64_t &s) {
  s = s * 6364136223846793005ull + 1442695040888963407ull;
  return s >> 33;
}

} // namespace

extern "C" {

// One read after another; cycles[i]: from the address to the first data. gap: idle cycles between them.
int bench_latency(std::uint8_t *bytes, std::uint64_t size, double period, unsigned beat, const std::uint64_t *addresses,
                  int count, int gap, int *cycles) {
  AxiOptions o;
  o.period_ns = period;
  Bench b(bytes, size, beat, HbmTiming{}, o);
  for (int i = 0; i < count; i++) {
    for (int g = 0; g < gap; g++)
      b.memory.step(b.m);
    b.m.arvalid = true;
    b.m.araddr = 0x1000000 + addresses[i];
    while (!b.memory.out().arready)
      b.memory.step(b.m);
    b.memory.step(b.m);
    b.m.arvalid = false;
    for (cycles[i] = 1; !b.memory.out().rvalid; cycles[i]++)
      b.memory.step(b.m);
    b.memory.step(b.m);
  }
  return b.memory.error().empty() ? 0 : -1;
}

// GB/s of `count` bursts of `beats` beats at stride, wrapping at `window` bytes.
double bench_rate(std::uint8_t *bytes, std::uint64_t size, double period, unsigned beat, unsigned beats, std::uint64_t stride,
                  std::uint64_t window, int count, int write, int flying) {
  AxiOptions o;
  o.period_ns = period;
  o.max_reads = o.max_writes = unsigned(flying);
  Bench b(bytes, size, beat, HbmTiming{}, o);
  const std::uint64_t total = std::uint64_t(count) * beats;
  std::uint64_t address = 0, got = 0, sent = 0;
  int asked = 0, answered = 0;
  b.m.arlen = b.m.awlen = std::uint8_t(beats - 1);
  while (write ? answered < count : got < total) {
    const AxiSlave &s = b.memory.out();
    const bool more = asked < count && (write ? asked - answered < flying : asked - int(got / beats) < flying);
    (write ? b.m.awvalid : b.m.arvalid) = more;
    (write ? b.m.awaddr : b.m.araddr) = 0x1000000 + address;
    b.m.wvalid = write && sent < std::uint64_t(asked) * beats;
    b.m.wlast = sent % beats == beats - 1;
    const bool ask = more && (write ? s.awready : s.arready), data = b.m.wvalid && s.wready;
    const bool rdone = s.rvalid, bdone = s.bvalid;
    b.memory.step(b.m);
    ++b.cycle;
    if (ask) {
      ++asked;
      address = (address + stride) % window;
    }
    sent += data;
    got += rdone;
    answered += bdone;
    if (!b.memory.error().empty() || b.cycle > 10000000)
      return -1;
  }
  return double(total * beat) / (double(b.cycle) * period);
}

// Random reads and writes of three IDs with back-pressure from both sides, compared with a shadow. 0, or what went wrong: 1 data,
// 2 order or length, 3 protocol, 4 no end, 5 nothing was interleaved or stalled.
int bench_random(std::uint8_t *bytes, std::uint64_t size, unsigned beat, double jitter, double stall, std::uint64_t seed,
                 int count) {
  AxiOptions o;
  o.jitter_ns = jitter;
  o.stall = stall;
  o.seed = seed;
  Bench b(bytes, size, beat, HbmTiming{}, o);
  std::vector<std::uint8_t> shadow(bytes, bytes + size);
  std::map<int, std::deque<std::pair<std::uint64_t, unsigned>>> expected; // ID -> offset, beats
  std::map<int, unsigned> part;
  std::uint64_t s = seed;
  int asked = 0, open_reads = 0, switches = 0, last_id = -1;
  bool writing = false, address_there = false, write_next = false;
  std::uint64_t offset = 0, waiting = 0;
  unsigned beats = 0, sent = 0;
  for (b.cycle = 0; asked < count || open_reads || writing; b.cycle++) {
    if (b.cycle > 4000000)
      return 4;
    // phases: reads may overlap each other; a write is alone, so that the shadow is right whatever the order
    write_next = write_next || mix(s) % 64 == 0;
    if (!b.m.arvalid && asked < count && !writing && open_reads < (write_next ? 1 : 12)) {
      beats = 1 + mix(s) % 8;
      offset = mix(s) % (size / 4096) * 4096 + mix(s) % (4096 / beat - beats + 1) * beat;
      if (write_next) {
        if (open_reads == 0) {
          writing = b.m.awvalid = true;
          address_there = write_next = false;
          b.m.awaddr = 0x1000000 + offset;
          b.m.awlen = std::uint8_t(beats - 1);
          sent = 0;
          ++asked;
        }
      } else {
        b.m.arvalid = true;
        b.m.araddr = 0x1000000 + offset;
        b.m.arlen = std::uint8_t(beats - 1);
        b.m.arid = std::uint8_t(mix(s) % 3);
        ++asked;
        ++open_reads;
        expected[b.m.arid].push_back({offset, beats});
      }
    }
    if (writing && sent < beats && !b.m.wvalid) {
      b.m.wvalid = true;
      b.m.wlast = sent + 1 == beats;
      for (auto &x : b.data)
        x = std::uint8_t(mix(s));
      for (auto &x : b.strb)
        x = std::uint8_t(mix(s));
    }
    b.m.rready = stall == 0 || mix(s) % 4 != 0;
    b.m.bready = stall == 0 || mix(s) % 4 != 0;
    const AxiSlave &o2 = b.memory.out();
    if (o2.rvalid && b.m.rready) {
      auto &queue = expected[o2.rid];
      if (queue.empty())
        return 2;
      auto [at, n] = queue.front();
      if (std::memcmp(o2.rdata, &shadow[at + std::uint64_t(part[o2.rid]) * beat], beat))
        return 1;
      if (last_id != o2.rid && last_id >= 0 && part[last_id] != 0)
        ++switches; // another ID came between
      last_id = o2.rid;
      if (o2.rlast != (++part[o2.rid] == n))
        return 2;
      if (o2.rlast) {
        part[o2.rid] = 0;
        queue.pop_front();
        --open_reads;
      }
    }
    if (b.m.wvalid && o2.wready)
      for (unsigned i = 0; i < beat; i++)
        if (b.strb[i / 8] >> (i % 8) & 1)
          shadow[offset + std::uint64_t(sent) * beat + i] = b.data[i];
    const bool ar = b.m.arvalid && o2.arready, aw = b.m.awvalid && o2.awready, w = b.m.wvalid && o2.wready;
    const bool done = o2.bvalid && b.m.bready;
    waiting += b.m.arvalid && !o2.arready;
    b.memory.step(b.m);
    if (ar)
      b.m.arvalid = false;
    if (aw) {
      b.m.awvalid = false;
      address_there = true;
    }
    if (w) {
      b.m.wvalid = false;
      ++sent;
    }
    if (done) {
      if (!address_there || sent != beats)
        return 2;
      writing = false;
    }
    if (!b.memory.error().empty())
      return 3;
  }
  if (stall > 0 && (!switches || !waiting))
    return 5;
  return std::memcmp(shadow.data(), bytes, size) ? 1 : 0;
}

// A write of 0xA5 bytes to address 0, and reads of it all the time: how many of those asked for before the write's response
// (out[0]) and after it (out[1]) had the new data; out[2], out[3]: how many there were. -1: a mixture.
int bench_visibility(std::uint8_t *bytes, std::uint64_t size, int *out) {
  Bench b(bytes, size, 64, HbmTiming{}, AxiOptions{});
  std::memset(bytes, 0, 64);
  std::memset(b.data.data(), 0xA5, 64);
  b.m.araddr = b.m.awaddr = 0x1000000;
  b.m.wlast = true;
  std::deque<bool> asked; // whether the response had been seen
  bool answered = false, aw = false, w = false;
  std::memset(out, 0, 4 * sizeof(int));
  for (int i = 0; i < 400; i++) {
    const AxiSlave s = b.memory.out();
    b.m.arvalid = asked.size() < 12;
    b.m.awvalid = i > 50 && !aw;
    b.m.wvalid = i > 60 && !w;
    if (s.rvalid) {
      const bool fresh = s.rdata[0] == 0xA5;
      for (int k = 0; k < 64; k++)
        if (s.rdata[k] != (fresh ? 0xA5 : 0))
          return -1;
      out[asked.front() ? 1 : 0] += fresh;
      out[asked.front() ? 3 : 2] += 1;
      asked.pop_front();
    }
    if (b.m.arvalid && s.arready)
      asked.push_back(answered);
    aw |= b.m.awvalid && s.awready;
    w |= b.m.wvalid && s.wready;
    b.memory.step(b.m);
    answered |= s.bvalid;
  }
  return b.memory.error().empty() ? 0 : -1;
}

// Error responses (2) are injected on byte 64 * `at` of reads and of writes; the beats of a read burst of 8 that have one (bit mask),
// and bit 8 if the write there has one, bit 9 if another has. Memory must not change where a write failed: bit 10 if it did.
int bench_faults(std::uint8_t *bytes, std::uint64_t size, int at) {
  Bench b(bytes, size, 64, HbmTiming{}, AxiOptions{});
  b.memory.inject(0x1000000 + std::uint64_t(at) * 64 + 63, false, 2);
  b.memory.inject(0x1000000 + std::uint64_t(at) * 64, true, 2);
  std::memset(bytes, 0, 1024);
  std::memset(b.data.data(), 1, 64);
  int result = 0, beat = 0, answers = 0;
  b.m.araddr = 0x1000000;
  b.m.arlen = 7;
  b.m.wlast = true;
  for (int i = 0, sent = 0; i < 400; i++) {
    const AxiSlave s = b.memory.out();
    b.m.arvalid = i == 1;
    b.m.awvalid = b.m.wvalid = i > 1 && sent < 8;
    b.m.awaddr = 0x1000000 + std::uint64_t(sent) * 64;
    if (s.rvalid)
      result |= (s.rresp == 2) << beat++;
    if (s.bvalid)
      result |= (s.bresp == 2) << (answers++ == at ? 8 : 9);
    sent += b.m.awvalid;
    b.memory.step(b.m);
  }
  return beat == 8 && answers == 8 && b.memory.error().empty() ? result | bytes[at * 64] << 10 : -1;
}

// One breach of the protocol; its message. 0 none, 1 4 KB, 2 outside, 3 unaligned, 4 AR changes, 5 W changes, 6 WLAST early,
// 7 too many reads
const char *bench_breach(std::uint8_t *bytes, std::uint64_t size, int what) {
  AxiOptions o;
  o.stall = what == 4 || what == 5 ? 0.5 : 0;
  Bench b(bytes, size, 64, HbmTiming{}, o);
  b.m.araddr = b.m.awaddr = 0x1000000 + 4096 - 128;
  b.m.arlen = what == 1 ? 2 : 1;
  if (what == 2)
    b.m.araddr = 0x1000000 + size;
  if (what == 3)
    b.m.araddr += 32;
  b.m.rready = what != 7;
  for (int i = 0; i < 400; i++) {
    const AxiSlave s = b.memory.out();
    b.m.arvalid = what == 7 || i == 5 || (b.m.arvalid && !s.arready && i > 5);
    b.m.awvalid = i == 5;
    b.m.awlen = 1;
    if (what == 4) {
      b.m.arvalid = true;
      b.m.araddr = 0x1000000 + std::uint64_t(i % 16) * 64;
    }
    b.m.wvalid = what == 5 || (what == 6 && i == 7);
    if (what == 5)
      b.data[0] = std::uint8_t(i);
    b.m.wlast = true;
    b.memory.step(b.m);
    if (!b.memory.error().empty())
      break;
  }
  text = b.memory.error();
  return text.c_str();
}
}
