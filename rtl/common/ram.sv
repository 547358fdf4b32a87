// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Memory with one write and one read port and a registered read, in UltraRAM or block RAM: the style of an inferred memory is an
// attribute and cannot depend on a parameter otherwise. A read of the word written in the same cycle gives the old one.

module ram #(
    parameter int unsigned Width = 64,
    parameter int unsigned Depth = 1024,
    parameter bit Ultra = 1'b0,
    localparam int unsigned AddrWidth = (Depth > 1) ? $clog2(Depth) : 1
) (
    input  logic                 clk_i,
    input  logic                 we_i,
    input  logic [AddrWidth-1:0] waddr_i,
    input  logic [    Width-1:0] wdata_i,
    input  logic                 re_i,
    input  logic [AddrWidth-1:0] raddr_i,
    output logic [    Width-1:0] rdata_o
);
  if (Ultra) begin : gen_ultra
    (* ram_style = "ultra" *) logic [Width-1:0] mem[Depth];
    always_ff @(posedge clk_i) begin
      if (we_i) mem[waddr_i] <= wdata_i;
      if (re_i) rdata_o <= mem[raddr_i];
    end
  end else begin : gen_block
    (* ram_style = "block" *) logic [Width-1:0] mem[Depth];
    always_ff @(posedge clk_i) begin
      if (we_i) mem[waddr_i] <= wdata_i;
      if (re_i) rdata_o <= mem[raddr_i];
    end
  end
endmodule
