// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Write side of one memory channel: 64 bytes with strobes at a time, as a burst of one beat (or of the parts of a narrower
// port). busy_o until every write has been answered.

module axi_writer #(
    parameter int unsigned PortBits  = 512,
    parameter int unsigned MaxFlying = 32
) (
    input  logic                  clk_i,
    input  logic                  rst_ni,
    input  logic [          63:0] base_i,
    input  logic                  valid_i,
    input  logic [          39:0] addr_i,     // 64-byte aligned
    input  logic [         511:0] data_i,
    input  logic [          63:0] strb_i,
    output logic                  ready_o,
    output logic                  busy_o,
    output logic                  error_o,
    // AXI4
    output logic                  awvalid_o,
    input  logic                  awready_i,
    output logic [          63:0] awaddr_o,
    output logic [           7:0] awlen_o,
    output logic [           3:0] awid_o,
    output logic                  wvalid_o,
    input  logic                  wready_i,
    output logic [  PortBits-1:0] wdata_o,
    output logic [PortBits/8-1:0] wstrb_o,
    output logic                  wlast_o,
    input  logic                  bvalid_i,
    output logic                  bready_o,
    input  logic [           1:0] bresp_i
);
  localparam int unsigned Parts = 512 / PortBits;
  localparam int unsigned PartWidth = (Parts > 1) ? $clog2(Parts) : 1;

  logic aw_q, w_q;  // address, data still to be taken
  logic [511:0] data_q;
  logic [63:0] strb_q;
  logic [PartWidth-1:0] part_q;
  logic [5:0] flying_q;
  logic room_q;  // flying_q is below MaxFlying
  logic take, w_end;

  assign w_end = wready_i && part_q == PartWidth'(Parts - 1);
  assign ready_o = (!aw_q || awready_i) && (!w_q || w_end) && room_q;
  assign take = valid_i && ready_o;
  assign busy_o = aw_q || w_q || flying_q != '0;

  assign awvalid_o = aw_q;
  assign awlen_o   = 8'(Parts - 1);
  assign awid_o    = 4'd0;
  assign wvalid_o  = w_q;
  assign wlast_o   = part_q == PartWidth'(Parts - 1);
  assign bready_o  = 1'b1;
  if (Parts == 1) begin : gen_whole
    assign wdata_o = data_q;
    assign wstrb_o = strb_q;
  end else begin : gen_parts
    assign wdata_o = data_q[32'(part_q)*PortBits+:PortBits];
    assign wstrb_o = strb_q[32'(part_q)*PortBits/8+:PortBits/8];
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      aw_q     <= 1'b0;
      w_q      <= 1'b0;
      part_q   <= '0;
      flying_q <= '0;
      room_q   <= 1'b1;
      error_o  <= 1'b0;
    end else begin
      error_o  <= bvalid_i && bresp_i != 2'b00;
      flying_q <= flying_q + 6'(take) - 6'(bvalid_i);
      if (take == bvalid_i) room_q <= flying_q < 6'(MaxFlying);
      else room_q <= bvalid_i || flying_q < 6'(MaxFlying - 1);
      if (awready_i) aw_q <= 1'b0;
      if (w_q && wready_i) begin
        part_q <= w_end ? '0 : part_q + PartWidth'(1);
        if (w_end) w_q <= 1'b0;
      end
      if (take) begin
        aw_q <= 1'b1;
        w_q  <= 1'b1;
      end
    end
    if (take) begin
      awaddr_o <= base_i + 64'(addr_i);
      data_q   <= data_i;
      strb_q   <= strb_i;
    end
  end
endmodule
