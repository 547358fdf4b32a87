// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// All fp32 units side by side, for their test.

module fp_bench (
    input  logic               clk_i,
    input  logic               rst_ni,
    input  logic               valid_i,
    input  logic        [31:0] a_i,
    input  logic        [31:0] b_i,
    input  logic        [47:0] int_i,
    input  logic        [ 1:0] function_i,
    input  logic        [14:0] top_i,
    output logic        [ 4:0] valid_o,
    output logic        [31:0] add_o,
    output logic        [31:0] mul_o,
    output logic        [31:0] float_o,
    output logic signed [15:0] int_o,
    output logic        [31:0] table_o
);
  fp32_add i_add (.clk_i, .rst_ni, .valid_i, .a_i, .b_i, .valid_o(valid_o[0]), .out_o(add_o));
  fp32_mul i_mul (.clk_i, .rst_ni, .valid_i, .a_i, .b_i, .valid_o(valid_o[1]), .out_o(mul_o));
  int_to_fp32 i_float (.clk_i, .rst_ni, .valid_i, .in_i(int_i), .valid_o(valid_o[2]), .out_o(float_o));
  fp32_to_int i_int (.clk_i, .rst_ni, .valid_i, .in_i(a_i), .top_i, .valid_o(valid_o[3]), .out_o(int_o));
  fp32_table i_table (.clk_i, .rst_ni, .valid_i, .function_i, .x_i(a_i), .valid_o(valid_o[4]), .out_o(table_o));
endmodule
