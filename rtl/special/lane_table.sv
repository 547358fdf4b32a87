// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// One function of fp32_table on every lane.

module lane_table #(
    parameter int unsigned Lanes    = 16,
    parameter logic [1:0]  Function = 2'd0  // fp32_pkg::Table*
) (
    input  logic                   clk_i,
    input  logic                   rst_ni,
    input  logic                   valid_i,
    input  logic [Lanes-1:0][31:0] x_i,
    output logic                   valid_o,
    output logic [Lanes-1:0][31:0] out_o
);
  logic [Lanes-1:0] valid;
  assign valid_o = valid[0];
  for (genvar l = 0; l < Lanes; l++) begin : gen_lane
    fp32_table i_table (
        .clk_i,
        .rst_ni,
        .valid_i,
        .function_i(Function),
        .x_i       (x_i[l]),
        .valid_o   (valid[l]),
        .out_o     (out_o[l])
    );
  end
  logic unused;
  assign unused = &{1'b0, valid, 1'b0};
endmodule
