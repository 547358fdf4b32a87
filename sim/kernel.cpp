// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// The Verilated kernel with a memory model on each AXI4 port, as a C library: create, register access over AXI4-Lite, run until
// the interrupt, destroy. Memory is the caller's: one flat region a port, at address port << 32 of that port.

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "Vflightllm_top.h"
#include "axi_memory.hpp"
#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

namespace {

using flightllm::AxiMaster;
using flightllm::AxiMemory;
using flightllm::AxiSlave;

// Bit fields of Verilator's packed signals, whatever C++ type they have.
template <typename T>
uint64_t get(const T& signal, unsigned low, unsigned bits) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(&signal);
  if (bits % 8 == 0 && low % 8 == 0) {
    uint64_t v = 0;
    std::memcpy(&v, bytes + low / 8, bits / 8);
    return v;
  }
  return bytes[low / 8] >> low % 8 & ((1u << bits) - 1);  // fields that do not cross a byte
}
template <typename T>
void put(T& signal, unsigned low, unsigned bits, uint64_t value) {
  auto* bytes = reinterpret_cast<uint8_t*>(&signal);
  const unsigned mask = ((1u << bits) - 1) << low % 8;
  bytes[low / 8] = uint8_t((bytes[low / 8] & ~mask) | ((value << low % 8) & mask));
}

struct Kernel {
  VerilatedContext context;
  Vflightllm_top top{&context};
  std::vector<std::unique_ptr<AxiMemory>> memories;
  unsigned beat;
  std::string error;
  int64_t cycle = 0;
  std::vector<uint8_t> zeros;
#if VM_TRACE
  std::unique_ptr<VerilatedVcdC> trace;
#endif

  explicit Kernel(unsigned beat_bytes) : beat(beat_bytes), zeros(beat_bytes, 0) { context.traceEverOn(true); }

  void step() {
    const unsigned n = unsigned(memories.size());
    for (unsigned i = 0; i < n; i++) {
      const AxiSlave& s = memories[i]->out();
      put(top.m_axi_arready_i, i, 1, s.arready);
      put(top.m_axi_rvalid_i, i, 1, s.rvalid);
      put(top.m_axi_rlast_i, i, 1, s.rlast);
      put(top.m_axi_rid_i, 4 * i, 4, s.rid);
      put(top.m_axi_rresp_i, 2 * i, 2, s.rresp);
      put(top.m_axi_awready_i, i, 1, s.awready);
      put(top.m_axi_wready_i, i, 1, s.wready);
      put(top.m_axi_bvalid_i, i, 1, s.bvalid);
      put(top.m_axi_bid_i, 4 * i, 4, s.bid);
      put(top.m_axi_bresp_i, 2 * i, 2, s.bresp);
      if (s.rvalid) std::memcpy(reinterpret_cast<uint8_t*>(&top.m_axi_rdata_i) + size_t(beat) * i, s.rdata, beat);
    }
    top.eval();
#if VM_TRACE
    if (trace) trace->dump(uint64_t(2 * cycle));
#endif
    for (unsigned i = 0; i < n; i++) {
      AxiMaster m;
      m.arvalid = get(top.m_axi_arvalid_o, i, 1);
      m.rready = get(top.m_axi_rready_o, i, 1);
      m.awvalid = get(top.m_axi_awvalid_o, i, 1);
      m.wvalid = get(top.m_axi_wvalid_o, i, 1);
      m.wlast = get(top.m_axi_wlast_o, i, 1);
      m.bready = get(top.m_axi_bready_o, i, 1);
      m.araddr = get(top.m_axi_araddr_o, 64 * i, 64);
      m.awaddr = get(top.m_axi_awaddr_o, 64 * i, 64);
      m.arlen = uint8_t(get(top.m_axi_arlen_o, 8 * i, 8));
      m.awlen = uint8_t(get(top.m_axi_awlen_o, 8 * i, 8));
      m.arid = uint8_t(get(top.m_axi_arid_o, 4 * i, 4));
      m.awid = uint8_t(get(top.m_axi_awid_o, 4 * i, 4));
      m.wdata = reinterpret_cast<const uint8_t*>(&top.m_axi_wdata_o) + size_t(beat) * i;
      m.wstrb = reinterpret_cast<const uint8_t*>(&top.m_axi_wstrb_o) + size_t(beat / 8) * i;
      memories[i]->step(m);
      if (error.empty() && !memories[i]->error().empty()) error = "port " + std::to_string(i) + ": " + memories[i]->error();
    }
    top.clk_i = 1;
    top.eval();
#if VM_TRACE
    if (trace) trace->dump(uint64_t(2 * cycle + 1));
#endif
    top.clk_i = 0;
    cycle++;
  }
};

}  // namespace

