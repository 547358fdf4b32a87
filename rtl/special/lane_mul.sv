// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// fp32_mul on every lane.

module lane_mul #(
    parameter int unsigned Lanes = 16
) (
    input  logic                   clk_i,
    input  logic                   rst_ni,
    input  logic                   valid_i,
    input  logic [Lanes-1:0][31:0] a_i,
    input  logic [Lanes-1:0][31:0] b_i,
    output logic                   valid_o,
    output logic [Lanes-1:0][31:0] out_o
);
  logic [Lanes-1:0] valid;
  assign valid_o = valid[0];
  for (genvar l = 0; l < Lanes; l++) begin : gen_lane
    fp32_mul i_mul (
        .clk_i,
        .rst_ni,
        .valid_i,
        .a_i    (a_i[l]),
        .b_i    (b_i[l]),
        .valid_o(valid[l]),
        .out_o  (out_o[l])
    );
  end
  logic unused;
  assign unused = &{1'b0, valid, 1'b0};
endmodule
