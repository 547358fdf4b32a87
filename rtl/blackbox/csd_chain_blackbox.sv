// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// The CSD-chain as a black box of Vitis HLS: `csd_chain_blackbox` of hls/include/flightllm as hardware (docs/hls-blackbox.md). Ports are
// named as Vitis HLS names them; arguments are packed, element 0 lowest.
//
// A call a cycle, its sums Latency cycles later, nothing kept from call to call. ap_ctrl_chain: a call is taken in a cycle with ap_start
// and ap_ready; its sums stand while ap_done is high, until a cycle with ap_continue and ap_ce. The whole pipeline stands still without
// ap_ce, and while a result is not taken.

module csd_chain_blackbox (
    input  logic         ap_clk,
    input  logic         ap_rst,        // active high, synchronous
    input  logic         ap_ce,
    input  logic         ap_start,
    input  logic         ap_continue,
    output logic         ap_ready,
    output logic         ap_done,
    output logic         ap_idle,
    input  logic [127:0] codes,         // 16 of 8 bits
    input  logic [ 63:0] indices,       // 16 of 4 bits; not looked at if dense
    input  logic [  1:0] n_index,       // dense, N = 8, 4, 2: one sum, two, four, eight
    input  logic [127:0] window0,       // token 0: 16 activations, -127 .. 127
    input  logic [127:0] window1,       // token 1
    output logic [151:0] sums0,         // token 0: 8 of 19 bits, those that N does not give are zero
    output logic         sums0_ap_vld,
    output logic [151:0] sums1,
    output logic         sums1_ap_vld
);
  import matrix_pkg::*;
  localparam int unsigned Latency = 13;
  localparam int unsigned TotalBits = 19;  // 16 products of 127 and -128

  // --- handshake -------------------------------------------------------------------------------------------------
  logic [Latency-1:0] busy_q;  // [i]: a call that was taken i + 1 cycles ago
  logic ce;
  assign ce = ap_ce && (ap_continue || !ap_done);
  always_ff @(posedge ap_clk) begin
    if (ap_rst) busy_q <= '0;
    else if (ce) busy_q <= {busy_q[Latency-2:0], ap_start};
  end
  assign ap_ready     = ap_start && ce;
  assign ap_done      = busy_q[Latency-1];
  assign ap_idle      = !ap_start && busy_q == '0;
  assign sums0_ap_vld = ap_done;
  assign sums1_ap_vld = ap_done;

  // --- chain -----------------------------------------------------------------------------------------------------
  // [i]: N index of the call i cycles ago. DSPs of position p add up at p + 3, sums are selected at Latency - 1.
  logic [Latency-1:0][1:0] mode;
  logic [Latency-1:1][1:0] mode_q;
  assign mode = {mode_q, n_index};
  always_ff @(posedge ap_clk) if (ce) mode_q <= mode[Latency-2:0];

  logic [15:0][3:0] index;
  for (genvar d = 0; d < 16; d++) begin : gen_index
    assign index[d] = n_index == NDense ? 4'(d) : indices[4*d+:4];
  end

  logic [7:0][35:0] tap;
  csd_cascade #(
      .Windows(1)
  ) i_cascade (
      .clk_i  (ap_clk),
      .ce_i   (ce),
      .win_a_i(window1),
      .win_b_i(window0),
      .mode_i (mode[10:3]),
      .side_i(8'd0),
      .packed_i(8'd0),
      .code_i (codes),
      .code1_i('0),
      .index_i(index),
      .tap_o  (tap)
  );

  // --- sums of the nodes, all at Latency - 1 -----------------------------------------------------------------------
  logic [7:0][17:0] node[2];  // [token]
  for (genvar n = 0; n < 8; n++) begin : gen_node
    localparam int unsigned Kind = n % 4;
    localparam int unsigned Bits = Kind == 3 ? 18 : Kind == 1 ? 17 : 16;  // of 8, 4 or 2 products
    localparam int unsigned Delay = Latency - 6 - 2 * Kind;
    logic [Delay-1:0][2*Bits-1:0] sums_q;
    logic [17:0] high;
    assign high = tap[n][35:18] + 18'(tap[n][17]);  // gives back what a negative low lane has borrowed
    always_ff @(posedge ap_clk) begin
      if (ce) begin
        sums_q[0] <= {high[Bits-1:0], tap[n][Bits-1:0]};
        for (int i = 1; i < Delay; i++) sums_q[i] <= sums_q[i-1];
      end
    end
    assign node[0][n] = 18'(signed'(sums_q[Delay-1][Bits-1:0]));
    assign node[1][n] = 18'(signed'(sums_q[Delay-1][2*Bits-1:Bits]));
    logic unused;
    assign unused = &{1'b0, high, 1'b0};
  end

  // --- the call's sums -------------------------------------------------------------------------------------------
  logic [7:0][TotalBits-1:0] sums[2];
  for (genvar t = 0; t < 2; t++) begin : gen_token
    for (genvar i = 0; i < 8; i++) begin : gen_sum
      localparam int unsigned Bits = i == 0 ? TotalBits : i == 1 ? 18 : i < 4 ? 17 : 16;
      logic signed [Bits-1:0] sum, half, sum_q;
      always_comb begin
        unique case (mode[Latency-1])
          NTwo:    sum = Bits'(signed'(node[t][i]));
          NFour:   sum = i < 4 ? Bits'(signed'(node[t][(2*i+1)%8])) : '0;
          NEight:  sum = i < 2 ? Bits'(signed'(node[t][(4*i+3)%8])) : '0;
          default: sum = i == 0 ? Bits'(signed'(node[t][3])) : '0;
        endcase
        half = i == 0 && mode[Latency-1] == NDense ? Bits'(signed'(node[t][7])) : '0;
      end
      always_ff @(posedge ap_clk) if (ce) sum_q <= sum + half;
      assign sums[t][i] = TotalBits'(sum_q);
    end
  end
  assign sums0 = sums[0];
  assign sums1 = sums[1];
endmodule
