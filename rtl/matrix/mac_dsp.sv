// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// One DSP of a CSD-chain: two int8 activations, packed 18 bits apart by the pre-adder, times one int8 weight, plus the
// cascade or zero. Packed sum: (sum of a * w) * 2^18 + (sum of b * w).
// Latency 4: operands in cycle t, p_o in cycle t + 4; pcin_i and cut_i belong to cycle t + 3.

module mac_dsp (
    input  logic               clk_i,
    input  logic               ce_i,
    input  logic signed [ 7:0] a_i,       // token lane a
    input  logic signed [ 7:0] b_i,       // token lane b
    input  logic signed [ 7:0] weight_i,
    input  logic               cut_i,     // begin a new sum instead of adding the cascade
    input  logic        [47:0] pcin_i,
    output logic        [47:0] pcout_o,
    output logic        [47:0] p_o
);
  DSP48E2 #(
      .AREG         (1),
      .BREG         (2),
      .DREG         (1),
      .ADREG        (1),
      .MREG         (1),
      .PREG         (1),
      .AMULTSEL     ("AD"),
      .OPMODEREG    (0),
      .INMODEREG    (0),
      .ALUMODEREG   (0),
      .CARRYINREG   (0),
      .CARRYINSELREG(0)
  ) i_dsp (
      .CLK       (clk_i),
      .A         (30'(b_i)),
      .B         (18'(weight_i)),
      .C         (48'd0),
      .D         (27'(a_i) <<< 18),
      .PCIN      (pcin_i),
      .OPMODE    ({2'b00, cut_i ? 3'b000 : 3'b001, 4'b0101}),
      .ALUMODE   (4'b0000),
      .INMODE    (5'b00100),
      .CARRYINSEL(3'b000),
      .CARRYIN   (1'b0),
      .CEA1      (ce_i),
      .CEA2      (ce_i),
      .CEB1      (ce_i),
      .CEB2      (ce_i),
      .CEC       (1'b0),
      .CED       (ce_i),
      .CEAD      (ce_i),
      .CEM       (ce_i),
      .CEP       (ce_i),
      .P         (p_o),
      .PCOUT     (pcout_o)
  );
endmodule
