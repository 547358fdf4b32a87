// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// The part of a CSD-chain without state: sparse MUXes and 16 DSPs, in two cascades of eight that reduction nodes cut. Used by `vpu`,
// and by `csd_chain_blackbox` in HLS kernels.
//
// DSP i of a cascade works i cycles after DSP 0. With codes in cycle t, mode_i[p] belongs to cycle t + p + 3, and tap_o of the nodes k and
// k + 4 to cycle t + 5 + 2k. Node n has the packed sum of the DSPs 2n, 2n + 1 and those before them up to the cut: the low 18 bits are
// token lane b's, those above lane a's less one if b's is negative.

module csd_cascade #(
    // 8: a window for each position, delayed by it. 1: the window of cycle t alone; what it gives for each DSP is delayed here.
    parameter int unsigned Windows = 8
) (
    input logic clk_i,
    input logic ce_i,
    input logic [Windows-1:0][15:0][7:0] win_a_i,
    input logic [Windows-1:0][15:0][7:0] win_b_i,
    input logic [7:0][1:0] mode_i,  // [position]: N index
    input logic [15:0][7:0] code_i,
    input logic [15:0][3:0] index_i,
    output logic [7:0][35:0] tap_o  // [node]
);
  import matrix_pkg::*;

  logic [47:0] p[16];
  logic [47:0] cascade[17];
  assign cascade[0] = 48'd0;
  for (genvar d = 0; d < 16; d++) begin : gen_dsp
    localparam int unsigned Pos = d % 8;

    // What waits for the DSP's turn: the code, with the index or with what it selects.
    localparam int unsigned Bits = Windows == 1 ? 24 : 12;
    logic [Bits-1:0] now, late;
    logic [7:0] a, b, code;
    if (Windows == 1) begin : gen_select_first
      assign now = {win_a_i[0][index_i[d]], win_b_i[0][index_i[d]], code_i[d]};
      assign {a, b, code} = late;
    end else begin : gen_select_last
      logic [3:0] index;
      assign now = {index_i[d], code_i[d]};
      assign {index, code} = late;
      assign a = win_a_i[Pos][index];
      assign b = win_b_i[Pos][index];
    end
    if (Pos == 0) begin : gen_none
      assign late = now;
    end else begin : gen_shift
      logic [Pos-1:0][Bits-1:0] shift_q;
      always_ff @(posedge clk_i) begin
        if (ce_i) begin
          shift_q[0] <= now;
          for (int i = 1; i < Pos; i++) shift_q[i] <= shift_q[i-1];
        end
      end
      assign late = shift_q[Pos-1];
    end

    // A reduction node cuts the chain before DSP 0, every fourth (N = 4) or every second (N = 2).
    logic cut;
    if (Pos == 0) begin : gen_head
      assign cut = 1'b1;
    end else if (Pos == 4) begin : gen_four
      assign cut = mode_i[Pos][1];  // N = 4 or 2
    end else if (Pos % 2 == 0) begin : gen_two
      assign cut = mode_i[Pos] == NTwo;
    end else begin : gen_inner
      assign cut = 1'b0;
    end
    mac_dsp i_mac (
        .clk_i,
        .ce_i,
        .a_i     (a),
        .b_i     (b),
        .weight_i(code),
        .cut_i   (cut),
        .pcin_i  (cascade[d]),
        .pcout_o (cascade[d+1]),
        .p_o     (p[d])
    );
  end

  for (genvar n = 0; n < 8; n++) begin : gen_tap
    assign tap_o[n] = p[2*n+1][35:0];
    logic unused;
    assign unused = &{1'b0, p[2*n], p[2*n+1][47:36], 1'b0};
  end

  logic unused;
  assign unused = &{1'b0, cascade[16], mode_i, 1'b0};
endmodule
