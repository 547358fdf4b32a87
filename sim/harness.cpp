// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// flightllm_top under Verilator, with one AxiMemory per channel (docs/rtl.md, "Top ports"). A C interface for ctypes; the Python
// side is flightllm/sim/simulator.py. Nothing here knows the register map.

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "Vflightllm_top.h"
#include "axi_memory.hpp"
#include "svdpi.h"
#include "verilated.h"
#if VM_TRACE_FST
#include "verilated_fst_c.h"
using Trace = VerilatedFstC;
#elif VM_TRACE
#include "verilated_vcd_c.h"
using Trace = VerilatedVcdC;
#endif

using namespace flightllm;

namespace {

enum Stop { kInterrupt = 0, kLimit = 1, kQuiet = 2, kProtocol = 3, kAssertion = 4 };

// Element i of a packed array of `width` bits (1, 2, 4, or whole bytes), whatever type Verilator gives the port.
class Bits {
public:
  template <typename T> Bits(T &signal, unsigned width) : p_(reinterpret_cast<std::uint8_t *>(&signal)), width_(width) {}
  std::uint64_t get(unsigned i) const {
    std::uint64_t v = 0;
    if (width_ >= 8)
      std::memcpy(&v, p_ + std::size_t(i) * (width_ / 8), width_ / 8);
    else
      v = p_[i * width_ / 8] >> (i * width_ % 8) & ((1u << width_) - 1);
    return v;
  }
  void set(unsigned i, unsigned v) {
    if (width_ >= 8) {
      std::memcpy(p_ + std::size_t(i) * (width_ / 8), &v, width_ / 8);
      return;
    }
    std::uint8_t &byte = p_[i * width_ / 8];
    const unsigned shift = i * width_ % 8, mask = ((1u << width_) - 1) << shift;
    byte = std::uint8_t((byte & ~mask) | ((v << shift) & mask));
  }
  std::uint8_t *bytes(unsigned i) const { return p_ + std::size_t(i) * (width_ / 8); }

private:
  std::uint8_t *p_;
  unsigned width_;
};

// Something that the design did, as flightllm/sim/events.py reads it.
struct Event {
  std::uint64_t cycle, addr, mask;
  std::uint8_t kind, core, unit, channel;
  std::uint32_t unused;
  std::uint8_t data[64];
};
constexpr std::uint8_t kMemoryEvent = 8; // the other kinds come from sim/lockstep_probe.sv

} // namespace

// Context and model stay alive together; the model is destroyed first.
struct Sim {
  VerilatedContext context;
  std::unique_ptr<Vflightllm_top> top;
  std::deque<AxiMemory> memory;
  unsigned beat;
  std::uint64_t cycle = 0, quiet = 0;
  std::string message;
  std::mt19937_64 random;
  double stall; // probability of a cycle in which the AXI4-Lite master waits
  bool accessing = false;
  bool observing = false;
  std::vector<Event> events;          // since they were fetched last
  static inline Sim *current = nullptr; // whose design is being evaluated: calls from the probe carry no context
#if VM_TRACE
  std::unique_ptr<Trace> trace;
#endif
  struct Ports {
    Bits arvalid, araddr, arlen, arid, arready, rvalid, rdata, rid, rresp, rlast, rready;
    Bits awvalid, awaddr, awlen, awid, awready, wvalid, wdata, wstrb, wlast, wready, bvalid, bid, bresp, bready;
  };
  std::unique_ptr<Ports> ports;

