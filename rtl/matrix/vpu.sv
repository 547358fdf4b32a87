// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// A VPU: one CSD-chain of 16 DSPs, in two cascades of eight, with sparse MUXes, reduction nodes, overflow adjust and
// group accumulators (docs/rtl.md, "Matrix unit").
//
// DSP i of a cascade works i cycles after DSP 0, so win_*_i and mode_i come once for each position, delayed by the
// caller; codes and indices are delayed here. With codes in cycle t: first_i, last_i and tap_mode belong to cycle t +
// 11, and the sums of the tile stand in sum_a_o, sum_b_o from cycle t + 12 of its last window on, until the next
// tile's. Sum of node n: the DSPs 2n, 2n + 1 and those before them up to the cut.

module vpu (
    input  logic                   clk_i,
    input  logic                   ce_i,
    input  logic [ 7:0][15:0][7:0] win_a_i,  // [position]: window of token lane a, delayed by position
    input  logic [ 7:0][15:0][7:0] win_b_i,
    input  logic [ 7:0][ 1:0]      mode_i,   // [position]: N index of the beat, delayed by position + 3 (adder stage)
    input  logic [15:0][ 7:0]      code_i,
    input  logic [15:0][ 3:0]      index_i,
    input  logic                   valid_i,  // taps belong to a beat
    input  logic                   first_i,  // its window is the first of a tile
    input  logic                   last_i,   // ... the last
    output logic [ 7:0][23:0]      sum_a_o,
    output logic [ 7:0][23:0]      sum_b_o
);
  import matrix_pkg::*;

  // Codes and indices delayed by the position: DSP d of the chain has position d % 8.
  logic [7:0] code_d [16];
  logic [3:0] index_d[16];
  for (genvar d = 0; d < 16; d++) begin : gen_delay
    localparam int unsigned Delay = d % 8;
    if (Delay == 0) begin : gen_none
      assign code_d[d]  = code_i[d];
      assign index_d[d] = index_i[d];
    end else begin : gen_shift
      logic [Delay-1:0][11:0] shift_q;
      always_ff @(posedge clk_i) begin
        if (ce_i) begin
          shift_q[0] <= {index_i[d], code_i[d]};
          for (int i = 1; i < Delay; i++) shift_q[i] <= shift_q[i-1];
        end
      end
      assign {index_d[d], code_d[d]} = shift_q[Delay-1];
    end
  end

  // The chain. A reduction node cuts it before DSP 0, every fourth (N = 4) or every second (N = 2).
  logic [47:0] p[16];
  logic [47:0] cascade[17];
  assign cascade[0] = 48'd0;
  for (genvar d = 0; d < 16; d++) begin : gen_dsp
    localparam int unsigned Pos = d % 8;
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
        .a_i     (win_a_i[Pos][index_d[d]]),  // sparse MUX
        .b_i     (win_b_i[Pos][index_d[d]]),
        .weight_i(code_d[d]),
        .cut_i   (cut),
        .pcin_i  (cascade[d]),
        .pcout_o (cascade[d+1]),
        .p_o     (p[d])
    );
  end

  // Overflow adjust: the packed sum of at most eight products splits into two exact numbers. Nodes that come early are
  // delayed to the eighth DSP's time.
  for (genvar n = 0; n < 8; n++) begin : gen_node
    localparam int unsigned Wait = 6 - 2 * (n % 4);
    logic [35:0] tap;
    if (Wait == 0) begin : gen_now
      assign tap = p[2*n+1][35:0];
    end else begin : gen_later
      logic [Wait-1:0][35:0] wait_q;
      always_ff @(posedge clk_i) begin
        if (ce_i) begin
          wait_q[0] <= p[2*n+1][35:0];
          for (int i = 1; i < Wait; i++) wait_q[i] <= wait_q[i-1];
        end
      end
      assign tap = wait_q[Wait-1];
    end
    logic [23:0] a_q, b_q, a_d, b_d;
    // The low lane is negative when bit 17 is set; it then has borrowed one from the high lane. The one comes as a carry from the
    // bit below, which both operands have: a third operand would cost an adder of its own.
    logic borrowed;
    assign {a_d, borrowed} = 25'(signed'(tap[35:17])) + {first_i ? 24'd0 : a_q, tap[17]};
    assign b_d = 24'(signed'(tap[17:0])) + (first_i ? 24'd0 : b_q);
    always_ff @(posedge clk_i) begin
      if (ce_i && valid_i) begin
        a_q <= a_d;
        b_q <= b_d;
        if (last_i) begin
          sum_a_o[n] <= a_d;
          sum_b_o[n] <= b_d;
        end
      end
    end
  end

  logic unused;
  assign unused = &{1'b0, cascade[16], 1'b0};
endmodule
