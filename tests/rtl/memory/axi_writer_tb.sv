// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// axi_writer with the port names and the constant signals that an AXI4 model expects.

module axi_writer_tb #(
    parameter int unsigned PortBits  = 512,
    parameter int unsigned MaxFlying = 32
) (
    input  logic                  clk_i,
    input  logic                  rst_ni,
    input  logic [          63:0] base_i,
    input  logic                  valid_i,
    input  logic [          39:0] addr_i,
    input  logic [         511:0] data_i,
    input  logic [          63:0] strb_i,
    output logic                  ready_o,
    output logic                  busy_o,
    output logic                  error_o,
    output logic                  m_axi_awvalid,
    input  logic                  m_axi_awready,
    output logic [          63:0] m_axi_awaddr,
    output logic [           7:0] m_axi_awlen,
    output logic [           3:0] m_axi_awid,
    output logic [           2:0] m_axi_awsize,
    output logic [           1:0] m_axi_awburst,
    output logic                  m_axi_awlock,
    output logic [           3:0] m_axi_awcache,
    output logic [           2:0] m_axi_awprot,
    output logic                  m_axi_wvalid,
    input  logic                  m_axi_wready,
    output logic [  PortBits-1:0] m_axi_wdata,
    output logic [PortBits/8-1:0] m_axi_wstrb,
    output logic                  m_axi_wlast,
    input  logic                  m_axi_bvalid,
    output logic                  m_axi_bready,
    input  logic [           3:0] m_axi_bid,
    input  logic [           1:0] m_axi_bresp
);
  assign m_axi_awsize  = 3'($clog2(PortBits / 8));
  assign m_axi_awburst = 2'b01;
  assign m_axi_awlock  = 1'b0;
  assign m_axi_awcache = 4'b0011;
  assign m_axi_awprot  = 3'b000;
  logic unused;
  assign unused = &{1'b0, m_axi_bid, 1'b0};
  axi_writer #(
      .PortBits (PortBits),
      .MaxFlying(MaxFlying)
  ) i_dut (
      .clk_i,
      .rst_ni,
      .base_i,
      .valid_i,
      .addr_i,
      .data_i,
      .strb_i,
      .ready_o,
      .busy_o,
      .error_o,
      .awvalid_o(m_axi_awvalid),
      .awready_i(m_axi_awready),
      .awaddr_o (m_axi_awaddr),
      .awlen_o  (m_axi_awlen),
      .awid_o   (m_axi_awid),
      .wvalid_o (m_axi_wvalid),
      .wready_i (m_axi_wready),
      .wdata_o  (m_axi_wdata),
      .wstrb_o  (m_axi_wstrb),
      .wlast_o  (m_axi_wlast),
      .bvalid_i (m_axi_bvalid),
      .bready_o (m_axi_bready),
      .bresp_i  (m_axi_bresp)
  );
endmodule