  Sim(unsigned count, unsigned beat_bytes, std::uint8_t *const *bytes, std::uint64_t size, const std::uint64_t *bases,
      const HbmTiming &timing, const AxiOptions &options)
      : beat(beat_bytes), random(options.seed), stall(options.stall) {
    context.fatalOnError(false);
    context.randReset(2); // registers without a reset begin with anything
    context.randSeed(int(options.seed & 0x7fffffff) + 1);
    context.traceEverOn(VM_TRACE);
    top = std::make_unique<Vflightllm_top>(&context, "top");
    Vflightllm_top &t = *top;
    ports.reset(new Ports{
        {t.m_axi_arvalid_o, 1}, {t.m_axi_araddr_o, 64}, {t.m_axi_arlen_o, 8}, {t.m_axi_arid_o, 4}, {t.m_axi_arready_i, 1},
        {t.m_axi_rvalid_i, 1}, {t.m_axi_rdata_i, 8 * beat}, {t.m_axi_rid_i, 4}, {t.m_axi_rresp_i, 2}, {t.m_axi_rlast_i, 1},
        {t.m_axi_rready_o, 1}, {t.m_axi_awvalid_o, 1}, {t.m_axi_awaddr_o, 64}, {t.m_axi_awlen_o, 8}, {t.m_axi_awid_o, 4},
        {t.m_axi_awready_i, 1}, {t.m_axi_wvalid_o, 1}, {t.m_axi_wdata_o, 8 * beat}, {t.m_axi_wstrb_o, beat},
        {t.m_axi_wlast_o, 1}, {t.m_axi_wready_i, 1}, {t.m_axi_bvalid_i, 1}, {t.m_axi_bid_i, 4}, {t.m_axi_bresp_i, 2},
        {t.m_axi_bready_o, 1}});
    for (unsigned i = 0; i < count; i++) {
      AxiOptions mine = options;
      mine.seed = options.seed * 1000003 + i;
      memory.emplace_back(bytes[i], size, bases[i], beat, timing, mine, double(i) / count);
    }
    reset();
  }

  ~Sim() {
    stop_trace();
    top->final();
  }

  void stop_trace() {
#if VM_TRACE
    if (trace)
      trace->close();
    trace.reset();
#endif
  }

  void reset() {
    Vflightllm_top &t = *top;
    t.s_axil_awvalid_i = t.s_axil_wvalid_i = t.s_axil_bready_i = t.s_axil_arvalid_i = t.s_axil_rready_i = 0;
    t.rst_ni = 0;
    for (int i = 0; i < 8; i++)
      step();
    t.rst_ni = 1;
    message.clear();
    quiet = 0;
  }

  // Record events from now on: writes that reach memory, and what the probe tells if it is built in.
  void observe() {
    observing = true;
    for (unsigned port = 0; port < memory.size(); port++)
      memory[port].on_write = [this, port](std::uint64_t offset, const std::vector<std::uint8_t> &data,
                                           const std::vector<std::uint8_t> &strb) {
        for (std::size_t first = 0; first < data.size(); first += 64) {
          Event e{cycle, offset + first, 0, kMemoryEvent, 0, 0, std::uint8_t(port), 0, {}};
          const std::size_t count = std::min<std::size_t>(64, data.size() - first);
          std::memcpy(e.data, data.data() + first, count);
          for (std::size_t i = 0; i < count; i++)
            e.mask |= std::uint64_t(strb[(first + i) / 8] >> ((first + i) % 8) & 1) << i;
          if (e.mask)
            events.push_back(e);
        }
      };
  }

  void evaluate() {
    current = this;
    top->eval();
#if VM_TRACE
    if (trace)
      trace->dump(context.time());
#endif
    context.timeInc(1);
  }

  // One clock cycle. Inputs must be set; afterwards outputs are those after the edge, so handshakes are sampled in between by
  // `sample`.
  template <typename F> void step(F &&sample) {
    Ports &p = *ports;
    for (unsigned i = 0; i < memory.size(); i++) {
      const AxiSlave &s = memory[i].out();
      p.arready.set(i, s.arready);
      p.awready.set(i, s.awready);
      p.wready.set(i, s.wready);
      p.rvalid.set(i, s.rvalid);
      if (s.rvalid) {
        std::memcpy(p.rdata.bytes(i), s.rdata, beat);
        p.rid.set(i, s.rid);
        p.rresp.set(i, s.rresp);
        p.rlast.set(i, s.rlast);
      }
      p.bvalid.set(i, s.bvalid);
      if (s.bvalid) {
        p.bid.set(i, s.bid);
        p.bresp.set(i, s.bresp);
      }
    }
    top->clk_i = 0;
    evaluate();
    sample();
    if (top->rst_ni) {
      bool moved = false;
      for (unsigned i = 0; i < memory.size(); i++) {
        AxiMaster m;
        m.rready = p.rready.get(i);
        m.bready = p.bready.get(i);
        if ((m.arvalid = p.arvalid.get(i))) {
          m.araddr = p.araddr.get(i);
          m.arlen = std::uint8_t(p.arlen.get(i));
          m.arid = std::uint8_t(p.arid.get(i));
        }
        if ((m.awvalid = p.awvalid.get(i))) {
          m.awaddr = p.awaddr.get(i);
          m.awlen = std::uint8_t(p.awlen.get(i));
          m.awid = std::uint8_t(p.awid.get(i));
        }
        if ((m.wvalid = p.wvalid.get(i)))
          m.wlast = p.wlast.get(i);
        m.wdata = p.wdata.bytes(i);
        m.wstrb = p.wstrb.bytes(i);
        moved |= memory[i].step(m);
      }
      quiet = moved ? 0 : quiet + 1;
    } else {
      for (AxiMemory &m : memory)
        m.rest();
    }
    top->clk_i = 1;
    evaluate();
    ++cycle;
  }
  void step() {
    step([] {});
  }

