// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// One lane behind the accumulators: y = bias + s * (rho * float(I)), in that order, each step rounded
// (docs/numerics.md, "Matrices"). All operands come with the accumulator; valid_i to valid_o takes Latency cycles,
// without stall.

module drain_lane #(
    parameter int unsigned I2fLatency = 3,
    parameter int unsigned MulLatency = 3,
    parameter int unsigned AddLatency = 4,
    localparam int unsigned Latency = I2fLatency + 2 * MulLatency + AddLatency
) (
    input  logic        clk_i,
    input  logic        rst_ni,
    input  logic        valid_i,
    input  logic [47:0] sum_i,
    input  logic [31:0] rho_i,
    input  logic [31:0] scale_i,
    input  logic [31:0] bias_i,
    input  logic        has_bias_i,
    output logic        valid_o,
    output logic [31:0] y_o
);
  logic v1, v2, v3, v4;
  logic [31:0] f, fr, frs, sum, rho, scale, bias, plain;
  logic has_bias;

  int_to_fp32 i_float (
      .clk_i,
      .rst_ni,
      .valid_i,
      .in_i(sum_i),
      .valid_o(v1),
      .out_o(f)
  );
  delay_line #(
      .Width(32),
      .Depth(I2fLatency)
  ) i_rho (
      .clk_i,
      .in_i (rho_i),
      .out_o(rho)
  );
  fp32_mul i_mul_rho (
      .clk_i,
      .rst_ni,
      .valid_i(v1),
      .a_i(f),
      .b_i(rho),
      .valid_o(v2),
      .out_o(fr)
  );
  delay_line #(
      .Width(32),
      .Depth(I2fLatency + MulLatency)
  ) i_scale (
      .clk_i,
      .in_i (scale_i),
      .out_o(scale)
  );
  fp32_mul i_mul_scale (
      .clk_i,
      .rst_ni,
      .valid_i(v2),
      .a_i(fr),
      .b_i(scale),
      .valid_o(v3),
      .out_o(frs)
  );
  delay_line #(
      .Width(32),
      .Depth(I2fLatency + 2 * MulLatency)
  ) i_bias (
      .clk_i,
      .in_i (bias_i),
      .out_o(bias)
  );
  fp32_add i_add (
      .clk_i,
      .rst_ni,
      .valid_i(v3),
      .a_i(frs),
      .b_i(bias),
      .valid_o(v4),
      .out_o(sum)
  );
  // Without a bias the value passes: adding zero would change the sign of a negative zero.
  delay_line #(
      .Width(32),
      .Depth(AddLatency)
  ) i_plain (
      .clk_i,
      .in_i (frs),
      .out_o(plain)
  );
  delay_line #(
      .Width(1),
      .Depth(Latency)
  ) i_has (
      .clk_i,
      .in_i (has_bias_i),
      .out_o(has_bias)
  );
  assign valid_o = v4;
  assign y_o = has_bias ? sum : plain;
endmodule
