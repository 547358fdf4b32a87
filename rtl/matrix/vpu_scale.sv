// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Scale and accumulate of one VPU: I += sigma * P + mu * A (one token lane) or sigma * P for both lanes, one operation
// a cycle, into two banks of 48-bit accumulators.
//
// An operation has its sums, sigma, mu and A in cycle u. Controls come at the stage that needs them: op3_* belongs to
// cycle u + 3 (read), op4_* to u + 4 (add and write). A read for the drain uses cycles in which op3_valid_i is low:
// drain_addr_i in one cycle, entry_*_o in the next.

module vpu_scale #(
    parameter int unsigned Entries = 512  // of each bank
) (
    input logic clk_i,
    input logic ce_i,
    input logic [7:0][matrix_pkg::SumBits-1:0] sum_a_i,
    input logic [7:0][matrix_pkg::SumBits-1:0] sum_b_i,
    input logic [1:0] n_index_i,  // cycle u
    input logic [2:0] node_i,  // row within the beat
    input logic affine_i,
    input logic lane_i,  // affine: token lane of this operation
    input logic [7:0] sigma_i,
    input logic [11:0] mu_i,
    input logic signed [17:0] group_sum_i,  // A of that lane
    input logic op3_valid_i,
    input logic op3_affine_i,
    input logic [$clog2(Entries)-1:0] op3_addr_i,
    input logic op4_valid_i,
    input logic op4_affine_i,
    input logic op4_lane_i,
    input logic op4_first_i,
    input logic [$clog2(Entries)-1:0] drain_addr_i,
    output logic [47:0] entry_a_o,
    output logic [47:0] entry_b_o
);
  import matrix_pkg::*;
  localparam int unsigned AW = $clog2(Entries);

  // Sums of the row: dense rows have one node in each cascade.
  logic signed [26:0] p_a, p_b;
  logic [2:0] node;
  always_comb begin
    unique case (n_index_i)
      NEight:  node = {node_i[0], 2'b11};
      NFour:   node = {node_i[1:0], 1'b1};
      default: node = node_i;
    endcase
    p_a = 27'(signed'(sum_a_i[node]));
    p_b = 27'(signed'(sum_b_i[node]));
    if (n_index_i == NDense) begin
      p_a = 27'(signed'(sum_a_i[3])) + 27'(signed'(sum_a_i[7]));
      p_b = 27'(signed'(sum_b_i[3])) + 27'(signed'(sum_b_i[7]));
    end
  end

  // mu * A, or sigma * P of lane b. One cycle before the other, for the cascade.
  logic [47:0] side_p, side_pc, main_p, main_pc;
  dsp_slice #(
      .AReg(1),
      .BReg(1)
  ) i_side (
      .clk_i,
      .ce_i,
      .a_i      (affine_i ? 27'(group_sum_i) : p_b),
      .b_i      (affine_i ? 18'(signed'(mu_i)) : 18'(sigma_i)),
      .d_i      (27'd0),
      .cascade_i(1'b0),
      .pcin_i   (48'd0),
      .pcout_o  (side_pc),
      .p_o      (side_p)
  );
  dsp_slice #(
      .AReg(2),
      .BReg(2)
  ) i_main (
      .clk_i,
      .ce_i,
      .a_i      ((affine_i && lane_i) ? p_b : p_a),
      .b_i      (18'(sigma_i)),
      .d_i      (27'd0),
      .cascade_i(op3_affine_i),
      .pcin_i   (side_pc),
      .pcout_o  (main_pc),
      .p_o      (main_p)
  );
  logic [47:0] side_q;
  always_ff @(posedge clk_i) if (ce_i) side_q <= side_p;

  // Accumulators. The entry read in cycle u + 3 misses the write of the operation before; it is forwarded.
  logic [47:0] bank_a[Entries];
  logic [47:0] bank_b[Entries];
  logic [47:0] last_a_q, last_b_q, sum_a, sum_b, add_a, add_b;
  logic [AW-1:0] addr, op4_addr_q;
  logic wrote_a_q, wrote_b_q, same_q, write_a, write_b;

  assign addr    = op3_valid_i ? op3_addr_i : drain_addr_i;
  assign write_a = op4_valid_i && (!op4_affine_i || !op4_lane_i);
  assign write_b = op4_valid_i && (!op4_affine_i || op4_lane_i);
  assign add_a   = main_p;
  assign add_b   = op4_affine_i ? main_p : side_q;
  assign sum_a   = (op4_first_i ? 48'd0 : (wrote_a_q && same_q) ? last_a_q : entry_a_o) + add_a;
  assign sum_b   = (op4_first_i ? 48'd0 : (wrote_b_q && same_q) ? last_b_q : entry_b_o) + add_b;

  always_ff @(posedge clk_i) begin
    if (ce_i) begin
      entry_a_o  <= bank_a[addr];
      entry_b_o  <= bank_b[addr];
      op4_addr_q <= addr;
      same_q     <= addr == op4_addr_q;
      wrote_a_q  <= write_a;
      wrote_b_q  <= write_b;
      if (write_a) begin
        bank_a[op4_addr_q] <= sum_a;
        last_a_q           <= sum_a;
      end
      if (write_b) begin
        bank_b[op4_addr_q] <= sum_b;
        last_b_q           <= sum_b;
      end
    end
  end

  logic unused;
  assign unused = &{1'b0, main_pc, 1'b0};
endmodule