  // A breach of AXI by the design, or a failed assertion in it.
  int broken() {
    if (top->rst_ni && !accessing && (top->s_axil_bvalid_o || top->s_axil_rvalid_o)) {
      message = "an answer on AXI4-Lite that nobody asked for, cycle " + std::to_string(cycle);
      return kProtocol;
    }
    if (context.gotError() || context.gotFinish()) {
      message = "an assertion in the design failed in cycle " + std::to_string(cycle);
      return kAssertion;
    }
    for (unsigned i = 0; i < memory.size(); i++)
      if (!memory[i].error().empty()) {
        message = "channel number " + std::to_string(i) + ", cycle " + std::to_string(cycle) + ": " + memory[i].error();
        return kProtocol;
      }
    return 0;
  }

  int run(std::uint64_t limit, std::uint64_t quiet_limit) {
    for (std::uint64_t i = 0; i < limit; i++) {
      bool ended = false;
      step([&] { ended = top->interrupt_o; });
      if (const int why = broken())
        return why;
      if (ended)
        return kInterrupt;
      if (quiet_limit && quiet >= quiet_limit)
        return kQuiet;
    }
    return kLimit;
  }

  bool waits() { return stall > 0 && double(random() >> 11) * 0x1p-53 < stall; }

  // 0, -1: no answer, -2: an answer that changed or is not OKAY. With `stall`, address, data and the acceptance of the answer
  // come in any order and late.
  int access(std::uint32_t address, std::uint32_t *data, bool write, unsigned strobes) {
    Vflightllm_top &t = *top;
    bool ask = true, give = write, held = false;
    std::uint32_t seen = 0;
    int result = -1;
    quiet = 0;
    accessing = true;
    t.s_axil_awaddr_i = t.s_axil_araddr_i = std::uint16_t(address);
    t.s_axil_wdata_i = *data;
    t.s_axil_wstrb_i = std::uint8_t(strobes);
    auto &valid = write ? t.s_axil_awvalid_i : t.s_axil_arvalid_i;
    auto &take = write ? t.s_axil_bready_i : t.s_axil_rready_i;
    for (int i = 0; i < 2000 && result == -1; i++) {
      valid = valid || (ask && !waits());
      t.s_axil_wvalid_i = t.s_axil_wvalid_i || (give && !waits());
      take = !waits();
      step([&] {
        const bool there = write ? t.s_axil_bvalid_o : t.s_axil_rvalid_o;
        const std::uint32_t answer = write ? 0 : t.s_axil_rdata_o, code = write ? t.s_axil_bresp_o : t.s_axil_rresp_o;
        if ((there && (ask || give || code)) || (held && (!there || answer != seen)))
          result = -2; // too early, an error, or changed before it was taken
        else if (there && take)
          result = 0;
        held = there;
        seen = answer;
        if (valid && (write ? t.s_axil_awready_o : t.s_axil_arready_o))
          ask = false;
        if (t.s_axil_wvalid_i && t.s_axil_wready_o)
          give = false;
      });
      if (!ask)
        valid = 0;
      if (!give)
        t.s_axil_wvalid_i = 0;
    }
    t.s_axil_awvalid_i = t.s_axil_wvalid_i = t.s_axil_arvalid_i = t.s_axil_bready_i = t.s_axil_rready_i = 0;
    if (!write && result == 0)
      *data = seen;
    accessing = false;
    return result;
  }
};

