// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// One AXI4 port as two or four narrower ones side by side on one memory. Of every beat part h, bits h * PartBits and up, goes to
// port h: part h of beat i lies at Bases[h] + i * PartBits / 8. All ports then see bursts without gaps. A burst begins at a
// multiple of the port's width and increments. Reads are asked for under one ID, so that they come back in order on every port;
// the IDs of the subordinate side wait in FIFOs.
//
// The subordinate side sees one memory, at a multiple of 2^RangeBits; it need not fill that range. The multiple goes to the ports
// as well: bases are relative to it, and have no bit in common with it (where it is 0, they are any addresses).

module axi_parts #(
    parameter int unsigned PortBits = 512,
    parameter int unsigned Parts = 2,  // or 4
    parameter int unsigned RangeBits = 30,  // the memory has 2^RangeBits bytes at most
    parameter logic [Parts-1:0][63:0] Bases = '0,  // as it is, every port has a memory of its own
    parameter int unsigned Flying = 32,  // bursts under way at most, reads and writes each
    localparam int unsigned PartBits = PortBits / Parts
) (
    input  logic                                  clk_i,
    input  logic                                  rst_ni,
    // subordinate
    input  logic                                  s_arvalid_i,
    output logic                                  s_arready_o,
    /* verilator lint_off UNUSEDSIGNAL */  // bursts begin at multiples of the port's width
    input  logic [          63:0]                 s_araddr_i,
    /* verilator lint_on UNUSEDSIGNAL */
    input  logic [           7:0]                 s_arlen_i,
    input  logic [           3:0]                 s_arid_i,
    output logic                                  s_rvalid_o,
    input  logic                                  s_rready_i,
    output logic [  PortBits-1:0]                 s_rdata_o,
    output logic [           3:0]                 s_rid_o,
    output logic [           1:0]                 s_rresp_o,
    output logic                                  s_rlast_o,
    input  logic                                  s_awvalid_i,
    output logic                                  s_awready_o,
    /* verilator lint_off UNUSEDSIGNAL */  // bursts begin at multiples of the port's width
    input  logic [          63:0]                 s_awaddr_i,
    /* verilator lint_on UNUSEDSIGNAL */
    input  logic [           7:0]                 s_awlen_i,
    input  logic [           3:0]                 s_awid_i,
    input  logic                                  s_wvalid_i,
    output logic                                  s_wready_o,
    input  logic [  PortBits-1:0]                 s_wdata_i,
    input  logic [PortBits/8-1:0]                 s_wstrb_i,
    input  logic                                  s_wlast_i,
    output logic                                  s_bvalid_o,
    input  logic                                  s_bready_i,
    output logic [           3:0]                 s_bid_o,
    output logic [           1:0]                 s_bresp_o,
    // managers
    output logic [     Parts-1:0]                 m_arvalid_o,
    input  logic [     Parts-1:0]                 m_arready_i,
    output logic [     Parts-1:0][          63:0] m_araddr_o,
    output logic [           7:0]                 m_arlen_o,
    input  logic [     Parts-1:0]                 m_rvalid_i,
    output logic [     Parts-1:0]                 m_rready_o,
    input  logic [     Parts-1:0][  PartBits-1:0] m_rdata_i,
    input  logic [     Parts-1:0][           1:0] m_rresp_i,
    input  logic [     Parts-1:0]                 m_rlast_i,
    output logic [     Parts-1:0]                 m_awvalid_o,
    input  logic [     Parts-1:0]                 m_awready_i,
    output logic [     Parts-1:0][          63:0] m_awaddr_o,
    output logic [           7:0]                 m_awlen_o,
    output logic [     Parts-1:0]                 m_wvalid_o,
    input  logic [     Parts-1:0]                 m_wready_i,
    output logic [     Parts-1:0][  PartBits-1:0] m_wdata_o,
    output logic [     Parts-1:0][PartBits/8-1:0] m_wstrb_o,
    output logic                                  m_wlast_o,
    input  logic [     Parts-1:0]                 m_bvalid_i,
    output logic [     Parts-1:0]                 m_bready_o,
    input  logic [     Parts-1:0][           1:0] m_bresp_i
);
  localparam int unsigned ShiftBits = $clog2(Parts);
  localparam int unsigned CountBits = $clog2(Flying + 1);

  // parts that have taken what another one has not
  logic [Parts-1:0] ar_done_q, aw_done_q, w_done_q;
  logic ar_room, aw_room, rid_valid, bid_valid, ar_take, aw_take, w_take;
  logic [CountBits-1:0] unused_reads, unused_writes;

  if (Parts != 2 && Parts != 4) begin : gen_illegal
    $error("axi_parts: two parts or four");
  end

  // --- addresses ---------------------------------------------------------------------------------------------------
  for (genvar h = 0; h < Parts; h++) begin : gen_part
    assign m_araddr_o[h] = (s_araddr_i >> RangeBits << RangeBits) | (Bases[h] + 64'(s_araddr_i[RangeBits-1:ShiftBits]));
    assign m_awaddr_o[h] = (s_awaddr_i >> RangeBits << RangeBits) | (Bases[h] + 64'(s_awaddr_i[RangeBits-1:ShiftBits]));
    assign m_wdata_o[h] = s_wdata_i[h*PartBits+:PartBits];
    assign m_wstrb_o[h] = s_wstrb_i[h*PartBits/8+:PartBits/8];
    assign s_rdata_o[h*PartBits+:PartBits] = m_rdata_i[h];
    // a part's answer is taken when those of all others are there
    assign m_rready_o[h] = s_rready_i && rid_valid && &(m_rvalid_i | Parts'(1 << h));
    assign m_bready_o[h] = s_bready_i && bid_valid && &(m_bvalid_i | Parts'(1 << h));
  end

  // --- requests to all ---------------------------------------------------------------------------------------------
  assign m_arvalid_o = {Parts{s_arvalid_i && ar_room}} & ~ar_done_q;
  assign m_awvalid_o = {Parts{s_awvalid_i && aw_room}} & ~aw_done_q;
  assign m_wvalid_o  = {Parts{s_wvalid_i}} & ~w_done_q;
  assign m_arlen_o   = s_arlen_i;
  assign m_awlen_o   = s_awlen_i;
  assign m_wlast_o   = s_wlast_i;
  assign s_arready_o = ar_room && &(ar_done_q | m_arready_i);
  assign s_awready_o = aw_room && &(aw_done_q | m_awready_i);
  assign s_wready_o  = &(w_done_q | m_wready_i);
  assign ar_take     = s_arvalid_i && s_arready_o;
  assign aw_take     = s_awvalid_i && s_awready_o;
  assign w_take      = s_wvalid_i && s_wready_o;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      ar_done_q <= '0;
      aw_done_q <= '0;
      w_done_q  <= '0;
    end else begin
      ar_done_q <= ar_take ? '0 : ar_done_q | (m_arvalid_o & m_arready_i);
      aw_done_q <= aw_take ? '0 : aw_done_q | (m_awvalid_o & m_awready_i);
      w_done_q  <= w_take ? '0 : w_done_q | (m_wvalid_o & m_wready_i);
    end
  end

  // --- answers of all ----------------------------------------------------------------------------------------------
  assign s_rvalid_o = rid_valid && &m_rvalid_i;
  assign s_rlast_o  = m_rlast_i[0];
  assign s_bvalid_o = bid_valid && &m_bvalid_i;

  always_comb begin
    s_rresp_o = '0;
    s_bresp_o = '0;
    for (int h = 0; h < Parts; h++) begin
      s_rresp_o |= m_rresp_i[h];
      s_bresp_o |= m_bresp_i[h];
    end
  end

  fifo #(
      .Width(4),
      .Depth(Flying)
  ) i_read_ids (
      .clk_i,
      .rst_ni,
      .in_valid_i (ar_take),
      .in_data_i  (s_arid_i),
      .in_ready_o (ar_room),
      .out_valid_o(rid_valid),
      .out_data_o (s_rid_o),
      .out_ready_i(s_rready_i && s_rvalid_o && s_rlast_o),
      .count_o    (unused_reads)
  );
  fifo #(
      .Width(4),
      .Depth(Flying)
  ) i_write_ids (
      .clk_i,
      .rst_ni,
      .in_valid_i (aw_take),
      .in_data_i  (s_awid_i),
      .in_ready_o (aw_room),
      .out_valid_o(bid_valid),
      .out_data_o (s_bid_o),
      .out_ready_i(s_bready_i && s_bvalid_o),
      .count_o    (unused_writes)
  );

  // bursts of all parts have the same length
  logic unused;
  assign unused = &{1'b0, m_rlast_i[Parts-1:1], unused_reads, unused_writes, 1'b0};
endmodule
