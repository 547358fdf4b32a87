// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// First half of the load unit: takes instructions and their tokens, cuts them into segments (pieces of memory, equal on all
// channels), asks the channels' readers for the beats that cover each, and tells the second half what to do with them. It runs
// ahead as far as the staging has room. Two things wait for the second half: an LDG for its token ids, and an LDK whose
// mask applies for what was loaded before.
//
// Three stages. The *walk* finds the next piece: a row, a run of blocks, the end of the instruction. The *piece* register holds it
// while its products are made (the address of an LDG row, address and bytes of a run), in six cycles, with one multiplier. The *requester*
// sends the segment and asks for its beats; meanwhile the next piece is at work. From tokens to tokens a masked run of one
// block takes the walk eight cycles, so the products do not slow it down.

module load_request #(
    parameter int unsigned Channels = 4,
    parameter int unsigned Staging  = 64,   // beats per channel
    parameter int unsigned MaxIds   = 1024
) (
    input logic clk_i,
    input logic rst_ni,
    input logic op_valid_i,
    input flightllm_isa_pkg::dispatch_t op_i,
    output logic op_ready_o,
    output logic take_valid_o,
    output logic [3:0] take_mask_o,
    input logic take_ready_i,
    output logic idle_o,
    output logic [3:0] error_o,
    // mask buffer
    output logic [15:0] mb_addr_o,
    input logic [7:0] mb_data_i,
    // readers
    output logic [Channels-1:0] req_valid_o,
    output logic [39:0] req_addr_o,
    output logic [15:0] req_beats_o,
    input logic [Channels-1:0] req_ready_i,
    // second half
    output logic segment_valid_o,
    output load_pkg::segment_t segment_o,
    input logic segment_ready_i,
    input logic beat_used_i,  // a beat has left the staging
    input logic rest_idle_i,  // nothing queued or at work in the second half
    input logic id_valid_i,  // 16 ids of a beat
    input logic [15:0][31:0] id_data_i
);
  import flightllm_isa_pkg::*;
  import load_pkg::*;
  localparam int unsigned LogC = $clog2(Channels);
  localparam int unsigned LogKeySlots = $clog2(key_slots(Channels));
  localparam logic [3:0] ErrToken = 4'd4;
  localparam int unsigned MaxBeats = 32;

  typedef enum logic [3:0] {
    StIdle,
    StTake,
    StBegin,
    StRow,
    StIds,
    StGather,
    StCheck,
    StGatherRow,
    StMask,
    StRuns,
    StEnd,
    StDead
  } state_e;
  state_e state_q;

  dispatch_t op_q;
  logic [5:0] opcode;
  ldv_op_t ldv;
  ldg_op_t ldg;
  ldm_op_t ldm;
  lds_op_t lds;
  ldk_op_t ldk;
  assign opcode = op_q.inst[5:0];
  assign ldv = ldv_op(op_q);
  assign ldg = ldg_op(op_q);
  assign ldm = ldm_op(op_q);
  assign lds = lds_op(op_q);
  assign ldk = ldk_op(op_q);

  // --- token ids -------------------------------------------------------------------------------------------------
  logic [15:0][31:0] id_mem[MaxIds/16];
  logic [$clog2(MaxIds/16)-1:0] id_write_q;
  logic [$clog2(MaxIds)-1:0] id_at_q;  // the next id: the first one may lie anywhere in its beat
  logic [31:0] id_q;
  logic id_bad_q;
  logic [31:0] row_q, rows;  // row of LDV, LDG; how many
  logic no_rows_q, no_bytes_q;
  assign rows = opcode == OpLdv ? 32'(ldv.rows) : 32'(ldg.rows);

  // --- runs of blocks (LDS, LDK) ---------------------------------------------------------------------------------
  logic run_start, run_valid, run_ready, run_done, runs_done_q;
  logic [19:0] run_from, run_to;
  logic is_mask_q, runs_scales_q, windows_q, masked_q;
  logic run_last;
  block_runs i_runs (
      .clk_i,
      .rst_ni,
      .start_i (run_start),
      .len_i   (runs_scales_q ? lds.len : ldk.len),
      .sink_i  (runs_scales_q ? lds.sink : ldk.sink),
      .first_i (runs_scales_q ? lds.first_block : ldk.first_block),
      .masked_i(masked_q),
      .mask_i  (ldk.mask),
      .mb_addr_o,
      .mb_data_i,
      .valid_o (run_valid),
      .from_o  (run_from),
      .to_o    (run_to),
      .last_o  (run_last),
      .ready_i (run_ready),
      .done_o  (run_done)
  );

  // blocks -> units: slots (LDS), groups of slots (LDK of K) or 16 positions, the last run's end by the length
  logic [31:0] unit_from, unit_to;
  logic [2:0] log_unit;
  logic signed [31:0] keys;
  assign log_unit = runs_scales_q ? 3'(LogC) : 3'(LogC + LogKeySlots);
  assign keys = runs_scales_q ? lds.len : ldk.len;
  always_comb begin
    if (windows_q) begin
      unit_from = 32'(run_from) << 2;
      unit_to   = run_last ? (unsigned'(keys) + 32'd15) >> 4 : 32'(run_to) << 2;
    end else begin
      unit_from = (32'(run_from) << 6) >> log_unit;
      unit_to   = ((run_last ? unsigned'(keys) : 32'(run_to) << 6) + (32'd1 << log_unit) - 32'd1) >> log_unit;
    end
  end

  // --- the piece at work, and its products -------------------------------------------------------------------------
  localparam logic [2:0] StepReady = 3'd6;
  logic p_valid_q, p_take;
  load_e p_kind_q;
  logic [2:0] step_q;
  logic [39:0] base_q;  // becomes the first byte
  logic [31:0] factor_q;  // its product with `times` is added to base: token id; first unit of a run
  logic [31:0] count_q;  // bytes; of a run: the unit behind the last, then units, then bytes
  logic [19:0] p_dst_q;
  logic [3:0] p_signal_q;
  logic [39:0] times, product;
  logic p_run;
  assign p_run = p_kind_q == LoadScales || p_kind_q == LoadKeys;
  always_comb begin
    unique case (opcode)
      OpLdg:   times = 40'(ldg.row);
      OpLds:   times = 40'({lds.heads, 1'b0});
      default: times = 40'(ldk.unit_bytes);
    endcase
  end
  multiply_add i_products (
      .clk_i,
      .a_i  (step_q == '0 ? factor_q : count_q),
      .b_i  (times),
      .c_i  (step_q == '0 ? base_q : 40'd0),
      .sum_o(product)
  );

  // --- requests --------------------------------------------------------------------------------------------------
  typedef enum logic [1:0] {
    ReqFree,
    ReqSegment,
    ReqBeats
  } request_e;
  request_e request_q;
  segment_t seg_q;
  logic [39:0] addr_q;  // next byte to ask for
  logic [31:0] left_q;  // beats of the segment still to ask for
  logic [5:0] beats_q;  // how many of them next, one cycle behind left_q
  logic end_q;  // no more, one cycle behind left_q
  logic [6:0] used_q;  // beats asked for and not out of the staging
  logic [Channels-1:0] todo_q;
  logic none, send, quiet, quiet_q, beat_used_q;
  assign none = todo_q == '0;
  assign send = request_q == ReqBeats && !end_q && none && 32'(used_q) + 32'(beats_q) <= 32'(Staging);
  assign p_take = p_valid_q && step_q == StepReady && (request_q == ReqFree || (request_q == ReqBeats && end_q));
  assign req_valid_o = todo_q;
  assign segment_valid_o = request_q == ReqSegment;
  always_comb begin
    segment_o = seg_q;
    segment_o.beats = left_q[25:0];  // none has been asked for yet
    segment_o.single = left_q == 32'd1;
  end
  // nothing at work behind the walk; a cycle late, so a piece handed on in that cycle counts by itself
  assign quiet = quiet_q && !p_valid_q;

  assign op_ready_o = state_q == StIdle;
  assign take_valid_o = state_q == StTake;
  assign take_mask_o = op_q.inst[9:6];
  assign idle_o = state_q == StIdle && !op_valid_i && !p_valid_q && request_q == ReqFree;
  assign run_ready = state_q == StRuns && run_valid && !p_valid_q;
  assign run_start = state_q == StMask && !is_mask_q && (!masked_q || quiet);

  logic [31:0] row_bytes;
  logic [21:0] row_bytes_q;
  logic row_half;
  assign row_half  = opcode == OpLdv ? ldv.dtype == 1'(LdvDtypeF16) : ldg.dtype == 1'(LdgDtypeF16);
  assign row_bytes = (opcode == OpLdv ? 32'(ldv.slots) : 32'(ldg.slots)) << (row_half ? 1 : 2);

  // hand a piece on; only when there is none
  task automatic piece(load_e kind, logic [39:0] base, logic [31:0] count, logic products);
    p_valid_q <= 1'b1;
    p_kind_q <= kind;
    base_q <= base;
    count_q <= count;
    step_q <= products ? '0 : StepReady;
  endtask

  always_ff @(posedge clk_i) begin
    error_o <= '0;
    if (id_valid_i) begin
      id_mem[id_write_q] <= id_data_i;
      id_write_q <= id_write_q + 1'b1;
    end
    id_q <= id_mem[($clog2(MaxIds/16))'(id_at_q>>4)][id_at_q[3:0]];
    id_bad_q <= id_q[31] || id_q >= 32'(ldg.limit);
    if (run_done) runs_done_q <= 1'b1;
    if (!rst_ni) begin
      state_q   <= StIdle;
      p_valid_q <= 1'b0;
    end else begin
      // products: operands in the steps 0 and 1, sums in 4 and 5
      if (step_q != StepReady) step_q <= step_q + 3'd1;
      if (step_q == 3'd0 && p_run) count_q <= count_q - factor_q;
      if (step_q == 3'd4) base_q <= product;
      if (step_q == 3'd5 && p_run) count_q <= product[31:0];
      if (p_take) p_valid_q <= 1'b0;
      unique case (state_q)
        StIdle:
        if (op_valid_i) begin
          op_q    <= op_i;
          state_q <= StTake;
        end
        StTake: begin
          is_mask_q <= opcode == OpLdm;
          runs_scales_q <= opcode == OpLds;
          windows_q <= opcode != OpLds && ldk.kind == 1'(LdkKindV);
          masked_q <= opcode == OpLdk && ldk.masked != 0;
          no_rows_q <= signed'(rows) <= 0;
          no_bytes_q <= (opcode == OpLdv ? ldv.slots : ldg.slots) == '0;
          row_bytes_q <= row_bytes[21:0];
          row_q <= '0;
          runs_done_q <= 1'b0;
          if (take_ready_i) state_q <= StBegin;
        end
        StBegin:
        unique case (opcode)
          OpLdv:   state_q <= no_rows_q || no_bytes_q ? StEnd : StRow;
          OpLdg:   state_q <= no_rows_q ? StEnd : StIds;
          default: state_q <= StMask;
        endcase
        // ---- LDV: a piece a row
        StRow:
        if (!p_valid_q) begin
          p_dst_q <= row_q == 0 ? ldv.dst : p_dst_q + ldv.dst_row;
          row_q   <= row_q + 32'd1;
          piece(LoadVector, row_q == 0 ? ldv.addr : base_q + 40'(ldv.row), 32'(row_bytes_q), 1'b0);
          if (row_q + 32'd1 == rows) state_q <= StEnd;
        end
        // ---- LDG: ids, then a piece a row
        StIds:
        if (quiet) begin
          id_write_q <= '0;
          id_at_q <= ($bits(id_at_q))'(ldg.ids[5:2]);
          piece(LoadIds, ldg.ids, rows << 2, 1'b0);
          state_q <= StGather;
        end
        StGather:  // the first row waits for the ids
        if (row_q != 0 || (quiet && used_q == 0)) state_q <= row_q == rows ? StEnd : StCheck;
        StCheck: state_q <= StGatherRow;
        StGatherRow:
        if (id_bad_q) begin
          error_o <= ErrToken;
          state_q <= StDead;
        end else if (!p_valid_q) begin
          p_dst_q  <= row_q == 0 ? ldg.dst : p_dst_q + ldg.dst_row;
          row_q    <= row_q + 32'd1;
          id_at_q  <= id_at_q + 1'b1;
          factor_q <= id_q;
          piece(LoadVector, ldg.has_table, 32'(row_bytes_q), 1'b1);
          state_q <= no_bytes_q ? StEnd : StGather;
        end
        // ---- LDM, LDS, LDK
        StMask:
        if (is_mask_q) begin
          if (!p_valid_q) begin
            p_dst_q <= 20'(ldm.dst);
            piece(LoadMask, ldm.addr, 32'(ldm.nbytes), 1'b0);
            state_q <= StEnd;
          end
        end else if (run_start) begin
          state_q <= StRuns;
        end
        StRuns:
        if (!p_valid_q) begin
          p_dst_q  <= lds.dst;
          factor_q <= unit_from;
          if (run_valid)
            piece(runs_scales_q ? LoadScales : LoadKeys, runs_scales_q ? lds.addr : ldk.addr, unit_to, 1'b1);
          else if (runs_done_q) state_q <= StEnd;
        end
        StEnd:
        if (!p_valid_q) begin
          p_signal_q <= op_q.inst[13:10];
          piece(LoadEnd, '0, '0, 1'b0);
          state_q <= StIdle;
        end
        StDead: ;
        default: state_q <= StIdle;
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    quiet_q <= !p_valid_q && request_q == ReqFree && none && rest_idle_i;
    if (!rst_ni) begin
      request_q <= ReqFree;
      used_q <= '0;
      beat_used_q <= 1'b0;
      todo_q <= '0;
    end else begin
      beat_used_q <= beat_used_i;  // a cycle late: the staging seems fuller than it is
      used_q <= used_q + (send ? 7'(beats_q) : 7'd0) - 7'(beat_used_q);
      todo_q <= send ? '1 : todo_q & ~req_ready_i;
      if (request_q == ReqSegment && segment_ready_i) request_q <= seg_q.kind == LoadEnd ? ReqFree : ReqBeats;
      if (request_q == ReqBeats && end_q) request_q <= ReqFree;
      // a piece of no bytes is no segment
      if (p_take && (count_q != 0 || p_kind_q == LoadEnd)) request_q <= ReqSegment;
    end
    if (send) begin
      req_addr_o <= {addr_q[39:6], 6'd0};
      req_beats_o <= 16'(beats_q);
      addr_q <= addr_q + (40'(beats_q) << 6);
      left_q <= left_q - 32'(beats_q);
    end
    // a request takes two cycles at least, and so does a segment before its first
    beats_q <= left_q < 32'(MaxBeats) ? 6'(left_q) : 6'(MaxBeats);
    end_q   <= left_q == 0;
    // of an instruction's pieces only the end may outlast it in its register: the rest of op_q is still this piece's
    if (p_take) begin
      addr_q <= base_q;
      left_q <= (32'(base_q[5:0]) + count_q + 32'd63) >> 6;
      seg_q <= '{
          kind: p_kind_q,
          half: row_half,
          offset: base_q[5:0],
          single: 1'b0,
          beats: '0,
          stop: 7'(6'(base_q[5:0] + count_q[5:0] - 6'd1)) + 7'd1,
          dst: p_dst_q,
          slot: factor_q[23:0],
          heads: lds.heads,
          dst_head: lds.dst_head,
          signal_mask: p_signal_q
      };
    end
  end
endmodule
