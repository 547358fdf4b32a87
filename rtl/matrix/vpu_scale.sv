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
    input  logic                                    clk_i,
    input  logic                                    ce_i,
    input  logic        [                7:0][23:0] sum_a_i,
    input  logic        [                7:0][23:0] sum_b_i,
    input  logic        [                1:0]       n_index_i,     // cycle u
    input  logic        [                2:0]       node_i,        // row within the beat
    input  logic                                    affine_i,
    input  logic                                    lane_i,        // affine: token lane of this operation
    input  logic        [                7:0]       sigma_i,
    input  logic        [               11:0]       mu_i,
    input  logic signed [               17:0]       group_sum_i,   // A of that lane
    input  logic                                    op3_valid_i,
    input  logic                                    op3_affine_i,
    input  logic        [$clog2(Entries)-1:0]       op3_addr_i,
    input  logic                                    op4_valid_i,
    input  logic                                    op4_affine_i,
    input  logic                                    op4_lane_i,
    input  logic                                    op4_first_i,
    input  logic        [$clog2(Entries)-1:0]       drain_addr_i,
    output logic        [               47:0]       entry_a_o,
    output logic        [               47:0]       entry_b_o
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
  DSP48E2 #(
      .AREG(1),
      .BREG(1),
      .OPMODEREG(0),
      .INMODEREG(0),
      .ALUMODEREG(0),
      .CARRYINREG(0),
      .CARRYINSELREG(0)
  ) i_side (
      .CLK(clk_i),
      .A(affine_i ? 30'(group_sum_i) : 30'(p_b)),
      .B(affine_i ? 18'(signed'(mu_i)) : 18'(sigma_i)),
      .C(48'd0),
      .D(27'd0),
      .PCIN(48'd0),
      .OPMODE(9'b000000101),
      .ALUMODE(4'd0),
      .INMODE(5'd0),
      .CARRYINSEL(3'd0),
      .CARRYIN(1'b0),
      .CEA1(ce_i),
      .CEA2(ce_i),
      .CEB1(ce_i),
      .CEB2(ce_i),
      .CEC(1'b0),
      .CED(1'b0),
      .CEAD(1'b0),
      .CEM(ce_i),
      .CEP(ce_i),
      .P(side_p),
      .PCOUT(side_pc)
  );
  DSP48E2 #(
      .AREG(2),
      .BREG(2),
      .OPMODEREG(0),
      .INMODEREG(0),
      .ALUMODEREG(0),
      .CARRYINREG(0),
      .CARRYINSELREG(0)
  ) i_main (
      .CLK(clk_i),
      .A((affine_i && lane_i) ? 30'(p_b) : 30'(p_a)),
      .B(18'(sigma_i)),
      .C(48'd0),
      .D(27'd0),
      .PCIN(side_pc),
      .OPMODE({2'b00, op3_affine_i ? 3'b001 : 3'b000, 4'b0101}),
      .ALUMODE(4'd0),
      .INMODE(5'd0),
      .CARRYINSEL(3'd0),
      .CARRYIN(1'b0),
      .CEA1(ce_i),
      .CEA2(ce_i),
      .CEB1(ce_i),
      .CEB2(ce_i),
      .CEC(1'b0),
      .CED(1'b0),
      .CEAD(1'b0),
      .CEM(ce_i),
      .CEP(ce_i),
      .P(main_p),
      .PCOUT(main_pc)
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
