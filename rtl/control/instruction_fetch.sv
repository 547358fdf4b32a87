// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Instruction fetch: reads the program from memory ahead of the sequencer, in bursts of up to 8 instructions, into a
// buffer of 16. A jump drops what is buffered and what is still on its way.

module instruction_fetch (
    input  logic         clk_i,
    input  logic         rst_ni,
    input  logic         start_i,         // begin at instruction 0 of the program
    input  logic [ 39:0] program_addr_i,  // 64-byte aligned
    input  logic [ 31:0] program_len_i,   // instructions
    input  logic         stop_i,          // ask for no more
    input  logic         jump_i,
    input  logic [ 31:0] jump_pc_i,
    // to the sequencer, in order
    output logic         valid_o,
    output logic [511:0] inst_o,
    input  logic         ready_i,
    // memory
    output logic         req_valid_o,
    output logic [ 39:0] req_addr_o,
    output logic [ 15:0] req_beats_o,
    input  logic         req_ready_i,
    input  logic         rvalid_i,
    input  logic [511:0] rdata_i
);
  localparam int unsigned Depth = 16;
  localparam int unsigned Burst = 8;

  logic        active_q;
  logic [31:0] next_q;  // next instruction to ask for
  logic [4:0] pending_q, drop_q;  // answers on their way; the first drop_q of them are stale
  logic [ 4:0] count;
  logic [31:0] left;
  logic [15:0] beats;
  logic fire, keep;

  assign left  = program_len_i - next_q;
  assign beats = left < 32'(Burst) ? left[15:0] : 16'(Burst);
  // Room for all that is on its way and one burst more, in the cycle before: only a request makes it less.
  logic room_q, fired_q;
  always_ff @(posedge clk_i) begin
    room_q  <= 6'(count) + 6'(pending_q) + 6'(Burst) <= 6'(Depth);
    fired_q <= fire;
  end
  assign req_valid_o = active_q && left != 0 && room_q && !fired_q && !jump_i && !start_i;
  assign req_addr_o = program_addr_i + (40'(next_q) << 6);
  assign req_beats_o = beats;
  assign fire = req_valid_o && req_ready_i;
  assign keep = rvalid_i && drop_q == 0 && !jump_i;

  logic flush_n;
  assign flush_n = rst_ni && !jump_i && !start_i;
  fifo #(
      .Width(512),
      .Depth(Depth)
  ) i_buffer (
      .clk_i,
      .rst_ni     (flush_n),
      .in_valid_i (keep),
      .in_data_i  (rdata_i),
      .in_ready_o (),
      .out_valid_o(valid_o),
      .out_data_o (inst_o),
      .out_ready_i(ready_i),
      .count_o    (count)
  );

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      active_q  <= 1'b0;
      pending_q <= '0;
      drop_q    <= '0;
    end else begin
      pending_q <= pending_q + (fire ? beats[4:0] : 5'd0) - 5'(rvalid_i);
      if (rvalid_i && drop_q != 0) drop_q <= drop_q - 5'd1;
      if (fire) next_q <= next_q + 32'(beats);
      if (jump_i) begin
        next_q <= jump_pc_i;
        drop_q <= pending_q - 5'(rvalid_i);
      end
      if (start_i) begin
        active_q <= 1'b1;
        next_q   <= '0;
        drop_q   <= pending_q - 5'(rvalid_i);  // the last run may have asked for more than it took
      end
      if (stop_i) active_q <= 1'b0;
    end
  end
endmodule
