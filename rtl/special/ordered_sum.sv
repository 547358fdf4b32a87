// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// The ordered sum of docs/numerics.md: 256 accumulators as 16 rows of 16 lanes, fed Lanes elements a cycle, then added up by
// halves. Element e belongs to row (e / 16) % 16. A row may come again only AddLatency + 2 cycles later (operands are
// registered before the adder); the caller sees to that.
// clear_i begins a sum; finish_i (no more elements come) starts the tree; done_o for one cycle, with sum_o.

module ordered_sum #(
    parameter int unsigned Lanes = 16
) (
    input  logic                   clk_i,
    input  logic                   rst_ni,
    input  logic                   clear_i,
    input  logic                   valid_i,
    input  logic [      3:0]       row_i,
    input  logic [      1:0]       part_i,    // which Lanes of the row
    input  logic [Lanes-1:0][31:0] data_i,    // +0 where there is nothing to add
    input  logic                   finish_i,
    output logic                   done_o,
    output logic [     31:0]       sum_o
);
  import fp32_pkg::*;
  localparam int unsigned Parts = 16 / Lanes;

  typedef enum logic [1:0] {
    StFeed,
    StRows,
    StLanes,
    StDone
  } state_e;
  state_e state_q;

  logic [Parts-1:0][Lanes-1:0][31:0] acc_q[16];
  logic [Parts-1:0][15:0] fresh_parts_q;

  // one addition of Lanes elements a cycle: acc[row] + operand -> acc[row]
  logic go, go_q;
  logic [Lanes-1:0][31:0] left_q, right_q;
  logic [3:0] row, from_row;
  logic [1:0] part;
  logic [Lanes-1:0][31:0] left, right, result;
  logic [Lanes-1:0] result_valid;
  logic [3:0] level_q, at_q, wait_q;
  logic [1:0] part_q;
  logic [4:0] half_q;

  // the row of 16 lanes as one, for the last levels
  logic [15:0][31:0] row0, row0_low, row0_high;
  assign row0 = acc_q[0];
  always_comb begin
    row0_low  = row0;
    row0_high = '0;
    for (int l = 0; l < 16; l++) if (5'(l) < half_q) row0_high[l] = row0[4'(5'(l)+half_q)];
  end

  always_comb begin
    go = 1'b0;
    row = row_i;
    from_row = at_q + level_q;
    part = part_i;
    left = fresh_parts_q[part_i][row_i] ? '0 : acc_q[row_i][part_i];
    right = data_i;
    unique case (state_q)
      StFeed:  go = valid_i;
      StRows: begin
        go = wait_q == 0;
        row = at_q;
        part = part_q;
        left = fresh_parts_q[part_q][at_q] ? '0 : acc_q[at_q][part_q];
        right = fresh_parts_q[part_q][from_row] ? '0 : acc_q[from_row][part_q];
      end
      StLanes: begin
        go   = wait_q == 0 && half_q != 0;
        row  = 4'd0;
        part = part_q;
        for (int l = 0; l < Lanes; l++) begin
          left[l]  = row0_low[32'(part_q)*Lanes+l];
          right[l] = row0_high[32'(part_q)*Lanes+l];
        end
      end
      default: ;
    endcase
  end

  for (genvar l = 0; l < Lanes; l++) begin : gen_add
    fp32_add i_add (
        .clk_i,
        .rst_ni,
        .valid_i(go_q),
        .a_i    (left_q[l]),
        .b_i    (right_q[l]),
        .valid_o(result_valid[l]),
        .out_o  (result[l])
    );
  end
  logic [3:0] out_row;
  logic [1:0] out_part;
  delay_line #(
      .Width(6),
      .Depth(AddLatency + 1)
  ) i_place (
      .clk_i,
      .in_i ({row, part}),
      .out_o({out_row, out_part})
  );

  assign sum_o  = acc_q[0][0][0];
  assign done_o = state_q == StDone;

  always_ff @(posedge clk_i) begin
    go_q <= go && rst_ni;
    if (go) begin
      left_q  <= left;
      right_q <= right;
    end
    if (result_valid[0]) begin
      acc_q[out_row][out_part]         <= result;
      fresh_parts_q[out_part][out_row] <= 1'b0;
    end
    if (clear_i) fresh_parts_q <= '1;
    if (!rst_ni) begin
      state_q <= StFeed;
      wait_q  <= '0;
    end else begin
      if (wait_q != 0) wait_q <= wait_q - 4'd1;
      unique case (state_q)
        StFeed:
        if (finish_i) begin
          state_q <= StRows;
          level_q <= 4'd8;
          at_q    <= '0;
          part_q  <= '0;
          wait_q  <= 4'(AddLatency + 1);
        end
        StRows:
        if (wait_q == 0) begin
          part_q <= part_q + 2'd1;
          if (part_q == 2'(Parts - 1)) begin
            part_q <= '0;
            at_q   <= at_q + 4'd1;
            if (at_q + 4'd1 == level_q) begin
              at_q    <= '0;
              level_q <= level_q >> 1;
              wait_q  <= 4'(AddLatency + 1);
              if (level_q == 4'd1) begin
                state_q <= StLanes;
                half_q  <= 5'd8;
              end
            end
          end
        end
        StLanes:
        if (half_q == 0) begin
          if (wait_q == 0) state_q <= StDone;
        end else if (wait_q == 0) begin
          part_q <= part_q + 2'd1;
          if (part_q == 2'(Parts - 1)) begin
            part_q <= '0;
            half_q <= half_q >> 1;
            wait_q <= 4'(AddLatency + 1);
          end
        end
        StDone:  state_q <= StFeed;
        default: state_q <= StFeed;
      endcase
    end
  end
  logic unused;
  assign unused = &{1'b0, result_valid, 1'b0};
endmodule
