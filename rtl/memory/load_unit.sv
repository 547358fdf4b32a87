// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Unit L: LDV, LDG, LDM, LDS, LDK. The first half (load_request) asks for memory; here the beats of all channels are staged
// and used in lock step: vectors and scales go to the vector buffer, masks to the mask buffer, KV bytes to the K rings.
// Tokens are given when the last write is accepted.

module load_unit #(
    parameter int unsigned Channels = 4
) (
    input  logic                                                     clk_i,
    input  logic                                                     rst_ni,
    input  logic                                                     op_valid_i,
    input  flightllm_isa_pkg::dispatch_t                             op_i,
    output logic                                                     op_ready_o,
    output logic                                                     take_valid_o,
    output logic                         [         3:0]              take_mask_o,
    input  logic                                                     take_ready_i,
    output logic                                                     give_valid_o,
    output logic                         [         3:0]              give_mask_o,
    output logic                                                     idle_o,
    output logic                         [         3:0]              error_o,
    // readers of the channels
    output logic                         [Channels-1:0]              req_valid_o,
    output logic                         [        39:0]              req_addr_o,
    output logic                         [        15:0]              req_beats_o,
    input  logic                         [Channels-1:0]              req_ready_i,
    input  logic                         [Channels-1:0]              rvalid_i,
    input  logic                         [Channels-1:0][511:0]       rdata_i,
    // vector buffer
    output logic                                                     wr_valid_o,
    output logic                         [        19:0]              wr_addr_o,
    output logic                         [        15:0][ 31:0]       wr_data_o,
    output logic                         [        15:0]              wr_mask_o,
    input  logic                                                     wr_ready_i,
    // mask buffer
    output logic                                                     mb_we_o,
    output logic                         [        15:0]              mb_waddr_o,
    output logic                         [         7:0]              mb_wdata_o,
    output logic                         [        15:0]              mb_addr_o,
    input  logic                         [         7:0]              mb_data_i,
    // K rings, all alike
    output logic                                                     push_valid_o,
    output logic                         [Channels-1:0][  7:0][63:0] push_data_o,
    output logic                         [         2:0]              push_first_o,
    output logic                         [         3:0]              push_count_o,
    input  logic                         [        31:0]              ring_free_i
);
  import load_pkg::*;
  localparam int unsigned LogC = $clog2(Channels);
  localparam int unsigned Staging = 64;
  // elements of one slot in a word of 16, and slots in a word
  localparam int unsigned Span = (Channels < 16) ? Channels : 16;

  // --- staging ---------------------------------------------------------------------------------------------------
  logic [Channels-1:0] there;
  logic beat_used;
  logic [Channels-1:0][511:0] stage;
  for (genvar c = 0; c < Channels; c++) begin : gen_stage
    fifo #(
        .Width(512),
        .Depth(Staging)
    ) i_stage (
        .clk_i,
        .rst_ni,
        .in_valid_i (rvalid_i[c]),
        .in_data_i  (rdata_i[c]),
        .in_ready_o (),
        .out_valid_o(there[c]),
        .out_data_o (stage[c]),
        .out_ready_i(beat_used),
        .count_o    ()
    );
  end
  logic beat;
  assign beat = &there;

  // --- first half ------------------------------------------------------------------------------------------------
  segment_t seg_in, seg;
  logic seg_in_valid, seg_in_ready, seg_valid, seg_done, request_idle, id_valid;
  load_request #(
      .Channels(Channels),
      .Staging (Staging)
  ) i_request (
      .clk_i,
      .rst_ni,
      .op_valid_i,
      .op_i,
      .op_ready_o,
      .take_valid_o,
      .take_mask_o,
      .take_ready_i,
      .idle_o         (request_idle),
      .error_o,
      .mb_addr_o,
      .mb_data_i,
      .req_valid_o,
      .req_addr_o,
      .req_beats_o,
      .req_ready_i,
      .segment_valid_o(seg_in_valid),
      .segment_o      (seg_in),
      .segment_ready_i(seg_in_ready),
      .beat_used_i    (beat_used),
      .rest_idle_i    (!seg_valid),
      .id_valid_i     (id_valid),
      .id_data_i      (stage[0])
  );
  fifo #(
      .Width($bits(segment_t)),
      .Depth(8)
  ) i_segments (
      .clk_i,
      .rst_ni,
      .in_valid_i (seg_in_valid),
      .in_data_i  (seg_in),
      .in_ready_o (seg_in_ready),
      .out_valid_o(seg_valid),
      .out_data_o (seg),
      .out_ready_i(seg_done),
      .count_o    ()
  );

  // --- place within the segment ----------------------------------------------------------------------------------
  logic [31:0] done_q;  // bytes of the segment used in earlier beats
  logic [ 5:0] step_q;  // word of the beat (vectors), byte (masks), halfword (scales)
  logic [ 5:0] at;  // first byte of the segment in this beat
  logic [ 6:0] here;  // bytes of the segment in this beat
  logic [31:0] left;
  logic beat_last, step_last, advance;
  assign at = done_q == 0 ? seg.offset : 6'd0;
  assign left = seg.nbytes - done_q;
  assign here = left < 32'(7'd64 - 7'(at)) ? 7'(left) : 7'd64 - 7'(at);
  assign beat_last = 32'(here) == left;

  // vectors: word `step` of the beat; element 16 * step + lane, slot by slot over the channels
  logic [31:0] first_elem;  // of the beat, in the vector
  logic [31:0] elems;
  logic [15:0][31:0] vec_data;
  logic [15:0] vec_mask;
  logic [31:0] vec_word;
  assign first_elem = (seg.half ? done_q >> 1 : done_q >> 2) << LogC;
  assign elems      = 32'(seg.slots) << LogC;
  assign vec_word   = (first_elem >> 4) + 32'(step_q);

  function automatic logic [31:0] widen(logic [15:0] h);
    logic [4:0] lead;
    logic [9:0] f;
    if (h[14:10] == 5'd31) return {h[15], 8'hff, h[9:0], 13'd0};
    if (h[14:10] != 5'd0) return {h[15], 8'(h[14:10]) + 8'd112, h[9:0], 13'd0};
    if (h[9:0] == 10'd0) return {h[15], 31'd0};
    lead = 5'd0;
    for (int i = 0; i < 10; i++) if (h[i]) lead = 5'(10 - i);
    f = h[9:0] << lead;  // the leading one falls off
    return {h[15], 8'd113 - 8'(lead), f, 13'd0};
  endfunction

  always_comb begin
    for (int l = 0; l < 16; l++) begin
      automatic int unsigned e = 16 * 32'(step_q) + 32'(l);
      automatic logic [5:0] slot = 6'(e >> LogC);
      automatic logic [511:0] line = stage[e&32'(Channels-1)];
      vec_data[l] = seg.half ? widen(line[16*32'(slot[4:0])+:16]) : line[32*32'(slot[3:0])+:32];
      vec_mask[l] = first_elem + 32'(e) < elems;
    end
  end

  // scales: halfword `step`: one slot of one head, Span positions at a time
  logic [31:0]       slot_q;
  logic [ 9:0]       head_q;
  logic [19:0]       head_word_q;
  logic [ 5:0]       part_q;  // more than 16 channels: which 16 of them
  logic [31:0]       position;
  logic [15:0][31:0] scale_data;
  logic [15:0]       scale_mask;
  assign position = (slot_q << LogC) + (32'(part_q) << 4);
  always_comb begin
    scale_data = '0;
    scale_mask = '0;
    for (int l = 0; l < 16; l++) begin
      automatic int unsigned c = (32'(l) + 16 * 32'(part_q)) & 32'(Channels - 1);
      automatic logic [511:0] line = stage[c];
      scale_data[l] = {line[16*32'(step_q[4:0])+:16], 16'd0};
      scale_mask[l] = (32'(l) & ~32'(Span - 1)) == (position & 32'hf);
    end
  end

  // --- what happens this cycle -----------------------------------------------------------------------------------
  logic is_end, part_last;
  logic fresh_q;  // first cycle of a segment: its counters are being set
  assign is_end = seg_valid && seg.kind == LoadEnd;
  assign part_last = 32'(part_q) == (Channels / Span) - 1;
  always_comb begin
    wr_valid_o = 1'b0;
    wr_addr_o = seg.dst + vec_word[19:0];
    wr_data_o = vec_data;
    wr_mask_o = vec_mask;
    mb_we_o = 1'b0;
    push_valid_o = 1'b0;
    id_valid = 1'b0;
    advance = 1'b0;
    step_last = 1'b1;
    unique case (seg.kind)
      LoadVector: begin
        wr_valid_o = seg_valid && beat;
        advance = wr_valid_o && wr_ready_i;
        // all words of the beat, or up to the end of the vector
        step_last = 32'(step_q) + 1 == (seg.half ? 2 * Channels : Channels) ||
            first_elem + 16 * (32'(step_q) + 32'd1) >= elems;
      end
      LoadIds: begin
        id_valid = seg_valid && beat;
        advance  = id_valid;
      end
      LoadMask: begin
        mb_we_o   = seg_valid && beat;
        advance   = mb_we_o;
        step_last = 7'(step_q) + 7'd1 == here;
      end
      LoadScales: begin
        wr_valid_o = seg_valid && beat && !fresh_q;
        wr_addr_o = head_word_q + 20'(position >> 4);
        wr_data_o = scale_data;
        wr_mask_o = scale_mask;
        advance = wr_valid_o && wr_ready_i;
        step_last = part_last && 7'(step_q) + 7'd1 == (7'(at) + here) >> 1;
      end
      LoadKeys: begin
        push_valid_o = seg_valid && beat && ring_free_i >= 32'd8;
        advance = push_valid_o;
      end
      default: ;
    endcase
  end
  assign beat_used = advance && step_last;
  assign seg_done = (beat_used && beat_last) || is_end;
  assign mb_waddr_o = 16'(seg.dst) + 16'(done_q) + 16'(step_q);
  assign mb_wdata_o = stage[0][8*(32'(at)+32'(step_q))+:8];
  assign push_first_o = at[5:3];
  assign push_count_o = 4'(here >> 3);
  assign push_data_o = stage;
  assign give_valid_o = is_end;
  assign give_mask_o = seg.signal_mask;
  assign idle_o = request_idle && !seg_valid;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      done_q  <= '0;
      step_q  <= '0;
      part_q  <= '0;
      fresh_q <= 1'b1;
    end else begin
      if (advance) begin
        step_q <= step_last ? 6'd0 : step_q + 6'd1;
        if (beat_used) done_q <= beat_last ? 32'd0 : done_q + 32'(here);
      end
      // scales: heads within a slot, slots one after another; the first halfword may lie anywhere in the first beat
      if (seg.kind == LoadScales && advance) begin
        part_q <= part_last ? 6'd0 : part_q + 6'd1;
        step_q <= !part_last ? step_q : step_last ? 6'd0 : step_q + 6'd1;
        if (part_last) begin
          head_q <= head_q + 10'd1;
          head_word_q <= head_word_q + seg.dst_head;
          if (head_q + 10'd1 == seg.heads) begin
            head_q <= '0;
            head_word_q <= seg.dst;
            slot_q <= slot_q + 32'd1;
          end
        end
      end
      if (seg_done) fresh_q <= 1'b1;
      else if (seg_valid && fresh_q) fresh_q <= 1'b0;
      if (seg_valid && fresh_q) begin
        head_q <= '0;
        head_word_q <= seg.dst;
        slot_q <= seg.slot;
        if (seg.kind == LoadScales) step_q <= {1'b0, seg.offset[5:1]};
      end
    end
  end
endmodule
