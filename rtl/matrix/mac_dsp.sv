// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// One DSP of a CSD-chain: two int8 activations, packed 18 bits apart by the pre-adder, times one int8 weight, plus the
// cascade or zero. Packed sum: (sum of a * w) * 2^18 + (sum of b * w). Two VPUs in a chain: or two weights, times one activation.
// Latency 4: operands in cycle t, p_o in cycle t + 4; pcin_i and cut_i belong to cycle t + 3.

module mac_dsp (
    input  logic               clk_i,
    input  logic               ce_i,
    input  logic signed [ 7:0] a_i,       // lane a
    input  logic signed [ 7:0] b_i,       // lane b
    input  logic signed [ 7:0] weight_i,
    input  logic               cut_i,     // begin a new sum instead of adding the cascade
    input  logic        [47:0] pcin_i,
    output logic        [47:0] pcout_o,
    output logic        [47:0] p_o
);
  dsp_slice #(
      .AReg    (1),
      .BReg    (2),
      .AMultSel("AD")
  ) i_slice (
      .clk_i,
      .ce_i,
      .a_i      (27'(b_i)),
      .b_i      (18'(weight_i)),
      .c_i      (48'd0),
      .d_i      (27'(a_i) <<< 18),
      .use_a_i  (1'b1),
      .use_d_i  (1'b1),
      .product_i(1'b1),
      .base_i   (2'b00),
      .cascade_i(!cut_i),
      .pcin_i,
      .pcout_o,
      .p_o
  );
endmodule
