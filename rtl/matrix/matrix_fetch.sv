// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Front end of the matrix unit: walks weight and KV streams, one pop a cycle, and hands tiles to the execute stage
// (docs/rtl.md, "Matrix unit"; docs/streams.md). Lengths follow from the instruction and the format bytes alone, so all
// channels pop the same. It works on the next instruction while execute and drain finish the last.
//
// An attention instruction whose block mask applies waits until execute has taken its tokens (taken_i), because the
// mask is read here.

module matrix_fetch #(
    parameter int unsigned Vpus     = 8,
    parameter int unsigned Channels = 4
) (
    input logic clk_i,
    input logic rst_ni,
    // instruction queue
    input logic op_valid_i,
    input flightllm_isa_pkg::dispatch_t op_i,
    output logic op_ready_o,
    // to execute: the instruction, then its tiles
    output logic mop_valid_o,
    output matrix_pkg::mop_t mop_o,
    input logic mop_ready_i,
    input logic taken_i,
    output logic tile_valid_o,
    output matrix_pkg::tile_t tile_o,
    input logic tile_ready_i,
    input logic beats_release_i,  // the beats of a tile (count beside it) are free again
    input logic [4:0] beats_count_i,
    input logic row_release_i,  // a scale row is free again
    input logic rho_release_i,  // a strip's rho and bias are free again
    // rings: levels up to 16 words, the least over all channels
    input logic [4:0] w_level_i,
    input logic [4:0] k_level_i,
    output logic [4:0] w_pop_o,
    output logic [4:0] k_pop_o,
    output matrix_pkg::pop_t pop_o,
    input logic table_valid_i,  // popped format bytes of channel 0
    input logic [63:0] table_data_i,
    // mask buffer
    output logic [15:0] mb_addr_o,
    input logic [7:0] mb_data_i,  // two cycles after the address
    output logic idle_o
);
  import flightllm_isa_pkg::*;
  import matrix_pkg::*;
  localparam int unsigned LogC = $clog2(Channels);
  localparam int unsigned TableBytes = 1024;

  typedef enum logic [4:0] {
    StIdle,
    StStrip,
    StTablePop,
    StTableWait,
    StTableParse,
    StRho,
    StEntry,
    StScale,
    StCode,
    StPad,
    StBlock,
    StMask0,
    StMask1,
    StMask2,
    StRun,
    StQk,
    StPv,
    StEmpty
  } state_e;
  state_e   state_q;

  // --- the instruction -------------------------------------------------------------------------------------------
  mm_op_t   mm;
  mmqk_op_t qk;
  mmpv_op_t pv;
  assign mm = mm_op(op_i);
  assign qk = mmqk_op(op_i);
  assign pv = mmpv_op(op_i);

  mop_t new_mop;
  function automatic logic [15:0] count16(logic signed [31:0] x);
    return x < 0 ? 16'd0 : x > 32'sd65535 ? 16'hffff : x[15:0];
  endfunction
  always_comb begin
    new_mop = '0;
    unique case (op_i.inst[5:0])
      OpMm: begin
        new_mop.kind = KindMm;
        new_mop.dual = mm.dual;
        new_mop.accumulate = mm.accumulate;
        new_mop.bias = mm.bias;
        new_mop.n0 = count16(mm.tokens);
        new_mop.n1 = 10'd1;
        new_mop.ab = mm.ab;
        new_mop.ab_s0 = mm.ab_row;
        new_mop.dst = mm.dst;
        new_mop.dst_s0 = mm.dst_row;
      end
      OpMmqk: begin
        new_mop.kind = KindQk;
        new_mop.dual = qk.dual;
        new_mop.n0 = count16(qk.n0);
        new_mop.n1 = qk.n1;
        new_mop.ab = qk.ab;
        new_mop.ab_s0 = qk.ab_s0;
        new_mop.ab_s1 = qk.ab_s1;
        new_mop.dst = qk.dst;
        new_mop.dst_s0 = qk.dst_s0;
        new_mop.dst_s1 = qk.dst_s1;
      end
      default: begin
        new_mop.kind = KindPv;
        new_mop.dual = pv.dual;
        new_mop.n0 = count16(pv.n0);
        new_mop.n1 = pv.n1;
        new_mop.ab = pv.ab;
        new_mop.ab_s0 = pv.ab_s0;
        new_mop.ab_s1 = pv.ab_s1;
        new_mop.dst = pv.dst;
        new_mop.dst_s0 = pv.dst_s0;
        new_mop.dst_s1 = pv.dst_s1;
      end
    endcase
    new_mop.wait_mask   = op_i.inst[9:6];
    new_mop.signal_mask = op_i.inst[13:10];
  end

  kind_e kind_q;
  mm_op_t mm_q;
  // attention: the fields that MMQK and MMPV share, and those of one
  logic [31:0] len_q;
  logic [19:0] last_block_q;
  logic [11:0] sink_q;
  logic signed [31:0] first_q;
  logic [15:0] mask_q;
  logic masked_q, four_q;
  logic [12:0] head_windows_q;  // K: windows of a row
  logic [11:0] pv_slots_q;

  // --- counters of the walk --------------------------------------------------------------------------------------
  logic [19:0] slots_left_q;  // of the matrix, from this strip on
  logic [31:0] base_q;  // first element of the strip
  logic [19:0] strip_r;  // slots of this strip
  logic [ 3:0] row_beats;  // ceil(r / V)
  logic [19:0] strip_full;
  logic [ 2:0] words_mod_q;  // words popped modulo 8
  logic        strip_half_q;  // rho half
  logic [9:0] table_at_q, table_end_q;
  logic [7:0] table_mem[TableBytes];
  logic [63:0] table_word_q;
  logic [3:0] table_bytes_q;
  logic [17:0] blocks, block_q, table_blocks_q;
  logic       bias_phase_q;  // rho or bias in StRho, sigma or mu in StScale
  logic [6:0] rho_row_q;
  logic       first_pass_q;

  assign strip_full = 20'(Vpus) << mm_q.rows_per_vpu;
  assign strip_r    = slots_left_q < strip_full ? slots_left_q : strip_full;
  assign blocks     = 18'((25'(mm_q.k) + 25'd127) >> 7);
  always_comb begin
    row_beats = 4'd1;
    for (int i = 1; i < 8; i++) if (strip_r > 20'(i * Vpus)) row_beats = 4'(i + 1);
  end

  // entry
  logic [7:0] fmt, fmt_q;
  logic [1:0] n_q;
  logic [3:0] q_q;  // 16 / N
  logic [3:0] jj_count_q, jj_q;
  logic [19:0] last_nv_q, nv;  // VPUs that take part in the last beat down the strip
  logic [3:0] windows_q, group_windows;
  logic [2:0] groups_q, group_q;
  logic last_jj;
  logic [5:0] scale_left_q;  // scale beats of the section not yet popped
  logic [5:0] scale_total_q;
  logic [2:0] scale_row_q, scale_base_q;  // next row to fill; first row of the entry
  logic [5:0] scale_at_q;  // scale beats of the entry given to tiles
  logic [3:0] window_q;
  logic       index_phase_q;
  logic [7:0] piece_q;  // words of the section popped so far
  logic [3:0] beat_q;  // replay beat to fill

  assign fmt = mm_q.has_table ? table_mem[table_at_q] : mm_q.format;
  assign group_windows = 4'd2 << mm_q.group;
  assign last_jj = jj_q + 4'd1 == jj_count_q;
  assign nv = last_jj ? last_nv_q : 20'(Vpus);

  // words of the codes of a beat: ceil(nv * 2 * bits / 8). Known a cycle after the format and last_nv_q, which StScale sets before
  // its first pop
  function automatic logic [7:0] code_words(logic [19:0] n, logic [2:0] width);
    return 8'((12'(n) * 12'(width_bits(width)) + 12'd3) >> 2);
  endfunction
  logic [7:0] full_words_q, last_words_q;
  always_ff @(posedge clk_i) begin
    full_words_q <= code_words(20'(Vpus), fmt_q[2:0]);
    last_words_q <= code_words(last_nv_q, fmt_q[2:0]);
  end

  logic [2:0] groups;
  logic [5:0] scale_total;
  assign groups      = 3'((5'(windows_q) + 5'(group_windows) - 5'd1) >> (2'd1 + mm_q.group));
  assign scale_total = 6'(jj_count_q * q_q) * 6'(groups);

  // attention walk
  logic [19:0] kb_q, run_from_q;  // blocks
  logic [19:0] run_end_q;
  logic run_open_q;
  logic [31:0] unit_q, unit_end_q;  // slots (K) or windows (V) of the run
  logic first_tile_q;
  logic [7:0] lane_q;
  logic [7:0] qk_nv;
  logic [3:0] pv_jj_count;
  logic [11:0] pv_left;

  // --- room ------------------------------------------------------------------------------------------------------
  logic [4:0] beats_used_q;
  logic [3:0] rows_used_q;
  logic [1:0] rho_used_q;
  logic [4:0] beats_take;
  logic rows_take, rho_take;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      beats_used_q <= '0;
      rows_used_q  <= '0;
      rho_used_q   <= '0;
    end else begin
      beats_used_q <= beats_used_q + beats_take - (beats_release_i ? beats_count_i : 5'd0);
      rows_used_q  <= rows_used_q + 4'(rows_take) - 4'(row_release_i);
      rho_used_q   <= rho_used_q + 2'(rho_take) - 2'(rho_release_i);
    end
  end

  // instructions handed over whose tokens execute has not taken
  logic [2:0] untaken_q;
  logic op_fire;
  assign op_fire = op_valid_i && op_ready_o;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) untaken_q <= '0;
    else untaken_q <= untaken_q + 3'(op_fire) - 3'(taken_i);
  end

  // --- one pop ---------------------------------------------------------------------------------------------------
  logic [7:0] section_words;  // of the current section
  logic [7:0] section_left;
  logic [4:0] piece;  // words of this pop
  logic want, fire, last_piece, level_ok, is_k;
  dest_e dest;

  // ceil(n * Vpus / 8) and ceil(n * 3 * Vpus / 16) for n scale beats
  function automatic logic [7:0] sigma_words(logic [3:0] n);
    return 8'((12'(n) * 12'(Vpus) + 12'd7) >> 3);
  endfunction
  function automatic logic [7:0] mu_words(logic [3:0] n);
    return 8'((12'(n) * 12'(3 * Vpus) + 12'd15) >> 4);
  endfunction
  logic [3:0] scale_chunk;
  assign scale_chunk = scale_left_q > 6'd8 ? 4'd8 : 4'(scale_left_q);

  always_comb begin
    section_words = 8'd1;
    dest = DestDrop;
    is_k = 1'b0;
    unique case (state_q)
      StTablePop: dest = DestTable;
      StRho: begin
        section_words = strip_r > 20'({rho_row_q, 2'b10}) ? 8'd2 : 8'd1;
        dest = bias_phase_q ? DestBias : DestRho;
      end
      StScale: begin
        section_words = bias_phase_q ? mu_words(scale_chunk) : sigma_words(scale_chunk);
        dest = bias_phase_q ? DestMu : DestSigma;
      end
      StCode: begin
        section_words = index_phase_q ? 8'(nv) : last_jj ? last_words_q : full_words_q;
        dest = index_phase_q ? DestIndex : DestCode;
      end
      StQk: begin
        section_words = four_q ? 8'd1 : 8'd2;
        dest = four_q ? DestLane1 : DestLane2;
        is_k = 1'b1;
      end
      StPv: begin
        section_words = four_q ? 8'(((pv_left > 12'(Vpus) ? 12'(Vpus) : pv_left) + 12'd1) & ~12'd1)
                               : 8'((pv_left > 12'(Vpus) ? 12'(Vpus) : pv_left) << 1);
        dest = DestCode;
        is_k = 1'b1;
      end
      default: ;
    endcase
    section_left = section_words - piece_q;
    piece        = section_left > 8'd16 ? 5'd16 : 5'(section_left);
    last_piece   = section_left <= 8'd16;
    level_ok     = piece <= (is_k ? k_level_i : w_level_i);
  end
  assign fire    = want && level_ok;
  assign w_pop_o = (fire && !is_k) ? piece : 5'd0;
  assign k_pop_o = (fire && is_k) ? piece : 5'd0;

  always_comb begin
    pop_o = '0;
    pop_o.valid = fire;
    pop_o.dest = dest;
    pop_o.offset = piece_q;
    unique case (state_q)
      StRho:   pop_o.index = 8'(rho_row_q) + (strip_half_q ? 8'(2 * Vpus) : 8'd0);
      StScale: pop_o.index = 8'(scale_row_q);
      StCode: begin
        pop_o.index = 8'(beat_q);
        pop_o.done  = last_piece && (index_phase_q || n_q == NDense);
      end
      StQk: begin
        pop_o.offset = lane_q;
        pop_o.index  = 8'(4'(beat_q + window_q));
        pop_o.done   = lane_q + 8'd1 == qk_nv;
      end
      StPv: begin
        pop_o.index = 8'(beat_q);
        pop_o.done  = last_piece;
      end
      default: ;
    endcase
  end

  // --- tiles -----------------------------------------------------------------------------------------------------
  logic tile_now;
  logic entry_more, entry_last, op_last;
  logic [3:0] tile_windows;
  logic [9:0] pv_rows;
  assign entry_more = fmt_q[6];
  assign entry_last = block_q + 18'd1 == blocks && !entry_more;
  assign op_last = slots_left_q <= strip_full;
  assign tile_windows = (windows_q - 4'(group_q) * group_windows) < group_windows ?
      4'(windows_q - 4'(group_q) * group_windows) : group_windows;
  assign qk_nv = (unit_end_q - unit_q) < 32'(Vpus) ? 8'(unit_end_q - unit_q) : 8'(Vpus);
  assign pv_left = pv_slots_q - 12'(jj_q) * 12'(Vpus);
  always_comb begin
    pv_jj_count = 4'd1;
    for (int i = 1; i < 15; i++) if (pv_slots_q > 12'(i * Vpus)) pv_jj_count = 4'(i + 1);
  end
  assign pv_rows = 10'(pv_jj_count);

  always_comb begin
    tile_o = '0;
    unique case (state_q)
      StCode: begin
        tile_o.nw = 5'(tile_windows);
        tile_o.n_index = n_q;
        tile_o.width = fmt_q[2:0];
        tile_o.affine = fmt_q[5];
        tile_o.row = 10'(jj_q * q_q);
        tile_o.window = 20'({block_q, 3'b000}) + 20'(group_q * group_windows);
        tile_o.first = first_pass_q && block_q == 0 && group_q == 0;
        tile_o.last = entry_last && jj_q + 4'd1 == jj_count_q && group_q + 3'd1 == groups_q;
        tile_o.scale = {scale_base_q, 3'b000} + scale_at_q;
        tile_o.free_row = (((scale_at_q + 6'(q_q)) & 6'd7) == 0) || (scale_at_q + 6'(q_q) == scale_total_q);
        tile_o.strip.stride = 10'd1 << mm_q.rows_per_vpu;
        tile_o.strip.rows = 10'(row_beats);
        tile_o.strip.slots = strip_r;
        tile_o.strip.base = base_q;
        tile_o.strip.op_last = op_last;
      end
      StQk: begin
        tile_o.nw = 5'(head_windows_q);
        tile_o.width = four_q ? Width4 : Width8;
        tile_o.unit_scale = 1'b1;
        tile_o.first = 1'b1;
        tile_o.last = 1'b1;
        tile_o.strip.stride = 10'd1;
        tile_o.strip.rows = 10'd1;
        tile_o.strip.slots = 20'(qk_nv);
        tile_o.strip.base = 32'(unit_q << LogC);
        tile_o.strip.op_last = run_end_q > last_block_q && unit_q + 32'(qk_nv) == unit_end_q;
      end
      StPv: begin
        tile_o.nw = 5'd1;
        tile_o.width = four_q ? WidthV4 : Width8;
        tile_o.unit_scale = 1'b1;
        tile_o.row = 10'(jj_q);
        tile_o.window = unit_q[19:0];
        tile_o.first = first_tile_q;
        tile_o.last = run_end_q > last_block_q && unit_q + 32'd1 == unit_end_q && jj_q + 4'd1 == pv_jj_count;
        tile_o.strip.stride = pv_rows;
        tile_o.strip.rows = pv_rows;
        tile_o.strip.slots = 20'(pv_slots_q);
        tile_o.strip.op_last = 1'b1;
      end
      default: begin  // StEmpty
        tile_o.last = 1'b1;
        tile_o.strip.empty = 1'b1;
        tile_o.strip.op_last = 1'b1;
      end
    endcase
  end

  // --- control ---------------------------------------------------------------------------------------------------
  logic tile_start;  // the pop that begins a tile
  logic [4:0] room;
  assign room = 5'(ReplayBeats) - beats_used_q;
  assign mop_o = new_mop;
  assign op_ready_o = state_q == StIdle && mop_ready_i;
  assign mop_valid_o = state_q == StIdle && op_valid_i;
  assign idle_o = state_q == StIdle && !op_valid_i;
  assign mb_addr_o = mask_q + 16'(kb_q >> 3);

  always_comb begin
    tile_start = 1'b0;
    want = 1'b0;
    beats_take = 5'd0;
    rows_take = 1'b0;
    rho_take = 1'b0;
    unique case (state_q)
      StTablePop: want = 1'b1;
      StRho: want = bias_phase_q || rho_row_q != 0 || rho_used_q != 2'd2;
      StScale: begin
        // a sigma chunk opens a scale row; its mu goes into the same row later
        want = scale_total_q != 0 && (bias_phase_q || piece_q != 0 || rows_used_q != 4'(ScaleRows));
      end
      StCode: begin
        tile_start = window_q == 0 && piece_q == 0 && !index_phase_q;
        want = tile_start ? (tile_ready_i && room != 0) : (piece_q != 0 || index_phase_q || room != 0);
      end
      StQk: begin
        tile_start = lane_q == 0 && window_q == 0;
        want = tile_start ? (tile_ready_i && room >= 5'(head_windows_q)) : 1'b1;
      end
      StPv: begin
        tile_start = piece_q == 0;
        want = tile_start ? (tile_ready_i && room != 0) : 1'b1;
      end
      StPad: want = words_mod_q != 0;
      default: ;
    endcase
    if (fire) begin
      if (state_q == StCode && piece_q == 0 && !index_phase_q) beats_take = 5'd1;
      if (state_q == StQk && tile_start) beats_take = 5'(head_windows_q);
      if (state_q == StPv && tile_start) beats_take = 5'd1;
      if (state_q == StScale && !bias_phase_q && piece_q == 0) rows_take = 1'b1;
      if (state_q == StRho && !bias_phase_q && rho_row_q == 0) rho_take = 1'b1;
    end
    tile_now = (fire && tile_start) || state_q == StEmpty;
  end
  assign tile_valid_o = tile_now;

  // run of active blocks beginning at kb_q, when no mask applies
  logic active_here;
  logic [19:0] run_stop;
  assign active_here = kb_q < 20'(sink_q) || 32'(kb_q) >= first_q || kb_q == last_block_q || first_q < 0;
  assign run_stop = (kb_q < 20'(sink_q) && first_q > 32'(sink_q)) ?
      (20'(sink_q) > last_block_q ? last_block_q + 20'd1 : 20'(sink_q)) : last_block_q + 20'd1;
  logic mask_bit;
  assign mask_bit = mb_data_i[kb_q[2:0]];

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      beat_q <= '0;
      scale_row_q <= '0;
      strip_half_q <= 1'b0;
      piece_q <= '0;
    end else begin
      if (fire) begin
        piece_q <= last_piece ? 8'd0 : piece_q + 8'(piece);
        if (!is_k) words_mod_q <= words_mod_q + piece[2:0];
      end
      unique case (state_q)
        StIdle:
        if (op_fire) begin
          kind_q <= new_mop.kind;
          mm_q <= mm;
          slots_left_q <= mm.slots;
          base_q <= '0;
          words_mod_q <= '0;
          // MMQK and MMPV begin with the same fields
          len_q <= qk.len;
          last_block_q <= 20'((qk.len - 32'sd1) >>> 6);
          sink_q <= qk.sink;
          first_q <= qk.first_block;
          mask_q <= qk.mask;
          masked_q <= qk.masked != 0;
          four_q <= (op_i.inst[5:0] == OpMmqk) ? qk.bits[0] : pv.bits[0];
          head_windows_q <= 13'((17'(qk.k) + 17'd15) >> 4);
          pv_slots_q <= pv.slots;
          kb_q <= '0;
          run_open_q <= 1'b0;
          first_tile_q <= 1'b1;
          if (new_mop.kind == KindMm) state_q <= StStrip;
          else state_q <= qk.len <= 0 ? StEmpty : StBlock;
        end
        // ------------------------------------------------------------------------------------------- weights
        StStrip: begin
          block_q <= '0;
          first_pass_q <= 1'b1;
          table_at_q <= '0;
          table_end_q <= '0;
          table_blocks_q <= '0;
          rho_row_q <= '0;
          bias_phase_q <= 1'b0;
          state_q <= mm_q.has_table ? StTablePop : StRho;
        end
        StTablePop: if (fire) state_q <= StTableWait;
        StTableWait:
        if (table_valid_i) begin
          table_word_q <= table_data_i;
          table_bytes_q <= 4'd8;
          state_q <= StTableParse;
        end
        StTableParse: begin
          if (table_blocks_q == blocks) state_q <= StRho;
          else if (table_bytes_q == 0) state_q <= StTablePop;
          else begin
            table_mem[table_end_q] <= table_word_q[7:0];
            table_end_q <= table_end_q + 10'd1;
            table_word_q <= table_word_q >> 8;
            table_bytes_q <= table_bytes_q - 4'd1;
            if (!table_word_q[6]) table_blocks_q <= table_blocks_q + 18'd1;
          end
        end
        StRho:
        if (fire) begin
          rho_row_q <= rho_row_q + 7'd1;
          if (20'({rho_row_q, 2'b00}) + 20'd4 >= strip_r) begin
            rho_row_q <= '0;
            if (mm_q.bias[0] && !bias_phase_q) bias_phase_q <= 1'b1;
            else state_q <= StEntry;
          end
        end
        StEntry: begin
          fmt_q <= fmt;
          n_q <= fmt[4:3];
          q_q <= 4'd1 << fmt[4:3];
          // beats down the strip: ceil(ceil(r / V) / q), and VPUs of the last
          jj_count_q <= 4'((5'(row_beats) + (5'd1 << fmt[4:3]) - 5'd1) >> fmt[4:3]);
          windows_q <= (25'(mm_q.k) - 25'({block_q, 7'd0})) >= 25'd128 ? 4'd8 :
              4'((25'(mm_q.k) - 25'({block_q, 7'd0}) + 25'd15) >> 4);
          jj_q <= '0;
          group_q <= '0;
          window_q <= '0;
          index_phase_q <= 1'b0;
          bias_phase_q <= 1'b0;
          scale_at_q <= '0;
          state_q <= StScale;
          table_at_q <= table_at_q + 10'd1;
          scale_base_q <= scale_row_q;
          scale_left_q <= '0;  // set in the first cycle of StScale
          scale_total_q <= '0;
        end
        StScale:
        if (scale_total_q == 0) begin
          groups_q <= groups;
          scale_total_q <= scale_total;
          scale_left_q <= scale_total;
          last_nv_q <= (strip_r - 20'(jj_count_q - 4'd1) * 20'(q_q) * 20'(Vpus)) < 20'(Vpus) ?
              strip_r - 20'(jj_count_q - 4'd1) * 20'(q_q) * 20'(Vpus) : 20'(Vpus);
        end else if (fire && last_piece) begin
          scale_left_q <= scale_left_q - 6'(scale_chunk);
          scale_row_q  <= scale_row_q + 3'd1;
          if (scale_left_q == 6'(scale_chunk)) begin
            if (fmt_q[5] && !bias_phase_q) begin
              bias_phase_q <= 1'b1;
              scale_left_q <= scale_total_q;
              scale_row_q  <= scale_base_q;
            end else begin
              state_q <= StCode;
            end
          end
        end
        StCode:
        if (fire && last_piece) begin
          if (n_q != NDense && !index_phase_q) begin
            index_phase_q <= 1'b1;
          end else begin
            index_phase_q <= 1'b0;
            beat_q <= beat_q + 4'd1;
            window_q <= window_q + 4'd1;
            if (window_q + 4'd1 == tile_windows) begin
              window_q <= '0;
              scale_at_q <= scale_at_q + 6'(q_q);
              group_q <= group_q + 3'd1;
              if (group_q + 3'd1 == groups_q) begin
                group_q <= '0;
                jj_q <= jj_q + 4'd1;
                if (jj_q + 4'd1 == jj_count_q) begin
                  first_pass_q <= 1'b0;
                  if (!entry_more) block_q <= block_q + 18'd1;
                  if (entry_last) begin
                    strip_half_q <= !strip_half_q;
                    slots_left_q <= slots_left_q - strip_r;
                    base_q <= base_q + 32'(strip_r << LogC);
                    state_q <= op_last ? StPad : StStrip;
                  end else begin
                    state_q <= StEntry;
                  end
                end
              end
            end
          end
        end
        StPad: if (words_mod_q == 0) state_q <= StIdle;
        // ----------------------------------------------------------------------------------------- attention
        StBlock:
        if (masked_q && untaken_q != 0) begin
          // wait: the mask may not be there yet
        end else if (kb_q > last_block_q) begin
          run_end_q <= last_block_q + 20'd1;
          state_q   <= StRun;
        end else if (!masked_q) begin
          if (active_here) begin
            run_from_q <= kb_q;
            run_end_q <= run_stop;
            kb_q <= run_stop;
            run_open_q <= 1'b1;
            state_q <= StRun;
          end else begin
            kb_q <= (first_q > 32'(last_block_q)) ? last_block_q : first_q[19:0];
          end
        end else begin
          state_q <= StMask0;
        end
        StMask0: state_q <= StMask1;
        StMask1: state_q <= StMask2;
        StMask2: begin
          kb_q <= kb_q + 20'd1;
          state_q <= StBlock;
          if ((active_here && mask_bit) || kb_q == last_block_q) begin
            if (!run_open_q) run_from_q <= kb_q;
            run_open_q <= 1'b1;
          end else if (run_open_q) begin
            run_end_q <= kb_q;
            state_q   <= StRun;
          end
        end
        StRun: begin
          // blocks -> units of C slots (K) or 16 positions (V)
          run_open_q <= 1'b0;
          jj_q <= '0;
          lane_q <= '0;
          window_q <= '0;
          if (kind_q == KindQk) begin
            unit_q <= (32'(run_from_q) << 6) >> LogC;
            unit_end_q <= (32'(run_end_q) << 6) >= len_q ?
                (len_q + 32'(Channels) - 32'd1) >> LogC : (32'(run_end_q) << 6) >> LogC;
            state_q <= StQk;
          end else begin
            unit_q <= 32'(run_from_q) << 2;
            unit_end_q <= (32'(run_end_q) << 6) >= len_q ? (len_q + 32'd15) >> 4 : 32'(run_end_q) << 2;
            state_q <= StPv;
          end
        end
        StQk:
        if (fire) begin
          window_q <= window_q + 4'd1;
          if (13'(window_q) + 13'd1 == head_windows_q) begin
            window_q <= '0;
            lane_q   <= lane_q + 8'd1;
            if (lane_q + 8'd1 == qk_nv) begin
              lane_q <= '0;
              beat_q <= beat_q + 4'(head_windows_q);
              unit_q <= unit_q + 32'(qk_nv);
              if (unit_q + 32'(qk_nv) == unit_end_q) state_q <= run_end_q > last_block_q ? StIdle : StBlock;
            end
          end
        end
        StPv:
        if (fire && last_piece) begin
          beat_q <= beat_q + 4'd1;
          jj_q   <= jj_q + 4'd1;
          if (jj_q + 4'd1 == pv_jj_count) begin
            jj_q <= '0;
            first_tile_q <= 1'b0;
            unit_q <= unit_q + 32'd1;
            if (unit_q + 32'd1 == unit_end_q) state_q <= run_end_q > last_block_q ? StIdle : StBlock;
          end
        end
        StEmpty: if (tile_ready_i) state_q <= StIdle;
        default: state_q <= StIdle;
      endcase
    end
  end
endmodule
