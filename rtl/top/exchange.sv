// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Exchange between cores: when every core stands at an XCHG, the parts go round: core 0's words to all cores, then core 1's, and so on.
// A word moves when all cores can take it. end_o tells all of them that every part has arrived.

module exchange #(
    parameter int unsigned Cores = 1
) (
    input  logic                         clk_i,
    input  logic                         rst_ni,
    input  logic [Cores-1:0]             want_i,
    input  logic [     31:0]             words_i,      // of a part, from core 0: the same on all
    output logic [Cores-1:0]             turn_o,
    input  logic [Cores-1:0]             out_valid_i,
    input  logic [Cores-1:0][15:0][31:0] out_data_i,
    output logic [Cores-1:0]             out_ready_o,
    output logic                         in_valid_o,   // to all cores
    output logic [     15:0][31:0]       in_data_o,
    output logic [      1:0]             in_core_o,
    output logic                         in_accept_o,  // the word has been taken by all
    input  logic [Cores-1:0]             in_ready_i,
    output logic                         end_o
);
  localparam int unsigned IndexWidth = (Cores > 1) ? $clog2(Cores) : 1;
  logic active_q, ended_q;
  logic [IndexWidth-1:0] core_q;
  logic [31:0] left_q;
  logic all, moves;
  assign all         = &want_i;
  assign in_data_o   = out_data_i[core_q];
  assign in_core_o   = 2'(core_q);
  // A word is taken in a cycle in which all cores can; until then some may write it more than once, which does no harm.
  assign moves       = active_q && left_q != 0 && out_valid_i[core_q] && (&in_ready_i);
  assign in_valid_o  = active_q && left_q != 0 && out_valid_i[core_q];
  assign in_accept_o = moves;
  assign end_o       = ended_q;
  always_comb begin
    turn_o = '0;
    out_ready_o = '0;
    turn_o[core_q] = active_q;
    out_ready_o[core_q] = moves;
  end
  always_ff @(posedge clk_i) begin
    ended_q <= 1'b0;
    if (!rst_ni) begin
      active_q <= 1'b0;
      core_q   <= '0;
    end else if (!active_q) begin
      if (all && !ended_q) begin
        active_q <= 1'b1;
        core_q   <= '0;
        left_q   <= words_i;
      end
    end else if (left_q != 0) begin
      if (moves) left_q <= left_q - 32'd1;
    end else if (core_q == IndexWidth'(Cores - 1)) begin
      active_q <= 1'b0;
      ended_q  <= 1'b1;
    end else begin
      core_q <= core_q + IndexWidth'(1);
      left_q <= words_i;
    end
  end
endmodule
