// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// exp2, recip and rsqrt by one quadratic interpolator in integers (docs/numerics.md, "Table functions"). Latency 5, no stall.
//   1 special cases; exp2: shift to fixed point   2 exp2: sign; coefficients   3 inner product   4 outer product   5 round, pack
// The products are a DSP each, with the coefficient at its adder.

module fp32_table (
    input  logic        clk_i,
    input  logic        rst_ni,
    input  logic        valid_i,
    input  logic [ 1:0] function_i,  // fp32_pkg::Table*
    input  logic [31:0] x_i,
    output logic        valid_o,
    output logic [31:0] out_o
);
  import fp32_pkg::*;
  import flightllm_numerics_pkg::*;

  logic [4:0] valid_q;
  always_ff @(posedge clk_i) valid_q <= rst_ni ? {valid_q[3:0], valid_i} : 5'd0;
  assign valid_o = valid_q[4];

  // --- 1
  typedef struct packed {
    logic              special;
    logic [31:0]       value;
    logic              sign;
    logic signed [9:0] exponent;  // biased, of a significand in [1, 2)
  } side_t;
  side_t s1_q, s2_q, s3_q, s4_q;
  logic [ 1:0] s1_table_q;
  logic [22:0] s1_fraction_q;
  logic s1_fixed_q, s1_minus_q, s1_lost_q;  // exp2 of a number that is not zero
  logic [30:0] s1_mag_q;

  // t * 2^23, floor: significand shifted by the exponent; 31 bits and those that fall off
  logic [7:0] e;
  /* verilator lint_off UNUSEDSIGNAL */  // what falls off is lost, but whether it is zero
  logic [53:0] wide;
  /* verilator lint_on UNUSEDSIGNAL */
  logic [30:0] mag;
  logic lost;
  logic [4:0] left;
  logic signed [9:0] power;
  assign e     = x_i[30:23];
  assign left  = 5'(e - 8'd104);  // 23 + (e - 127), for e in 104..133
  assign wide  = 54'({1'b1, x_i[22:0]}) << left;
  assign mag   = e < 8'd104 ? 31'd0 : wide[53:23];
  assign lost  = e < 8'd104 ? 1'b1 : |(x_i[22:0] & ({23{1'b1}} >> left));
  assign power = 10'(signed'({2'b0, e})) - 10'sd127;

  always_ff @(posedge clk_i) begin
    if (valid_i) begin
      s1_q <= '0;
      s1_fraction_q <= x_i[22:0];
      s1_fixed_q <= function_i == TableExp2 && !is_zero(x_i);
      s1_minus_q <= x_i[31];
      s1_lost_q <= lost;
      s1_mag_q <= mag;
      unique case (function_i)
        TableExp2: begin
          s1_table_q <= 2'd0;
          s1_fraction_q <= 23'd0;  // of zero; another number's comes from s1_mag_q
          s1_q.exponent <= 10'sd127;
          s1_q.special <= 1'b1;
          if (is_nan(x_i)) s1_q.value <= NotANumber;
          else if (!x_i[31] && e >= 8'd134) s1_q.value <= 32'h7f800000;  // t >= 128
          else if (x_i[31] && x_i[30:0] > 31'h42fc0000) s1_q.value <= 32'd0;  // t < -126
          else s1_q.special <= 1'b0;
        end
        TableRecip: begin
          s1_table_q <= 2'd1;
          s1_q.sign <= x_i[31];
          s1_q.exponent <= 10'sd253 - 10'(signed'({2'b0, e}));
          s1_q.special <= e == 8'd0 || e == 8'hff;
          s1_q.value <= e == 8'd0 ? {x_i[31], 8'hff, 23'd0} : is_nan(x_i) ? NotANumber : {x_i[31], 31'd0};
        end
        default: begin
          s1_table_q <= {1'b1, power[0]};
          s1_q.exponent <= 10'sd126 - (power >>> 1);
          s1_q.special <= e == 8'd0 || e == 8'hff || x_i[31];
          s1_q.value <= e == 8'd0 ? 32'h7f800000 : (!x_i[31] && x_i[22:0] == 23'd0) ? 32'd0 : NotANumber;
        end
      endcase
    end
  end

  // --- 2: sign of the fixed-point number, rounded down; coefficients of the segment
  logic signed [31:0] fixed;
  logic [22:0] fraction;
  assign fixed = (signed'({1'b0, s1_mag_q}) ^ {32{s1_minus_q}}) + 32'(s1_minus_q && !s1_lost_q);
  assign fraction = s1_fixed_q ? fixed[22:0] : s1_fraction_q;
  logic signed [$bits(C0[0])-1:0] s2_c0_q, s3_c0_q;
  logic signed [$bits(C1[0])-1:0] s2_c1_q;
  logic signed [$bits(C2[0])-1:0] s2_c2_q;
  logic signed [15:0] s2_d_q, s3_d_q;
  logic [8:0] row;
  assign row = {s1_table_q, fraction[22:16]};
  always_ff @(posedge clk_i) begin
    if (valid_q[0]) begin
      s2_q    <= s1_q;
      s2_c0_q <= C0[row];
      s2_c1_q <= C1[row];
      s2_c2_q <= C2[row];
      s2_d_q  <= {!fraction[15], fraction[14:0]};
      if (s1_fixed_q) s2_q.exponent <= 10'(fixed >>> 23) + 10'sd127;
    end
  end

  // --- 3, 4: c0 + d (c1 + d c2), arithmetic shifts. A coefficient is added above the bits that the shift drops, which is the same
  // and leaves one multiply-add.
  /* verilator lint_off UNUSEDSIGNAL */  // the shift drops bits
  logic signed [37:0] inner;
  /* verilator lint_on UNUSEDSIGNAL */
  logic signed [22:0] s3_inner_q;
  /* verilator lint_off UNUSEDSIGNAL */  // the shift drops bits
  logic signed [45:0] outer;
  /* verilator lint_on UNUSEDSIGNAL */
  logic signed [30:0] s4_r_q;
  assign inner = 38'(s2_d_q * 30'(s2_c2_q)) + 38'(signed'({s2_c1_q, 15'd0}));
  assign outer = 46'(s3_d_q * 39'(s3_inner_q)) + 46'(signed'({s3_c0_q, 15'd0}));
  always_ff @(posedge clk_i) begin
    if (valid_q[1]) begin
      s3_q       <= s2_q;
      s3_c0_q    <= s2_c0_q;
      s3_d_q     <= s2_d_q;
      s3_inner_q <= inner[37:15];
    end
    if (valid_q[2]) begin
      s4_q   <= s3_q;
      s4_r_q <= outer[45:15];
    end
  end

  // --- 5
  /* verilator lint_off UNUSEDSIGNAL */  // at most 2^24
  logic [26:0] significand;
  /* verilator lint_on UNUSEDSIGNAL */
  logic signed [9:0] exponent;
  assign significand = 27'((32'(s4_r_q) + 32'sd16) >>> 5);
  assign exponent    = s4_q.exponent + 10'(signed'({9'd0, significand[24]}));
  always_ff @(posedge clk_i) begin
    if (valid_q[3]) begin
      if (s4_q.special) out_o <= s4_q.value;
      else if (exponent < 10'sd1) out_o <= {s4_q.sign, 31'd0};
      else if (exponent > 10'sd254) out_o <= {s4_q.sign, 8'hff, 23'd0};
      else out_o <= {s4_q.sign, exponent[7:0], significand[24] ? significand[23:1] : significand[22:0]};
    end
  end
endmodule
