// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// axil_control with the port names that an AXI4-Lite model expects.

module axil_control_tb #(
    parameter int unsigned Cores    = 2,
    parameter int unsigned Channels = 2,
    parameter int unsigned Vpus     = 8,
    parameter int unsigned Lanes    = 16,
    localparam int unsigned N       = Cores * Channels
) (
    input  logic        clk_i,
    input  logic        rst_ni,
    input  logic        s_axil_awvalid,
    output logic        s_axil_awready,
    input  logic [15:0] s_axil_awaddr,
    input  logic [ 2:0] s_axil_awprot,
    input  logic        s_axil_wvalid,
    output logic        s_axil_wready,
    input  logic [31:0] s_axil_wdata,
    input  logic [ 3:0] s_axil_wstrb,
    output logic        s_axil_bvalid,
    input  logic        s_axil_bready,
    output logic [ 1:0] s_axil_bresp,
    input  logic        s_axil_arvalid,
    output logic        s_axil_arready,
    input  logic [15:0] s_axil_araddr,
    input  logic [ 2:0] s_axil_arprot,
    output logic        s_axil_rvalid,
    input  logic        s_axil_rready,
    output logic [31:0] s_axil_rdata,
    output logic [ 1:0] s_axil_rresp,
    output logic        interrupt_o,
    output logic        start_o,
    output logic        running_o,
    output logic        soft_reset_o,
    input  logic        done_i,
    input  logic [ 3:0] error_i,
    input  logic [ 1:0] error_core_i,
    output logic [31:0] pos_o,
    output logic [31:0] ntok_o,
    output logic [31:0] nlog_o,
    output logic [31:0] masken_o,
    output logic [39:0] program_addr_o,
    output logic [31:0] program_len_o,
    output logic [31:0] watchdog_o,
    output logic [N-1:0][63:0] base_o,
    input  logic [Cores-1:0][$bits(flightllm_control_pkg::core_status_t)-1:0] status_i,
    input  logic [N-1:0][63:0] read_bytes_i,
    input  logic [N-1:0][63:0] written_bytes_i
);
  logic unused;
  assign unused = &{1'b0, s_axil_awprot, s_axil_arprot, 1'b0};
  axil_control #(
      .Cores   (Cores),
      .Channels(Channels),
      .Vpus    (Vpus),
      .Lanes   (Lanes),
      .Digest  (64'h0123_4567_89AB_CDEF)
  ) i_dut (
      .s_axil_awvalid_i(s_axil_awvalid),
      .s_axil_awready_o(s_axil_awready),
      .s_axil_awaddr_i (s_axil_awaddr),
      .s_axil_wvalid_i (s_axil_wvalid),
      .s_axil_wready_o (s_axil_wready),
      .s_axil_wdata_i  (s_axil_wdata),
      .s_axil_wstrb_i  (s_axil_wstrb),
      .s_axil_bvalid_o (s_axil_bvalid),
      .s_axil_bready_i (s_axil_bready),
      .s_axil_bresp_o  (s_axil_bresp),
      .s_axil_arvalid_i(s_axil_arvalid),
      .s_axil_arready_o(s_axil_arready),
      .s_axil_araddr_i (s_axil_araddr),
      .s_axil_rvalid_o (s_axil_rvalid),
      .s_axil_rready_i (s_axil_rready),
      .s_axil_rdata_o  (s_axil_rdata),
      .s_axil_rresp_o  (s_axil_rresp),
      .*
  );
endmodule
