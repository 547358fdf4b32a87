// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Reference of dsp_bench: the vendor's model of DSP48E2, renamed.

module dsp_reference #(
    parameter int Areg  = 1,
    parameter int Breg  = 1,
    parameter int Creg  = 1,
    parameter bit UseAd = 1'b0
) (
    input  logic        clk_i,
    input  logic [29:0] a_i,
    input  logic [17:0] b_i,
    input  logic [47:0] c_i,
    input  logic [26:0] d_i,
    input  logic [47:0] pcin_i,
    input  logic [ 8:0] opmode_i,
    input  logic [ 4:0] inmode_i,
    input  logic [ 8:0] ce_i,
    output logic [47:0] p_o,
    output logic [47:0] pcout_o
);
  VendorDsp #(
      .AREG(Areg),
      .BREG(Breg),
      .CREG(Creg),
      .AMULTSEL(UseAd ? "AD" : "A"),
      .OPMODEREG(0),
      .INMODEREG(0),
      .ALUMODEREG(0),
      .CARRYINREG(0),
      .CARRYINSELREG(0)
  ) i_dsp (
      .CLK(clk_i),
      .A(a_i),
      .B(b_i),
      .C(c_i),
      .D(d_i),
      .PCIN(pcin_i),
      .OPMODE(opmode_i),
      .ALUMODE(4'd0),
      .INMODE(inmode_i),
      .CARRYINSEL(3'd0),
      .CARRYIN(1'b0),
      .ACIN(30'd0),
      .BCIN(18'd0),
      .CARRYCASCIN(1'b0),
      .MULTSIGNIN(1'b0),
      .CEA1(ce_i[0]),
      .CEA2(ce_i[1]),
      .CEB1(ce_i[2]),
      .CEB2(ce_i[3]),
      .CEC(ce_i[4]),
      .CED(ce_i[5]),
      .CEAD(ce_i[6]),
      .CEM(ce_i[7]),
      .CEP(ce_i[8]),
      .CECTRL(1'b0),
      .CEINMODE(1'b0),
      .CEALUMODE(1'b0),
      .CECARRYIN(1'b0),
      .RSTA(1'b0),
      .RSTB(1'b0),
      .RSTC(1'b0),
      .RSTD(1'b0),
      .RSTM(1'b0),
      .RSTP(1'b0),
      .RSTCTRL(1'b0),
      .RSTINMODE(1'b0),
      .RSTALUMODE(1'b0),
      .RSTALLCARRYIN(1'b0),
      .P(p_o),
      .PCOUT(pcout_o)
  );
endmodule
