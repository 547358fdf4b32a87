// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// A VPU, or two that share a chain: one CSD-chain of 16 DSPs, in two cascades of eight, with sparse MUXes (`csd_cascade`), reduction
// nodes, overflow adjust and group accumulators (docs/rtl.md, "Matrix unit").
//
// DSP i of a cascade works i cycles after DSP 0, so win_*_i and mode_i come once for each position, delayed by the
// caller; codes and indices are delayed in the cascade. So do the nodes: with codes in cycle t, valid_i[k] and last_i[k] belong to
// cycle t + 5 + 2k, for nodes k and k + 4, and clear_i[k] to the cycle before. The sums of the tile stand in sum_a_o,
// sum_b_o from cycle t + 12 of its last window on, until the next tile's. Sum of node n: the DSPs 2n, 2n + 1 and those
// before them up to the cut.
//
// A tile of N = 4 or 2 has at most 8 windows, a tile of the others 16, and its last window comes at least 16 / N cycles
// before the next tile's: the nodes that only these read (all but 3 and 7) keep a sum no longer and are no wider.

module vpu #(
    parameter int unsigned ChainVpus = 1
) (
    input logic clk_i,
    input logic ce_i,
    input  logic [ 7:0][15:0][             7:0] win_a_i,  // [position]: window of token lane a, delayed by position
    input logic [7:0][15:0][7:0] win_b_i,
    input  logic [ 7:0][ 1:0]                   mode_i,   // [position]: N index, delayed by position + 3 (adder stage)
    input logic [7:0] side_i,  // [position]: codes of side 1, delayed by position
    input logic [7:0] packed_i,  // [position]: lanes are VPUs (csd_cascade)
    input logic [15:0][7:0] code_i,
    input logic [15:0][7:0] code1_i,  // of side 1
    input logic [15:0][3:0] index_i,
    input logic [3:0] valid_i,  // [node % 4]: taps belong to a beat
    input logic [3:0] last_i,  // its window is the last of a tile
    input logic [3:0] clear_i,  // the next cycle's beat is the first of a tile
    output logic [7:0][matrix_pkg::SumBits-1:0] sum_a_o,
    output logic [7:0][matrix_pkg::SumBits-1:0] sum_b_o
);
  import matrix_pkg::*;

  logic [7:0][35:0] taps;
  csd_cascade #(
      .ChainVpus(ChainVpus)
  ) i_cascade (
      .clk_i,
      .ce_i,
      .win_a_i,
      .win_b_i,
      .mode_i,
      .side_i,
      .packed_i,
      .code_i,
      .code1_i,
      .index_i,
      .tap_o(taps)
  );

  // Overflow adjust: the packed sum of at most eight products splits into two exact numbers, which the group
  // accumulators of the node add up. Each node works when its sum comes; the sums of a tile are handed over together.
  for (genvar n = 0; n < 8; n++) begin : gen_node
    localparam int unsigned Kind = n % 4;
    // |activation| < 128: 2 products of 8 windows, 4 of 8, or 8 of 16
    localparam int unsigned Bits = Kind == 3 ? SumBits : Kind == 1 ? 20 : 19;
    logic [35:0] tap;
    logic signed [Bits-1:0] a_q, b_q, a_d, b_d, a_tile, b_tile;
    // The low lane is negative when bit 17 is set; it then has borrowed one from the high lane. The one comes as a carry from the
    // bit below, which both operands have: a third operand would cost an adder of its own.
    logic borrowed;
    assign tap = taps[n];
    assign {a_d, borrowed} = {a_q, tap[17]} + (Bits + 1)'(signed'(tap[35:17]));
    assign b_d = b_q + Bits'(signed'(tap[17:0]));
    always_ff @(posedge clk_i) begin
      if (ce_i && clear_i[Kind]) begin  // a reset pin: selecting zero before the adder would cost LUTs
        a_q <= '0;
        b_q <= '0;
      end else if (ce_i && valid_i[Kind]) begin
        a_q <= a_d;
        b_q <= b_d;
      end
    end
    if (Kind == 3) begin : gen_now
      assign a_tile = a_d;
      assign b_tile = b_d;
    end else begin : gen_hold
      always_ff @(posedge clk_i) begin
        if (ce_i && valid_i[Kind] && last_i[Kind]) begin
          a_tile <= a_d;
          b_tile <= b_d;
        end
      end
    end
    logic signed [Bits-1:0] sum_a_q, sum_b_q;
    always_ff @(posedge clk_i) begin
      if (ce_i && valid_i[3] && last_i[3]) begin
        sum_a_q <= a_tile;
        sum_b_q <= b_tile;
      end
    end
    assign sum_a_o[n] = SumBits'(sum_a_q);
    assign sum_b_o[n] = SumBits'(sum_b_q);
  end
endmodule