extern "C" {

// timing: null for the default HBM2 pseudo-channel, else the numbers of HbmTiming in order.
void* kernel_create(int ports, int beat_bytes, uint8_t* const* memory, uint64_t bytes, double period_ns, const double* timing,
                    double jitter_ns, double stall, uint64_t seed) {
  auto* k = new Kernel(unsigned(beat_bytes));
  flightllm::HbmTiming t;
  static_assert(sizeof(t) == 11 * sizeof(double));
  if (timing) std::memcpy(static_cast<void*>(&t), timing, sizeof(t));
  for (int i = 0; i < ports; i++) {
    flightllm::AxiOptions o;
    o.period_ns = period_ns;
    o.jitter_ns = jitter_ns;
    o.stall = stall;
    o.seed = seed + uint64_t(i);
    k->memories.push_back(std::make_unique<AxiMemory>(memory[i], bytes, uint64_t(i) << 32, unsigned(beat_bytes), t, o,
                                                      double(i) / ports));
  }
  k->top.rst_ni = 0;
  for (int i = 0; i < 8; i++) k->step();
  k->top.rst_ni = 1;
  k->step();
  return k;
}

int kernel_write(void* handle, uint32_t address, uint32_t value) {
  auto* k = static_cast<Kernel*>(handle);
  k->top.s_axil_awvalid_i = k->top.s_axil_wvalid_i = 1;
  k->top.s_axil_awaddr_i = address;
  k->top.s_axil_wdata_i = value;
  k->top.s_axil_wstrb_i = 15;
  k->top.s_axil_bready_i = 1;
  for (int i = 0; i < 100; i++) {
    k->top.eval();
    const bool taken = k->top.s_axil_awready_o && k->top.s_axil_wready_o;
    k->step();
    if (taken) {
      k->top.s_axil_awvalid_i = k->top.s_axil_wvalid_i = 0;
      for (int j = 0; j < 100; j++) {
        k->top.eval();
        const bool answered = k->top.s_axil_bvalid_o;
        k->step();
        if (answered) return 0;
      }
    }
  }
  return -1;
}

int64_t kernel_read(void* handle, uint32_t address) {
  auto* k = static_cast<Kernel*>(handle);
  k->top.s_axil_arvalid_i = 1;
  k->top.s_axil_araddr_i = address;
  k->top.s_axil_rready_i = 1;
  for (int i = 0; i < 100; i++) {
    k->top.eval();
    const bool taken = k->top.s_axil_arready_o;
    k->step();
    if (!taken) continue;
    k->top.s_axil_arvalid_i = 0;
    for (int j = 0; j < 100; j++) {
      k->top.eval();
      const bool answered = k->top.s_axil_rvalid_o;
      const uint32_t value = k->top.s_axil_rdata_o;
      k->step();
      if (answered) return value;
    }
  }
  return -1;
}

// Cycles until the interrupt; -1 if it does not come within `limit`, -2 after a breach of the AXI protocol.
int64_t kernel_run(void* handle, int64_t limit) {
  auto* k = static_cast<Kernel*>(handle);
  for (int64_t i = 0; i < limit; i++) {
    k->step();
    if (!k->error.empty()) return -2;
    if (k->top.interrupt_o) return i + 1;
  }
  return -1;
}

const char* kernel_error(void* handle) { return static_cast<Kernel*>(handle)->error.c_str(); }
int64_t kernel_cycle(void* handle) { return static_cast<Kernel*>(handle)->cycle; }

void kernel_inject(void* handle, int port, uint64_t address, int write, int resp) {
  static_cast<Kernel*>(handle)->memories[size_t(port)]->inject(address, write != 0, uint8_t(resp));
}

int kernel_trace(void* handle, const char* path) {
#if VM_TRACE
  auto* k = static_cast<Kernel*>(handle);
  if (k->trace) k->trace->close();
  k->trace.reset();
  if (path) {
    k->trace = std::make_unique<VerilatedVcdC>();
    k->top.trace(k->trace.get(), 99);
    k->trace->open(path);
  }
  return 0;
#else
  (void)handle;
  (void)path;
  return -1;
#endif
}

void kernel_destroy(void* handle) {
  auto* k = static_cast<Kernel*>(handle);
#if VM_TRACE
  if (k->trace) k->trace->close();
#endif
  k->top.final();
  delete k;
}
}
