// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// The part of a CSD-chain without state: sparse MUXes and 16 DSPs, in two cascades of eight that reduction nodes cut. Used by `vpu`,
// and by `csd_chain_blackbox` in HLS kernels.
//
// DSP i of a cascade works i cycles after DSP 0. With codes in cycle t, mode_i[p] belongs to cycle t + p + 3, and tap_o of the nodes k and
// k + 4 to cycle t + 5 + 2k. Node n has the packed sum of the DSPs 2n, 2n + 1 and those before them up to the cut: the low 18 bits are
// lane b's, those above lane a's less one if b's is negative.
// With two VPUs in the chain, side_i[p] (cycle t + p) says whose codes are multiplied; packed_i[p] makes the lanes those of the VPUs
// instead of those of two tokens: the pre-adder packs code_i and code1_i, and token lane a's activation multiplies both (dense only).

module csd_cascade #(
    // 8: a window for each position, delayed by it. 1: the window of cycle t alone; what it gives for each DSP is delayed here.
    parameter int unsigned Windows = 8,
    parameter int unsigned ChainVpus = 1  // with two, there are eight windows
) (
    input logic clk_i,
    input logic ce_i,
    input logic [Windows-1:0][15:0][7:0] win_a_i,
    input logic [Windows-1:0][15:0][7:0] win_b_i,
    input logic [7:0][1:0] mode_i,  // [position]: N index
    input logic [7:0] side_i,  // [position]; this and the next: unused with one VPU
    input logic [7:0] packed_i,
    input logic [15:0][7:0] code_i,
    input logic [15:0][7:0] code1_i,  // of side 1
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
    localparam int unsigned Bits = Windows == 1 ? 24 : ChainVpus == 1 ? 12 : 20;
    logic [Bits-1:0] now, late;
    logic [7:0] a, b, code;
    logic [7:0] high, low, factor;  // of the DSP: factor * (high * 2^18 + low)
    if (Windows == 1) begin : gen_select_first
      assign now = {win_a_i[0][index_i[d]], win_b_i[0][index_i[d]], code_i[d]};
      assign {a, b, code} = late;
      assign {high, low, factor} = {a, b, code};
    end else begin : gen_select_last
      logic [3:0] index;
      assign a = win_a_i[Pos][index];
      assign b = win_b_i[Pos][index];
      if (ChainVpus == 1) begin : gen_own
        assign now = {index_i[d], code_i[d]};
        assign {index, code} = late;
        assign {high, low, factor} = {a, b, code};
      end else begin : gen_share
        logic [7:0] code1;
        assign now = {index_i[d], code1_i[d], code_i[d]};
        assign {index, code1, code} = late;
        assign {high, low} = packed_i[Pos] ? {code, code1} : {a, b};
        // one LUT a bit: a packed beat is dense, and its activation needs no sparse MUX
        assign factor = packed_i[Pos] ? win_a_i[Pos][d] : side_i[Pos] ? code1 : code;
      end
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
        .a_i     (high),
        .b_i     (low),
        .weight_i(factor),
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
  assign unused = &{1'b0, cascade[16], mode_i, side_i, packed_i, code1_i, 1'b0};
endmodule
