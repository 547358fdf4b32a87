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

  // --- 1: the larger magnitude first (subnormals need no flush for that: two of them are a zero whatever their order)
  logic swap;
  assign swap = b_i[30:0] > a_i[30:0];
  // what stage 2 knows a NaN or a zero by: top exponent, some fraction, exponent zero
  logic s1_a_top_q, s1_b_top_q, s1_a_some_q, s1_b_some_q, s1_a_zero_q, s1_b_zero_q;
  logic s1_zero_sign_q, s1_sign_q, s1_subtract_q;
  logic [7:0] s1_exp_q, s1_shift_q;
  logic [23:0] s1_big_q, s1_small_q;
  always_ff @(posedge clk_i) begin
    if (valid_i) begin
      s1_a_top_q     <= &a_i[30:23];
      s1_b_top_q     <= &b_i[30:23];
      s1_a_some_q    <= |a_i[22:0];
      s1_b_some_q    <= |b_i[22:0];
      s1_a_zero_q    <= is_zero(a_i);
      s1_b_zero_q    <= is_zero(b_i);
      s1_zero_sign_q <= a_i[31] & b_i[31];
      s1_sign_q      <= swap ? b_i[31] : a_i[31];
      s1_subtract_q  <= a_i[31] ^ b_i[31];
      s1_exp_q       <= swap ? b_i[30:23] : a_i[30:23];
      s1_shift_q     <= swap ? b_i[30:23] - a_i[30:23] : a_i[30:23] - b_i[30:23];
      s1_big_q       <= {1'b1, swap ? b_i[22:0] : a_i[22:0]};
      s1_small_q     <= {1'b1, swap ? a_i[22:0] : b_i[22:0]};
    end
  end

  // --- 2: align, with guard and round bit, and sticky: what is shifted out; results that need no arithmetic: a NaN, a zero, or the
  // larger operand as it is
  logic s2_special_q, s2_sign_q, s2_subtract_q;
  logic [31:0] s2_value_q;
  logic [ 7:0] s2_exp_q;
  logic [23:0] s2_big_q;
  logic [26:0] s2_small_q;
  logic [25:0] wide, aligned, lost;
  logic far, nan;
  assign nan = (s1_a_top_q && s1_a_some_q) || (s1_b_top_q && s1_b_some_q) ||
      (s1_a_top_q && s1_b_top_q && s1_subtract_q);
  assign far     = s1_shift_q > 8'd25;
  assign wide    = {s1_small_q, 2'd0};
  assign aligned = wide >> s1_shift_q[4:0];
  assign lost    = ~({26{1'b1}} << s1_shift_q[4:0]);
  always_ff @(posedge clk_i) begin
    if (valid_q[0]) begin
      s2_special_q <= s1_a_top_q || s1_b_top_q || s1_a_zero_q || s1_b_zero_q;  // a NaN has the top exponent
      if (nan) s2_value_q <= NotANumber;
      else if (s1_a_zero_q && s1_b_zero_q) s2_value_q <= {s1_zero_sign_q, 31'd0};
      else s2_value_q <= {s1_sign_q, s1_exp_q, s1_big_q[22:0]};
      s2_sign_q     <= s1_sign_q;
      s2_subtract_q <= s1_subtract_q;
      s2_exp_q      <= s1_exp_q;
      s2_big_q      <= s1_big_q;
      s2_small_q    <= far ? 27'd1 : {aligned, |(wide & lost)};
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
