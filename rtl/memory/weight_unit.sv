// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Unit W: LDW. Asks every channel of the core for the same bytes, as far ahead as the W rings have room, across instructions.
// Rings pop in lock step, so one count of words (asked for, less popped) holds for all channels.
// Requests end at multiples of 2 KB, so that the reader cuts none of them at a boundary of 4 KB: of short bursts the few that it keeps in
// flight would not hide the memory's latency.

module weight_unit #(
    parameter int unsigned Channels  = 4,
    parameter int unsigned RingBytes = 65536
) (
    input  logic                                        clk_i,
    input  logic                                        rst_ni,
    input  logic                                        op_valid_i,
    input  flightllm_isa_pkg::dispatch_t                op_i,
    output logic                                        op_ready_o,
    output logic                                        idle_o,
    output logic                                        clean_o,      // every word asked for has been popped
    output logic                                        stalled_o,    // no room in the rings
    // readers of the channels: the same request to each
    output logic                         [Channels-1:0] req_valid_o,
    output logic                         [        39:0] req_addr_o,
    output logic                         [        15:0] req_beats_o,
    input  logic                         [Channels-1:0] req_ready_i,
    input  logic                         [         4:0] pop_i         // words popped from each ring
);
  import flightllm_isa_pkg::*;
  localparam int unsigned RingBeats = RingBytes / 64;
  localparam int unsigned RingWords = RingBeats * 8;
  localparam int unsigned MaxBeats = (RingBeats < 2) ? 1 : (RingBeats < 64) ? RingBeats / 2 : 32;  // half a small ring
  localparam bit Aligned = MaxBeats == 32;

  ldw_op_t op;
  assign op = ldw_op(op_i);

  logic [        39:0] addr_q;
  logic [        31:0] left_q;  // beats still to ask for
  logic [        31:0] used_q;  // words asked for and not popped
  logic [Channels-1:0] todo_q;
  logic [        31:0] beats;
  logic [         5:0] most_q;  // beats of the next request
  logic start, send, none;

  assign beats = left_q < 32'(most_q) ? left_q : 32'(most_q);
  assign none = todo_q == '0;
  assign send = left_q != 0 && none && used_q + (beats << 3) <= 32'(RingWords);
  assign start = op_valid_i && left_q == 0;
  assign op_ready_o = left_q == 0;
  assign req_valid_o = todo_q;
  assign idle_o = left_q == 0 && none && !op_valid_i;
  assign clean_o = used_q == '0;
  assign stalled_o = left_q != 0 && none && !send;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      left_q <= '0;
      used_q <= '0;
      todo_q <= '0;
    end else begin
      used_q <= used_q + (send ? beats << 3 : 32'd0) - 32'(pop_i);
      todo_q <= send ? '1 : todo_q & ~req_ready_i;
      if (start) left_q <= op.nbytes >> 6;
      else if (send) left_q <= left_q - beats;
    end
    if (start) begin
      addr_q <= op.addr;
      most_q <= 6'(MaxBeats) - (Aligned ? 6'(op.addr[10:6]) : 6'd0);
    end else if (send) begin
      addr_q <= addr_q + (40'(beats) << 6);
      most_q <= 6'(MaxBeats);
    end
    if (send) begin
      req_addr_o  <= addr_q;
      req_beats_o <= 16'(beats);
    end
  end

  logic unused;
  assign unused = &{1'b0, op.opcode, op.wait_mask, op.signal_mask, op.nbytes[5:0], 1'b0};
endmodule
