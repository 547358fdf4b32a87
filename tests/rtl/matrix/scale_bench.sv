// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// vpu_scale with its controls.

module scale_bench #(
    parameter int unsigned Entries   = 512,
    parameter int unsigned ChainVpus = 1
) (
    input  logic                                                                      clk_i,
    input  logic                                                                      ce_i,
    input  logic        [                7:0][              matrix_pkg::SumBits-1:0] sum_a_i,
    input  logic        [                7:0][              matrix_pkg::SumBits-1:0] sum_b_i,
    input  logic        [                1:0]                                         n_index_i,
    input  logic        [                2:0]                                         node_i,
    input  logic        [      ChainVpus-1:0][                                   7:0] sigma_i,
    input  logic        [               11:0]                                         mu_i,
    input  logic signed [               17:0]                                         group_sum_i,
    input  logic                                                                      op1_valid_i,
    input  logic                                                                      op1_affine_i,
    input  logic                                                                      op1_lane_i,
    input  logic                                                                      op1_first_i,
    input  logic        [      ChainVpus-1:0][                   $clog2(Entries)-1:0] op1_addr_i,
    input  logic        [$clog2(Entries)-1:0]                                         drain_addr_i,
    output logic        [               47:0]                                         entry_a_o,
    output logic        [               47:0]                                         entry_b_o
);
  matrix_pkg::scale_t control;
  logic [ChainVpus-1:0][$clog2(Entries)-1:0] read_addr, write_addr;
  scale_control #(
      .Entries  (Entries),
      .ChainVpus(ChainVpus)
  ) i_control (
      .clk_i,
      .ce_i,
      .n_index_i,
      .node_i,
      .op1_valid_i,
      .op1_affine_i,
      .op1_lane_i,
      .op1_first_i,
      .op1_addr_i,
      .drain_addr_i,
      .control_o   (control),
      .read_addr_o (read_addr),
      .write_addr_o(write_addr)
  );
  vpu_scale #(
      .Entries  (Entries),
      .ChainVpus(ChainVpus)
  ) i_scale (
      .clk_i,
      .ce_i,
      .sum_a_i,
      .sum_b_i,
      .sigma_i,
      .mu_i,
      .group_sum_i,
      .control_i   (control),
      .read_addr_i (read_addr),
      .write_addr_i(write_addr),
      .entry_a_o,
      .entry_b_o
  );
endmodule
