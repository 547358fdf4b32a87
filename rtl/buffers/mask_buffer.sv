// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Mask buffer (MB): bytes, one write port, one read port each for L, M and S; answers two cycles after the address.

module mask_buffer #(
    parameter  int unsigned Bytes = 4096,
    localparam int unsigned Ports = 3
) (
    input  logic                   clk_i,
    input  logic                   we_i,
    input  logic [     15:0]       waddr_i,
    input  logic [      7:0]       wdata_i,
    input  logic [Ports-1:0][15:0] addr_i,
    output logic [Ports-1:0][ 7:0] data_o
);
  localparam int unsigned AddrWidth = $clog2(Bytes);
  for (genvar p = 0; p < Ports; p++) begin : gen_port
    logic [7:0] mem[Bytes];
    logic [7:0] read_q;
    always_ff @(posedge clk_i) begin
      if (we_i && 32'(waddr_i) < Bytes) mem[AddrWidth'(waddr_i)] <= wdata_i;
      read_q    <= mem[AddrWidth'(addr_i[p])];
      data_o[p] <= read_q;
    end
  end
endmodule
