// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// First stage of matrix_fetch: cuts an instruction into items and works out all their lengths, a step a cycle, while the walk is
// busy with the item before. Reads the format table of a strip, and the runs of active blocks.
//
// An attention instruction whose block mask applies waits until execute has taken its tokens (taken_i), because the mask is
// read here.

module fetch_plan #(
    parameter int unsigned Vpus     = 8,
    parameter int unsigned Channels = 4
) (
    input logic clk_i,
    input logic rst_ni,
    input logic op_valid_i,
    input flightllm_isa_pkg::dispatch_t op_i,
    output logic op_ready_o,
    input logic taken_i,
    output logic item_valid_o,
    output matrix_pkg::item_t item_o,
    input logic item_ready_i,
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
  localparam int unsigned LogV = $clog2(Vpus + 1);
  localparam int unsigned TableBytes = 1024;

  typedef enum logic [4:0] {
    StIdle,
    StStrip0,
    StStrip1,
    StTable,
    StTableWait,
    StTableParse,
    StRho,
    StEntry0,
    StEntry1,
    StEntry2,
    StEntry3,
    StEntry4,
    StEntry5,
    StEntry,
    StPad,
    StMask,
    StRuns,
    StRun0,
    StRun1,
    StRun,
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

  mm_op_t mm_q;
  // attention: the fields that MMQK and MMPV share, and those of one
  logic is_qk_q, four_q, masked_q;
  logic signed [31:0] len_q, first_q;
  logic [31:0] len_units_q;  // slots (K) or windows (V) with a key in them
  logic [11:0] sink_q;
  logic [15:0] mask_q;
  logic [ 4:0] head_windows_q;  // K: windows of a row
  logic [11:0] pv_slots_q;
  logic [12:0] pv_sum_q;
  logic [ 9:0] pv_rows_q;  // row beats of a window: ceil(slots / V)

  assign op_ready_o = state_q == StIdle;
  assign idle_o = state_q == StIdle;

  // instructions handed over whose tokens execute has not taken
  logic [2:0] untaken_q;
  logic op_fire;
  assign op_fire = op_valid_i && op_ready_o;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) untaken_q <= '0;
    else untaken_q <= untaken_q + 3'(op_fire) - 3'(taken_i);
  end

  // --- runs of active blocks -------------------------------------------------------------------------------------
  logic run_valid, run_last, run_ready;
  logic [19:0] run_from, run_to;
  block_runs i_runs (
      .clk_i,
      .rst_ni,
      .start_i (state_q == StRuns),
      .len_i   (len_q),
      .sink_i  (sink_q),
      .first_i (first_q),
      .masked_i(masked_q),
      .mask_i  (mask_q),
      .mb_addr_o,
      .mb_data_i,
      .valid_o (run_valid),
      .from_o  (run_from),
      .to_o    (run_to),
      .last_o  (run_last),
      .ready_i (run_ready),
      .done_o  ()
  );
  assign run_ready = state_q == StRun0;
  logic first_run_q, last_run_q;
  logic [31:0] unit_q, unit_end_q, units_q;

  // --- strips and entries ----------------------------------------------------------------------------------------
  logic [19:0] slots_left_q;  // of the matrix, from this strip on
  logic [31:0] base_q;  // first element of the strip
  logic [19:0] strip_full, strip_r_q;  // slots of a whole strip, of this one
  logic op_last_q, half_q;
  logic [3:0] row_beats_q;  // ceil(r / V)
  logic [24:0] k_left_q;  // columns from this block on
  logic [16:0] window_q;  // first window of the block
  logic first_entry_q;
  assign strip_full = 20'(Vpus) << mm_q.rows_per_vpu;

  // format table
  logic [9:0] table_at_q, table_end_q;
  logic [7:0] table_mem[TableBytes];
  logic [63:0] word_q, next_word_q;
  logic [ 2:0] byte_q;
  logic [17:0] blocks_left_q;  // blocks whose passes the table has not told yet
  logic ask_q, coming_q, there_q;  // the next word: to be asked for, on its way, in next_word_q

  // an entry, step by step
  logic [7:0] fmt_q;
  logic [3:0] beats_q, windows_q, group_windows, last_scales;
  logic [2:0] groups_q, chunks_q;
  logic [7:0] words_q, tail_words_q, tail_vpus_q, sigma_words_q, mu_words_q;
  logic [ 4:0] tail_windows_q;
  logic [ 5:0] head_rows_q;  // rows of V slots before the last beat
  logic [19:0] tail_slots_q;
  logic [ 5:0] scales_q;
  logic entry_last, last_block;
  assign group_windows = 4'd2 << mm_q.group;
  assign last_block = k_left_q <= 25'd128;
  assign entry_last = last_block && !fmt_q[6];
  assign last_scales = scales_q[2:0] == 3'd0 ? 4'd8 : 4'(scales_q[2:0]);

  // ceil(n * Vpus / 8) and ceil(n * 3 * Vpus / 16) for n scale beats
  function automatic logic [7:0] sigma_words(logic [3:0] n);
    return 8'((12'(n) * 12'(Vpus) + 12'd7) >> 3);
  endfunction
  function automatic logic [7:0] mu_words(logic [3:0] n);
    return 8'((12'(n) * 12'(3 * Vpus) + 12'd15) >> 4);
  endfunction
  // ceil(n * 2 * bits / 8)
  function automatic logic [7:0] code_words(logic [LogV-1:0] n, logic [2:0] width);
    return 8'((12'(n) * 12'(width_bits(width)) + 12'd3) >> 2);
  endfunction
  // ceil(slots / Vpus) from slots + Vpus - 1, as a product: exact, since slots * Vpus < 2^20
  function automatic logic [9:0] row_beats_of(logic [12:0] sum);
    localparam int unsigned Inverse = ((1 << 20) + Vpus - 1) / Vpus;
    return 10'(33'(sum) * 33'(Inverse) >> 20);
  endfunction
  function automatic logic [7:0] value_words(logic [LogV-1:0] n, logic four);
    return four ? 8'((12'(n) + 12'd1) & ~12'd1) : 8'(12'(n) << 1);
  endfunction

  // --- the item --------------------------------------------------------------------------------------------------
  always_comb begin
    item_o = '0;
    item_valid_o = 1'b1;
    unique case (state_q)
      StTable: item_o.kind = ItemTable;
      StTableParse: begin
        item_o.kind  = ItemTable;
        item_valid_o = ask_q;
      end
      StRho:   item_o.kind = ItemRho;
      StEntry: item_o.kind = ItemEntry;
      StPad:   item_o.kind = ItemPad;
      StRun:   item_o.kind = is_qk_q ? ItemKeys : ItemValues;
      StEmpty: item_o.kind = ItemEmpty;
      default: item_valid_o = 1'b0;
    endcase
    item_o.half = half_q;
    item_o.bias = mm_q.bias[0];
    item_o.short_row = strip_r_q[1:0] == 2'd1 || strip_r_q[1:0] == 2'd2;
    item_o.format = fmt_q;
    item_o.four = four_q;
    item_o.groups = groups_q;
    item_o.chunks = chunks_q;
    item_o.scales = scales_q;
    item_o.sigma_words = sigma_words_q;
    item_o.mu_words = mu_words_q;
    item_o.words = words_q;
    item_o.tail_words = tail_words_q;
    item_o.tail_vpus = tail_vpus_q;
    item_o.tail_windows = tail_windows_q;
    item_o.count = units_q;
    unique case (state_q)
      StRho, StEntry: begin
        item_o.strip.stride = 10'd1 << mm_q.rows_per_vpu;
        item_o.strip.rows = 10'(row_beats_q);
        item_o.strip.slots = strip_r_q;
        item_o.strip.base = base_q;
        item_o.strip.op_last = op_last_q;
        item_o.beats = state_q == StRho ? 10'((strip_r_q + 20'd3) >> 2) : 10'(beats_q);
        item_o.windows = 5'(group_windows);
        item_o.unit = 32'(window_q);
        item_o.first = first_entry_q;
        item_o.last = entry_last;
      end
      StRun: begin
        item_o.strip.stride = is_qk_q ? 10'd1 : pv_rows_q;
        item_o.strip.rows = is_qk_q ? 10'd1 : pv_rows_q;
        item_o.strip.slots = 20'(pv_slots_q);
        item_o.strip.op_last = 1'b1;
        item_o.beats = pv_rows_q;
        item_o.windows = head_windows_q;
        item_o.unit = unit_q;
        item_o.first = first_run_q;
        item_o.last = last_run_q;
      end
      default: begin  // StEmpty
        item_o.strip.empty   = 1'b1;
        item_o.strip.op_last = 1'b1;
      end
    endcase
  end

  // --- control ---------------------------------------------------------------------------------------------------
  logic word_end;  // the last byte of the word, or of the table
  assign word_end = byte_q == 3'd7;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      half_q  <= 1'b0;
    end
    else begin
      unique case (state_q)
        StIdle:
        if (op_fire) begin
          if (op_i.inst[5:0] == OpMm) state_q <= StStrip0;
          else state_q <= qk.len <= 0 ? StEmpty : StMask;
        end
        // ------------------------------------------------------------------------------------------- weights
        StStrip0: state_q <= StStrip1;
        StStrip1: state_q <= mm_q.has_table ? StTable : StRho;
        StTable: if (item_ready_i) state_q <= StTableWait;
        StTableWait: if (table_valid_i) state_q <= StTableParse;
        StTableParse: begin
          if (blocks_left_q == 18'd1 && !word_q[6]) state_q <= StRho;
          else if (word_end && !there_q && !table_valid_i)
            state_q <= (coming_q || (ask_q && item_ready_i)) ? StTableWait : StTable;
        end
        StRho: if (item_ready_i) state_q <= StEntry0;
        StEntry0: state_q <= StEntry1;
        StEntry1: state_q <= StEntry2;
        StEntry2: state_q <= StEntry3;
        StEntry3: state_q <= StEntry4;
        StEntry4: state_q <= StEntry5;
        StEntry5: state_q <= StEntry;
        StEntry:
        if (item_ready_i) begin
          state_q <= !entry_last ? StEntry0 : op_last_q ? StPad : StStrip0;
          if (entry_last) half_q <= !half_q;
        end
        StPad: if (item_ready_i) state_q <= StIdle;
        // ----------------------------------------------------------------------------------------- attention
        StMask: if (!masked_q || untaken_q == 3'd0) state_q <= StRuns;
        StRuns: state_q <= StRun0;
        StRun0: if (run_valid) state_q <= StRun1;
        StRun1: state_q <= StRun;
        StRun: if (item_ready_i) state_q <= last_run_q ? StIdle : StRun0;
        StEmpty: if (item_ready_i) state_q <= StIdle;
        default: state_q <= StIdle;
      endcase
    end
  end

  logic [19:0] pv_tail;  // slots of the last row beat
  assign pv_tail = 20'(pv_slots_q) - 20'(pv_rows_q - 10'd1) * 20'(Vpus);

  always_ff @(posedge clk_i) begin
    unique case (state_q)
      StIdle:
      if (op_fire) begin
        mm_q <= mm;
        slots_left_q <= mm.slots;
        base_q <= '0;
        // MMQK and MMPV begin with the same fields
        is_qk_q <= op_i.inst[5:0] == OpMmqk;
        len_q <= qk.len;
        sink_q <= qk.sink;
        first_q <= qk.first_block;
        mask_q <= qk.mask;
        masked_q <= qk.masked != 0;
        four_q <= (op_i.inst[5:0] == OpMmqk) ? qk.bits[0] : pv.bits[0];
        head_windows_q <= 5'((17'(qk.k) + 17'd15) >> 4);
        pv_slots_q <= pv.slots;
        first_run_q <= 1'b1;
      end
      StStrip0: begin
        strip_r_q <= slots_left_q < strip_full ? slots_left_q : strip_full;
        op_last_q <= slots_left_q <= strip_full;
        k_left_q <= 25'(mm_q.k);
        window_q <= '0;
        first_entry_q <= 1'b1;
        table_at_q <= '0;
        table_end_q <= '0;
        blocks_left_q <= 18'((25'(mm_q.k) + 25'd127) >> 7);
        {ask_q, coming_q, there_q} <= '0;
      end
      StStrip1: begin
        row_beats_q <= 4'd1;
        for (int i = 1; i < 8; i++) if (strip_r_q > 20'(i * Vpus)) row_beats_q <= 4'(i + 1);
      end
      StTableWait:
      if (table_valid_i) begin
        word_q <= table_data_i;
        byte_q <= '0;
        coming_q <= 1'b0;
        ask_q <= blocks_left_q > 18'd8;  // this word cannot be the last
      end
      StTableParse: begin
        table_mem[table_end_q] <= word_q[7:0];
        table_end_q <= table_end_q + 10'd1;
        word_q <= word_q >> 8;
        byte_q <= byte_q + 3'd1;
        if (!word_q[6]) blocks_left_q <= blocks_left_q - 18'd1;
        if (ask_q && item_ready_i) {ask_q, coming_q} <= 2'b01;
        if (table_valid_i) begin
          next_word_q <= table_data_i;
          {coming_q, there_q} <= 2'b01;
        end
        if (word_end) begin
          ask_q <= 1'b0;
          if (there_q || table_valid_i) begin
            word_q <= there_q ? next_word_q : table_data_i;
            {coming_q, there_q} <= 2'b00;
            // of the blocks left, this byte may have ended one
            ask_q <= blocks_left_q > 18'd9;
          end
        end
      end
      StEntry0: begin
        fmt_q <= mm_q.has_table ? table_mem[table_at_q] : mm_q.format;
        table_at_q <= table_at_q + 10'd1;
        windows_q <= last_block ? 4'((k_left_q[7:0] + 8'd15) >> 4) : 4'd8;
      end
      StEntry1: begin
        // beats down the strip: ceil(ceil(r / V) / q)
        beats_q  <= 4'((5'(row_beats_q) + (5'd1 << fmt_q[4:3]) - 5'd1) >> fmt_q[4:3]);
        groups_q <= 3'((5'(windows_q) + 5'(group_windows) - 5'd1) >> (2'd1 + mm_q.group));
        words_q  <= code_words(LogV'(Vpus), fmt_q[2:0]);
      end
      StEntry2: begin
        head_rows_q <= 6'(beats_q - 4'd1) << fmt_q[4:3];
        tail_windows_q <= 5'(windows_q) - 5'(4'(groups_q - 3'd1) << (2'd1 + mm_q.group));
      end
      StEntry3: tail_slots_q <= strip_r_q - 20'(head_rows_q) * 20'(Vpus);
      StEntry4: begin
        tail_vpus_q <= tail_slots_q < 20'(Vpus) ? 8'(tail_slots_q) : 8'(Vpus);
        scales_q <= 6'(6'(beats_q) << fmt_q[4:3]) * 6'(groups_q);
      end
      StEntry5: begin
        tail_words_q <= code_words(LogV'(tail_vpus_q), fmt_q[2:0]);
        chunks_q <= 3'((7'(scales_q) + 7'd7) >> 3);
        sigma_words_q <= sigma_words(last_scales);
        mu_words_q <= mu_words(last_scales);
      end
      StEntry:
      if (item_ready_i) begin
        first_entry_q <= 1'b0;
        if (!fmt_q[6]) begin
          k_left_q <= k_left_q - 25'd128;
          window_q <= window_q + 17'd8;
        end
        if (entry_last) begin
          slots_left_q <= slots_left_q - strip_r_q;
          base_q <= base_q + 32'(strip_r_q << LogC);
        end
      end
      StMask: pv_sum_q <= 13'(pv_slots_q) + 13'(Vpus - 1);
      StRuns: begin
        pv_rows_q   <= row_beats_of(pv_sum_q);
        len_units_q <= is_qk_q ? (32'(len_q) + 32'(Channels - 1)) >> LogC : (32'(len_q) + 32'd15) >> 4;
      end
      StRun0:
      if (run_valid) begin
        // blocks -> units of C slots (K) or 16 positions (V)
        unit_q <= is_qk_q ? (32'(run_from) << 6) >> LogC : 32'(run_from) << 2;
        unit_end_q <= run_last ? len_units_q : is_qk_q ? (32'(run_to) << 6) >> LogC : 32'(run_to) << 2;
        last_run_q <= run_last;
        tail_vpus_q <= 8'(pv_tail);
      end
      StRun1: begin
        units_q <= unit_end_q - unit_q;
        words_q <= value_words(LogV'(Vpus), four_q);
        tail_words_q <= value_words(LogV'(tail_vpus_q), four_q);
      end
      StRun: if (item_ready_i) first_run_q <= 1'b0;
      default: ;
    endcase
  end
endmodule
