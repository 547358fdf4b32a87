// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// A value Depth cycles later. No reset, no stall.

module delay_line #(
    parameter int unsigned Width = 1,
    parameter int unsigned Depth = 1
) (
    input  logic             clk_i,
    input  logic [Width-1:0] in_i,
    output logic [Width-1:0] out_o
);
  if (Depth == 0) begin : gen_wire
    assign out_o = in_i;
    logic unused;
    assign unused = &{1'b0, clk_i, 1'b0};
  end else begin : gen_regs
    logic [Depth-1:0][Width-1:0] line_q;
    always_ff @(posedge clk_i) begin
      line_q[0] <= in_i;
      for (int i = 1; i < Depth; i++) line_q[i] <= line_q[i-1];
    end
    assign out_o = line_q[Depth-1];
  end
endmodule
