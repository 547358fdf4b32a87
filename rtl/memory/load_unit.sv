// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Unit L: LDV, LDG, LDM, LDS, LDK. The first half (load_request) asks for memory; here the beats of all channels are staged
// and used in lock step: vectors and scales go to the vector buffer, masks to the mask buffer, KV bytes to the K rings.
// Words for the vector buffer stand in a register once they are selected, and widened in a FIFO of two, so that nothing here waits for
// the grant within a cycle. Tokens are given when the last write is accepted.

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
    input  logic                         [        31:0]              ring_free_i,
    input  logic                                                     push_stall_i   // no push in this cycle
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
  segment_t seg_in, seg_next, seg_q;
  logic seg_in_valid, seg_in_ready, next_valid, valid_q, seg_load, seg_done, request_idle, id_valid;
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
      .rest_idle_i    (!valid_q && !next_valid),
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
      .out_valid_o(next_valid),
      .out_data_o (seg_next),
      .out_ready_i(seg_load),
      .count_o    ()
  );

  // --- place within the segment ----------------------------------------------------------------------------------
  // A beat takes a cycle, or steps: words (vectors), bytes (masks), halfwords (scales), from the first to the last within the segment.
  logic [5:0] step_q, last_q;
  logic first_q, final_q;  // first and last beat of the segment
  logic [25:0] beats_q;  // this one and those behind it
  logic [ 6:0] stop;  // behind the segment's last byte in this beat
  logic step_last, advance;
  assign stop = final_q ? seg_q.stop : 7'd64;
  assign seg_load = next_valid && (!valid_q || seg_done);

  function automatic logic [5:0] last_step(load_e kind, logic half, logic [6:0] to);
    logic [6:0] slots;
    slots = half ? to >> 1 : to >> 2;
    unique case (kind)
      LoadVector: return 6'(((12'(slots) << LogC) - 12'd1) >> 4);
      LoadMask:   return 6'(to - 7'd1);
      LoadScales: return 6'((to >> 1) - 7'd1);
      default:    return 6'd0;
    endcase
  endfunction

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

  // vectors: word `step` of the beat; element 16 * step + lane, slot by slot over the channels
  logic [15:0][31:0] vec_data;
  logic [15:0] vec_mask;
  always_comb begin
    for (int l = 0; l < 16; l++) begin
      automatic int unsigned e = 16 * 32'(step_q) + 32'(l);
      automatic logic [5:0] slot = 6'(e >> LogC);
      automatic logic [511:0] line = stage[e&32'(Channels-1)];
      vec_data[l] = seg_q.half ? {line[16*32'(slot[4:0])+:16], 16'd0} : line[32*32'(slot[3:0])+:32];
      vec_mask[l] = 7'(slot) < (seg_q.half ? stop >> 1 : stop >> 2);
    end
  end

  // scales: halfword `step`: one slot of one head, Span positions at a time
  logic [23:0] slot_q;
  logic [9:0] head_q;
  logic [5:0] part_q;  // more than 16 channels: which 16 of them
  logic [23:0] position;
  logic [15:0][31:0] scale_data;
  logic [15:0] scale_mask;
  assign position = (slot_q << LogC) + (24'(part_q) << 4);
  always_comb begin
    scale_data = '0;
    for (int l = 0; l < 16; l++) begin
      automatic int unsigned c = (32'(l) + 16 * 32'(part_q)) & 32'(Channels - 1);
      automatic logic [511:0] line = stage[c];
      scale_data[l] = {line[16*32'(step_q[4:0])+:16], 16'd0};
      scale_mask[l] = (32'(l) & ~32'(Span - 1)) == 32'(position[3:0]);
    end
  end

  // --- words for the vector buffer -------------------------------------------------------------------------------
  logic a_valid_q, a_half_q, a_put, a_ready, b_ready;
  logic [19:0] word_q, a_addr_q;  // word: of the vector, or the head's first
  logic [15:0] a_mask_q;
  logic [15:0][31:0] a_data_q, wide;
  assign a_ready = !a_valid_q || b_ready;
  always_comb for (int l = 0; l < 16; l++) wide[l] = a_half_q ? widen(a_data_q[l][31:16]) : a_data_q[l];
  always_ff @(posedge clk_i) begin
    if (a_ready) begin
      a_valid_q <= a_put;
      a_half_q  <= seg_q.kind == LoadVector && seg_q.half;
      a_addr_q  <= seg_q.kind == LoadScales ? word_q + position[23:4] : word_q;
      a_mask_q  <= seg_q.kind == LoadScales ? scale_mask : vec_mask;
      a_data_q  <= seg_q.kind == LoadScales ? scale_data : vec_data;
    end
    if (!rst_ni) a_valid_q <= 1'b0;
  end
  fifo #(
      .Width(20 + 16 + 512),
      .Depth(2)
  ) i_words (
      .clk_i,
      .rst_ni,
      .in_valid_i (a_valid_q),
      .in_data_i  ({a_addr_q, a_mask_q, wide}),
      .in_ready_o (b_ready),
      .out_valid_o(wr_valid_o),
      .out_data_o ({wr_addr_o, wr_mask_o, wr_data_o}),
      .out_ready_i(wr_ready_i),
      .count_o    ()
  );

  // --- what happens this cycle -----------------------------------------------------------------------------------
  logic is_end, part_last;
  logic room_q;  // in the rings for a beat, behind the one that is being pushed
  always_ff @(posedge clk_i) room_q <= rst_ni && ring_free_i >= 32'd8 && (ring_free_i >= 32'd16 || !push_valid_o);
  assign is_end = valid_q && seg_q.kind == LoadEnd && !a_valid_q && !wr_valid_o;
  assign part_last = 32'(part_q) == (Channels / Span) - 1;
  assign step_last = step_q == last_q && (part_last || seg_q.kind != LoadScales);
  always_comb begin
    unique case (seg_q.kind)
      LoadVector, LoadScales: advance = a_ready;
      LoadKeys: advance = room_q && !push_stall_i;
      LoadIds, LoadMask: advance = 1'b1;
      default: advance = 1'b0;
    endcase
    if (!valid_q || !beat) advance = 1'b0;
  end
  assign a_put = advance && (seg_q.kind == LoadVector || seg_q.kind == LoadScales);
  assign mb_we_o = advance && seg_q.kind == LoadMask;
  assign push_valid_o = advance && seg_q.kind == LoadKeys;
  assign id_valid = advance && seg_q.kind == LoadIds;
  assign beat_used = advance && step_last;
  assign seg_done = (beat_used && final_q) || is_end;
  assign mb_waddr_o = word_q[15:0];
  assign mb_wdata_o = stage[0][8*32'(step_q)+:8];
  assign push_first_o = first_q ? seg_q.offset[5:3] : 3'd0;
  assign push_count_o = stop[6:3] - 4'(push_first_o);
  assign push_data_o = stage;
  assign give_valid_o = is_end;
  assign give_mask_o = seg_q.signal_mask;
  assign idle_o = request_idle && !valid_q && !next_valid;

  always_ff @(posedge clk_i) begin
    if (advance) begin
      step_q <= step_q + 6'd1;
      word_q <= word_q + 20'd1;
      // scales: heads within a slot, slots one after another; the first halfword may lie anywhere in the first beat
      if (seg_q.kind == LoadScales) begin
        part_q <= part_last ? 6'd0 : part_q + 6'd1;
        step_q <= part_last ? step_q + 6'd1 : step_q;
        word_q <= word_q;
        if (part_last) begin
          head_q <= head_q + 10'd1;
          word_q <= word_q + seg_q.dst_head;
          if (head_q + 10'd1 == seg_q.heads) begin
            head_q <= '0;
            word_q <= seg_q.dst;
            slot_q <= slot_q + 24'd1;
          end
        end
      end
      if (step_last) begin
        step_q  <= '0;
        last_q  <= last_step(seg_q.kind, seg_q.half, beats_q == 26'd2 ? seg_q.stop : 7'd64);
        first_q <= 1'b0;
        final_q <= beats_q == 26'd2;
        beats_q <= beats_q - 26'd1;
      end
    end
    if (seg_load) begin
      seg_q <= seg_next;
      unique case (seg_next.kind)
        LoadMask:   step_q <= seg_next.offset;
        LoadScales: step_q <= {1'b0, seg_next.offset[5:1]};
        default:    step_q <= '0;
      endcase
      last_q  <= last_step(seg_next.kind, seg_next.half, seg_next.single ? seg_next.stop : 7'd64);
      first_q <= 1'b1;
      final_q <= seg_next.single;
      beats_q <= seg_next.beats;
      word_q  <= seg_next.dst;
      slot_q  <= seg_next.slot;
      head_q  <= '0;
      part_q  <= '0;
    end
    if (!rst_ni) valid_q <= 1'b0;
    else if (seg_load) valid_q <= 1'b1;
    else if (seg_done) valid_q <= 1'b0;
  end
endmodule
