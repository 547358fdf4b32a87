// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// The kernel: AXI4-Lite registers, cores, the exchange between them, and one AXI4 port for each memory channel of each core
// (port k * Channels + c). A run ends when every core has reached HALT, at the first error, or when nothing has moved for
// `watchdog` cycles; after an error the kernel needs a reset.

module flightllm_top
  import flightllm_config_pkg::*;
#(
    localparam int unsigned Ports = Cores * Channels
) (
    input  logic                             clk_i,
    input  logic                             rst_ni,
    input  logic                             s_axil_awvalid_i,
    output logic                             s_axil_awready_o,
    input  logic [     15:0]                 s_axil_awaddr_i,
    input  logic                             s_axil_wvalid_i,
    output logic                             s_axil_wready_o,
    input  logic [     31:0]                 s_axil_wdata_i,
    input  logic [      3:0]                 s_axil_wstrb_i,
    output logic                             s_axil_bvalid_o,
    input  logic                             s_axil_bready_i,
    output logic [      1:0]                 s_axil_bresp_o,
    input  logic                             s_axil_arvalid_i,
    output logic                             s_axil_arready_o,
    input  logic [     15:0]                 s_axil_araddr_i,
    output logic                             s_axil_rvalid_o,
    input  logic                             s_axil_rready_i,
    output logic [     31:0]                 s_axil_rdata_o,
    output logic [      1:0]                 s_axil_rresp_o,
    output logic                             interrupt_o,
    output logic [Ports-1:0]                 m_axi_arvalid_o,
    input  logic [Ports-1:0]                 m_axi_arready_i,
    output logic [Ports-1:0][          63:0] m_axi_araddr_o,
    output logic [Ports-1:0][           7:0] m_axi_arlen_o,
    output logic [Ports-1:0][           3:0] m_axi_arid_o,
    input  logic [Ports-1:0]                 m_axi_rvalid_i,
    output logic [Ports-1:0]                 m_axi_rready_o,
    input  logic [Ports-1:0][  PortBits-1:0] m_axi_rdata_i,
    input  logic [Ports-1:0][           3:0] m_axi_rid_i,
    input  logic [Ports-1:0][           1:0] m_axi_rresp_i,
    input  logic [Ports-1:0]                 m_axi_rlast_i,
    output logic [Ports-1:0]                 m_axi_awvalid_o,
    input  logic [Ports-1:0]                 m_axi_awready_i,
    output logic [Ports-1:0][          63:0] m_axi_awaddr_o,
    output logic [Ports-1:0][           7:0] m_axi_awlen_o,
    output logic [Ports-1:0][           3:0] m_axi_awid_o,
    output logic [Ports-1:0]                 m_axi_wvalid_o,
    input  logic [Ports-1:0]                 m_axi_wready_i,
    output logic [Ports-1:0][  PortBits-1:0] m_axi_wdata_o,
    output logic [Ports-1:0][PortBits/8-1:0] m_axi_wstrb_o,
    output logic [Ports-1:0]                 m_axi_wlast_o,
    input  logic [Ports-1:0]                 m_axi_bvalid_i,
    output logic [Ports-1:0]                 m_axi_bready_o,
    /* verilator lint_off UNUSEDSIGNAL */  // one ID only
    input  logic [Ports-1:0][           3:0] m_axi_bid_i,
    /* verilator lint_on UNUSEDSIGNAL */
    input  logic [Ports-1:0][           1:0] m_axi_bresp_i
);
  import flightllm_control_pkg::*;

  logic start, running, soft_reset, core_rst_n, ends_q;
  logic [31:0] pos, ntok, nlog, masken, length, watchdog;
  logic [39:0] prog;
  logic [Ports-1:0][63:0] base, read_bytes, written_bytes;
  logic [Cores-1:0] done, done_q, progress;
  logic [Cores-1:0][3:0] error;
  logic [3:0] first_error;
  logic [1:0] first_core;
  core_status_t [Cores-1:0] status;
  logic [31:0] quiet_q;
  assign core_rst_n = rst_ni && !soft_reset;

  axil_control #(
      .Cores   (Cores),
      .Channels(Channels),
      .Vpus    (Vpus),
      .Lanes   (Lanes),
      .Digest  (Digest)
  ) i_control (
      .clk_i,
      .rst_ni,
      .s_axil_awvalid_i,
      .s_axil_awready_o,
      .s_axil_awaddr_i,
      .s_axil_araddr_i,
      .s_axil_wvalid_i,
      .s_axil_wready_o,
      .s_axil_wdata_i,
      .s_axil_wstrb_i,
      .s_axil_bvalid_o,
      .s_axil_bready_i,
      .s_axil_bresp_o,
      .s_axil_arvalid_i,
      .s_axil_arready_o,
      .s_axil_rvalid_o,
      .s_axil_rready_i,
      .s_axil_rdata_o,
      .s_axil_rresp_o,
      .interrupt_o,
      .start_o        (start),
      .running_o      (running),
      .soft_reset_o   (soft_reset),
      .done_i         (ends_q),
      .error_i        (first_error),
      .error_core_i   (first_core),
      .pos_o          (pos),
      .ntok_o         (ntok),
      .nlog_o         (nlog),
      .masken_o       (masken),
      .program_addr_o (prog),
      .program_len_o  (length),
      .watchdog_o     (watchdog),
      .base_o         (base),
      .status_i       (status),
      .read_bytes_i   (read_bytes),
      .written_bytes_i(written_bytes)
  );

  // --- exchange --------------------------------------------------------------------------------------------------
  logic [Cores-1:0] x_want, x_turn, x_out_valid, x_out_ready, x_in_ready;
  logic [Cores-1:0][31:0] x_words;
  logic [Cores-1:0][15:0][31:0] x_out_data;
  logic x_in_valid, x_in_accept, x_end;
  logic [15:0][31:0] x_in_data;
  logic [1:0] x_in_core;
  exchange #(
      .Cores(Cores)
  ) i_exchange (
      .clk_i,
      .rst_ni     (core_rst_n),
      .want_i     (x_want),
      .words_i    (x_words[0]),
      .turn_o     (x_turn),
      .out_valid_i(x_out_valid),
      .out_data_i (x_out_data),
      .out_ready_o(x_out_ready),
      .in_valid_o (x_in_valid),
      .in_data_o  (x_in_data),
      .in_core_o  (x_in_core),
      .in_accept_o(x_in_accept),
      .in_ready_i (x_in_ready),
      .end_o      (x_end)
  );

  for (genvar k = 0; k < Cores; k++) begin : gen_core
    flightllm_core #(
        .Channels  (Channels),
        .Vpus      (Vpus),
        .ChainVpus (ChainVpus),
        .Lanes     (Lanes),
        .PortBits  (PortBits),
        .VbWords   (VbWords),
        .VbBanks   (VbBanks),
        .AbWindows (AbWindows),
        .MbBytes   (MbBytes),
        .WRingBytes(WRingBytes),
        .KRingBytes(KRingBytes),
        .AccEntries(AccEntries),
        .QueueDepth(QueueDepth)
    ) i_core (
        .clk_i,
        .rst_ni         (core_rst_n),
        .start_i        (start),
        .pos_i          (pos),
        .ntok_i         (ntok),
        .nlog_i         (nlog),
        .masken_i       (masken),
        .core_i         (32'(k)),
        .program_addr_i (prog),
        .program_len_i  (length),
        .base_i         (base[k*Channels+:Channels]),
        .done_o         (done[k]),
        .error_o        (error[k]),
        .progress_o     (progress[k]),
        .run_i          (running),
        .status_o       (status[k]),
        .read_bytes_o   (read_bytes[k*Channels+:Channels]),
        .written_bytes_o(written_bytes[k*Channels+:Channels]),
        .x_want_o       (x_want[k]),
        .x_words_o      (x_words[k]),
        .x_turn_i       (x_turn[k]),
        .x_out_valid_o  (x_out_valid[k]),
        .x_out_data_o   (x_out_data[k]),
        .x_out_ready_i  (x_out_ready[k]),
        .x_in_valid_i   (x_in_valid),
        .x_in_data_i    (x_in_data),
        .x_in_core_i    (x_in_core),
        .x_in_ready_o   (x_in_ready[k]),
        .x_in_accept_i  (x_in_accept),
        .x_end_i        (x_end),
        .arvalid_o      (m_axi_arvalid_o[k*Channels+:Channels]),
        .arready_i      (m_axi_arready_i[k*Channels+:Channels]),
        .araddr_o       (m_axi_araddr_o[k*Channels+:Channels]),
        .arlen_o        (m_axi_arlen_o[k*Channels+:Channels]),
        .arid_o         (m_axi_arid_o[k*Channels+:Channels]),
        .rvalid_i       (m_axi_rvalid_i[k*Channels+:Channels]),
        .rready_o       (m_axi_rready_o[k*Channels+:Channels]),
        .rdata_i        (m_axi_rdata_i[k*Channels+:Channels]),
        .rid_i          (m_axi_rid_i[k*Channels+:Channels]),
        .rresp_i        (m_axi_rresp_i[k*Channels+:Channels]),
        .rlast_i        (m_axi_rlast_i[k*Channels+:Channels]),
        .awvalid_o      (m_axi_awvalid_o[k*Channels+:Channels]),
        .awready_i      (m_axi_awready_i[k*Channels+:Channels]),
        .awaddr_o       (m_axi_awaddr_o[k*Channels+:Channels]),
        .awlen_o        (m_axi_awlen_o[k*Channels+:Channels]),
        .awid_o         (m_axi_awid_o[k*Channels+:Channels]),
        .wvalid_o       (m_axi_wvalid_o[k*Channels+:Channels]),
        .wready_i       (m_axi_wready_i[k*Channels+:Channels]),
        .wdata_o        (m_axi_wdata_o[k*Channels+:Channels]),
        .wstrb_o        (m_axi_wstrb_o[k*Channels+:Channels]),
        .wlast_o        (m_axi_wlast_o[k*Channels+:Channels]),
        .bvalid_i       (m_axi_bvalid_i[k*Channels+:Channels]),
        .bready_o       (m_axi_bready_o[k*Channels+:Channels]),
        .bresp_i        (m_axi_bresp_i[k*Channels+:Channels])
    );
  end

  // --- end of a run ----------------------------------------------------------------------------------------------
  always_comb begin
    first_error = '0;
    first_core  = '0;
    if (watchdog != 0 && quiet_q >= watchdog) first_error = ErrorWatchdog;
    for (int k = Cores - 1; k >= 0; k--) begin
      if (error[k] != 0) begin
        first_error = error[k];
        first_core  = 2'(k);
      end
    end
  end
  always_ff @(posedge clk_i) begin
    ends_q <= 1'b0;
    if (!core_rst_n || start) begin
      done_q  <= '0;
      quiet_q <= '0;
    end else if (running) begin
      done_q  <= done_q | done;
      quiet_q <= progress != '0 ? 32'd0 : quiet_q + 32'd1;
      ends_q  <= &(done | done_q) && !ends_q;
    end
  end
endmodule
