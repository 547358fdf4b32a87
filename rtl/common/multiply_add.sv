// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// sum_o = c_i + a_i * b_i modulo 2^40, four cycles later; operands may enter in every cycle. The product is cut into parts of one DSP
// each, with a register behind them, so that no path holds more than one multiplication or one addition.

module multiply_add (
    input  logic               clk_i,
    input  logic signed [31:0] a_i,
    input  logic        [39:0] b_i,
    input  logic        [39:0] c_i,
    output logic        [39:0] sum_o
);
  logic signed [31:0] a_q;
  logic [39:0] b_q, c_q, c2_q, low_q, high_q;
  // a = 2^17 a1 + a0, b = 2^26 b1 + b0; of a1 b0 and a0 b1 only what lies below 2^40
  logic [39:0] a0b0_q;
  logic [22:0] a1b0_q;
  logic [13:0] a0b1_q;
  logic signed [22:0] a1;
  assign a1 = 23'(signed'(a_q[31:17]));
  always_ff @(posedge clk_i) begin
    a_q    <= a_i;
    b_q    <= b_i;
    c_q    <= c_i;
    a0b0_q <= 40'(a_q[16:0]) * 40'(b_q[25:0]);
    a1b0_q <= unsigned'(a1) * b_q[22:0];
    a0b1_q <= a_q[13:0] * b_q[39:26];
    c2_q   <= c_q;
    low_q  <= a0b0_q + {a1b0_q, 17'd0};
    high_q <= c2_q + {a0b1_q, 26'd0};
    sum_o  <= low_q + high_q;
  end
endmodule
