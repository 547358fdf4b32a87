// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// axi_reader with the port names and the constant signals that an AXI4 model expects.

module axi_reader_tb #(
    parameter  int unsigned PortBits  = 512,
    parameter  int unsigned MaxBursts = 16,
    parameter  int unsigned WeightBursts = 4,
    localparam int unsigned Clients   = 3
) (
    input  logic                      clk_i,
    input  logic                      rst_ni,
    input  logic [        63:0]       base_i,
    input  logic [ Clients-1:0]       req_valid_i,
    input  logic [ Clients-1:0][39:0] req_addr_i,
    input  logic [ Clients-1:0][15:0] req_beats_i,
    output logic [ Clients-1:0]       req_ready_o,
    output logic [ Clients-1:0]       rvalid_o,
    output logic [       511:0]       rdata_o,
    output logic                      error_o,
    output logic                      busy_o,
    input  logic                      hold_i,
    output logic                      m_axi_arvalid,
    input  logic                      m_axi_arready,
    output logic [        63:0]       m_axi_araddr,
    output logic [         7:0]       m_axi_arlen,
    output logic [         3:0]       m_axi_arid,
    output logic [         2:0]       m_axi_arsize,
    output logic [         1:0]       m_axi_arburst,
    output logic                      m_axi_arlock,
    output logic [         3:0]       m_axi_arcache,
    output logic [         2:0]       m_axi_arprot,
    input  logic                      m_axi_rvalid,
    output logic                      m_axi_rready,
    input  logic [PortBits-1:0]       m_axi_rdata,
    input  logic [         3:0]       m_axi_rid,
    input  logic [         1:0]       m_axi_rresp,
    input  logic                      m_axi_rlast
);
  assign m_axi_arsize  = 3'($clog2(PortBits / 8));
  assign m_axi_arburst = 2'b01;
  assign m_axi_arlock  = 1'b0;
  assign m_axi_arcache = 4'b0011;
  assign m_axi_arprot  = 3'b000;
  axi_reader #(
      .PortBits    (PortBits),
      .MaxBursts   (MaxBursts),
      .WeightBursts(WeightBursts)
  ) i_dut (
      .clk_i,
      .rst_ni,
      .base_i,
      .req_valid_i,
      .req_addr_i,
      .req_beats_i,
      .req_ready_o,
      .rvalid_o,
      .rdata_o,
      .error_o,
      .busy_o,
      .hold_i,
      .arvalid_o(m_axi_arvalid),
      .arready_i(m_axi_arready),
      .araddr_o (m_axi_araddr),
      .arlen_o  (m_axi_arlen),
      .arid_o   (m_axi_arid),
      .rvalid_i (m_axi_rvalid),
      .rready_o (m_axi_rready),
      .rdata_i  (m_axi_rdata),
      .rid_i    (m_axi_rid),
      .rresp_i  (m_axi_rresp),
      .rlast_i  (m_axi_rlast)
  );
endmodule
