// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// fp32 to a signed integer in [-top, top], round to nearest even, saturating, NaN gives 0. top below 2^15. Latency 2, no stall.

module fp32_to_int (
    input  logic               clk_i,
    input  logic               rst_ni,
    input  logic               valid_i,
    input  logic        [31:0] in_i,
    input  logic        [14:0] top_i,
    output logic               valid_o,
    output logic signed [15:0] out_o
);
  import fp32_pkg::*;
  logic [1:0] valid_q;
  always_ff @(posedge clk_i) valid_q <= rst_ni ? {valid_q[0], valid_i} : 2'd0;
  assign valid_o = valid_q[1];

  // 1: shift the significand so that bit 0 is the half; whether anything lies below is told in parts
  logic s1_sign_q, s1_big_q, s1_zero_q;
  logic [16:0] s1_fixed_q;
  logic [3:0] s1_lost_q;
  logic [14:0] s1_top_q;
  logic [7:0] shift;
  logic far;  // nothing is left, not even the half
  logic [23:0] wide, fixed, lost;
  assign shift = 8'd142 - in_i[30:23];  // exponent 15: no shift
  assign far   = shift > 8'd16;
  assign wide  = {1'b1, in_i[22:0]};
  assign fixed = wide >> shift[4:0];
  assign lost  = ~({24{1'b1}} << shift[4:0]);
  always_ff @(posedge clk_i) begin
    if (valid_i) begin
      s1_sign_q <= in_i[31];
      s1_zero_q <= is_zero(in_i) || is_nan(in_i);
      s1_big_q <= in_i[30:23] > 8'd142;
      s1_fixed_q <= far ? 17'd0 : fixed[23:7];  // 16 integer bits and the half
      s1_lost_q[0] <= far || fixed[6:0] != 7'd0;
      for (int k = 0; k < 3; k++) s1_lost_q[k+1] <= (wide[8*k+:8] & lost[8*k+:8]) != 8'd0;
      s1_top_q <= top_i;
    end
  end

  // 2: round and saturate
  logic [16:0] rounded;
  logic [15:0] limited;
  assign rounded = {1'b0, s1_fixed_q[16:1]} + 17'(s1_fixed_q[0] && (s1_lost_q != 4'd0 || s1_fixed_q[1]));
  assign limited = (s1_big_q || rounded > 17'(s1_top_q)) ? 16'(s1_top_q) : rounded[15:0];
  always_ff @(posedge clk_i) begin
    if (valid_q[0]) out_o <= s1_zero_q ? 16'sd0 : s1_sign_q ? -signed'(limited) : signed'(limited);
  end
endmodule
