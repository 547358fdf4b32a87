// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Behavioural model of the DSP48E2 slice (UG579), for simulation. Synthesis leaves this file out and takes the
// primitive. Modelled: pre-adder D + A with either left out, 27 x 18 multiplier, the adder with Z in {0, PCIN, P, C}, W in
// {0, P, C} and X, Y for the product or zero, and every pipeline
// register that the parameters ask for. What is not modelled (SIMD, pattern detector, subtraction, A:B and W paths) is
// refused at elaboration or by an assertion. Names and defaults of ports and parameters (and the lack of their types) are the
// primitive's; tests/synth holds them against the primitive's declaration, tests/rtl/matrix/test_dsp.py what it computes against
// other models.

module DSP48E2 #(
    parameter integer AREG          = 1,          // 1 or 2
    parameter integer BREG          = 1,          // 1 or 2
    parameter integer CREG          = 1,
    parameter integer DREG          = 1,
    parameter integer ADREG         = 1,
    parameter integer MREG          = 1,
    parameter integer PREG          = 1,
    // verilog_lint: waive explicit-parameter-storage-type
    parameter         AMULTSEL      = "A",        // "A", or "AD": the pre-adder feeds the multiplier
    parameter integer OPMODEREG     = 1,
    parameter integer INMODEREG     = 1,
    parameter integer ALUMODEREG    = 1,
    parameter integer CARRYINREG    = 1,
    parameter integer CARRYINSELREG = 1,
    // verilog_lint: waive explicit-parameter-storage-type
    parameter         USE_MULT      = "MULTIPLY"
) (
    input  logic        CLK,
    input  logic [29:0] A,
    input  logic [17:0] B,
    input  logic [47:0] C,
    input  logic [26:0] D,
    input  logic [47:0] PCIN,
    input  logic [29:0] ACIN,
    input  logic [17:0] BCIN,
    input  logic        CARRYCASCIN,
    input  logic        MULTSIGNIN,
    input  logic [ 8:0] OPMODE,
    input  logic [ 3:0] ALUMODE,
    input  logic [ 4:0] INMODE,
    input  logic [ 2:0] CARRYINSEL,
    input  logic        CARRYIN,
    input  logic        CEA1,
    input  logic        CEA2,
    input  logic        CEB1,
    input  logic        CEB2,
    input  logic        CEC,
    input  logic        CED,
    input  logic        CEAD,
    input  logic        CEM,
    input  logic        CEP,
    input  logic        CECTRL,
    input  logic        CEINMODE,
    input  logic        CEALUMODE,
    input  logic        CECARRYIN,
    input  logic        RSTA,
    input  logic        RSTB,
    input  logic        RSTC,
    input  logic        RSTD,
    input  logic        RSTM,
    input  logic        RSTP,
    input  logic        RSTCTRL,
    input  logic        RSTINMODE,
    input  logic        RSTALUMODE,
    input  logic        RSTALLCARRYIN,
    output logic [47:0] P,
    output logic [47:0] PCOUT
);
  // verilator lint_off WIDTHEXPAND  // strings of different lengths
  localparam bit UseAd = (AMULTSEL == "AD");
  // verilator lint_on WIDTHEXPAND

  logic signed [26:0] a1_q, a2_q, d_q, ad_q, a_mult;
  logic signed [17:0] b1_q, b2_q;
  logic signed [44:0] m_q;
  logic signed [47:0] c_q, p_q, c_now, w, z;

  assign a_mult = UseAd ? ad_q : a2_q;

  assign c_now  = (CREG == 1) ? c_q : C;

  always_comb begin
    unique case (OPMODE[8:7])
      2'b01:   w = p_q;
      2'b11:   w = c_now;
      default: w = 48'sd0;  // zero, or the constant RND, whose default is zero
    endcase
    unique case (OPMODE[6:4])
      3'b000:  z = 48'sd0;
      3'b001:  z = PCIN;
      3'b010:  z = p_q;
      3'b011:  z = c_now;
      default: z = 48'sd0;
    endcase
  end

  always_ff @(posedge CLK) begin
    if (CEA1) a1_q <= A[26:0];
    if (CEA2) a2_q <= (AREG == 2) ? a1_q : A[26:0];
    if (CEB1) b1_q <= B;
    if (CEB2) b2_q <= (BREG == 2) ? b1_q : B;
    if (CEC) c_q <= C;
    if (CED && UseAd) d_q <= D;
    if (CEAD && UseAd) ad_q <= (INMODE[2] ? d_q : 27'sd0) + (INMODE[1] ? 27'sd0 : a2_q);
    if (CEM) m_q <= 45'(a_mult * b2_q);
    if (CEP) p_q <= w + z + (OPMODE[0] ? 48'(m_q) : 48'sd0);
  end

  assign P     = p_q;
  assign PCOUT = p_q;

  // The paths that are modelled.
  if (MREG != 1 || PREG != 1 || USE_MULT != "MULTIPLY") begin : gen_refuse
    $error("this model needs MREG = PREG = 1 and USE_MULT = MULTIPLY");
  end
  localparam int Registers = OPMODEREG + INMODEREG + ALUMODEREG + CARRYINREG + CARRYINSELREG;
  if (Registers != 0) begin : gen_refuse_reg
    $error("this model needs OPMODEREG = INMODEREG = ALUMODEREG = CARRYINREG = CARRYINSELREG = 0");
  end
  if ((AREG != 1 && AREG != 2) || (BREG != 1 && BREG != 2)) begin : gen_refuse_ab
    $error("this model needs AREG and BREG of 1 or 2");
  end
  if (UseAd && (DREG != 1 || ADREG != 1 || AREG != 1)) begin : gen_refuse_ad
    $error("this model needs AREG = DREG = ADREG = 1 with the pre-adder");
  end
  always_ff @(posedge CLK) begin
    assert ((OPMODE[3:0] == 4'b0101 || OPMODE[3:0] == 4'b0000) && !OPMODE[6])
    else $error("DSP48E2: OPMODE %b is not modelled", OPMODE);
    assert (ALUMODE == 4'b0000 && !CARRYIN && CARRYINSEL == 3'b000)
    else $error("DSP48E2: ALUMODE or carry is not modelled");
    assert (UseAd ? {INMODE[4:3], INMODE[0]} == 3'b000 : INMODE == 5'b00000)
    else $error("DSP48E2: INMODE %b is not modelled", INMODE);
    assert ({RSTA, RSTB, RSTC, RSTD, RSTM, RSTP, RSTCTRL, RSTINMODE, RSTALUMODE, RSTALLCARRYIN} == '0)
    else $error("DSP48E2: resets are not modelled");
  end

  logic unused;
  assign unused = &{1'b0, A[29:27], ACIN, BCIN, CARRYCASCIN, MULTSIGNIN, CECTRL, CEINMODE, CEALUMODE,
                    CECARRYIN, 1'b0};
endmodule
