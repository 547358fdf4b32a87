// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Scale and accumulate of one chain: I += sigma * P + mu * A (one lane) or sigma * P for both lanes, one operation
// a cycle, into two banks of 48-bit accumulators.
//
// Two DSPs a lane do all arithmetic: the pre-adder of the second takes the row's sum from either cascade or both, its
// adder takes the product, the entry (or the sum of the operation just before, if that had the same entry) and the
// first DSP's result, mu * A and the sum of the operation before that one.
// An operation has its sums, sigma, mu and A in cycle u. It reads its entry in cycle u + 2 and writes it in u + 4
// (scale_control). A read for the drain: address in one cycle, entry_*_o in the next.

module vpu_scale #(
    parameter int unsigned Entries = 512,  // of each bank
    parameter int unsigned ChainVpus = 1  // with two, lanes may have sigmas and entries of their own
) (
    input logic clk_i,
    input logic ce_i,
    input logic [7:0][matrix_pkg::SumBits-1:0] sum_a_i,
    input logic [7:0][matrix_pkg::SumBits-1:0] sum_b_i,
    input logic [ChainVpus-1:0][7:0] sigma_i,  // [lane], or one for both
    input logic [11:0] mu_i,
    input logic signed [17:0] group_sum_i,  // A of the operation's lane
    input matrix_pkg::scale_t control_i,
    input logic [ChainVpus-1:0][$clog2(Entries)-1:0] read_addr_i,  // as sigma_i
    input logic [ChainVpus-1:0][$clog2(Entries)-1:0] write_addr_i,
    output logic [47:0] entry_a_o,
    output logic [47:0] entry_b_o
);
  import matrix_pkg::*;

  logic [1:0][7:0][SumBits-1:0] sums;
  logic [1:0][47:0] entry;
  assign sums = {sum_b_i, sum_a_i};
  assign {entry_b_o, entry_a_o} = entry;

  for (genvar l = 0; l < 2; l++) begin : gen_lane
    localparam int unsigned Own = l % ChainVpus;
    logic signed [SumBits-1:0] low, high;  // of the first and of the second cascade
    logic [47:0] side, sum, unused_side, unused_sum;
    assign low  = sums[l][{1'b0, control_i.select}];
    assign high = sums[l][{1'b1, control_i.select}];
    dsp_slice #(
        .AReg(1),
        .BReg(1)
    ) i_side (
        .clk_i,
        .ce_i,
        .a_i      (27'(group_sum_i)),
        .b_i      (18'(signed'(mu_i))),
        .c_i      (sum),
        .d_i      (27'd0),
        .use_a_i  (1'b1),
        .use_d_i  (1'b0),
        .product_i(control_i.affine),
        .base_i   (control_i.again[l] ? BaseEntry : BaseZero),
        .cascade_i(1'b0),
        .pcin_i   (48'd0),
        .pcout_o  (side),
        .p_o      (unused_side)
    );
    dsp_slice #(
        .AReg    (1),
        .BReg    (2),
        .AMultSel("AD")
    ) i_main (
        .clk_i,
        .ce_i,
        .a_i      (27'(low)),
        .b_i      (18'(sigma_i[Own])),
        .c_i      (entry[l]),
        .d_i      (27'(high)),
        .use_a_i  (control_i.half[0]),
        .use_d_i  (control_i.half[1]),
        .product_i(1'b1),
        .base_i   (control_i.base[l]),
        .cascade_i(1'b1),
        .pcin_i   (side),
        .pcout_o  (unused_sum),
        .p_o      (sum)
    );

    logic [47:0] bank[Entries];
    always_ff @(posedge clk_i) begin
      if (ce_i) begin
        entry[l] <= bank[read_addr_i[Own]];
        if (control_i.write[l]) bank[write_addr_i[Own]] <= sum;
      end
    end

    logic unused;
    assign unused = &{1'b0, unused_side, unused_sum, 1'b0};
  end
endmodule
