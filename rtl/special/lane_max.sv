// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// The largest of Lanes values of an issue, and of all issues of a vector: a tree with a pipeline stage for each halving, then an
// accumulator. Largest magnitude (NaN counts as 0), or largest number (a NaN loses; of equal ones the first). done_o comes with the
// maximum of the vector whose last issue has gone through, Levels + 2 cycles behind that.

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
  localparam int unsigned Levels = $clog2(Lanes);

  // Largest number, where neither is a NaN or a subnormal; of equal ones the first.
  function automatic logic [31:0] larger(logic ordered, logic [31:0] a, logic [31:0] b);
    automatic logic more;
    more = b[30:0] > a[30:0];
    if (ordered) begin
      if (a[31] != b[31]) more = a[31] && (a[30:0] != 31'd0 || b[30:0] != 31'd0);
      else if (a[31]) more = b[30:0] < a[30:0];
    end
    return more ? b : a;
  endfunction

  typedef struct packed {
    logic       valid;
    logic       ordered;
    logic       first;
    logic       last;
    logic [4:0] vec;
  } tag_t;
  tag_t [Levels:0] tag_q;
  logic [Lanes-1:0][31:0] shown;
  logic [Levels:0][Lanes-1:0][31:0] level_q;  // of level k the first Lanes >> k
  logic [31:0] running_q;
  always_comb begin
    for (int l = 0; l < Lanes; l++) begin
      if (ordered_i) shown[l] = (visible_i[l] && !is_nan(data_i[l])) ? flush(data_i[l]) : MinusInfinity;
      else shown[l] = visible_i[l] ? {1'b0, magnitude(data_i[l])} : 32'd0;
    end
  end

  logic [31:0] start, total;
  tag_t now;
  assign now   = tag_q[Levels];
  assign start = now.ordered ? MinusInfinity : 32'd0;
  assign total = larger(now.ordered, now.first ? start : running_q, level_q[Levels][0]);
  always_ff @(posedge clk_i) begin
    tag_q[0] <= '{valid: valid_i && rst_ni, ordered: ordered_i, first: first_i, last: last_i, vec: vec_i};
    if (valid_i) level_q[0] <= shown;
    for (int k = 0; k < Levels; k++) begin
      tag_q[k+1]       <= tag_q[k];
      tag_q[k+1].valid <= tag_q[k].valid && rst_ni;
      for (int l = 0; l < Lanes >> (k + 1); l++) begin
        if (tag_q[k].valid) level_q[k+1][l] <= larger(tag_q[k].ordered, level_q[k][2*l], level_q[k][2*l+1]);
      end
    end
    if (now.valid) running_q <= total;
    done_o    <= rst_ni && now.valid && now.last;
    ordered_o <= now.ordered;
    vec_o     <= now.vec;
    if (now.valid) max_o <= total;
  end
endmodule
