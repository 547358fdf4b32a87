// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// 48-bit signed integer to fp32, one rounding to nearest even. Latency 3, no stall.
//   1 magnitude, count leading zeros   2 normalise   3 round, pack

module int_to_fp32 (
    input  logic        clk_i,
    input  logic        rst_ni,
    input  logic        valid_i,
    input  logic [47:0] in_i,
    output logic        valid_o,
    output logic [31:0] out_o
);
  logic [2:0] valid_q;
  always_ff @(posedge clk_i) valid_q <= rst_ni ? {valid_q[1:0], valid_i} : 3'd0;
  assign valid_o = valid_q[2];

  logic s1_sign_q, s2_sign_q, s1_zero_q, s2_zero_q;
  logic [47:0] s1_mag_q, s2_norm_q, mag;
  logic [7:0] s2_exp_q;
  logic [5:0] s1_lead_q, lead;
  logic zero;
  assign mag = (in_i ^ {48{in_i[47]}}) + 48'(in_i[47]);
  leading_zeros #(
      .Width(48)
  ) i_lead (
      .in_i   (mag),
      .count_o(lead),
      .zero_o (zero)
  );

  logic round_up;
  logic [24:0] rounded;
  assign round_up = s2_norm_q[23] && (|s2_norm_q[22:0] || s2_norm_q[24]);
  assign rounded  = {1'b0, s2_norm_q[47:24]} + 25'(round_up);

  always_ff @(posedge clk_i) begin
    if (valid_i) begin
      s1_sign_q <= in_i[47];
      s1_mag_q  <= mag;
      s1_lead_q <= lead;
      s1_zero_q <= zero;
    end
    if (valid_q[0]) begin
      s2_sign_q <= s1_sign_q;
      s2_zero_q <= s1_zero_q;
      s2_norm_q <= s1_mag_q << s1_lead_q;
      s2_exp_q  <= 8'd174 - 8'(s1_lead_q);  // 127 + 47
    end
    if (valid_q[1]) begin
      out_o <= s2_zero_q ? 32'd0 : {s2_sign_q, s2_exp_q + 8'(rounded[24]), rounded[24] ? rounded[23:1] : rounded[22:0]};
    end
  end
endmodule
