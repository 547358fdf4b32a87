// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Our model of DSP48E2 in the configurations that the RTL uses, beside a reference (module dsp_reference) with the same inputs.
// 0: pre-adder, BREG 2 (mac_dsp); 1: AREG = BREG = 1, no register of C (vpu_scale, side); 2: AREG = BREG = 2;
// 3: as 0, no register of C (vpu_scale, main).

module dsp_bench (
    input  logic             clk_i,
    input  logic [29:0]      a_i,
    input  logic [17:0]      b_i,
    input  logic [47:0]      c_i,
    input  logic [26:0]      d_i,
    input  logic [47:0]      pcin_i,
    input  logic [ 2:0]      z_i,
    input  logic [ 1:0]      w_i,
    input  logic             product_i,
    input  logic [ 1:0]      gate_i,   // INMODE[2:1] of the pre-adder
    input  logic [ 8:0]      ce_i,     // A1 A2 B1 B2 C D AD M P, from bit 0
    output logic [ 3:0][47:0] p_o,
    output logic [ 3:0][47:0] pcout_o,
    output logic [ 3:0][47:0] want_p_o,
    output logic [ 3:0][47:0] want_pcout_o
);
  for (genvar k = 0; k < 4; k++) begin : gen_config
    localparam int Areg = (k == 2) ? 2 : 1;
    localparam int Breg = (k == 1) ? 1 : 2;
    localparam int Creg = (k % 2 == 1) ? 0 : 1;
    localparam bit UseAd = (k % 3 == 0);
    logic [8:0] opmode;
    logic [4:0] inmode;
    assign opmode = {w_i, z_i, 1'b0, product_i, 1'b0, product_i};
    assign inmode = UseAd ? {2'b00, gate_i, 1'b0} : 5'd0;
    DSP48E2 #(
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
        .OPMODE(opmode),
        .ALUMODE(4'd0),
        .INMODE(inmode),
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
        .Creg(Creg),
        .UseAd(UseAd)
    ) i_reference (
        .clk_i,
        .a_i,
        .b_i,
        .c_i,
        .d_i,
        .pcin_i,
        .opmode_i(opmode),
        .inmode_i(inmode),
        .ce_i,
        .p_o(want_p_o[k]),
        .pcout_o(want_pcout_o[k])
    );
  end
endmodule
