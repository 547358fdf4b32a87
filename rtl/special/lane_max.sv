// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// The largest of Lanes values of an issue, and of all issues of a vector: two pipeline stages, then an accumulator. Largest
// magnitude (NaN counts as 0), or largest number (a NaN loses; of equal ones the first). done_o comes with the maximum of the
// vector whose last issue has gone through.

module lane_max #(
    parameter int unsigned Lanes = 16
) (
    input  logic                   clk_i,
    input  logic                   rst_ni,
    input  logic                   valid_i,
    input  logic                   ordered_i,  // largest number, not magnitude
    input  logic                   first_i,    // first issue of a vector
    input  logic                   last_i,
    input  logic [      4:0]       vec_i,
    input  logic [Lanes-1:0]       visible_i,  // lanes that count
    input  logic [Lanes-1:0][31:0] data_i,
    output logic                   done_o,
    output logic                   ordered_o,
    output logic [      4:0]       vec_o,
    output logic [     31:0]       max_o
);
  import fp32_pkg::*;
  localparam int unsigned Groups = Lanes / 4;

  function automatic logic [31:0] larger(logic ordered, logic [31:0] a, logic [31:0] b);
    return ordered ? maximum(a, b) : (b[30:0] > a[30:0] ? b : a);
  endfunction

  typedef struct packed {
    logic       valid;
    logic       ordered;
    logic       first;
    logic       last;
    logic [4:0] vec;
  } tag_t;
  tag_t tag1_q, tag2_q;
  logic [Lanes-1:0][31:0] shown;
  logic [Groups-1:0][31:0] group_q;
  logic [31:0] all, all_q, running_q;
  always_comb begin
    for (int l = 0; l < Lanes; l++) begin
      if (ordered_i) shown[l] = visible_i[l] ? data_i[l] : MinusInfinity;
      else shown[l] = visible_i[l] ? {1'b0, magnitude(data_i[l])} : 32'd0;
    end
    all = group_q[0];
    for (int g = 1; g < Groups; g++) all = larger(tag1_q.ordered, all, group_q[g]);
  end

  logic [31:0] start, total;
  assign start = tag2_q.ordered ? MinusInfinity : 32'd0;
  assign total = larger(tag2_q.ordered, tag2_q.first ? start : running_q, all_q);
  always_ff @(posedge clk_i) begin
    tag1_q <= '{valid: valid_i && rst_ni, ordered: ordered_i, first: first_i, last: last_i, vec: vec_i};
    if (valid_i) begin
      for (int g = 0; g < Groups; g++) begin
        group_q[g] <= larger(
            ordered_i,
            larger(ordered_i, shown[4*g], shown[4*g+1]),
            larger(ordered_i, shown[4*g+2], shown[4*g+3])
        );
      end
    end
    tag2_q       <= tag1_q;
    tag2_q.valid <= tag1_q.valid && rst_ni;
    if (tag1_q.valid) all_q <= all;
    if (tag2_q.valid) running_q <= total;
    done_o    <= rst_ni && tag2_q.valid && tag2_q.last;
    ordered_o <= tag2_q.ordered;
    vec_o     <= tag2_q.vec;
    if (tag2_q.valid) max_o <= total;
  end
endmodule
