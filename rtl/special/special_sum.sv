// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Ordered sums of vectors one after another: two accumulators in turn, so that one is fed while the other adds up its
// tree. The caller claims accumulator which_o when it issues the first element of a vector (claim_i, when free_o says so) and
// feeds it later; sums come in the order of the claims.

module special_sum #(
    parameter int unsigned Lanes = 16
) (
    input  logic                   clk_i,
    input  logic                   rst_ni,
    input  logic                   claim_i,
    output logic                   which_o,
    output logic                   free_o,
    input  logic                   valid_i,
    input  logic                   which_i,
    input  logic                   last_i,        // last elements of the vector
    input  logic [      3:0]       row_i,
    input  logic [      1:0]       part_i,
    input  logic [Lanes-1:0][31:0] data_i,
    output logic                   done_o,
    output logic                   done_which_o,
    output logic [     31:0]       sum_o
);
  logic [1:0] busy_q, done;
  logic [1:0][31:0] sum;
  logic next_q, out_q;  // accumulator of the next claim, of the next sum
  assign which_o = next_q;
  for (genvar i = 0; i < 2; i++) begin : gen_sum
    ordered_sum #(
        .Lanes(Lanes)
    ) i_sum (
        .clk_i,
        .rst_ni,
        .clear_i (claim_i && next_q == 1'(i)),
        .valid_i (valid_i && which_i == 1'(i)),
        .row_i,
        .part_i,
        .data_i,
        .finish_i(valid_i && last_i && which_i == 1'(i)),
        .done_o  (done[i]),
        .sum_o   (sum[i])
    );
  end
  assign done_o       = done != '0;
  assign done_which_o = done[1];
  assign sum_o        = sum[done[1]];
  logic [1:0] busy_d;
  logic next_d;
  always_comb begin
    busy_d = busy_q & ~done;
    if (claim_i) busy_d[next_q] = 1'b1;
    next_d = next_q ^ claim_i;
  end
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      busy_q <= '0;
      next_q <= 1'b0;
      free_o <= 1'b1;
      out_q  <= 1'b0;
    end else begin
      busy_q <= busy_d;
      next_q <= next_d;
      free_o <= !busy_d[next_d];
      if (done_o) out_q <= !out_q;
      assert (done == '0 || done == 2'b01 << out_q)
      else $error("special_sum: sums out of order");
      assert (!claim_i || free_o)
      else $error("special_sum: claimed twice");
    end
  end
endmodule
