// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Registers of the kernel (docs/registers.md) on an AXI4-Lite slave, and the ap_ctrl_chain handshake: start_o is high for one
// cycle; running_o from then until done_i or an error, which is kept for the host. A write takes one cycle once address and
// data are there, a read three. The host must not change arguments during a run.

module axil_control #(
    parameter int unsigned Cores    = 1,
    parameter int unsigned Channels = 4,
    parameter int unsigned Vpus     = 8,
    parameter int unsigned Lanes    = 16,
    parameter logic [63:0] Digest   = '0,  // of the parameters
    localparam int unsigned N       = Cores * Channels
) (
    input  logic        clk_i,
    input  logic        rst_ni,
    input  logic        s_axil_awvalid_i,
    output logic        s_axil_awready_o,
    /* verilator lint_off UNUSEDSIGNAL */  // registers are whole words, bits 1:0 say nothing
    input  logic [15:0] s_axil_awaddr_i,
    input  logic [15:0] s_axil_araddr_i,
    /* verilator lint_on UNUSEDSIGNAL */
    input  logic        s_axil_wvalid_i,
    output logic        s_axil_wready_o,
    input  logic [31:0] s_axil_wdata_i,
    input  logic [3:0]  s_axil_wstrb_i,
    output logic        s_axil_bvalid_o,
    input  logic        s_axil_bready_i,
    output logic [1:0]  s_axil_bresp_o,
    input  logic        s_axil_arvalid_i,
    output logic        s_axil_arready_o,
    output logic        s_axil_rvalid_o,
    input  logic        s_axil_rready_i,
    output logic [31:0] s_axil_rdata_o,
    output logic [1:0]  s_axil_rresp_o,
    output logic        interrupt_o,
    // the run
    output logic        start_o,         // one cycle
    output logic        running_o,
    output logic        soft_reset_o,    // of the cores
    input  logic        done_i,          // one cycle: every core has ended
    input  logic [3:0]  error_i,         // not zero: ends the run
    input  logic [1:0]  error_core_i,
    output logic [31:0] pos_o,
    output logic [31:0] ntok_o,
    output logic [31:0] nlog_o,
    output logic [31:0] masken_o,
    output logic [39:0] program_addr_o,
    output logic [31:0] program_len_o,
    output logic [31:0] watchdog_o,      // cycles, 0: off
    output logic [N-1:0][63:0] base_o,
    // what the host can read
    input  flightllm_control_pkg::core_status_t [Cores-1:0] status_i,
    input  logic [N-1:0][63:0] read_bytes_i,
    input  logic [N-1:0][63:0] written_bytes_i
);
  import flightllm_control_pkg::*;

  if (N > MaxPorts) begin : gen_too_many
    $error("the register map has no room for so many channels");
  end

  // --- registers of the host -------------------------------------------------------------------------------------
  logic write;
  logic [15:0] waddr;
  logic [31:0] wdata, wmask;
  assign waddr = {s_axil_awaddr_i[15:2], 2'b00};
  assign wdata = s_axil_wdata_i;
  assign write = s_axil_awvalid_i && s_axil_wvalid_i && (!s_axil_bvalid_o || s_axil_bready_i);
  assign s_axil_awready_o = write;
  assign s_axil_wready_o = write;
  assign s_axil_bresp_o = 2'b00;
  for (genvar i = 0; i < 4; i++) begin : gen_mask
    assign wmask[8*i+:8] = {8{s_axil_wstrb_i[i]}};
  end

  function automatic logic [31:0] merge(logic [31:0] old, logic [31:0] data, logic [31:0] mask);
    return (old & ~mask) | (data & mask);
  endfunction

  logic gie_q, start_q, done_q;
  logic [1:0] ier_q, isr_q;
  logic [63:0] program_q;
  assign program_addr_o = program_q[39:0];

  logic set_start, set_continue, ends;
  assign set_start = write && waddr == AddrApCtrl && wdata[0] && wmask[0];
  assign set_continue = write && waddr == AddrApCtrl && wdata[4] && wmask[4];
  assign ends = running_o && (done_i || error_i != 0);
  assign start_o = start_q && !running_o && !done_q && !soft_reset_o;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      s_axil_bvalid_o <= 1'b0;
      {gie_q, ier_q, isr_q, start_q, done_q, running_o, soft_reset_o} <= '0;
      watchdog_o <= ResetWatchdog;
    end else begin
      if (write) s_axil_bvalid_o <= 1'b1;
      else if (s_axil_bready_i) s_axil_bvalid_o <= 1'b0;

      if (set_start) start_q <= 1'b1;
      else if (ends) start_q <= 1'b0;
      if (start_o) running_o <= 1'b1;
      else if (ends) running_o <= 1'b0;
      if (ends) done_q <= 1'b1;
      else if (set_continue) done_q <= 1'b0;

      isr_q <= (isr_q ^ (write && waddr == AddrIsr ? wdata[1:0] & wmask[1:0] : 2'b00)) | (ends ? ier_q : 2'b00);
      if (write && waddr == AddrGie) gie_q <= wmask[0] ? wdata[0] : gie_q;
      if (write && waddr == AddrIer) ier_q <= (ier_q & ~wmask[1:0]) | (wdata[1:0] & wmask[1:0]);
      if (write && waddr == AddrWatchdog) watchdog_o <= merge(watchdog_o, wdata, wmask);
      if (write && waddr == AddrSoftReset) soft_reset_o <= wmask[0] ? wdata[0] : soft_reset_o;
    end
    if (write) begin
      unique case (waddr)
        AddrPos:             pos_o <= merge(pos_o, wdata, wmask);
        AddrNtok:            ntok_o <= merge(ntok_o, wdata, wmask);
        AddrNlog:            nlog_o <= merge(nlog_o, wdata, wmask);
        AddrMasken:          masken_o <= merge(masken_o, wdata, wmask);
        AddrProgram:         program_q[31:0] <= merge(program_q[31:0], wdata, wmask);
        AddrProgram + 16'd4: program_q[63:32] <= merge(program_q[63:32], wdata, wmask);
        AddrInstructions:    program_len_o <= merge(program_len_o, wdata, wmask);
        default:             ;
      endcase
      for (int p = 0; p < N; p++) begin
        if (waddr == AddrBase + 16'(BaseStride * p)) base_o[p][31:0] <= merge(base_o[p][31:0], wdata, wmask);
        if (waddr == AddrBase + 16'(BaseStride * p + 4)) base_o[p][63:32] <= merge(base_o[p][63:32], wdata, wmask);
      end
    end
  end
  always_ff @(posedge clk_i) interrupt_o <= rst_ni && gie_q && isr_q != 0;

  // --- what ended, and when --------------------------------------------------------------------------------------
  logic [63:0] cycles_q;
  logic [ 3:0] error_q;
  logic [ 1:0] error_core_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni || start_o) begin
      cycles_q <= '0;
      error_q  <= '0;
      error_core_q <= '0;
    end else if (running_o) begin
      cycles_q <= cycles_q + 64'd1;
      if (error_i != 0) begin
        error_q <= error_i;
        error_core_q <= error_core_i;
      end
    end
  end

  // --- reading ---------------------------------------------------------------------------------------------------
  logic read_q;
  logic [15:0] raddr_q;
  logic [31:0] global_word, base_word, core_word, traffic_word;
  assign s_axil_arready_o = !read_q && !s_axil_rvalid_o;
  assign s_axil_rresp_o   = 2'b00;

  always_comb begin
    unique case (raddr_q)
      AddrApCtrl:          global_word = {28'd0, done_q, !start_q && !running_o && !done_q, done_q, start_q};
      AddrGie:             global_word = 32'(gie_q);
      AddrIer:             global_word = 32'(ier_q);
      AddrIsr:             global_word = 32'(isr_q);
      AddrPos:             global_word = pos_o;
      AddrNtok:            global_word = ntok_o;
      AddrNlog:            global_word = nlog_o;
      AddrMasken:          global_word = masken_o;
      AddrProgram:         global_word = program_q[31:0];
      AddrProgram + 16'd4: global_word = program_q[63:32];
      AddrInstructions:    global_word = program_len_o;
      AddrWatchdog:        global_word = watchdog_o;
      AddrSoftReset:       global_word = 32'(soft_reset_o);
      AddrError:           global_word = {22'd0, error_core_q, 4'd0, error_q};
      AddrBuild:           global_word = {8'(Lanes), 8'(Vpus), 8'(Channels), 8'(Cores)};
      AddrFlavour:         global_word = FlavourRtl;
      AddrDigest:          global_word = Digest[31:0];
      AddrDigest + 16'd4:  global_word = Digest[63:32];
      AddrCycles:          global_word = cycles_q[31:0];
      AddrCycles + 16'd4:  global_word = cycles_q[63:32];
      default:             global_word = '0;
    endcase
    base_word = '0;
    traffic_word = '0;
    for (int p = 0; p < N; p++) begin
      for (int h = 0; h < 2; h++) begin
        if (raddr_q == AddrBase + 16'(BaseStride * p + 4 * h)) base_word = base_o[p][32*h+:32];
        if (raddr_q == AddrTraffic + 16'(16 * p + 4 * h)) traffic_word = read_bytes_i[p][32*h+:32];
        if (raddr_q == AddrTraffic + 16'(16 * p + 4 * h + 8)) traffic_word = written_bytes_i[p][32*h+:32];
      end
    end
    core_word = '0;
    for (int k = 0; k < Cores; k++) begin
      if (raddr_q[15:8] == 8'(32'(AddrCore[15:8]) + 32'(k))) begin
        unique case (raddr_q[7:0])
          CorePc:      core_word = status_i[k].pc;
          CoreState:   core_word = 32'(status_i[k].state);
          CoreWLevel:  core_word = status_i[k].w_level;
          CoreKLevel:  core_word = status_i[k].k_level;
          CoreTokensL: core_word = status_i[k].tokens[0];
          CoreTokensM: core_word = status_i[k].tokens[1];
          CoreTokensS: core_word = status_i[k].tokens[2];
          CoreTokensT: core_word = status_i[k].tokens[3];
          default:     core_word = '0;
        endcase
        for (int u = 0; u < Units; u++) begin
          for (int e = 0; e < Events; e++) begin
            for (int h = 0; h < 2; h++) begin
              if (raddr_q[7:0] == CoreCounters + 8'(32 * u + 8 * e + 4 * h)) begin
                core_word = status_i[k].counters[u][e][32*h+:32];
              end
            end
          end
        end
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      read_q <= 1'b0;
      s_axil_rvalid_o <= 1'b0;
    end else begin
      read_q <= s_axil_arvalid_i && s_axil_arready_o;
      if (read_q) s_axil_rvalid_o <= 1'b1;
      else if (s_axil_rready_i) s_axil_rvalid_o <= 1'b0;
    end
    if (s_axil_arvalid_i && s_axil_arready_o) raddr_q <= {s_axil_araddr_i[15:2], 2'b00};
    if (read_q) s_axil_rdata_o <= global_word | base_word | core_word | traffic_word;
  end
endmodule