extern "C" {

// ports: channels of all cores, number core * channels + channel; bytes[i]: memory of `size` bytes at address bases[i]. Null if the
// design has other widths.
Sim *sim_create(unsigned ports, unsigned port_bytes, std::uint8_t *const *bytes, std::uint64_t size, const std::uint64_t *bases,
                const HbmTiming *timing, const AxiOptions *options) {
  auto sim = std::make_unique<Sim>(ports, port_bytes, bytes, size, bases, *timing, *options);
  const Vflightllm_top &t = *sim->top;
  const auto whole = [](std::size_t n) { return n <= 1 ? 1 : n <= 2 ? 2 : (n + 3) / 4 * 4; };
  if (sizeof t.m_axi_rdata_i != whole(std::size_t(ports) * port_bytes) || sizeof t.m_axi_araddr_o != std::size_t(ports) * 8)
    return nullptr;
  return sim.release();
}
void sim_destroy(Sim *sim) { delete sim; }
void sim_reset(Sim *sim) { sim->reset(); }
std::uint64_t sim_cycle(Sim *sim) { return sim->cycle; }
const char *sim_message(Sim *sim) { return sim->message.c_str(); }
int sim_write(Sim *sim, std::uint32_t address, std::uint32_t data, unsigned strobes) {
  return sim->access(address, &data, true, strobes);
}
int sim_read(Sim *sim, std::uint32_t address, std::uint32_t *data) { return sim->access(address, data, false, 0); }

// Until the interrupt (0), `limit` cycles (1), `quiet` cycles without any transfer (2; 0: never), a breach of AXI (3) or a failed
// assertion (4).
int sim_run(Sim *sim, std::uint64_t limit, std::uint64_t quiet) { return sim->run(limit, quiet); }

void sim_inject(Sim *sim, unsigned port, std::uint64_t address, int write, int resp) {
  sim->memory.at(port).inject(address, write != 0, std::uint8_t(resp));
}

// From now on the port reaches `size` bytes at address `base`, and everything else is a decode error.
void sim_attach(Sim *sim, unsigned port, std::uint8_t *bytes, std::uint64_t size, std::uint64_t base) {
  sim->memory.at(port).attach(bytes, size, base);
}

// Bytes read, bytes written, read bursts, write bursts, row hits, closed rows, row misses, refreshes.
void sim_port(Sim *sim, unsigned port, std::uint64_t *out) {
  const AxiMemory &m = sim->memory.at(port);
  const std::uint64_t values[8] = {m.read_bytes, m.written_bytes, m.reads,      m.writes,
                                   m.hbm.hits,   m.hbm.closed,    m.hbm.misses, m.hbm.refreshes};
  std::memcpy(out, values, sizeof values);
}

// Record events from now on.
void sim_observe(Sim *sim) { sim->observe(); }

// Events since the last call of sim_forget, in the order in which they happened.
const Event *sim_events(Sim *sim, std::uint64_t *count) {
  *count = sim->events.size();
  return sim->events.data();
}
void sim_forget(Sim *sim) { sim->events.clear(); }

// Called by sim/lockstep_probe.sv.
void flightllm_event(int kind, int core, int unit, int channel, long long addr, long long mask, const svBitVecVal *data) {
  Sim *sim = Sim::current;
  if (!sim->observing)
    return;
  Event e{sim->cycle, std::uint64_t(addr), std::uint64_t(mask), std::uint8_t(kind), std::uint8_t(core), std::uint8_t(unit),
          std::uint8_t(channel), 0, {}};
  std::memcpy(e.data, data, sizeof e.data);
  sim->events.push_back(e);
}

// 0, or -1: the library was built without tracing, or the file cannot be written.
int sim_trace_start(Sim *sim, const char *path, int levels) {
#if VM_TRACE
  sim->stop_trace();
  sim->trace = std::make_unique<Trace>();
  sim->top->trace(sim->trace.get(), levels);
  sim->trace->open(path);
  if (!sim->trace->isOpen()) {
    sim->trace.reset();
    return -1;
  }
  return 0;
#else
  (void)sim, (void)path, (void)levels;
  return -1;
#endif
}
void sim_trace_stop(Sim *sim) { sim->stop_trace(); }
}
