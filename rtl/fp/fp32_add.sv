// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// a + b in fp32 (docs/numerics.md): round to nearest even, subnormals flushed on both sides. Latency 4, no stall.
//   1 order by magnitude   2 align   3 add or subtract, count leading zeros   4 normalise, round, pack

module fp32_add (
    input  logic        clk_i,
    input  logic        rst_ni,
    input  logic        valid_i,
    input  logic [31:0] a_i,
    input  logic [31:0] b_i,
    output logic        valid_o,
    output logic [31:0] out_o
);
  import fp32_pkg::*;

  logic [3:0] valid_q;
  always_ff @(posedge clk_i) valid_q <= rst_ni ? {valid_q[2:0], valid_i} : 4'd0;
  assign valid_o = valid_q[3];

  // --- 1: the larger magnitude first; results that need no arithmetic
  logic [31:0] a, b;
  logic swap;
  assign a = flush(a_i);
  assign b = flush(b_i);
  assign swap = b[30:0] > a[30:0];

  logic s1_special_q, s1_sign_q, s1_subtract_q;
  logic [31:0] s1_value_q;
  logic [7:0] s1_exp_q, shift;
  logic [4:0] s1_shift_q;  // above 27 only the sticky bit is left
  assign shift = swap ? b[30:23] - a[30:23] : a[30:23] - b[30:23];
  logic [23:0] s1_big_q, s1_small_q;
  always_ff @(posedge clk_i) begin
    if (valid_i) begin
      s1_special_q <= 1'b1;
      if (is_nan(a) || is_nan(b) || (is_inf(a) && is_inf(b) && a[31] != b[31])) s1_value_q <= NotANumber;
      else if (is_inf(a)) s1_value_q <= a;
      else if (is_inf(b)) s1_value_q <= b;
      else if (is_zero(a) && is_zero(b)) s1_value_q <= {a[31] & b[31], 31'd0};
      else if (is_zero(b)) s1_value_q <= a;
      else if (is_zero(a)) s1_value_q <= b;
      else s1_special_q <= 1'b0;
      s1_sign_q     <= swap ? b[31] : a[31];
      s1_subtract_q <= a[31] ^ b[31];
      s1_exp_q      <= swap ? b[30:23] : a[30:23];
      s1_shift_q    <= shift > 8'd27 ? 5'd27 : shift[4:0];
      s1_big_q      <= {1'b1, swap ? b[22:0] : a[22:0]};
      s1_small_q    <= {1'b1, swap ? a[22:0] : b[22:0]};
    end
  end

  // --- 2: align, with guard, round and sticky bit
  logic s2_special_q, s2_sign_q, s2_subtract_q;
  logic [31:0] s2_value_q;
  logic [ 7:0] s2_exp_q;
  logic [23:0] s2_big_q;
  logic [26:0] s2_small_q;
  logic [50:0] aligned;
  assign aligned = {s1_small_q, 27'd0} >> s1_shift_q;
  always_ff @(posedge clk_i) begin
    if (valid_q[0]) begin
      s2_special_q  <= s1_special_q;
      s2_value_q    <= s1_value_q;
      s2_sign_q     <= s1_sign_q;
      s2_subtract_q <= s1_subtract_q;
      s2_exp_q      <= s1_exp_q;
      s2_big_q      <= s1_big_q;
      s2_small_q    <= {aligned[50:25], |aligned[24:0]};
    end
  end

  // --- 3: add; zeros above the leading one
  logic s3_special_q, s3_sign_q, s3_zero_q;
  logic [31:0] s3_value_q;
  logic [ 7:0] s3_exp_q;
  logic [27:0] s3_sum_q, sum;
  logic [4:0] s3_lead_q, lead;
  logic zero;
  assign sum = {1'b0, s2_big_q, 3'd0} + ({1'b0, s2_small_q} ^ {28{s2_subtract_q}}) + 28'(s2_subtract_q);
  leading_zeros #(
      .Width(28)
  ) i_lead (
      .in_i   (sum),
      .count_o(lead),
      .zero_o (zero)
  );
  always_ff @(posedge clk_i) begin
    if (valid_q[1]) begin
      s3_special_q <= s2_special_q;
      s3_value_q   <= s2_value_q;
      s3_sign_q    <= s2_sign_q;
      s3_exp_q     <= s2_exp_q;
      s3_sum_q     <= sum;
      s3_lead_q    <= lead;
      s3_zero_q    <= zero;
    end
  end

  // --- 4: normalise and round
  /* verilator lint_off UNUSEDSIGNAL */  // bit 27 is the leading one
  logic [27:0] norm;
  /* verilator lint_on UNUSEDSIGNAL */
  // leading one to bit 27; a carry kept the sticky bit because bit 0 is part of it
  assign norm = s3_sum_q << s3_lead_q;
  logic [31:0] rounded;
  fp32_round i_round (
      .sign_i    (s3_sign_q),
      .exponent_i(10'(signed'({2'b0, s3_exp_q})) + 10'sd1 - 10'(signed'({5'd0, s3_lead_q}))),
      .fraction_i(norm[26:4]),
      .half_i    (norm[3]),
      .sticky_i  (|norm[2:0]),
      .out_o     (rounded)
  );
  always_ff @(posedge clk_i) begin
    if (valid_q[2]) out_o <= s3_special_q ? s3_value_q : s3_zero_q ? 32'd0 : rounded;
  end
endmodule
