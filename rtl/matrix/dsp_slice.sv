// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// The DSP48E2 as this design uses it: p = w + z + a * b, or w + z + (a + d) * b with the pre-adder; z is zero or the
// cascade, w is zero, c or the last p. The pre-adder can leave out a or d, the adder the product.
// The one place that instantiates the primitive: every parameter whose default would differ and every input is stated,
// because a control input with a register (the primitive's default) and no clock enable never changes.
// Operands of cycle t are in p_o in cycle t + 2 + AReg (t + 4 with the pre-adder, AReg = 1); c_i, product_i, base_i, cascade_i and
// pcin_i belong to the cycle before; use_a_i and use_d_i (pre-adder) to t + 1.

module dsp_slice #(
    parameter int unsigned AReg     = 1,   // registers before the multiplier, 1 or 2
    parameter int unsigned BReg     = 1,
    // verilog_lint: waive explicit-parameter-storage-type
    parameter              AMultSel = "A"  // "AD": a + d
) (
    input  logic        clk_i,
    input  logic        ce_i,
    input  logic [26:0] a_i,
    input  logic [17:0] b_i,
    input  logic [47:0] c_i,
    input  logic [26:0] d_i,
    input  logic        use_a_i,
    input  logic        use_d_i,
    input  logic        product_i,
    input  logic [ 1:0] base_i,     // w: 00 zero, 01 the last p, 11 c
    input  logic        cascade_i,  // add the cascade
    input  logic [47:0] pcin_i,
    output logic [47:0] pcout_o,
    output logic [47:0] p_o
);
  // verilator lint_off WIDTHEXPAND  // strings of different lengths
  localparam bit PreAdder = (AMultSel == "AD");
  // verilator lint_on WIDTHEXPAND

  DSP48E2 #(
      .AREG         (AReg),
      .BREG         (BReg),
      .CREG         (0),
      .DREG         (1),
      .ADREG        (1),
      .MREG         (1),
      .PREG         (1),
      .AMULTSEL     (AMultSel),
      .OPMODEREG    (0),
      .INMODEREG    (0),
      .ALUMODEREG   (0),
      .CARRYINREG   (0),
      .CARRYINSELREG(0),
      .USE_MULT     ("MULTIPLY")
  ) i_dsp (
      .CLK          (clk_i),
      .A            (30'(signed'(a_i))),
      .B            (b_i),
      .C            (c_i),
      .D            (d_i),
      .PCIN         (pcin_i),
      .ACIN         (30'd0),
      .BCIN         (18'd0),
      .CARRYCASCIN  (1'b0),
      .MULTSIGNIN   (1'b0),
      .OPMODE       ({base_i, 2'b00, cascade_i, 1'b0, product_i, 1'b0, product_i}),
      .ALUMODE      (4'b0000),
      .INMODE       (PreAdder ? {2'b00, use_d_i, !use_a_i, 1'b0} : 5'b00000),
      .CARRYINSEL   (3'b000),
      .CARRYIN      (1'b0),
      .CEA1         (ce_i),
      .CEA2         (ce_i),
      .CEB1         (ce_i),
      .CEB2         (ce_i),
      .CEC          (1'b0),
      .CED          (PreAdder ? ce_i : 1'b0),
      .CEAD         (PreAdder ? ce_i : 1'b0),
      .CEM          (ce_i),
      .CEP          (ce_i),
      .CECTRL       (1'b0),
      .CEINMODE     (1'b0),
      .CEALUMODE    (1'b0),
      .CECARRYIN    (1'b0),
      .RSTA         (1'b0),
      .RSTB         (1'b0),
      .RSTC         (1'b0),
      .RSTD         (1'b0),
      .RSTM         (1'b0),
      .RSTP         (1'b0),
      .RSTCTRL      (1'b0),
      .RSTINMODE    (1'b0),
      .RSTALUMODE   (1'b0),
      .RSTALLCARRYIN(1'b0),
      .P            (p_o),
      .PCOUT        (pcout_o)
  );
endmodule
