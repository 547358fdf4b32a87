// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Controls of the scale operations, the same for all VPUs of an MPU (vpu_scale). An operation has its sums in cycle u; op1_*
// belongs to cycle u + 1. Reads of the drain go through in cycles without an operation's read: drain_addr_i in a cycle u + 2 that
// no operation has.

module scale_control #(
    parameter int unsigned Entries = 512,  // of a bank
    parameter int unsigned ChainVpus = 1
) (
    input  logic                                     clk_i,
    input  logic                                     ce_i,
    input  logic               [                1:0] n_index_i,     // cycle u
    input  logic               [                2:0] node_i,        // row within the beat
    input  logic                                     op1_valid_i,
    input  logic                                     op1_affine_i,
    input  logic                                     op1_lane_i,    // affine: token lane
    input  logic                                     op1_first_i,   // overwrite the entry
    input  logic               [ChainVpus-1:0][$clog2(Entries)-1:0] op1_addr_i,    // [lane], or one for both
    input  logic               [$clog2(Entries)-1:0] drain_addr_i,
    output matrix_pkg::scale_t                       control_o,
    output logic               [ChainVpus-1:0][$clog2(Entries)-1:0] read_addr_o,   // cycle u + 2
    output logic               [ChainVpus-1:0][$clog2(Entries)-1:0] write_addr_o   // cycle u + 4
);
  import matrix_pkg::*;
  localparam int unsigned AW = $clog2(Entries);

  logic [1:0] select, half_d, half_q;
  always_comb begin
    unique case (n_index_i)
      NDense: begin
        select = 2'd3;
        half_d = 2'b11;
      end
      NEight: begin
        select = 2'd3;
        half_d = node_i[0] ? 2'b10 : 2'b01;
      end
      NFour: begin
        select = {node_i[0], 1'b1};
        half_d = node_i[1] ? 2'b10 : 2'b01;
      end
      default: begin
        select = node_i[1:0];
        half_d = node_i[2] ? 2'b10 : 2'b01;
      end
    endcase
  end

  // The entry that is read misses what the two operations before write: the sum of the one just before is still in the DSP, that
  // of the other goes in again beside the entry.
  logic [ChainVpus-1:0][AW-1:0] addr_q[2:4];  // [k]: cycle u + k
  logic [1:0] write_q[2:4];
  logic valid_q, affine_q;
  logic [1:0] write_d, one_before, two_before, again_q;
  logic [1:0][1:0] base_d, base_q[2:3];
  always_comb begin
    for (int l = 0; l < 2; l++) begin
      write_d[l] = op1_valid_i && (!op1_affine_i || op1_lane_i == 1'(l));
      one_before[l] = write_q[2][l] && op1_addr_i[l%ChainVpus] == addr_q[2][l%ChainVpus];
      two_before[l] = write_q[3][l] && op1_addr_i[l%ChainVpus] == addr_q[3][l%ChainVpus] && !one_before[l];
      base_d[l] = (op1_first_i || two_before[l]) ? BaseZero : one_before[l] ? BaseLast : BaseEntry;
    end
  end
  always_ff @(posedge clk_i) begin
    if (ce_i) begin
      half_q <= half_d;
      valid_q <= op1_valid_i;
      affine_q <= op1_affine_i;
      again_q <= op1_first_i ? 2'b00 : two_before;
      base_q[2] <= base_d;
      base_q[3] <= base_q[2];
      addr_q[2] <= op1_addr_i;
      write_q[2] <= write_d;
      for (int k = 3; k <= 4; k++) begin
        addr_q[k]  <= addr_q[k-1];
        write_q[k] <= write_q[k-1];
      end
    end
  end
  assign read_addr_o = valid_q ? addr_q[2] : {ChainVpus{drain_addr_i}};
  assign write_addr_o = addr_q[4];
  assign control_o = '{
          select: select,
          half: half_q,
          affine: affine_q,
          again: again_q,
          base: base_q[3],
          write: write_q[4]
      };
endmodule
