// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Our model of DSP48E2 in the configurations that the RTL uses, beside a reference (module dsp_reference) with the same inputs.
// 0: pre-adder, BREG 2 (mac_dsp); 1: AREG = BREG = 1 (vpu_scale, side); 2: AREG = BREG = 2 (vpu_scale, main).

module dsp_bench (
    input  logic             clk_i,
    input  logic [29:0]      a_i,
    input  logic [17:0]      b_i,
    input  logic [47:0]      c_i,
    input  logic [26:0]      d_i,
    input  logic [47:0]      pcin_i,
    input  logic [ 2:0]      z_i,
    input  logic [ 8:0]      ce_i,     // A1 A2 B1 B2 C D AD M P, from bit 0
    output logic [ 2:0][47:0] p_o,
    output logic [ 2:0][47:0] pcout_o,
    output logic [ 2:0][47:0] want_p_o,
    output logic [ 2:0][47:0] want_pcout_o
);
  for (genvar k = 0; k < 3; k++) begin : gen_config
    localparam int Areg = (k == 2) ? 2 : 1;
    localparam int Breg = (k == 1) ? 1 : 2;
    DSP48E2 #(
        .AREG(Areg),
        .BREG(Breg),
        .AMULTSEL((k == 0) ? "AD" : "A"),
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
        .OPMODE({2'b00, z_i, 4'b0101}),
        .ALUMODE(4'd0),
        .INMODE((k == 0) ? 5'b00100 : 5'b00000),
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
        .P(p_o[k]),
        .PCOUT(pcout_o[k])
    );
    dsp_reference #(
        .Areg(Areg),
        .Breg(Breg),
        .UseAd(k == 0)
    ) i_reference (
        .clk_i,
        .a_i,
        .b_i,
        .c_i,
        .d_i,
        .pcin_i,
        .z_i,
        .ce_i,
        .p_o(want_p_o[k]),
        .pcout_o(want_pcout_o[k])
    );
  end
endmodule
