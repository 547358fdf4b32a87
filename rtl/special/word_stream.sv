// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// A read stream of the vector buffer: turns word indices into words of 16 elements that begin `shift` elements behind a word's
// start (rotated heads whose half is no multiple of 16). An unaligned word takes two reads. Up to Depth words wait
// at the output; a read is asked for only when there is room for it.

/* verilator lint_off PINCONNECTEMPTY */  // room is counted by reserved_q
module word_stream #(
    parameter int unsigned Depth = 8
) (
    input  logic              clk_i,
    input  logic              rst_ni,
    input  logic [19:0]       base_i,         // word of index 0; stays during a pass
    input  logic [19:0]       end_i,          // with a shift: last word of the row, nothing behind it is read
    input  logic [ 3:0]       shift_i,        // stays from the cycle before a pass on
    input  logic              index_valid_i,
    input  logic [19:0]       index_i,
    output logic              index_ready_o,
    output logic              valid_o,
    output logic [15:0][31:0] data_o,
    input  logic              ready_i,
    // vector buffer
    output logic              rd_valid_o,
    output logic [19:0]       rd_addr_o,
    input  logic              rd_ready_i,
    input  logic              rd_rvalid_i,
    input  logic [15:0][31:0] rd_rdata_i
);
  logic       second_q;  // the second read of an unaligned word comes next
  logic [4:0] reserved_q;  // reads asked for, or waiting in the FIFO
  logic fired, last_read, pop;
  logic aligned_q;
  always_ff @(posedge clk_i) aligned_q <= shift_i == 4'd0;
  assign last_read = aligned_q || second_q;
  // the second word of the last pair may lie behind the row: its elements do not count, any word will do
  logic [19:0] at;
  assign at = base_i + index_i;
  // the address stands in a register: banks of the vector buffer compare it with those of other readers
  assign fired = index_valid_i && reserved_q < 5'(2 * Depth) && (!rd_valid_o || rd_ready_i);
  always_ff @(posedge clk_i) begin
    if (!rst_ni) rd_valid_o <= 1'b0;
    else rd_valid_o <= fired || (rd_valid_o && !rd_ready_i);
    if (fired) rd_addr_o <= (second_q && at != end_i) ? at + 20'd1 : at;
  end
  assign index_ready_o = fired && last_read;

  logic head_valid, take;
  logic [15:0][31:0] head, first_q;
  logic have_q;
  fifo #(
      .Width(512),
      .Depth(2 * Depth)
  ) i_words (
      .clk_i,
      .rst_ni,
      .in_valid_i (rd_rvalid_i),
      .in_data_i  (rd_rdata_i),
      .in_ready_o (),
      .out_valid_o(head_valid),
      .out_data_o (head),
      .out_ready_i(take),
      .count_o    ()
  );
  assign valid_o = head_valid && (aligned_q || have_q);
  assign pop = valid_o && ready_i;
  assign take = pop || (head_valid && !aligned_q && !have_q);
  // 16 of 32 elements, those behind the first `shift` ones, in two steps of four ways each. An aligned word is the case of 16.
  logic [3:0] more_q;  // shift - 1; 15 without a shift
  logic [31:0][31:0] both;
  logic [18:0][31:0] near;
  assign both = {head, first_q};
  always_ff @(posedge clk_i) more_q <= shift_i - 4'd1;
  always_comb begin
    for (int i = 0; i < 19; i++) begin
      unique case (more_q[3:2])
        2'd0: near[i] = both[i+1];
        2'd1: near[i] = both[i+5];
        2'd2: near[i] = both[i+9];
        default: near[i] = both[i+13];
      endcase
    end
    for (int l = 0; l < 16; l++) begin
      unique case (more_q[1:0])
        2'd0: data_o[l] = near[l];
        2'd1: data_o[l] = near[l+1];
        2'd2: data_o[l] = near[l+2];
        default: data_o[l] = near[l+3];
      endcase
    end
  end
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      second_q   <= 1'b0;
      reserved_q <= '0;
      have_q     <= 1'b0;
    end else begin
      if (fired) second_q <= !last_read;
      // take comes late: it only selects
      if (fired != take) reserved_q <= fired ? reserved_q + 5'd1 : reserved_q - 5'd1;
      if (pop) have_q <= 1'b0;
      else if (take) have_q <= 1'b1;
    end
    if (take && !pop) first_q <= head;
  end
endmodule
/* verilator lint_on PINCONNECTEMPTY */
