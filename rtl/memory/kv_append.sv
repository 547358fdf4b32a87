// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// STKV, the half of it that knows the KV cache (docs/streams.md, "KV cache"): AB rows, one a token and head, become steps. A step fills
// bytes of one chunk of 16 bytes of a beat; the store unit collects the steps of a beat and writes it.
//
//     K       a window is one piece of 16 bytes (4 bits: 8) at any byte address: rotated by the address' low bits it is one step,
//             or two if it crosses into the next chunk. From window to window the address grows by KeySlots pieces.
//     V       a row slot is one code for each channel, at the same byte of each: one step for each 16 channels (all channels, if
//             there are fewer). A window holds 16 / Channels row slots, and is shifted by one of them a step. With 4 bits the
//             even row slots fill low nibbles (and zero the high ones), the odd ones fill high nibbles of the same bytes.
//     scale   the header window of the row: two bytes, one step, on the channel of the position
//
// The reader runs ahead as far as the windows fit the FIFO, across rows, so a step leaves in every cycle. All addresses are kept
// by addition; the two products behind the first of them come from the store unit.

module kv_append #(
    parameter int unsigned Channels = 4
) (
    input  logic                                clk_i,
    input  logic                                rst_ni,
    input  flightllm_isa_pkg::stkv_op_t         op_i,          // stays until idle_o
    input  logic                                start_i,
    input  logic                        [ 39:0] codes_at_i,    // unit of the first position, head 0
    input  logic                        [ 39:0] scales_at_i,   // slot of the first position, head 0
    output logic                                idle_o,
    // activation buffer
    output logic                                ab_valid_o,
    output logic                        [ 19:0] ab_addr_o,
    input  logic                                ab_ready_i,
    input  logic                                ab_rvalid_i,
    input  logic                        [127:0] ab_data_i,
    // steps
    output logic                                step_valid_o,
    output store_pkg::step_t                    step_o,
    input  logic                                step_ready_i
);
  import flightllm_isa_pkg::*;
  localparam int unsigned LogC = $clog2(Channels);
  localparam int unsigned KeySlots = key_slots(Channels);
  localparam int unsigned LogKeySlots = $clog2(KeySlots);
  localparam int unsigned WindowSlots = (Channels < 16) ? 16 / Channels : 1;  // row slots in a window
  localparam int unsigned Parts = (Channels > 16) ? Channels / 16 : 1;  // windows in a row slot
  localparam int unsigned Room = 8;

  logic is_v, four;
  logic [12:0] windows;  // of a row, header included
  assign is_v = op_i.kind == 1'(StkvKindV);
  assign four = op_i.bits == 1'(StkvBits4);
  assign windows = 13'((17'(op_i.len) + 17'd15) >> 4) + 13'd1;

  // --- reader: every window of every row -------------------------------------------------------------------------
  logic reading_q;
  logic [31:0] r_tokens_q;
  logic [9:0] r_heads_q;
  logic [12:0] r_left_q;  // windows of the row
  logic [19:0] r_addr_q, r_row_q, r_token_q, r_next_row, r_next_token;
  logic [3:0] used_q;  // windows asked for that have not left the FIFO
  logic asked, pop;
  assign ab_valid_o = reading_q && used_q < 4'(Room);
  assign ab_addr_o = r_addr_q;
  assign asked = ab_valid_o && ab_ready_i;
  assign r_next_row = r_row_q + op_i.ab_s1;
  assign r_next_token = r_token_q + op_i.ab_s0;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      reading_q <= 1'b0;
      used_q    <= '0;
    end else begin
      if (asked != pop) used_q <= asked ? used_q + 4'd1 : used_q - 4'd1;
      if (start_i) reading_q <= 1'b1;
      else if (asked && r_left_q == 13'd1 && r_heads_q == 10'd1 && r_tokens_q == 32'd1) reading_q <= 1'b0;
    end
    if (start_i) begin
      r_tokens_q <= op_i.n0;
      r_heads_q  <= op_i.n1;
      r_left_q   <= windows;
      r_addr_q   <= op_i.ab;
      r_row_q    <= op_i.ab;
      r_token_q  <= op_i.ab;
    end else if (asked) begin
      r_left_q <= r_left_q - 13'd1;
      r_addr_q <= r_addr_q + 20'd1;
      if (r_left_q == 13'd1) begin
        r_left_q  <= windows;
        r_heads_q <= r_heads_q - 10'd1;
        r_addr_q  <= r_next_row;
        r_row_q   <= r_next_row;
        if (r_heads_q == 10'd1) begin
          r_heads_q  <= op_i.n1;
          r_tokens_q <= r_tokens_q - 32'd1;
          r_addr_q   <= r_next_token;
          r_row_q    <= r_next_token;
          r_token_q  <= r_next_token;
        end
      end
    end
  end

  logic w_valid;
  logic [127:0] w_data;
  fifo #(
      .Width(128),
      .Depth(Room)
  ) i_windows (
      .clk_i,
      .rst_ni,
      .in_valid_i (ab_rvalid_i),
      .in_data_i  (ab_data_i),
      .in_ready_o (),
      .out_valid_o(w_valid),
      .out_data_o (w_data),
      .out_ready_i(pop),
      .count_o    ()
  );

  // --- the window at work ----------------------------------------------------------------------------------------
  logic busy_q, valid_q, head_q, row_last_q;
  logic next_head_q;  // the next window to be popped is a header
  logic [127:0] codes_q;
  logic [12:0] left_q;  // windows of the row that have not been popped
  logic [3:0] slots_q;  // V: row slots of the window behind this one
  logic tail_q;  // K: the piece's second chunk
  logic odd_q;  // V, 4 bits: odd row slot
  logic [1:0] part_q;
  logic first_q;
  logic [31:0] tokens_q;
  logic [9:0] heads_q;
  logic [9:0] pos_q;  // low bits of the position
  logic [39:0] at_q, row_at_q, token_at_q, scale_at_q, token_scale_q;
  logic signed [20:0] jump;  // from the last place of a unit to the next unit

  // a window as the steps use it: the scale in all halfwords (bf16, rounded up in magnitude); K's 4-bit codes packed, twice
  logic [15:0][7:0] w_codes, w_ready;
  logic [15:0] scale;
  assign w_codes = w_data;
  assign scale   = w_data[31:16] + 16'(w_data[15:0] != '0);
  always_comb begin
    for (int y = 0; y < 16; y++) begin
      if (next_head_q) w_ready[y] = scale[8*(y%2)+:8];
      else if (four && !is_v) w_ready[y] = {w_codes[2*(y%8)+1][3:0], w_codes[2*(y%8)][3:0]};
      else w_ready[y] = w_codes[y];
    end
  end

  // where the step lies
  logic [39:0] at_next;
  logic [3:0] offset;  // of codes within their first chunk
  logic over;  // K: the second chunk lies in the next beat
  logic [4:0] piece, stop;  // K: bytes of a piece, and where it ends in its first chunk
  logic has_tail, moves, step_last, window_done, row_done, advance;
  logic [35:0] chunk;
  assign piece = four ? 5'd8 : 5'd16;
  assign offset = at_q[3:0];
  assign over = at_q[5:4] == 2'd3;
  assign chunk = head_q ? scale_at_q[39:4] : at_q[39:4] + 36'(tail_q);
  assign stop = 5'(offset) + (four ? 5'd7 : 5'd15);  // its last byte
  assign has_tail = !head_q && !is_v && (four ? offset > 4'd8 : offset != 4'd0);
  always_comb begin
    if (head_q) window_done = 1'b1;
    else if (is_v) window_done = slots_q == '0;
    else window_done = !has_tail || tail_q;
  end
  assign row_done = row_last_q && window_done;
  // V: to the next 16 bytes when all channels and both nibbles have been filled
  assign moves = is_v ? (32'(part_q) == Parts - 1 && (!four || odd_q)) : window_done;
  assign at_next = at_q + (is_v ? 40'd16 : 40'(piece) << LogKeySlots);
  always_comb begin
    if (head_q || row_done) step_last = 1'b1;
    else if (has_tail && !tail_q) step_last = over;
    else step_last = moves && at_next[6] != (at_q[6] ^ (tail_q && over));  // strides are 64 bytes at most
  end

  // --- its bytes -------------------------------------------------------------------------------------------------
  logic [15:0][7:0] code, bytes, data;
  logic [15:0] mask;
  assign code = codes_q;
  always_comb begin
    for (int y = 0; y < 16; y++) begin
      if (head_q || !is_v) bytes[y] = code[y];
      else if (!four) bytes[y] = code[y%Channels];
      else bytes[y] = odd_q ? {code[y%Channels][3:0], 4'd0} : {4'd0, code[y%Channels][3:0]};
      if (head_q) mask[y] = y / 2 == 32'(scale_at_q[3:1]);
      else if (is_v) mask[y] = y == 32'(offset);
      else if (tail_q) mask[y] = y <= 32'(stop[3:0]);
      else mask[y] = y >= 32'(offset) && y <= 32'(stop);
    end
    for (int y = 0; y < 16; y++) data[y] = bytes[4'(y)-((head_q||is_v)?4'd0 : offset)];
  end

  // --- from step to step -----------------------------------------------------------------------------------------
  logic step_ready, token_done, slot_done;
  store_pkg::step_t step;
  logic [39:0] token_next, row_next;
  logic [9:0] slot_mask;
  assign advance = valid_q && step_ready;
  assign pop = w_valid && (!valid_q || (advance && window_done));

  assign token_done = heads_q == 10'd1;
  assign slot_mask = 10'(Channels - 1);
  assign slot_done = (pos_q & slot_mask) == slot_mask;  // the next position is in the next slot
  assign jump = signed'({1'b0, op_i.unit_bytes}) - (is_v ? 21'sd15 : signed'(21'(piece) * 21'(KeySlots - 1)));
  always_comb begin
    token_next = token_at_q;
    if (is_v) token_next = token_at_q + (pos_q[3:0] == 4'd15 ? 40'(jump) : 40'd1);
    else if (slot_done) begin
      token_next = token_at_q + (&(pos_q | ~10'(Channels * KeySlots - 1)) ? 40'(jump) : 40'(piece));
    end
    row_next = token_done ? token_next : row_at_q + 40'(op_i.head);
  end

  assign step = '{
          beat: chunk[35:2],
          chunk: chunk[1:0],
          mask: mask,
          low: head_q || !(is_v && odd_q),
          spread: is_v && !head_q,
          part: part_q,
          first: first_q,
          last: step_last,
          all: is_v && !head_q,
          channel: 6'(pos_q & slot_mask),
          data: data
      };
  // two registers, the second filled only while the first is held: nothing before them waits for the writers within a cycle
  store_pkg::step_t step_q, held_q;
  logic step_valid_q, held_valid_q;
  assign step_ready   = !held_valid_q;
  assign step_valid_o = step_valid_q;
  assign step_o       = step_q;
  assign idle_o       = !busy_q && !step_valid_q;
  always_ff @(posedge clk_i) begin
    if (!step_valid_q || step_ready_i) begin
      step_q       <= held_valid_q ? held_q : step;
      step_valid_q <= held_valid_q || valid_q;
      held_valid_q <= 1'b0;
    end else if (step_ready) begin
      held_q       <= step;
      held_valid_q <= valid_q;
    end
    if (!rst_ni) begin
      step_valid_q <= 1'b0;
      held_valid_q <= 1'b0;
    end
  end

  // place of the first position in its unit
  logic [39:0] start_at;
  logic [31:0] slot;
  assign slot = (32'(op_i.pos) >> LogC) & 32'(KeySlots - 1);
  assign start_at = codes_at_i + (is_v ? 40'(op_i.pos[3:0]) : 40'(piece) * 40'(slot));

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      busy_q  <= 1'b0;
      valid_q <= 1'b0;
    end else begin
      if (start_i) busy_q <= 1'b1;
      else if (advance && row_done && token_done && tokens_q == 32'd1) busy_q <= 1'b0;
      if (pop) valid_q <= 1'b1;
      else if (advance && window_done) valid_q <= 1'b0;
    end
    if (pop) begin
      codes_q     <= w_ready;
      head_q      <= next_head_q;
      next_head_q <= left_q == 13'd1;
      row_last_q  <= left_q == 13'd1;
      left_q      <= left_q == 13'd1 ? windows : left_q - 13'd1;
      slots_q     <= 4'(WindowSlots - 1);
    end else if (advance && is_v) begin
      codes_q <= codes_q >> (8 * Channels % 128);
      slots_q <= slots_q - 4'd1;
    end
    if (advance) begin
      first_q <= step_last;
      tail_q  <= has_tail && !tail_q;
      if (!head_q) begin
        if (moves) at_q <= at_next;
        if (is_v) begin
          part_q <= 32'(part_q) == Parts - 1 ? 2'd0 : part_q + 2'd1;
          if (32'(part_q) == Parts - 1) odd_q <= four && !odd_q;
        end
      end
      if (row_done) begin
        at_q       <= row_next;
        row_at_q   <= row_next;
        scale_at_q <= scale_at_q + 40'd2;
        odd_q      <= 1'b0;
        heads_q    <= heads_q - 10'd1;
        if (token_done) begin
          heads_q    <= op_i.n1;
          tokens_q   <= tokens_q - 32'd1;
          pos_q      <= pos_q + 10'd1;
          token_at_q <= token_next;
          scale_at_q <= token_scale_q + (slot_done ? 40'({op_i.n1, 1'b0}) : 40'd0);
          if (slot_done) token_scale_q <= token_scale_q + 40'({op_i.n1, 1'b0});
        end
      end
    end
    if (start_i) begin
      left_q        <= windows;
      next_head_q   <= 1'b1;
      tail_q        <= 1'b0;
      odd_q         <= 1'b0;
      part_q        <= '0;
      first_q       <= 1'b1;
      tokens_q      <= op_i.n0;
      heads_q       <= op_i.n1;
      pos_q         <= op_i.pos[9:0];
      at_q          <= start_at;
      row_at_q      <= start_at;
      token_at_q    <= start_at;
      scale_at_q    <= scales_at_i;
      token_scale_q <= scales_at_i;
    end
  end

endmodule
