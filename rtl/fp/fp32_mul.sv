// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// a * b in fp32 (docs/numerics.md): round to nearest even, subnormals flushed on both sides, tininess before rounding.
// Latency 3, no stall.   1 unpack, multiply   2 product register   3 normalise, round, pack

module fp32_mul (
    input  logic        clk_i,
    input  logic        rst_ni,
    input  logic        valid_i,
    input  logic [31:0] a_i,
    input  logic [31:0] b_i,
    output logic        valid_o,
    output logic [31:0] out_o
);
  import fp32_pkg::*;

  logic [2:0] valid_q;
  always_ff @(posedge clk_i) valid_q <= rst_ni ? {valid_q[1:0], valid_i} : 3'd0;
  assign valid_o = valid_q[2];

  // Operands are classified in stage 1; a result that needs no multiplication is made in stage 2.
  logic s1_nan_q, s1_inf_q, s1_zero_q, s1_sign_q, s2_special_q, s2_sign_q;
  logic [31:0] s2_value_q;
  logic signed [9:0] s1_exp_q, s2_exp_q;
  logic [23:0] s1_a_q, s1_b_q;
  logic [47:0] s2_product_q;

  always_ff @(posedge clk_i) begin
    if (valid_i) begin
      s1_nan_q <= is_nan(a_i) || is_nan(b_i);
      s1_inf_q <= (&a_i[30:23]) || (&b_i[30:23]);
      s1_zero_q <= is_zero(a_i) || is_zero(b_i);
      s1_sign_q <= a_i[31] ^ b_i[31];
      s1_exp_q <= 10'(signed'({2'b0, a_i[30:23]})) + 10'(signed'({2'b0, b_i[30:23]})) - 10'sd127;
      s1_a_q <= {1'b1, a_i[22:0]};
      s1_b_q <= {1'b1, b_i[22:0]};
    end
    if (valid_q[0]) begin
      s2_special_q <= s1_nan_q || s1_inf_q || s1_zero_q;
      s2_value_q   <= (s1_nan_q || (s1_inf_q && s1_zero_q)) ? NotANumber : {s1_sign_q, s1_inf_q ? 8'hff : 8'd0, 23'd0};
      s2_sign_q    <= s1_sign_q;
      s2_exp_q     <= s1_exp_q;
      s2_product_q <= s1_a_q * s1_b_q;
    end
  end

  // The product's leading one is bit 47 or 46.
  /* verilator lint_off UNUSEDSIGNAL */  // bit 47 is the leading one, what lies below bit 23 is sticky
  logic [47:0] norm;
  /* verilator lint_on UNUSEDSIGNAL */
  logic [31:0] rounded;
  assign norm = s2_product_q[47] ? s2_product_q : s2_product_q << 1;
  fp32_round i_round (
      .sign_i    (s2_sign_q),
      .exponent_i(s2_exp_q + 10'(signed'({9'd0, s2_product_q[47]}))),
      .fraction_i(norm[46:24]),
      .half_i    (norm[23]),
      .sticky_i  (|s2_product_q[21:0] || (s2_product_q[47] && s2_product_q[22])),
      .out_o     (rounded)
  );
  always_ff @(posedge clk_i) if (valid_q[1]) out_o <= s2_special_q ? s2_value_q : rounded;
endmodule
